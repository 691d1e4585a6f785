package handler

import (
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// TestTwoLiveCalls: the second delivers while the first stands still anywhere.
func TestTwoLiveCalls(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t).record(nil)
		count := 0
		w.around = func(call string, do func() error) error {
			if count++; count == n {
				around := w.around
				w.around = nil
				out, err := w.handle()
				if err != nil {
					t.Fatalf("the second call at %d: %v", n, err)
				}
				w.delivered(out, "output")
				w.around = around
			}
			err := do()
			// Should the first call die here, no sweep would find the run again.
			if o, _ := w.s3.Object(stateBucket, "runs/r1.json"); count >= n && !strings.Contains(string(o.Body), `"status":"succeeded"`) {
				t.Errorf("at %d, %s opened a delivered run again", n, call)
			}
			return err
		}
		out, err := w.handle()
		if err != nil {
			t.Fatalf("the first call at %d: %v", n, err)
		}
		w.around = nil
		record, _ := w.records().Get(t.Context(), "r1")
		if !out.Done || record.Status != run.Succeeded || len(w.manifests()) != 1 {
			t.Fatalf("at %d: %+v, %+v", n, out, record)
		}
		if count < n {
			return
		}
	}
}

// TestStops at whatever call the person's stop comes: either the run is delivered
// whole, or there is no manifest.
func TestStops(t *testing.T) {
	for _, closed := range []bool{false, true} {
		stopped := 0
		for n := 1; ; n++ {
			w := newWorld(t).record(nil)
			count := 0
			w.around = func(_ string, do func() error) error {
				if count++; count == n {
					around := w.around
					w.around = nil
					if _, err := w.records().Update(t.Context(), "r1", func(r *run.Record) error {
						switch {
						case !r.Status.Open():
						case closed:
							r.Close(run.Cancelled, w.now, named.Errorf(named.RunCancelled, "x"))
						default:
							r.StopRequestedAt = w.now
						}
						return nil
					}); err != nil {
						t.Fatal(err)
					}
					w.around = around
				}
				return do()
			}
			out, err := w.handle()
			w.around = nil
			record, _ := w.records().Get(t.Context(), "r1")
			if err != nil {
				stopped++
				wantName(t, err, named.RunCancelled, "")
				if len(w.manifests()) > 0 || record.Status == run.Succeeded {
					t.Errorf("closed %v, at %d: %v, %+v", closed, n, w.manifests(), record)
				}
			} else {
				w.delivered(out, "output")
			}
			if count < n {
				break
			}
		}
		if stopped < 8 {
			t.Errorf("stopped at %d calls only", stopped)
		}
	}
}

func TestRefuses(t *testing.T) {
	for _, change := range []func(*run.Record){
		func(r *run.Record) { r.StopRequestedAt = began },
		func(r *run.Record) { r.Status = run.Cancelled },
	} {
		_, err := newWorld(t).record(change).handle()
		wantName(t, err, named.RunCancelled, "")
	}
	w := newWorld(t).record(func(r *run.Record) { r.Status = run.Failed })
	if err := w.records().TakeOver(t.Context(), "t1", store.Claim{RunID: "r1"}, store.Claim{RunID: "r9"}); err != nil {
		t.Fatal(err)
	}
	_, err := w.handle()
	wantName(t, err, named.TaskTaken, "r9")
}

// TestRedrive delivers, and takes away what the failure left, wherever its prefix
// was filled in then.
func TestRedrive(t *testing.T) {
	for _, prefix := range []string{"runs/{run_id}/", "by-task/{task_id}/"} {
		for _, closed := range []bool{true, false} { // false: close-run died between error.json and its close
			w := newWorld(t).record(func(r *run.Record) {
				r.Prefix = prefix
				if closed {
					r.Close(run.Failed, began, named.Errorf(named.OutputTruncated, "x"))
				}
			})
			for _, taskID := range []string{"r1", "t1"} {
				key := run.RenderPrefix(prefix, "r1", taskID, "", began) + run.ErrorName
				w.s3.Set(outputBucket, key, storetest.Object{Body: []byte("{}")})
			}
			out, err := w.handle()
			if err != nil {
				t.Fatal(err)
			}
			w.delivered(out, "output")
		}
	}
}

// TestClosedAsFailedMeanwhile: between the manifest and the close.
func TestClosedAsFailedMeanwhile(t *testing.T) {
	w := newWorld(t).record(nil)
	w.around = func(call string, do func() error) error {
		err := do()
		if strings.HasSuffix(call, run.ManifestName) && strings.HasPrefix(call, "PutObject") {
			w.around = nil
			if _, err := w.records().Update(t.Context(), "r1", func(r *run.Record) error {
				r.Close(run.Failed, w.now, named.Errorf(named.Unavailable, "x"))
				return nil
			}); err != nil {
				t.Error(err)
			}
		}
		return err
	}
	_, err := w.handle()
	wantName(t, err, named.RunCancelled, "closed as failed")
	if len(w.manifests()) > 0 {
		t.Error(w.manifests())
	}
	out, err := w.handle() // the redrive
	if err != nil {
		t.Fatal(err)
	}
	w.delivered(out, "output")
}
