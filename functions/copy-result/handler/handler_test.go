package handler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

// many gives the task several outputs, some with ids that are no file names.
func (w *world) many() *world {
	w.Cyberun.Results["t1"] = cyberun.Result{ID: "t1", Status: cyberun.StatusCompleted, DownloadURLs: map[string]cyberun.SignedURL{
		"9.images.0": "https://files.example/a.png" + signed, "9.images.1": "https://files.example/b.png" + signed,
		"../manifest": "https://files.example/c.json" + signed, "manifest": "https://files.example/manifest.json" + signed,
		"error": "https://files.example/error.json" + signed, "größe/ä": "https://files.example/d" + signed,
	}}
	return w
}

var manyIDs = []string{"../manifest", "9.images.0", "9.images.1", "error", "größe/ä", "manifest"}

func TestDelivers(t *testing.T) {
	w := newWorld(t).record(func(r *run.Record) { r.Adopted = true; r.Prefix = "by/t1/r1/text-to-image-2026-11-23/" })
	if err := w.runs.PutProgress(t.Context(), run.Progress{RunID: "r1", Polls: 2, HeldSeconds: 31.5}); err != nil {
		t.Fatal(err)
	}
	out, err := w.handle()
	if err != nil {
		t.Fatal(err)
	}
	m := w.delivered(out, "output")
	if out.ManifestKey != "by/t1/r1/text-to-image-2026-11-23/manifest.json" {
		t.Error(out.ManifestKey)
	}
	if o := m.Outputs[0]; o.Key != "by/t1/r1/text-to-image-2026-11-23/output.png" || o.Bytes != 22 || o.CRC32 != "0000beef" || o.ContentType != "image/png" || o.ETag != `"e"` {
		t.Errorf("%+v", o)
	}
	if m.RunID != "r1" || m.TaskID != "t1" || m.Workflow != "text-to-image@2" || !m.Adopted {
		t.Errorf("%+v", m)
	}
	times := m.Timings
	if !times.StartedAt.Equal(began) || !times.SubmittedAt.Equal(began.Add(time.Second)) || !times.TaskCompletedAt.Equal(began.Add(50*time.Second)) || !times.CopyStartedAt.After(times.TaskCompletedAt) || !times.FinishedAt.After(times.CopyStartedAt) {
		t.Errorf("%+v", times)
	}
	if u := m.Usage; u.Polls != 2 || u.HeldSeconds != 31.5 || u.CopiedBytes != 22 || u.Transitions != run.StateTransitions(2, 1) {
		t.Errorf("%+v", u)
	}
}

func TestManyOutputs(t *testing.T) {
	w := newWorld(t).record(nil).many()
	out, err := w.handle()
	if err != nil {
		t.Fatal(err)
	}
	m := w.delivered(out, manyIDs...)
	keys := map[string]bool{}
	for _, o := range m.Outputs {
		keys[o.Key] = true
		if !strings.HasPrefix(o.Key, "runs/r1/") || strings.Contains(o.Key, "..") || strings.Count(o.Key, "/") != 2 {
			t.Errorf("%q lands at %s", o.ID, o.Key)
		}
		object, _ := w.S3.Object(outputBucket, o.Key)
		if meta := object.Metadata; meta["cyberun-task-id"] != "t1" || meta["cyberun-run-id"] != "r1" || meta["cyberun-output-id"] != run.MetadataValue(o.ID) {
			t.Errorf("%q: %v", o.ID, meta)
		}
	}
	if len(keys) != len(manyIDs) || keys["runs/r1/manifest.json"] || keys["runs/r1/error.json"] {
		t.Errorf("%v", slices.Sorted(maps.Keys(keys)))
	}
}

