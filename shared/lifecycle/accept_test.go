package lifecycle

import (
	"context"
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

// TestAccepts a receipt in whatever phase it comes: the task is the run's, or is
// kept, owned and cancelled as one too many.
func TestAccepts(t *testing.T) {
	stop := func(w *world) {
		if _, _, err := w.runs.Stop(w.t.Context(), "r1", executions.Execution{}, outputBucket, ""); err != nil {
			w.t.Fatal(err)
		}
	}
	failed := func(w *world) { w.closes(w.execution("r1", executions.Failed, 0, named.Unauthorized, "x")) }
	tests := []struct {
		name      string
		prepare   func(w *world)
		status    run.Status
		taskID    string
		extra     []run.ExtraTask
		cancelled []string
		markers   int
	}{
		{name: "at once", prepare: func(*world) {}, status: run.Waiting, taskID: "t1"},
		{name: "of an earlier life", prepare: func(w *world) { w.begin("r1", 3) }, status: run.Waiting, taskID: "t1"},
		{name: "after a stop", prepare: stop, status: run.Submitting, taskID: "t1", cancelled: []string{"t1"}},
		{name: "of a run that was closed as cancelled", prepare: func(w *world) {
			w.closes(w.execution("r1", executions.Aborted, 0, "", ""))
		}, status: run.Cancelled, taskID: "t1", cancelled: []string{"t1"}},
		{name: "after the candidates of the cancelled run were named", prepare: func(w *world) {
			_, r, _ := w.closes(w.execution("r1", executions.Aborted, 0, "", ""))
			if err := w.close.NameCandidates(w.t.Context(), r, nil); err != nil {
				w.t.Fatal(err)
			}
		}, status: run.Cancelled, taskID: "t1", cancelled: []string{"t1"}},
		{name: "of a run that failed: it is left for a redrive", prepare: failed, status: run.Failed, taskID: "t1"},
		{name: "a second one", prepare: func(w *world) {
			if _, err := w.runs.Accept(w.t.Context(), w.get("r1"), "t0"); err != nil {
				w.t.Fatal(err)
			}
		}, status: run.Waiting, taskID: "t0", extra: []run.ExtraTask{{TaskID: "t1", Cancelled: true}}, cancelled: []string{"t1"}},
		{name: "of the task that was found already", prepare: func(w *world) {
			if _, err := w.runs.AttachTask(w.t.Context(), w.get("r1"), "t1"); err != nil {
				w.t.Fatal(err)
			}
		}, status: run.Waiting, taskID: "t1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.tasks["t1"], w.tasks["t0"] = cyberun.StatusRunning, cyberun.StatusRunning
			r := w.doubt("r1")
			test.prepare(w)
			for range 2 { // the reply to the first may be lost
				if _, err := w.runs.Accept(t.Context(), r, "t1"); err != nil {
					t.Fatal(err)
				}
			}
			got := w.get("r1")
			if got.Status != test.status || got.TaskID != test.taskID || got.Evidence != run.ByReceipt || got.Adopted {
				t.Errorf("recorded %+v", got)
			}
			if diff := cmp.Diff(test.extra, got.ExtraTasks); diff != "" {
				t.Errorf("extra tasks (-want +got):\n%s", diff)
			}
			if want := (run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: "r1"}); w.ownership("t1") != want {
				t.Errorf("owned %+v", w.ownership("t1"))
			}
			if got := slices.Compact(slices.Clone(w.asked)); !slices.Equal(got, test.cancelled) {
				t.Errorf("cancelled %v", w.asked)
			}
			if test.extra == nil && (len(w.keys("submitting/")) > 0 || len(w.keys("doubt/")) > 0) {
				t.Errorf("left behind: %v, %v", w.keys("submitting/"), w.keys("doubt/"))
			}
			if pending := got.WorkLeft(w.clock()); pending != !test.status.Open() {
				t.Errorf("the sweep is to look at it: %v", pending)
			}
		})
	}
}

