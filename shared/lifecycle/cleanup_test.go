package lifecycle

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/google/go-cmp/cmp"
)

// TestReceiptBesideAClose: the receipt of a stopped run is stored before whatever
// call of its close, and its submit dies behind that. The sweep cancels the task,
// also where the close named it as a candidate meanwhile.
func TestReceiptBesideAClose(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		submit := w.doubt("r1")
		w.tasks["t1"] = cyberun.StatusRunning
		e := w.execution("r1", executions.Aborted, 0, "", "")
		met := w.at(n, func(string) {
			count, dead := 0, errors.New("it died")
			w.around = func(call string, do func() error) error {
				if count > 0 {
					return dead
				}
				err := do()
				if err == nil && strings.HasPrefix(call, "PutObject state/runs/") {
					count++
				}
				return err
			}
			ctx, cancel := context.WithCancel(t.Context())
			w.runs.Sleep = func(context.Context, time.Duration) error { cancel(); return ctx.Err() }
			if _, err := w.runs.Accept(ctx, submit, "t1"); err == nil {
				t.Error("nobody knows that submit died")
			}
			w.runs.Sleep = func(_ context.Context, d time.Duration) error { w.advance(d); return nil }
			w.around = nil
		})
		if _, err := w.close.Close(t.Context(), e, true); err != nil {
			t.Fatalf("at call %d: %v", n, err)
		}
		if err := w.close.NameCandidates(t.Context(), w.get("r1"), []run.Candidate{{TaskID: "t1", CreatedAt: began}}); err != nil {
			t.Fatalf("at call %d: %v", n, err)
		}
		w.around = nil
		if !*met {
			return
		}
		for range 2 {
			if r := w.get("r1"); r.WorkLeft(w.clock()) {
				if err := w.close.cleanUpClosed(t.Context(), r); err != nil {
					t.Fatalf("at call %d: %v", n, err)
				}
			}
		}
		if r := w.get("r1"); r.TaskID != "t1" || r.Cancel == nil || r.Cancel.EndedAs != "cancelled" || w.ownership("t1").Evidence != run.ByReceipt {
			t.Errorf("at call %d: %+v, %+v, cancelled %v", n, r.Record, w.ownership("t1"), w.asked)
		}
	}
}

// TestCleanUpBesideARedrive: a sweep cleans up after a close that died, and a redrive
// announces its POST before whatever call of that, its record not marked yet. The
// marker stays: without it another run in doubt would adopt the task.
func TestCleanUpBesideARedrive(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		w.begin("r1", 0)
		e := w.execution("r1", executions.Failed, 0, named.Unauthorized, "x")
		w.around = func(call string, do func() error) error {
			if strings.HasPrefix(call, "PutObject state/runs/") {
				w.around = func(string, func() error) error { return errReset } // it dies behind its write
			}
			return do()
		}
		if _, err := w.close.Close(t.Context(), e, true); err == nil {
			t.Fatal("nobody knows that it died")
		}
		w.around = nil
		w.change("r1", func(r *run.Record) { r.WorkflowID = "wf-1" }) // of a submission that was taken back
		r := w.get("r1")
		if !r.WorkLeft(w.clock()) {
			t.Fatalf("the sweep passes it over: %+v", r.Record)
		}
		met := w.at(n, func(string) {
			w.execution("r1", executions.Running, 1, "", "")
			w.begin("r1", 1)
			if err := w.runs.put(t.Context(), markersOf("wf-1", "r1")+"a2", w.submission("a2").Marker("r1")); err != nil {
				t.Error(err)
			}
		})
		if err := w.close.cleanUpClosed(t.Context(), r); err != nil {
			t.Errorf("at call %d: %v", n, err)
		}
		w.around = nil
		if !*met {
			return
		}
		if r := w.get("r1"); r.Life != 1 || !r.Status.Open() || !slices.Equal(w.keys("submitting/"), []string{"submitting/wf-1/r1/a2"}) {
			t.Errorf("at call %d: %+v, markers %v", n, r.Record, w.keys("submitting/"))
		}
	}
}

// TestExtraTasks that could not be cancelled at their receipt are cancelled by the
// close, and named.
func TestExtraTasks(t *testing.T) {
	w := newWorld(t)
	r := w.submit("r1", "t1")
	w.tasks["t2"] = cyberun.StatusRunning
	w.answers["t2"] = slices.Repeat([]error{errServer}, 5)
	if _, err := w.runs.Accept(t.Context(), r, "t2"); err != nil {
		t.Fatal(err)
	}
	if got := w.get("r1").ExtraTasks; !cmp.Equal(got, []run.ExtraTask{{TaskID: "t2"}}) {
		t.Fatalf("%+v", got)
	}
	_, r, failure := w.closes(w.execution("r1", executions.Failed, 0, named.Unavailable, "x"))
	if w.tasks["t2"] != cyberun.StatusCancelled || w.tasks["t1"] != cyberun.StatusRunning || len(failure.ExtraTasks) != 1 || !r.ExtraTasks[0].Cancelled {
		t.Errorf("t1 is %s, t2 is %s, %+v, %+v", w.tasks["t1"], w.tasks["t2"], failure, r.ExtraTasks)
	}
}

// TestSupersededEnd: a stopped run is redriven, the step that says so loses its
// reply, and the next call ends the execution as Superseded. That ends no life, and
// what the close of the stop left is done all the same: a late receipt's task, which
// Cyberun would not cancel, is cancelled.
func TestSupersededEnd(t *testing.T) {
	w := newWorld(t)
	marked := w.doubt("r1")
	w.tasks["t1"] = cyberun.StatusRunning
	w.closes(w.execution("r1", executions.Aborted, 0, "", ""))
	w.execution("r1", executions.Running, 1, "", "")
	_, err := w.runs.Begin(t.Context(), call("r1", 1), w.request(), outputBucket, "")
	namedtest.Want(t, err, named.RunCancelled, "")
	_, err = w.runs.Begin(t.Context(), call("r1", 1), w.request(), outputBucket, "")
	namedtest.Want(t, err, named.Superseded, "")
	w.answers["t1"] = slices.Repeat([]error{answered(500)}, 20) // longer than the receipt's call has
	if _, err := w.runs.Accept(t.Context(), marked, "t1"); err != nil {
		t.Fatal(err)
	}
	w.answers["t1"] = nil
	if w.tasks["t1"] != cyberun.StatusRunning {
		t.Fatalf("t1 is %s already", w.tasks["t1"])
	}
	closed, r, failure := w.closes(w.execution("r1", executions.Failed, 1, named.Superseded, "x"))
	if closed || w.tasks["t1"] != cyberun.StatusCancelled || r.Cancel.EndedAs != "cancelled" || failure == nil || failure.TaskID != "t1" {
		t.Errorf("closed %v, t1 is %s, the record says %+v, error.json %+v", closed, w.tasks["t1"], r.Cancel, failure)
	}
}
