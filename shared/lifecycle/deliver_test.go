package lifecycle

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

func manifestOf(r Run) run.Manifest {
	return run.NewManifest(r.Record, run.Progress{}, []run.Output{{ID: "output", Key: r.KeyPrefix() + "output.png"}}, began)
}

// delivered holds what a delivered run leaves against each other.
func (w *world) delivered(id string) (body string) {
	w.t.Helper()
	w.around = nil
	r := w.get(id)
	key := r.KeyPrefix() + run.ManifestName
	if r.Status != run.Succeeded || r.ManifestKey != key || r.EndedAt.IsZero() || r.Error != nil || r.ErrorKey != "" {
		w.t.Errorf("recorded %+v", r)
	}
	o, there := w.s3.Object(outputBucket, key)
	var m run.Manifest
	if !there || json.Unmarshal(o.Body, &m) != nil || m.RunID != id || m.TaskID != r.TaskID || o.Metadata["cyberun-run-id"] != id || o.ContentType != "application/json" {
		w.t.Errorf("the manifest: %v, %s", there, o.Body)
	}
	for _, key := range w.s3.Keys(outputBucket, "") {
		if strings.HasSuffix(key, "/"+run.ErrorName) {
			w.t.Errorf("%s beside a manifest", key)
		}
	}
	return string(o.Body)
}

func TestDelivers(t *testing.T) {
	w := newWorld(t)
	r := w.copied("r1", "t1")
	if got := w.get("r1"); got.Status != run.Copying || !got.CopyStartedAt.Equal(began) || got.CopyCalls != 1 {
		t.Errorf("%+v", got)
	}
	if err := w.runs.PutCopyState(t.Context(), "r1", "output", CopyState{Checkpoint: &transfer.Checkpoint{UploadID: "u"}}); err != nil {
		t.Fatal(err)
	}
	var order []string
	var fixed string
	w.around = func(call string, do func() error) error {
		if strings.Contains(call, "Object outputs/") || strings.HasPrefix(call, "PutObject state/") {
			order = append(order, call+" "+string(w.get("r1").Status))
			if name, ok := strings.CutPrefix(call, "PutObject state/manifests/"); ok {
				fixed = "manifests/" + name
			}
		}
		return do()
	}
	if _, err := w.runs.Deliver(t.Context(), r, manifestOf(r)); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"PutObject state/" + fixed + " copying", "PutObject state/runs/r1.json copying", // the bytes, then the point of no return
		"PutObject outputs/runs/r1/manifest.json delivering", "DeleteObject outputs/runs/r1/error.json delivering", "PutObject state/runs/r1.json delivering",
	}
	if got := strings.Join(order, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("in the order\n%s", got)
	}
	w.delivered("r1")
	if left := append(w.keys("copies/"), w.keys("manifests/")...); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// What has succeeded is answered again, and nothing is written.
	again, err := w.runs.StartCopy(t.Context(), r)
	if err != nil || again.Status != run.Succeeded || again.WriteID != w.get("r1").WriteID || again.CopyCalls != 1 {
		t.Errorf("%+v, %v", again, err)
	}
	if again, err := w.runs.Continue(t.Context(), call("r1", 1)); err != nil || again.Status != run.Succeeded || again.ManifestKey == "" {
		t.Errorf("after a redrive: %+v, %v", again, err)
	}
}

// TestDeliveryAtEachCall: it dies at any call, done or not, and whoever meets it
// then does the rest: the next call, a stop, the close. The bytes are those that
// were fixed.
func TestDeliveryAtEachCall(t *testing.T) {
	finishers := map[string]func(w *world, r Run) error{
		"the next call": func(w *world, r Run) error {
			r, err := w.runs.StartCopy(w.t.Context(), w.get("r1"))
			if err == nil && r.Status != run.Succeeded {
				_, err = w.runs.Deliver(w.t.Context(), r, manifestOf(r))
			}
			return err
		},
		"a redrive": func(w *world, r Run) error {
			w.closes(w.execution("r1", executions.Failed, 0, named.Unavailable, "x"))
			r, err := w.runs.Continue(w.t.Context(), call("r1", 1))
			if err == nil && r.Status != run.Succeeded {
				if r, err = w.runs.StartCopy(w.t.Context(), r); err == nil {
					_, err = w.runs.Deliver(w.t.Context(), r, manifestOf(r))
				}
			}
			return err
		},
		"the close or a stop": func(w *world, _ Run) error {
			if w.get("r1").Status == run.Copying { // before the point of no return it is stopped
				return nil
			}
			if _, _, err := w.stops("r1"); err != nil {
				return err
			}
			w.closes(w.execution("r1", executions.Failed, 0, "Lambda.Unknown", "x"))
			return nil
		},
	}
	for name, finish := range finishers {
		for _, after := range []bool{false, true} {
			for n := 1; ; n++ {
				w := newWorld(t)
				r := w.copied("r1", "t1")
				w.s3.Set(outputBucket, "runs/r1/error.json", storetest.Object{Body: []byte("{}")})
				fixed, met := "", w.dies(n, after)
				_, err := w.runs.Deliver(t.Context(), r, manifestOf(r))
				w.around = nil
				if !*met {
					break
				}
				if err == nil {
					t.Errorf("%s: call %d failed and nobody knows", name, n)
				}
				if o, there := w.s3.Object(stateBucket, w.get("r1").ManifestBodyKey); there && w.get("r1").Status == run.Delivering {
					fixed = string(o.Body)
				}
				w.advance(time.Minute)
				before := w.get("r1").Status
				if err := finish(w, r); err != nil {
					t.Errorf("%s after call %d (%v): %v", name, n, after, err)
				}
				if before == run.Copying && strings.HasPrefix(name, "the close") {
					continue
				}
				got := w.delivered("r1")
				if fixed != "" && got != fixed {
					t.Errorf("%s after call %d: the manifest has other bytes than were fixed:\n%s\n%s", name, n, got, fixed)
				}
			}
		}
	}
}

