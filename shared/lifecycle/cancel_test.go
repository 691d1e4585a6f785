package lifecycle

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/google/go-cmp/cmp"
)

// The answers of Cyberun's cancel that do not say yes.
var (
	errHTML    = &cyberun.AnswerError{Status: 200}    // a proxy's page
	errDenied  = &cyberun.AnswerError{Status: 200}    // {"success": false}
	errServer  = answered(500)                        // a fault of its own
	errRevoked = answered(401)                        // the key was revoked
	errNetwork = &cyberun.NetworkError{Err: errReset} // no answer
)

func seconds(list ...float64) (times []time.Duration) {
	for _, s := range list {
		times = append(times, time.Duration(s*float64(time.Second)))
	}
	return times
}

// TestCancels: tries at 0, 0.5, 1.5, 3.5 and 7.5 s and every 8 s after that, while
// the budget lasts; a yes, or the task's own end, is the end of it.
func TestCancels(t *testing.T) {
	never := slices.Repeat([]error{errServer}, 50)
	tests := []struct {
		name    string
		task    cyberun.Status
		answers []error
		budget  time.Duration
		tries   []time.Duration
		want    run.Cancel // its moments counted from the first try
	}{
		{name: "at once", task: cyberun.StatusRunning, budget: callBudget, tries: seconds(0), want: run.Cancel{AcceptedAt: began, EndedAs: "cancelled"}},
		{name: "a 500, then yes", task: cyberun.StatusRunning, answers: []error{errServer}, budget: callBudget, tries: seconds(0, 0.5),
			want: run.Cancel{AcceptedAt: began.Add(500 * time.Millisecond), EndedAs: "cancelled"}},
		{name: "denied, a page, no answer, then yes", task: cyberun.StatusRunning, answers: []error{errDenied, errHTML, errNetwork}, budget: callBudget, tries: seconds(0, 0.5, 1.5, 3.5),
			want: run.Cancel{AcceptedAt: began.Add(3500 * time.Millisecond), EndedAs: "cancelled"}},
		{name: "denied, since it has completed", task: cyberun.StatusCompleted, answers: []error{errDenied}, budget: callBudget, tries: seconds(0), want: run.Cancel{AcceptedAt: began, EndedAs: "completed"}},
		{name: "denied, since it has failed", task: cyberun.StatusFailed, answers: []error{errDenied}, budget: callBudget, tries: seconds(0), want: run.Cancel{AcceptedAt: began, EndedAs: "failed"}},
		{name: "never, within a call", task: cyberun.StatusRunning, answers: never, budget: callBudget, tries: seconds(0, 0.5, 1.5, 3.5, 7.5), want: run.Cancel{}},
		{name: "never, within close-run", task: cyberun.StatusRunning, answers: never, budget: CloseBudget, tries: seconds(0, 0.5, 1.5, 3.5, 7.5, 15.5, 23.5, 31.5, 39.5, 47.5, 55.5, 63.5, 71.5, 79.5, 87.5), want: run.Cancel{}},
		{name: "the key was revoked", task: cyberun.StatusRunning, answers: slices.Repeat([]error{errRevoked}, 9), budget: callBudget, tries: seconds(0, 0.5, 1.5, 3.5, 7.5), want: run.Cancel{}},
		{name: "a yes to the last try", task: cyberun.StatusRunning, answers: slices.Repeat([]error{errHTML}, 4), budget: callBudget, tries: seconds(0, 0.5, 1.5, 3.5, 7.5),
			want: run.Cancel{AcceptedAt: began.Add(7500 * time.Millisecond), EndedAs: "cancelled"}},
		{name: "a task that Cyberun does not know", answers: slices.Repeat([]error{answered(404)}, 9), budget: callBudget, tries: seconds(0, 0.5, 1.5, 3.5, 7.5), want: run.Cancel{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.submit("r1", "t1")
			delete(w.tasks, "t1")
			if test.task != "" {
				w.tasks["t1"] = test.task
			}
			w.answers["t1"] = test.answers
			test.want.AskedAt = began
			r, err := w.runs.CancelTask(t.Context(), w.get("r1"), test.budget)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.tries, w.cancels); diff != "" {
				t.Errorf("tries (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(&test.want, w.get("r1").Cancel); diff != "" || r.Cancel == nil || *r.Cancel != test.want {
				t.Errorf("recorded (-want +got):\n%s", diff)
			}
			if w.slept > test.budget {
				t.Errorf("it took %s of %s", w.slept, test.budget)
			}
		})
	}
}

// TestCancelKeepsItsTime in a bubble of its own time: however Cyberun hangs, a call
// is over within its budget, and no try takes more than 5 s.
func TestCancelKeepsItsTime(t *testing.T) {
	hangs := func(ctx context.Context) error {
		from := time.Now()
		<-ctx.Done()
		if took := time.Since(from); took > cancelTry {
			t.Errorf("a try took %s", took)
		}
		return ctx.Err()
	}
	for name, test := range map[string]struct{ cancel, look bool }{"the cancel": {true, false}, "the look": {false, true}, "both": {true, true}} {
		for _, budget := range []time.Duration{callBudget, CloseBudget} {
			t.Run(name+", "+budget.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.now = time.Now()
					r := w.submit("r1", "t1")
					w.runs.Now = time.Now
					w.runs.Sleep = func(_ context.Context, d time.Duration) error { time.Sleep(d); return nil }
					w.runs.Cyberun = fakeCyberun{
						cancel: func(ctx context.Context, id string) error {
							if test.cancel {
								return hangs(ctx)
							}
							return errServer
						},
						task: func(ctx context.Context, id string) (cyberun.Task, error) {
							if test.look {
								return cyberun.Task{}, hangs(ctx)
							}
							return w.task(ctx, id)
						},
					}
					from := time.Now()
					r, err := w.runs.CancelTask(t.Context(), r, budget)
					if took := time.Since(from); took > budget {
						t.Errorf("it took %s", took)
					}
					if err != nil || r.Cancel == nil || !r.Cancel.AcceptedAt.IsZero() {
						t.Errorf("%+v, %v", r.Cancel, err)
					}
				})
			})
		}
	}
}