// TestAcceptsThroughOutages: the receipt's id stands nowhere else, so it is tried
// for as long as the call lives, and told if that was not enough.
func TestAcceptsThroughOutages(t *testing.T) {
	for _, at := range []string{"PutObject state/runs/r1.json", "PutObject state/tasks/t1"} {
		w := newWorld(t)
		r := w.doubt("r1")
		left := 5
		w.around = func(call string, do func() error) error {
			if call == at && left > 0 {
				left--
				return errReset
			}
			return do()
		}
		if _, err := w.runs.Accept(t.Context(), r, "t1"); err != nil || w.get("r1").TaskID != "t1" || w.ownership("t1").StartedBy != "r1" || w.slept != 5*time.Second {
			t.Errorf("%s: %v, %+v after %s", at, err, w.get("r1"), w.slept)
		}
		w = newWorld(t)
		r = w.doubt("r1")
		w.around = func(call string, do func() error) error {
			if call == at {
				return errReset
			}
			return do()
		}
		w.runs.Sleep = func(context.Context, time.Duration) error { return context.DeadlineExceeded }
		_, err := w.runs.Accept(t.Context(), r, "t1")
		namedtest.Want(t, err, named.Unavailable, "the task t1 is this run's, and its id could not be stored")
		// Lambda hears no error of a call that has used up all of its time.
		w.runs.Sleep = func(context.Context, time.Duration) error {
			t.Errorf("%s: it goes on until nobody hears it", at)
			return context.DeadlineExceeded
		}
		ending, cancel := context.WithTimeout(t.Context(), persistReserve)
		_, err = w.runs.Accept(ending, r, "t1")
		cancel()
		namedtest.Want(t, err, named.Unavailable, "the task t1 is this run's, and its id could not be stored")
	}
}

// TestAcceptAtEachCall: whatever dies at any of its calls, and whether or not the
// call was done, the next look knows the task as the run's, pays nothing more,
// and cancels what is to be cancelled.
func TestAcceptAtEachCall(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		for _, after := range []bool{false, true} {
			for n := 1; ; n++ {
				w := newWorld(t)
				w.tasks["t1"] = cyberun.StatusRunning
				r := w.doubt("r1")
				if stopped {
					w.closes(w.execution("r1", executions.Aborted, 0, "", ""))
				}
				w.runs.Sleep = func(context.Context, time.Duration) error { return context.Canceled } // the call dies
				met := w.dies(n, after)
				_, err := w.runs.Accept(t.Context(), r, "t1")
				w.around = nil
				if !*met {
					break
				}
				if err == nil {
					t.Errorf("call %d failed and nobody knows", n)
				}
				got := w.get("r1")
				if got.TaskID == "" { // then whoever reads the step's error has the task's id
					if err == nil || !strings.Contains(err.Error(), "t1") {
						t.Errorf("at call %d the receipt is lost: %v", n, err)
					}
					continue
				}
				if stopped {
					if err := w.close.cleanUpClosed(t.Context(), got); err != nil { // the sweep
						t.Errorf("at call %d: %v", n, err)
					}
					if w.tasks["t1"] != cyberun.StatusCancelled || len(w.keys("submitting/")) > 0 {
						t.Errorf("at call %d of a stopped run: its task is %s, markers %v", n, w.tasks["t1"], w.keys("submitting/"))
					}
				} else {
					if _, err := w.runs.CompleteSubmission(t.Context(), got); err != nil { // the next call of Submit
						t.Errorf("at call %d: %v", n, err)
					}
					if len(w.asked) > 0 || len(w.keys("submitting/")) > 0 || len(w.keys("doubt/")) > 0 {
						t.Errorf("at call %d: cancelled %v, left %v", n, w.asked, w.keys(""))
					}
				}
				if o := w.ownership("t1"); o.StartedBy != "r1" || o.Evidence != run.ByReceipt {
					t.Errorf("at call %d: %+v", n, o)
				}
			}
		}
	}
}

// TestOwnershipBeforeTheMarkerGoes: who reads markers and then ownerships sees the
// run in one of the two, whenever it looks.
func TestOwnershipBeforeTheMarkerGoes(t *testing.T) {
	w := newWorld(t)
	r := w.doubt("r1")
	w.around = func(call string, do func() error) error {
		marked := slices.Contains(w.keys("submitting/"), marker1)
		if _, owned := w.s3.Object(stateBucket, "tasks/t1"); !marked && !owned {
			t.Errorf("before %s it is neither marked nor owned", call)
		}
		return do()
	}
	if _, err := w.runs.Accept(t.Context(), r, "t1"); err != nil {
		t.Fatal(err)
	}
}
