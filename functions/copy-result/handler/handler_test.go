package handler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

// many gives the task several outputs, some with ids that are no file names.
func (w *world) many() *world {
	w.result.DownloadURL = ""
	w.result.DownloadURLs = map[string]cyberun.SignedURL{
		"9.images.0": "https://files.example/a.png" + signed, "9.images.1": "https://files.example/b.png" + signed,
		"../manifest": "https://files.example/c.json" + signed, "manifest": "https://files.example/manifest.json" + signed,
		"error": "https://files.example/error.json" + signed, "größe/ä": "https://files.example/d" + signed,
	}
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
	if !times.StartedAt.Equal(began) || !times.SubmittedAt.Equal(began.Add(time.Second)) || !times.TaskCompletedAt.Equal(began.Add(50*time.Second)) || !times.CopyStartedAt.Equal(w.now) || !times.FinishedAt.Equal(w.now) {
		t.Errorf("%+v", times)
	}
	if u := m.Usage; u.Polls != 2 || u.HeldSeconds != 31.5 || u.CopiedBytes != 22 || u.Transitions != run.Transitions(2, 1) {
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
		object, _ := w.s3.Object(outputBucket, o.Key)
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
	for _, c := range w.s3.Calls("PutObject", "DeleteObject") {
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
		if left := w.s3.Keys(stateBucket, prefix); left != nil {
			t.Errorf("left behind: %v", left)
		}
	}
}

// TestEveryFault: whatever happens to any call, before it or after, the step that
// is tried again delivers, and moves no output's bytes twice that it has recorded.
func TestEveryFault(t *testing.T) {
	fates := map[string]func(do func() error) error{
		"lost":         func(func() error) error { return errNetwork },
		"reply lost":   func(do func() error) error { _ = do(); return errNetwork },
		"500":          func(func() error) error { return storetest.Error(500, "InternalError") },
		"killed":       func(func() error) error { panic("killed") },
		"killed after": func(do func() error) error { _ = do(); panic("killed") },
	}
	for name, fate := range fates {
		for n := 1; ; n++ {
			w := newWorld(t).record(nil)
			w.s3.Set(outputBucket, "runs/r1/error.json", storetest.Object{})
			count := 0
			w.around = func(call string, do func() error) error {
				if count++; count == n && (!strings.HasPrefix(name, "killed") || !strings.Contains(call, "copies/") && !strings.HasPrefix(call, "Copy")) {
					return fate(do)
				}
				return do() // a panic in a copy's own goroutine would end the test
			}
			func() {
				defer func() { _ = recover() }()
				if out, err := w.handle(); err == nil && count >= n && !out.Done {
					t.Errorf("%s at %d: nobody knows", name, n)
				}
			}()
			met := count >= n
			w.around = nil
			out, err := w.handle()
			if err != nil {
				t.Fatalf("%s at %d: %v", name, n, err)
			}
			if w.delivered(out, "output"); t.Failed() {
				t.Fatalf("%s at %d", name, n)
			}
			if w.copies["output"] != 1 {
				t.Errorf("%s at %d: copied %d times", name, n, w.copies["output"])
			}
			if !met {
				if n < 15 {
					t.Errorf("only %d calls", n)
				}
				break
			}
		}
	}
}

func TestIdempotent(t *testing.T) {
	w := newWorld(t).record(nil)
	first, err := w.handle()
	if err != nil {
		t.Fatal(err)
	}
	w.refuse = errors.New("asked again")
	w.h.NewCopier = nil
	again, err := w.handle()
	if err != nil || again != first {
		t.Errorf("%+v, %v", again, err)
	}
}

// TestCopiedBefore: what is recorded as copied is not even asked for.
func TestCopiedBefore(t *testing.T) {
	w := newWorld(t).record(nil)
	key := "runs/r1/output.png"
	w.s3.Set(outputBucket, key, storetest.Object{})
	if err := w.runs.PutCheckpoint(t.Context(), "r1", "output", lifecycle.Checkpoint{Output: &run.Output{ID: "output", Key: key, Bytes: 7}}); err != nil {
		t.Fatal(err)
	}
	w.h.NewCopier = func(time.Time, int) Copier { return copyFunc(nil) }
	out, err := w.handle()
	if err != nil {
		t.Fatal(err)
	}
	if m := w.delivered(out, "output"); m.Usage.CopiedBytes != 7 {
		t.Errorf("%+v", m)
	}
}

// TestNotDone: out of time. The checkpoint is what the next call begins with.
func TestNotDone(t *testing.T) {
	w := newWorld(t).record(nil)
	cp := transfer.Checkpoint{Key: "runs/r1/output.png", UploadID: "up1", PartSize: 16 << 20, Total: 1 << 30}
	calls := 0
	w.h.NewCopier = func(time.Time, int) Copier {
		return copyFunc(func(ctx context.Context, src transfer.Source, dst transfer.Target, from *transfer.Checkpoint, save func(context.Context, transfer.Checkpoint) error) (transfer.Result, error) {
			if calls++; calls == 1 {
				if from != nil {
					t.Errorf("began with %+v", from)
				}
				return transfer.Result{}, save(ctx, cp)
			}
			if from == nil || *from != cp {
				t.Errorf("went on from %+v", from)
			}
			return w.copy(ctx, src, dst, from, save)
		})
	}
	out, err := w.handle()
	if want := (Output{RunID: "r1", TaskID: "t1", Bucket: outputBucket}); err != nil || out != want {
		t.Fatalf("%+v, %v", out, err)
	}
	if len(w.manifests()) > 0 {
		t.Fatal("a manifest of half a run")
	}
	if out, err = w.handle(); err != nil {
		t.Fatal(err)
	}
	m := w.delivered(out, "output")
	if record := w.get(); record.Copies != 2 || !m.Timings.CopyStartedAt.Equal(record.CopyStartedAt) {
		t.Errorf("%+v", record)
	}
	stored, _ := w.s3.Object(stateBucket, "runs/r1.json")
	if strings.Contains(string(stored.Body), "X-Amz") {
		t.Error("a signed address in the record")
	}
}

// TestStopBefore leaves time to end what is under way and to store how far it came.
func TestStopBefore(t *testing.T) {
	w := newWorld(t).record(nil)
	for left, want := range map[time.Duration]time.Duration{15 * time.Minute: 30 * time.Second, 40 * time.Second: 20 * time.Second} {
		deadline := time.Now().Add(left)
		w.now = deadline.Add(-left)
		ctx, cancel := context.WithDeadline(t.Context(), deadline)
		w.h.NewCopier = func(stopBefore time.Time, _ int) Copier {
			if got := deadline.Sub(stopBefore); got != want {
				t.Errorf("with %s left it stops %s before the end", left, got)
			}
			return copyFunc(func(ctx context.Context, _ transfer.Source, _ transfer.Target, _ *transfer.Checkpoint, _ func(context.Context, transfer.Checkpoint) error) (transfer.Result, error) {
				if cut, _ := ctx.Deadline(); !cut.Before(deadline) {
					t.Error("no time is kept for the end")
				}
				return transfer.Result{}, nil
			})
		}
		if out, err := w.h.Handle(ctx, Input{RunID: "r1", RedriveCount: new(int)}); err != nil || out.Done {
			t.Errorf("%+v, %v", out, err)
		}
		cancel()
	}
}

// TestOneFails: its id and the error's own name and hint reach error.json, what
// the others have is kept.
func TestOneFails(t *testing.T) {
	w := newWorld(t).record(nil).many()
	w.h.NewCopier = func(time.Time, int) Copier {
		return copyFunc(func(ctx context.Context, src transfer.Source, dst transfer.Target, from *transfer.Checkpoint, save func(context.Context, transfer.Checkpoint) error) (transfer.Result, error) {
			if dst.Metadata["cyberun-output-id"] == "manifest" { // the last one
				return transfer.Result{}, fmt.Errorf("copy: %w", named.Errorf(named.OutputTruncated, "3 of 5 bytes"))
			}
			return w.copy(ctx, src, dst, from, save)
		})
	}
	_, err := w.handle()
	wantName(t, err, named.OutputTruncated, "output manifest: 3 of 5 bytes\nHint: "+named.HintFor(named.OutputTruncated))
	if len(w.manifests()) > 0 {
		t.Error("a manifest of half a run")
	}
	w.h.NewCopier = func(time.Time, int) Copier { return copyFunc(w.copy) }
	out, err := w.handle()
	if err != nil {
		t.Fatal(err)
	}
	w.delivered(out, manyIDs...)
	for id, n := range w.copies {
		if n != 1 {
			t.Errorf("%s was copied %d times", id, n)
		}
	}
}

func TestUnnamedFailure(t *testing.T) {
	w := newWorld(t).record(nil)
	w.h.NewCopier = func(time.Time, int) Copier {
		return copyFunc(func(context.Context, transfer.Source, transfer.Target, *transfer.Checkpoint, func(context.Context, transfer.Checkpoint) error) (transfer.Result, error) {
			return transfer.Result{}, errNetwork
		})
	}
	_, err := w.handle()
	wantName(t, err, named.Unavailable, "output output: connection reset")
}

func TestResultFails(t *testing.T) {
	tests := []struct {
		name       string
		prepare    func(*world)
		want, text string
	}{
		{name: "no output", prepare: func(w *world) { w.result.DownloadURL = "" }, want: named.NoOutputs, text: "t1 is completed"},
		{name: "404", prepare: func(w *world) { w.refuse = answered(404) }, want: named.Unavailable, text: "t1"},
		{name: "403", prepare: func(w *world) { w.refuse = answered(403) }, want: named.Unavailable, text: "t1"},
		{name: "401 by a page", prepare: func(w *world) { w.refuse = page(401) }, want: named.Unavailable},
		{name: "401", prepare: func(w *world) { w.refuse = answered(401) }, want: named.Unauthorized},
		{name: "502", prepare: func(w *world) { w.refuse = answered(502) }, want: named.Unavailable},
		{name: "no answer", prepare: func(w *world) { w.refuse = &cyberun.NetworkError{Err: errNetwork} }, want: named.Unavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t).record(nil)
			test.prepare(w)
			_, err := w.handle()
			wantName(t, err, test.want, test.text)
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
		listed []cyberun.Task
		gone   int
	}{
		"the list lacks the task": {listed: []cyberun.Task{{ID: "t2"}}, gone: 5}, "the list has it": {listed: []cyberun.Task{{ID: "t1"}}},
	} {
		w := newWorld(t).record(nil)
		w.refuse, w.listed = answered(404), test.listed
		for n := 1; n <= 12; n++ {
			w.now = w.now.Add(150 * time.Second)
			_, err := w.handle()
			if n == test.gone {
				wantName(t, err, named.OutputExpired, "no longer has a result of the task t1")
				break
			}
			if wantName(t, err, named.Unavailable, "read the result of the task t1"); t.Failed() {
				t.Fatalf("%s: look %d", name, n)
			}
		}
	}
}

// TestPagesForFiveMinutes: 404 by a page on every call, then health: it delivers.
func TestPagesForFiveMinutes(t *testing.T) {
	w := newWorld(t).record(nil)
	w.refuse = page(404)
	for range 20 {
		w.now = w.now.Add(15 * time.Second)
		_, err := w.handle()
		wantName(t, err, named.Unavailable, "")
	}
	w.refuse = nil
	out, err := w.handle()
	if err != nil {
		t.Fatal(err)
	}
	w.delivered(out, "output")
}

// TestRefresh mints a new address of the same output.
func TestRefresh(t *testing.T) {
	w := newWorld(t).record(nil).many()
	r, err := w.runs.Get(t.Context(), "r1")
	if err != nil {
		t.Fatal(err)
	}
	c := &copying{Handler: w.h, run: r}
	url, err := c.refresh(t.Context(), "9.images.1")
	if err != nil || string(url) != "https://files.example/b.png"+signed {
		t.Errorf("%s, %v", url, err)
	}
	_, err = c.refresh(t.Context(), "gone")
	wantName(t, err, named.OutputExpired, "no longer has the output gone")
	w.refuse = answered(503)
	_, err = c.refresh(t.Context(), "9.images.1")
	wantName(t, err, named.Unavailable, "")
}
