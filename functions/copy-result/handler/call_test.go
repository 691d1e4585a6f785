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
	out, err := w.h.Handle(ctx, Input{RunID: "r1", RedriveCount: new(int)})
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
	w.closes("FAILED", named.Unavailable)
	if _, err := w.handleIn(1); err != nil || asked[len(asked)-1] != 0 {
		t.Errorf("connections %v, %v", asked, err)
	}
}

// TestUploadOfClosedRun: whatever ends the run's life while an upload is begun, the
// upload is refused, so that Copy aborts it; only a call beside one that delivered
// has nothing to complain of.
func TestUploadOfClosedRun(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(w *world)
		want string // the error; empty: none
	}{
		{name: "stop asked for", end: (*world).stop, want: named.RunCancelled},
		{name: "cancelled", end: func(w *world) { w.closes("ABORTED", "") }, want: named.Superseded},
		{name: "failed", end: func(w *world) { w.closes("FAILED", named.Unavailable) }, want: named.Superseded},
		{name: "redriven", end: func(w *world) { w.change(func(r *run.Record) { r.Life = 1 }) }, want: named.Superseded},
		{name: "delivered by another call", end: func(w *world) {
			if out, err := w.beside(); err != nil || !out.Done {
				w.t.Errorf("%+v, %v", out, err)
			}
		}},
		{name: "being delivered by another call, which died", end: func(w *world) {
			w.around = func(call string, do func() error) error {
				if strings.HasPrefix(call, "PutObject outputs/") {
					return errNetwork
				}
				return do()
			}
			_, err := w.beside()
			wantName(w.t, err, named.Unavailable, "manifest.json")
			w.around = nil
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t).record(nil)
			refused := false
			w.eachCopy(func(ctx context.Context, _ transfer.Source, _ transfer.Target, _ *transfer.Checkpoint, save func(context.Context, transfer.Checkpoint) error) (transfer.Result, error) {
				test.end(w)
				err := save(ctx, transfer.Checkpoint{UploadID: "up"})
				refused = err != nil
				return transfer.Result{}, err
			})
			out, err := w.handle()
			if !refused {
				t.Fatal("the upload goes on")
			}
			if test.want != "" {
				wantName(t, err, test.want, "")
			} else if err != nil {
				t.Error(err)
			} else {
				w.delivered(out, "output")
			}
		})
	}
}

// beside is another live call of the step, which copies as usual.
func (w *world) beside() (Output, error) {
	h := *w.h
	h.NewCopier = func(time.Time, int) Copier { return copyFunc(w.copy) }
	return h.Handle(w.t.Context(), Input{RunID: "r1", RedriveCount: new(int)})
}

// TestRescuedByAnother: two runs that deliver one task do no harm: each delivers to
// a place of its own.
func TestRescuedByAnother(t *testing.T) {
	w := newWorld(t).record(nil)
	w.set("tasks/t1", run.Ownership{StartedBy: "r1", How: run.Receipt, DeliveredBy: "rescuer"})
	out, err := w.handle()
	if err != nil {
		t.Fatal(err)
	}
	w.delivered(out, "output")
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
	w.closes("FAILED", named.OutputTruncated)
	for _, key := range w.s3.Keys(outputBucket, "") {
		w.s3.Remove(outputBucket, key)
	}
	w.eachCopy(w.copy)
	out, err := w.handleIn(1)
	if err != nil {
		t.Fatal(err)
	}
	w.delivered(out, manyIDs...)
}
