package handler

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

// TestCopiedBefore: what is recorded as copied is not even asked for.
func TestCopiedBefore(t *testing.T) {
	w := newWorld(t).record(nil)
	key := "runs/r1/output.png"
	w.S3.Set(outputBucket, key, storetest.Object{})
	if err := w.runs.PutCopyState(t.Context(), "r1", "output", lifecycle.CopyState{Output: &run.Output{ID: "output", Key: key, Bytes: 7}}); err != nil {
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
	cp := transfer.Checkpoint{Key: "runs/r1/output.png", UploadID: "up1", PartSize: 16 << 20, OriginFile: transfer.OriginFile{Total: 1 << 30}}
	calls := 0
	w.h.NewCopier = func(time.Time, int) Copier {
		return copyFunc(func(ctx context.Context, src transfer.Source, dst transfer.Target, from *transfer.Checkpoint, save transfer.Save) (transfer.Result, error) {
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
	if want := (Response{RunID: "r1", TaskID: "t1", Bucket: outputBucket}); err != nil || out != want {
		t.Fatalf("%+v, %v", out, err)
	}
	if len(w.manifests()) > 0 {
		t.Fatal("a manifest of half a run")
	}
	if out, err = w.handle(); err != nil {
		t.Fatal(err)
	}
	m := w.delivered(out, "output")
	if record := w.get(); record.CopyCalls != 2 || !m.Timings.CopyStartedAt.Equal(record.CopyStartedAt) {
		t.Errorf("%+v", record)
	}
	stored, _ := w.S3.Object(stateBucket, "runs/r1.json")
	if strings.Contains(string(stored.Body), "X-Amz") {
		t.Error("a signed address in the record")
	}
}

// TestStopBefore leaves time to end what is under way and to store how far it came.
func TestStopBefore(t *testing.T) {
	w := newWorld(t).record(nil)
	for left, want := range map[time.Duration]time.Duration{15 * time.Minute: 30 * time.Second, 40 * time.Second: 20 * time.Second} {
		deadline := time.Now().Add(left)
		w.h.Now = func() time.Time { return deadline.Add(-left) }
		ctx, cancel := context.WithDeadline(t.Context(), deadline)
		w.h.NewCopier = func(stopBefore time.Time, _ int) Copier {
			if got := deadline.Sub(stopBefore); got != want {
				t.Errorf("with %s left it stops %s before the end", left, got)
			}
			return copyFunc(func(ctx context.Context, _ transfer.Source, _ transfer.Target, _ *transfer.Checkpoint, _ transfer.Save) (transfer.Result, error) {
				if cut, _ := ctx.Deadline(); !cut.Before(deadline) {
					t.Error("no time is kept for the end")
				}
				return transfer.Result{}, nil
			})
		}
		if out, err := w.h.Handle(ctx, w.input()); err != nil || out.Done {
			t.Errorf("%+v, %v", out, err)
		}
		cancel()
	}
}

// TestCutOff: of six outputs, four are under way when the time ends and two have
// not begun. That is no failure of any of them.
func TestCutOff(t *testing.T) {
	w := newWorld(t).record(nil).many()
	w.h.Now = time.Now
	w.copiesBy(func(ctx context.Context, _ transfer.Source, _ transfer.Target, _ *transfer.Checkpoint, _ transfer.Save) (transfer.Result, error) {
		<-ctx.Done()
		return transfer.Result{Stored: 1}, nil // what Copy does when its time ends
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	out, err := w.h.Handle(ctx, w.input())
	if err != nil || out.Done {
		t.Fatalf("%+v, %v", out, err)
	}
	looked := 0
	for _, c := range w.S3.Calls("GetObject") {
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
		return copyFunc(func(context.Context, transfer.Source, transfer.Target, *transfer.Checkpoint, transfer.Save) (transfer.Result, error) {
			return transfer.Result{Fetched: 1000, Stored: stored}, nil
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
	namedtest.Want(t, err, named.Unavailable, "over one connection")
	calls := len(asked)
	_, err = w.handle()
	if namedtest.Want(t, err, named.Unavailable, "over one connection"); len(asked) != calls {
		t.Error("a retry of the step fetched again what had come to its end")
	}
	for i, n := range asked {
		if n != want[min(i, len(want)-1)] {
			t.Fatalf("connections %v", asked)
		}
	}
	// A redrive begins with all of them again.
	w.closes("FAILED", named.Unavailable)
	if _, err := w.handle(1); err != nil || asked[len(asked)-1] != 0 {
		t.Errorf("connections %v, %v", asked, err)
	}
}

// TestOneFails: its id and the error's own name and hint reach error.json, what
// the others have is kept.
func TestOneFails(t *testing.T) {
	w := newWorld(t).record(nil).many()
	w.h.NewCopier = func(time.Time, int) Copier {
		return copyFunc(func(ctx context.Context, src transfer.Source, dst transfer.Target, from *transfer.Checkpoint, save transfer.Save) (transfer.Result, error) {
			if dst.Metadata["cyberun-output-id"] == "manifest" { // the last one
				return transfer.Result{}, fmt.Errorf("copy: %w", named.Errorf(named.OutputTruncated, "3 of 5 bytes"))
			}
			return w.copy(ctx, src, dst, from, save)
		})
	}
	_, err := w.handle()
	namedtest.Want(t, err, named.OutputTruncated, "output manifest: 3 of 5 bytes\nHint: "+named.HintFor(named.OutputTruncated))
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
		return copyFunc(func(context.Context, transfer.Source, transfer.Target, *transfer.Checkpoint, transfer.Save) (transfer.Result, error) {
			return transfer.Result{}, functiontest.ErrNetwork
		})
	}
	_, err := w.handle()
	namedtest.Want(t, err, named.Unavailable, "output output: connection reset")
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
	namedtest.Want(t, err, named.OutputExpired, "no longer has the output gone")
	w.Fails("Result", functiontest.Answered(503))
	_, err = c.refresh(t.Context(), "9.images.1")
	namedtest.Want(t, err, named.Unavailable, "")
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
		{name: "redriven", end: func(w *world) { w.Change("r1", func(r *run.Record) { r.Life = 1 }) }, want: named.Superseded},
		{name: "delivered by another call", end: func(w *world) {
			if out, err := w.beside(); err != nil || !out.Done {
				w.t.Errorf("%+v, %v", out, err)
			}
		}},
		{name: "being delivered by another call, which died", end: func(w *world) {
			w.Around = func(call string, do func() error) error {
				if strings.HasPrefix(call, "PutObject outputs/") {
					return functiontest.ErrNetwork
				}
				return do()
			}
			_, err := w.beside()
			namedtest.Want(w.t, err, named.Unavailable, "manifest.json")
			w.Around = nil
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t).record(nil)
			refused := false
			w.copiesBy(func(ctx context.Context, _ transfer.Source, _ transfer.Target, _ *transfer.Checkpoint, save transfer.Save) (transfer.Result, error) {
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
				namedtest.Want(t, err, test.want, "")
			} else if err != nil {
				t.Error(err)
			} else {
				w.delivered(out, "output")
			}
		})
	}
}

// beside is another live call of the step, which copies as usual.
func (w *world) beside() (Response, error) {
	h := *w.h
	h.NewCopier = func(time.Time, int) Copier { return copyFunc(w.copy) }
	return h.Handle(w.t.Context(), w.input())
}