// TestOrder: the outputs, the manifest's bytes, the point of no return, then the
// manifest, the end of an error.json, the record, and the clean-up.
func TestOrder(t *testing.T) {
	w := newWorld(t).record(nil).many()
	if _, err := w.handle(); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, c := range w.S3.Calls("PutObject", "DeleteObject") {
		order = append(order, c.String())
	}
	fixed := slices.IndexFunc(order, func(call string) bool { return strings.HasPrefix(call, "PutObject state/manifests/r1/") })
	order = order[fixed:]
	want := []string{
		order[0], "PutObject state/runs/r1.json", "PutObject outputs/runs/r1/manifest.json",
		"DeleteObject outputs/runs/r1/error.json", "PutObject state/runs/r1.json",
	}
	if !slices.Equal(order[:len(want)], want) {
		t.Errorf("%v", order)
	}
	for _, call := range order[len(want):] {
		if strings.HasPrefix(call, "PutObject") {
			t.Errorf("%s after the close", call)
		}
	}
	for _, prefix := range []string{"copies/", "manifests/"} {
		if left := w.S3.Keys(stateBucket, prefix); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestIdempotent(t *testing.T) {
	w := newWorld(t).record(nil)
	first, err := w.handle()
	if err != nil {
		t.Fatal(err)
	}
	w.Fails("Result", errors.New("asked again"))
	w.h.NewCopier = nil
	again, err := w.handle()
	if err != nil || again != first {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestRefuses(t *testing.T) {
	tests := map[string]struct {
		change func(*run.Record)
		want   string
	}{
		"stopped":    {change: func(r *run.Record) { r.StopRequestedAt = began }, want: named.RunCancelled},
		"cancelled":  {change: func(r *run.Record) { r.Status = run.Cancelled }, want: named.Superseded},
		"failed":     {change: func(r *run.Record) { r.Status = run.Failed }, want: named.Superseded},
		"later life": {change: func(r *run.Record) { r.Life = 1 }, want: named.Superseded},
	}
	for name, test := range tests {
		w := newWorld(t).record(test.change)
		if _, err := w.handle(); !named.Is(err, test.want) || len(w.copies) > 0 || len(w.manifests()) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := newWorld(t).handle()
	namedtest.Want(t, err, named.RunNotFound, "r1")
}

func TestResultFails(t *testing.T) {
	tests := []struct {
		name       string
		prepare    func(*world)
		want, text string
	}{
		{name: "no output", prepare: func(w *world) { w.Cyberun.Results["t1"] = cyberun.Result{ID: "t1", Status: cyberun.StatusCompleted} }, want: named.NoOutputs, text: "t1 is completed"},
		{name: "404", prepare: func(w *world) { w.Fails("Result", functiontest.Answered(404)) }, want: named.Unavailable, text: "t1"},
		{name: "403", prepare: func(w *world) { w.Fails("Result", functiontest.Answered(403)) }, want: named.Unavailable, text: "t1"},
		{name: "401 by a page", prepare: func(w *world) { w.Fails("Result", functiontest.HTMLPage(401)) }, want: named.Unavailable},
		{name: "401", prepare: func(w *world) { w.Fails("Result", functiontest.Answered(401)) }, want: named.Unauthorized},
		{name: "502", prepare: func(w *world) { w.Fails("Result", functiontest.Answered(502)) }, want: named.Unavailable},
		{name: "no answer", prepare: func(w *world) { w.Fails("Result", &cyberun.NetworkError{Err: functiontest.ErrNetwork}) }, want: named.Unavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t).record(nil)
			test.prepare(w)
			_, err := w.handle()
			namedtest.Want(t, err, test.want, test.text)
			if record := w.get(); record.Status != run.Waiting {
				t.Errorf("%+v", record)
			}
		})
	}
}

// TestResultIsGone after five looks over ten minutes, if the task list lacks the
// task as well; retries of the step are the looks.
func TestResultIsGone(t *testing.T) {
	for name, test := range map[string]struct {
		listed string // the one task in the list
		gone   int    // the look after which the result is gone; 0: never
	}{
		"the list lacks the task": {listed: "t2", gone: 5}, "the list has it": {listed: "t1"},
	} {
		w := newWorld(t).record(nil)
		w.Fails("Result", functiontest.Answered(404))
		w.Cyberun.Started = []functiontest.Task{{Task: cyberun.Task{ID: test.listed}}}
		for n := 1; n <= 12; n++ {
			w.Now = w.Now.Add(150 * time.Second)
			_, err := w.handle()
			if n == test.gone {
				namedtest.Want(t, err, named.OutputExpired, "no longer has a result of the task t1")
				break
			}
			if namedtest.Want(t, err, named.Unavailable, "read the result of the task t1"); t.Failed() {
				t.Fatalf("%s: look %d", name, n)
			}
		}
	}
}

// TestResultIsThereBetween: looks that do not agree are no five looks.
func TestResultIsThereBetween(t *testing.T) {
	w := newWorld(t).record(nil)
	w.copiesBy(func(context.Context, transfer.Source, transfer.Target, *transfer.Checkpoint, transfer.Save) (transfer.Result, error) {
		return transfer.Result{}, named.Errorf(named.Unavailable, "the origin is away")
	})
	for n := 1; n <= 12; n++ {
		w.Now = w.Now.Add(150 * time.Second)
		w.Around = nil
		if n%4 > 0 {
			w.Fails("Result", functiontest.Answered(404))
		}
		_, err := w.handle()
		if namedtest.Want(t, err, named.Unavailable, ""); t.Failed() {
			t.Fatalf("look %d", n)
		}
	}
}

// TestPagesForFiveMinutes: 404 by a page on every call, then health: it delivers.
func TestPagesForFiveMinutes(t *testing.T) {
	w := newWorld(t).record(nil)
	w.Fails("Result", functiontest.HTMLPage(404))
	for range 20 {
		w.Now = w.Now.Add(15 * time.Second)
		_, err := w.handle()
		namedtest.Want(t, err, named.Unavailable, "")
	}
	w.Around = nil
	out, err := w.handle()
	if err != nil {
		t.Fatal(err)
	}
	w.delivered(out, "output")
}

// TestRescuedByAnother: two runs that deliver one task do no harm: each delivers to
// a place of its own.
func TestRescuedByAnother(t *testing.T) {
	w := newWorld(t).record(nil)
	w.Set("tasks/t1", run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: "rescuer"})
	out, err := w.handle()
	if err != nil {
		t.Fatal(err)
	}
	w.delivered(out, "output")
}

// TestRedrive delivers, and takes away what the failure left, wherever its prefix
// was filled in then.
func TestRedrive(t *testing.T) {
	for _, at := range []string{"runs/r1/error.json", "by/r1/error.json"} {
		w := newWorld(t).record(func(r *run.Record) {
			r.Status, r.EndedAt, r.Error, r.ErrorKey = run.Failed, began, named.Errorf(named.OutputTruncated, "x"), at
		})
		w.S3.Set(outputBucket, at, storetest.Object{Body: []byte("{}")})
		out, err := w.handle(1)
		if err != nil {
			t.Fatal(err)
		}
		w.delivered(out, "output")
	}
	// close-run died between error.json and its close.
	w := newWorld(t).record(nil)
	w.S3.Set(outputBucket, "runs/r1/error.json", storetest.Object{Body: []byte("{}")})
	out, err := w.handle(1)
	if err != nil {
		t.Fatal(err)
	}
	w.delivered(out, "output")
}

// TestRedrivenOverSeveralCalls: each output is looked at once in a life, or a run
// with more outputs than one call can look at would never come to the last.
func TestRedrivenOverSeveralCalls(t *testing.T) {
	w := newWorld(t).record(nil).many()
	looked := map[string]int{}
	left := 2 // outputs that a call has time for
	w.h.Concurrency = 1
	w.copiesBy(func(ctx context.Context, src transfer.Source, dst transfer.Target, from *transfer.Checkpoint, save func(context.Context, transfer.Checkpoint) error) (transfer.Result, error) {
		if left == 0 {
			return transfer.Result{}, nil
		}
		left--
		looked[dst.Metadata["cyberun-output-id"]]++
		return w.copy(ctx, src, dst, from, save)
	})
	for life := range 2 {
		for calls := 1; ; calls++ {
			left = 2
			out, err := w.handle(life)
			if life == 0 && calls == 2 { // a redrive comes before the last outputs
				w.closes("FAILED", named.OutputTruncated)
				break
			}
			if err != nil || calls > len(manyIDs) {
				t.Fatalf("call %d: %v", calls, err)
			}
			if out.Done {
				break
			}
		}
	}
	for _, id := range manyIDs {
		if n := looked[run.MetadataValue(id)]; n < 1 || n > 2 {
			t.Errorf("%s was looked at %d times in two lives", id, n)
		}
	}
}

// TestRedrivenWithoutItsFiles: a failed run's files may be taken away before it is
// redriven. What was recorded of them is then nothing to rely on.
func TestRedrivenWithoutItsFiles(t *testing.T) {
	w := newWorld(t).record(nil).many()
	w.copiesBy(func(ctx context.Context, src transfer.Source, dst transfer.Target, from *transfer.Checkpoint, save transfer.Save) (transfer.Result, error) {
		if dst.Metadata["cyberun-output-id"] == "manifest" {
			return transfer.Result{}, named.Errorf(named.OutputTruncated, "3 of 5 bytes")
		}
		return w.copy(ctx, src, dst, from, save)
	})
	_, err := w.handle()
	namedtest.Want(t, err, named.OutputTruncated, "")
	w.closes("FAILED", named.OutputTruncated)
	for _, key := range w.S3.Keys(outputBucket, "") {
		w.S3.Remove(outputBucket, key)
	}
	w.copiesBy(w.copy)
	out, err := w.handle(1)
	if err != nil {
		t.Fatal(err)
	}
	w.delivered(out, manyIDs...)
}

// TestOutputBucketOfThatTime: a run writes where its record says, which is the
// stack's output bucket when it began.
func TestOutputBucketOfThatTime(t *testing.T) {
	const before = "outputs-before"
	w := newWorld(t).record(func(r *run.Record) { r.Bucket = before })
	out, err := w.handle()
	if err != nil || out.Bucket != before || len(w.S3.Keys(before, "runs/r1/")) != 2 || len(w.S3.Keys(outputBucket, "")) != 0 {
		t.Errorf("%+v, %v: %v and %v", out, err, w.S3.Keys(before, ""), w.S3.Keys(outputBucket, ""))
	}
}

// TestThousandsOfOutputs: one call copies them all, with a bounded number of calls
// of S3 for each, and leaves a record, a manifest and nothing else.
func TestThousandsOfOutputs(t *testing.T) {
	const all = 5000
	w := newWorld(t).record(nil)
	w.runs.Concurrency = 16
	urls := map[string]cyberun.SignedURL{}
	w.Cyberun.Results["t1"] = cyberun.Result{ID: "t1", Status: cyberun.StatusCompleted, DownloadURLs: urls}
	for i := range all {
		urls[fmt.Sprintf("9.text.%05d", i)] = cyberun.SignedURL(fmt.Sprintf("https://files.example/part_%05d.txt%s", i, signed))
	}
	var mu sync.Mutex
	calls := map[string]int{}
	w.Around = func(call string, do func() error) error {
		kind, key, _ := strings.Cut(call, " ")
		folder, rest, _ := strings.Cut(strings.TrimPrefix(key, stateBucket+"/"), "/")
		if path.Base(rest) == run.ManifestName {
			folder = run.ManifestName
		}
		mu.Lock()
		calls[kind+" "+folder]++
		mu.Unlock()
		return do()
	}
	out, err := w.handle()
	if err != nil || !out.Done {
		t.Fatal(out, err)
	}
	for _, kind := range slices.Sorted(maps.Keys(calls)) {
		t.Log(calls[kind], kind)
	}
	if calls["GetObject copies"] != all || calls["PutObject copies"] != all || calls["DeleteObject copies"] != all || calls["Result "] != 1 {
		t.Errorf("the calls are %v", calls)
	}
	total := 0
	for _, n := range calls {
		total += n
	}
	if most := 4*all + 30; total > most { // a checkpoint read, written and deleted, and the copy
		t.Errorf("%d calls, more than %d", total, most)
	}
	w.Around = nil
	record, _ := w.S3.Object(stateBucket, "runs/r1.json")
	manifest, _ := w.S3.Object(outputBucket, out.ManifestKey)
	if len(record.Body) > 2048 || len(manifest.Body) > 300*all {
		t.Errorf("the record has %d bytes, the manifest %d", len(record.Body), len(manifest.Body))
	}
	if left := w.S3.Keys(stateBucket, "copies/"); len(left) > 0 || len(w.S3.Keys(outputBucket, "runs/r1/")) != all+1 {
		t.Errorf("%d states of copies are left, and %d objects", len(left), len(w.S3.Keys(outputBucket, "runs/r1/")))
	}
}