// TestCancelsAgain: the sweep goes on until the task's end is seen; what was asked
// and accepted first stays.
func TestCancelsAgain(t *testing.T) {
	w := newWorld(t)
	w.submit("r1", "t1")
	w.answers["t1"] = slices.Repeat([]error{errServer}, 5)
	if _, err := w.runs.CancelTask(t.Context(), w.get("r1"), callBudget); err != nil {
		t.Fatal(err)
	}
	w.advance(time.Hour)
	second := w.clock()
	for range 3 { // and no more once its end is seen
		if _, err := w.runs.CancelTask(t.Context(), w.get("r1"), CloseBudget); err != nil {
			t.Fatal(err)
		}
		w.advance(time.Hour)
	}
	want := &run.Cancel{AskedAt: began, AcceptedAt: second, EndedAs: "cancelled"}
	if diff := cmp.Diff(want, w.get("r1").Cancel); diff != "" || len(w.asked) != 6 {
		t.Errorf("after %d tries (-want +got):\n%s", len(w.asked), diff)
	}
}

// TestCancelsItsOwnAlone: a task that another run delivers, that was adopted, or
// that was rescued is left running.
func TestCancelsItsOwnAlone(t *testing.T) {
	adopted := func(w *world) {
		if _, err := w.runs.AttachTask(w.t.Context(), w.doubt("r1"), "t1"); err != nil {
			w.t.Fatal(err)
		}
	}
	tests := []struct {
		name    string
		prepare func(w *world)
		cancels bool
	}{
		{name: "its own", prepare: func(w *world) { w.submit("r1", "t1") }, cancels: true},
		{name: "its own, before the ownership was written", prepare: func(w *world) {
			w.submit("r1", "t1")
			w.s3.Remove(stateBucket, "tasks/t1")
		}, cancels: true},
		{name: "its own, named as a candidate before the ownership was written", prepare: func(w *world) {
			w.submit("r1", "t1")
			w.s3.Remove(stateBucket, "tasks/t1")
			if err := w.runs.ownCandidates(w.t.Context(), "r1", []run.Candidate{{TaskID: "t1"}}); err != nil {
				w.t.Fatal(err)
			}
		}, cancels: true},
		{name: "rescued by another before the ownership was written", prepare: func(w *world) {
			w.submit("r1", "t1")
			w.s3.Remove(stateBucket, "tasks/t1")
			w.execution("r1", executions.Failed, 0, named.Unavailable, "x")
			if _, err := w.runs.RescueTask(w.t.Context(), w.begin("r9", 0), "t1", "x"); err != nil {
				w.t.Fatal(err)
			}
		}},
		{name: "adopted", prepare: adopted},
		{name: "adopted, before the ownership was written", prepare: func(w *world) {
			adopted(w)
			w.s3.Remove(stateBucket, "tasks/t1")
		}},
		{name: "rescued", prepare: func(w *world) {
			if _, err := w.runs.RescueTask(w.t.Context(), w.begin("r1", 0), "t1", "x"); err != nil {
				w.t.Fatal(err)
			}
		}},
		{name: "rescued by another since", prepare: func(w *world) {
			w.submit("r1", "t1")
			w.execution("r1", executions.Failed, 0, named.Unavailable, "x")
			if _, err := w.runs.RescueTask(w.t.Context(), w.begin("r9", 0), "t1", "x"); err != nil {
				w.t.Fatal(err)
			}
		}},
		{name: "guessed by another", prepare: func(w *world) {
			w.submit("r1", "t1")
			if err := w.runs.LeaveToPerson(w.t.Context(), w.doubt("r2"), []run.Candidate{{TaskID: "t1"}}); err != nil {
				w.t.Fatal(err)
			}
		}, cancels: true},
		{name: "no task", prepare: func(w *world) { w.begin("r1", 0) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.tasks["t1"] = cyberun.StatusRunning
			test.prepare(w)
			r, err := w.runs.CancelTask(t.Context(), w.get("r1"), callBudget)
			if err != nil || (len(w.asked) > 0) != test.cancels || (r.Cancel != nil) != test.cancels {
				t.Errorf("cancelled %v, %+v, %v", w.asked, r.Cancel, err)
			}
		})
	}
	w := newWorld(t)
	w.submit("r1", "t1")
	w.around = refuses("GetObject state/tasks/", 503)
	if _, err := w.runs.CancelTask(t.Context(), w.get("r1"), callBudget); !named.Is(err, named.Unavailable) || len(w.asked) > 0 {
		t.Errorf("whose it is is not known: %v, cancelled %v", err, w.asked)
	}
}
