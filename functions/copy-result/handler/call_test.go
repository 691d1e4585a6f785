package handler

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

// eachCopy has the world copy like this.
func (w *world) eachCopy(do copyFunc) {
	w.h.NewCopier = func(time.Time, int) Copier { return do }
}

// TestCutOff: of six outputs, four are under way when the time ends and two have
// not begun. That is no failure of any of them.
func TestCutOff(t *testing.T) {
	w := newWorld(t).record(nil).many()
	w.h.Now = time.Now
	w.eachCopy(func(ctx context.Context, _ transfer.Source, _ transfer.Target, _ *transfer.Checkpoint, _ func(context.Context, transfer.Checkpoint) error) (transfer.Result, error) {
		<-ctx.Done()
		return transfer.Result{Stored: 1}, nil // what Copy does when its time ends
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	out, err := w.h.Handle(ctx, Input{RunID: "r1"})
	if err != nil || out.Done {
		t.Fatalf("%+v, %v", out, err)
	}
	looked := 0
	for _, c := range w.s3.Calls("GetObject") {
		if strings.Contains(c.String(), "copies/") {
			looked++
		}
	}
	if looked != 4 { // with hundreds of outputs the looking alone would take the time that is left
		t.Errorf("%d copies were looked up, want those of the four that began", looked)
	}
}

// TestSlowOrigin: calls that store nothing get fewer connections each, and end
// with a name when one of them alone did not do.
func TestSlowOrigin(t *testing.T) {
	w := newWorld(t).record(nil)
	var asked []int
	stored := int64(0)
	w.h.NewCopier = func(_ time.Time, connections int) Copier {
		asked = append(asked, connections)
		return copyFunc(func(context.Context, transfer.Source, transfer.Target, *transfer.Checkpoint, func(context.Context, transfer.Checkpoint) error) (transfer.Result, error) {
			return transfer.Result{Copied: 1000, Stored: stored}, nil
		})
	}
	want := []int{0, 4, 2, 1}
	for range want[1:] {
		if out, err := w.handle(); err != nil || out.Done {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	stored = 16 << 20
	if out, err := w.handle(); err != nil || out.Done { // a part came: gone on with as it is
		t.Fatalf("%+v, %v", out, err)
	}
	stored = 0
	_, err := w.handle()
	wantName(t, err, named.Unavailable, "over one connection")
	calls := len(asked)
	_, err = w.handle()
	if wantName(t, err, named.Unavailable, "over one connection"); len(asked) != calls {
		t.Error("a retry of the step fetched again what had come to its end")
	}
	for i, n := range asked {
		if n != want[min(i, len(want)-1)] {
			t.Fatalf("connections %v", asked)
		}
	}
	// A redrive begins with all of them again.
	if _, err := w.records().Update(t.Context(), "r1", func(r *run.Record) error {
		r.Close(run.Failed, w.now, named.Errorf(named.Unavailable, "x"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.handle(); err != nil || asked[len(asked)-1] != 0 {
		t.Errorf("connections %v, %v", asked, err)
	}
}

// TestUploadOfClosedRun: whatever closes the run while an upload is begun, the
// upload is refused, so that Copy aborts it; only a call beside one that delivered
// has nothing to complain of.
func TestUploadOfClosedRun(t *testing.T) {
	for _, test := range []struct {
		name  string
		end   func(*run.Record)
		fails bool
	}{
		{"stop asked for", func(r *run.Record) { r.StopRequestedAt = began }, true},
		{"cancelled", func(r *run.Record) { r.Close(run.Cancelled, began, named.Errorf(named.RunCancelled, "x")) }, true},
		{"failed", func(r *run.Record) { r.Close(run.Failed, began, named.Errorf(named.Unavailable, "x")) }, true},
		{"delivered by another call", func(r *run.Record) {
			r.ManifestKey = "m"
			r.Close(run.Succeeded, began, nil)
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t).record(nil)
			refused := false
			w.eachCopy(func(ctx context.Context, _ transfer.Source, _ transfer.Target, _ *transfer.Checkpoint, save func(context.Context, transfer.Checkpoint) error) (transfer.Result, error) {
				if _, err := w.records().Update(ctx, "r1", func(r *run.Record) error { test.end(r); return nil }); err != nil {
					t.Error(err)
				}
				err := save(ctx, transfer.Checkpoint{UploadID: "up"})
				refused = err != nil
				return transfer.Result{}, err
			})
			out, err := w.handle()
			if !refused {
				t.Fatal("the upload goes on")
			}
			if test.fails {
				wantName(t, err, named.RunCancelled, "")
			} else if err != nil || !out.Done || out.ManifestKey != "m" {
				t.Errorf("%+v, %v", out, err)
			}
		})
	}
}

// TestRescued: the task of a run that failed while it copied is another run's by
// now, and a redrive came before the failure was recorded.
func TestRescued(t *testing.T) {
	w := newWorld(t).record(func(r *run.Record) { r.RunID = "rescuer" })
	if _, err := w.records().Create(t.Context(), run.Record{RunID: "r1", StartedAt: began, Status: run.Copying, TaskID: "t1", Prefix: run.DefaultPrefix}); err != nil {
		t.Fatal(err)
	}
	_, err := w.handle()
	wantName(t, err, named.TaskTaken, "rescuer")
	if len(w.copies) > 0 || len(w.manifests()) > 0 {
		t.Errorf("copied %v", w.copies)
	}
}

// TestRedrivenWithoutItsFiles: a failed run's files may be taken away before it is
// redriven. What was recorded of them is then nothing to rely on.
func TestRedrivenWithoutItsFiles(t *testing.T) {
	w := newWorld(t).record(nil).many()
	w.eachCopy(func(ctx context.Context, src transfer.Source, dst transfer.Target, from *transfer.Checkpoint, save func(context.Context, transfer.Checkpoint) error) (transfer.Result, error) {
		if dst.Metadata["cyberun-output-id"] == "manifest" {
			return transfer.Result{}, named.Errorf(named.OutputTruncated, "3 of 5 bytes")
		}
		return w.copy(ctx, src, dst, from, save)
	})
	_, err := w.handle()
	wantName(t, err, named.OutputTruncated, "")
	if _, err := w.records().Update(t.Context(), "r1", func(r *run.Record) error {
		r.Close(run.Failed, w.now, named.Errorf(named.OutputTruncated, "x"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, key := range w.s3.Keys(outputBucket, "") {
		w.s3.Remove(outputBucket, key)
	}
	w.eachCopy(w.copy)
	out, err := w.handle()
	if err != nil {
		t.Fatal(err)
	}
	w.delivered(out, manyIDs...)
}