// TestStopBesideADelivery at each of its calls: either it is delivered whole, or
// there is no manifest.
func TestStopBesideADelivery(t *testing.T) {
	outcomes := map[run.Status]int{}
	for n := 1; ; n++ {
		w := newWorld(t)
		r := w.copied("r1", "t1")
		met := w.at(n, func(string) {
			if _, _, err := w.stops("r1"); err != nil {
				t.Error(err)
			}
		})
		_, err := w.runs.Deliver(t.Context(), r, manifestOf(r))
		w.around = nil
		if err != nil {
			namedtest.Want(t, err, named.RunCancelled, "")
			w.closes(w.execution("r1", executions.Failed, 0, named.RunCancelled, "x"))
			if got := w.get("r1"); got.Status != run.Cancelled || len(w.s3.Keys(outputBucket, "runs/r1/manifest")) > 0 {
				t.Errorf("at call %d: %+v, %v", n, got, w.s3.Keys(outputBucket, ""))
			}
		} else {
			w.delivered("r1")
		}
		outcomes[w.get("r1").Status]++
		if !*met {
			break
		}
	}
	if outcomes[run.Cancelled] < 2 || outcomes[run.Succeeded] < 3 {
		t.Errorf("ended as %v", outcomes)
	}
}

// TestRefusedManifest: a bucket that refuses the manifest must not hold the run
// open: it fails, and a redrive delivers once the bucket is mended.
func TestRefusedManifest(t *testing.T) {
	for _, status := range []int{301, 400, 403, 404} {
		w := newWorld(t)
		r := w.copied("r1", "t1")
		w.around = refuses("PutObject outputs/", status)
		_, err := w.runs.Deliver(t.Context(), r, manifestOf(r))
		namedtest.Want(t, err, named.OutputBucketRefused, "manifest.json")
		w.around = refuses("PutObject outputs/runs/r1/manifest.json", status) // the bucket may take the other name
		closed, got, failure := w.closes(w.execution("r1", executions.Failed, 0, named.OutputBucketRefused, "x"))
		if !closed || got.Status != run.Failed || !named.Is(got.Error, named.OutputBucketRefused) || got.ManifestKey != "" || got.CleanUpDue {
			t.Errorf("%d: %+v", status, got)
		}
		if failure == nil || failure.Error.Name != named.OutputBucketRefused || failure.TaskID != "t1" {
			t.Errorf("%d: neither a manifest nor an error.json: %+v", status, failure)
		}
		w.around = nil
		w.execution("r1", executions.Running, 1, "", "")
		if r, err = w.runs.Continue(t.Context(), call("r1", 1)); err != nil || r.Status != run.Copying {
			t.Fatalf("%d: %+v, %v", status, r, err)
		}
		if _, err := w.runs.Deliver(t.Context(), r, manifestOf(r)); err != nil {
			t.Fatal(err)
		}
		w.delivered("r1")
	}
	w := newWorld(t)
	r := w.copied("r1", "t1")
	w.around = refuses("PutObject outputs/", 503)
	_, err := w.runs.Deliver(t.Context(), r, manifestOf(r))
	namedtest.Want(t, err, named.Unavailable, "manifest.json")
	if got := w.get("r1"); got.Status != run.Delivering || got.Status.Shown() != run.Copying || !got.Status.Open() {
		t.Errorf("an outage closed it: %+v", got)
	}
}

// TestLateDelivery: a call of an earlier life delivers nothing.
func TestLateDelivery(t *testing.T) {
	w := newWorld(t)
	late := w.copied("r1", "t1")
	if _, err := w.runs.Continue(t.Context(), call("r1", 1)); err != nil {
		t.Fatal(err)
	}
	_, err := w.runs.Deliver(t.Context(), late, manifestOf(late))
	namedtest.Want(t, err, named.Superseded, "")
	if _, err := w.runs.StartCopy(t.Context(), late); !named.Is(err, named.Superseded) {
		t.Error(err)
	}
	if keys := w.s3.Keys(outputBucket, ""); len(keys) > 0 {
		t.Errorf("wrote %v", keys)
	}
}
