package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// TestEnded: what counts as the end of an execution, by the event and by what
// DescribeExecution says then.
func TestEnded(t *testing.T) {
	failed := func(redrives int) executions.Execution {
		return executions.New(arnPrefix+"r1", "FAILED", named.Unavailable, "x", redrives, time.Time{})
	}
	succeeded := executions.New(arnPrefix+"r1", "SUCCEEDED", "", "", 0, began)
	tests := []struct {
		name      string
		event     executions.Execution
		described func(w *world)
		recorded  bool
		age       time.Duration
		ok, sure  bool
		redrives  int
	}{
		{name: "it ended", event: failed(0), described: func(w *world) { w.execution("r1", executions.Failed, 0, named.Unavailable, "x") }, ok: true, sure: true},
		{name: "reads lag behind events", event: failed(0), described: func(w *world) { w.execution("r1", executions.Running, 0, "", "") }, ok: true},
		{name: "it was redriven since", event: failed(0), described: func(w *world) { w.execution("r1", executions.Running, 1, "", "") }},
		{name: "it was redriven and failed again", event: failed(0), described: func(w *world) { w.execution("r1", executions.Failed, 1, named.Unavailable, "x") }, ok: true, sure: true, redrives: 1},
		{name: "reads lag behind the second end", event: failed(1), described: func(w *world) { w.execution("r1", executions.Failed, 0, named.Unavailable, "x") }, ok: true, redrives: 1},
		{name: "it was redriven and succeeded", event: failed(0), described: func(w *world) { w.execution("r1", executions.Succeeded, 1, "", "") }},
		{name: "a good end", event: succeeded, described: func(w *world) { w.execution("r1", executions.Succeeded, 0, "", "") }},
		{name: "a good end, whose reads lag", event: succeeded, described: func(w *world) { w.execution("r1", executions.Running, 0, "", "") }},
		{name: "not known, and its record is young", event: failed(0), described: func(*world) {}, recorded: true, age: forgotten - time.Second},
		{name: "not known, and its record is old", event: failed(0), described: func(*world) {}, recorded: true, age: forgotten, ok: true, sure: true},
		{name: "not known, and no record", event: failed(0), described: func(*world) {}, age: forgotten},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			if test.recorded {
				w.begin("r1", 0)
			}
			w.advance(test.age)
			test.described(w)
			e, sure, ok, err := w.close.Ended(t.Context(), test.event)
			if err != nil || ok != test.ok || sure != test.sure || ok && (e.Error == nil || e.Redrives != test.redrives) {
				t.Errorf("%+v, sure %v, ok %v, %v", e, sure, ok, err)
			}
		})
	}
}

// TestCloseNeedsToBeSure for what cannot be undone: a cancel, and cancelled.
func TestCloseNeedsToBeSure(t *testing.T) {
	for _, state := range []executions.Status{executions.Aborted, executions.TimedOut, executions.Failed} {
		w := newWorld(t)
		w.submit("r1", "t1")
		e := w.execution("r1", state, 0, named.Unavailable, "x")
		closed, err := w.close.Close(t.Context(), e, false)
		if state == executions.Failed {
			if err != nil || !closed || w.get("r1").Status != run.Failed {
				t.Errorf("%s: %v, %v", state, closed, err)
			}
			continue
		}
		namedtest.Want(t, err, named.Unavailable, "does not show yet how the run r1 ended")
		if closed || !w.get("r1").Status.Open() || len(w.asked) > 0 || len(w.s3.Keys(outputBucket, "")) > 0 {
			t.Errorf("%s: %v, %+v, cancelled %v", state, closed, w.get("r1"), w.asked)
		}
	}
}

// TestIgnores what is not this run's end: another execution, an earlier life, a
// call that was superseded.
func TestIgnores(t *testing.T) {
	tests := []struct {
		name   string
		life   int // of the record
		change func(e *executions.Execution)
	}{
		{name: "an earlier life", life: 1, change: func(*executions.Execution) {}},
		{name: "another state machine", change: func(e *executions.Execution) { e.ARN = strings.Replace(e.ARN, "relay-run", "x", 1) }},
		{name: "another start", change: func(e *executions.Execution) { e.StartedAt = began.Add(time.Hour) }},
		{name: "it ended by a call of an earlier life", change: func(e *executions.Execution) { e.Error = named.Errorf(named.Superseded, "x") }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.submit("r1", "t1")
			if test.life > 0 {
				w.begin("r1", test.life)
			}
			before := w.get("r1")
			e := w.execution("r1", executions.Failed, 0, named.Unavailable, "x")
			test.change(&e)
			closed, err := w.close.Close(t.Context(), e, true)
			if err != nil || closed || w.get("r1").WriteID != before.WriteID || len(w.s3.Keys(outputBucket, "")) > 0 {
				t.Errorf("%v, %v, %+v", closed, err, w.get("r1"))
			}
		})
	}
}

// TestCloseUnrecorded: a run that ended before it had a record gets one that is closed,
// and Submit, should it come yet, starts nothing. A redrive goes on from it.
func TestCloseUnrecorded(t *testing.T) {
	for state, want := range map[executions.Status]run.Status{executions.Failed: run.Failed, executions.TimedOut: run.Failed, executions.Aborted: run.Cancelled} {
		w := newWorld(t)
		e := w.execution("r1", state, 0, named.Unavailable, "x")
		e.Input = `{"workflow":"text-to-image@2","destination":{"prefix":"p/{run_id}/"},"max_seconds":60}`
		w.executions["r1"] = e
		closed, r, failure := w.closes(e)
		if !closed || r.Status != want || failure == nil || r.Prefix != "p/r1/" || r.MaxSeconds != 60 || r.ExecutionARN != e.ARN || !r.StartedAt.Equal(began) || r.EndedAt.IsZero() || r.Error == nil || r.ErrorKey != "p/r1/error.json" {
			t.Errorf("%s: %v, %+v, %+v", state, closed, r.Record, failure)
		}
		if ids := w.keys("index/"); len(ids) != 1 {
			t.Errorf("%s: GET /runs would not show it: %v", state, ids)
		}
		_, err := w.runs.Begin(t.Context(), call("r1", 0), w.request(), outputBucket, "")
		namedtest.Want(t, err, named.Superseded, "")
		w.execution("r1", executions.Running, 1, "", "")
		_, err = w.runs.Begin(t.Context(), call("r1", 1), w.request(), outputBucket, "")
		if want == run.Cancelled {
			namedtest.Want(t, err, named.RunCancelled, "")
		} else if err != nil || w.get("r1").Status != run.Submitting {
			t.Errorf("%s, redriven: %+v, %v", state, w.get("r1").Record, err)
		}
	}
}

// TestCloseUnrecordedOfNonsense: an input that is no request leaves error.json under the
// default prefix; one whose prefix is invalid leaves none.
func TestCloseUnrecordedOfNonsense(t *testing.T) {
	for input, leaves := range map[string]bool{
		`[]`: true, `{"workflow":5}`: true, `{`: true, ``: true, `{"workflow":"x","destination":{"prefix":"/../"}}`: false,
	} {
		w := newWorld(t)
		e := w.execution("r1", executions.Failed, 0, named.InvalidRequest, "x")
		e.Input = input
		w.executions["r1"] = e
		if closed, r, failure := w.closes(e); !closed || r.Status != run.Failed || (failure != nil) != leaves || r.MaxSeconds == 0 {
			t.Errorf("%s: %v, %+v, %+v", input, closed, r.Record, failure)
		}
	}
}

// TestClosesOnce: two closes of one end, the second at each call of the first:
// both may do what can be repeated, one closes, and all is done.
func TestClosesOnce(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		r := w.copied("r1", "t1")
		w.s3.Set(stateBucket, marker1, storetest.Object{Body: []byte("{}")})
		if err := w.runs.PutCopyState(t.Context(), r.RunID, "a", CopyState{}); err != nil {
			t.Fatal(err)
		}
		e := w.execution("r1", executions.Aborted, 0, "", "")
		second := false
		met := w.at(n, func(string) {
			w.advance(time.Millisecond)
			var err error
			if second, err = w.close.Close(t.Context(), e, true); err != nil {
				t.Error(err)
			}
			w.advance(time.Millisecond)
		})
		first, err := w.close.Close(t.Context(), e, true)
		w.around = nil
		got := w.get("r1")
		if err != nil || first == second || got.Status != run.Cancelled || w.failure(got) == nil || w.tasks["t1"] != cyberun.StatusCancelled || len(w.keys("submitting/")) > 0 || len(w.keys("copies/")) > 0 || got.WorkLeft(w.clock()) {
			t.Errorf("at call %d: closed %v and %v, %v, %+v, left %v", n, first, second, err, got.Record, w.keys(""))
		}
		if !*met {
			return
		}
	}
}

// TestCloseCancelsOnce: the close tries within its budget; what is not accepted
// then, or whose end was not seen, is the sweep's.
func TestCloseCancelsOnce(t *testing.T) {
	tests := []struct {
		name    string
		answers []error
		runsOn  bool // the task does not end of an accepted cancel at once
		tries   int
		cause   string
		pending bool
	}{
		{name: "accepted, and it ends", tries: 1, cause: "its task t1 had been cancelled"},
		{name: "accepted, and it runs on for a while", runsOn: true, tries: 1, cause: "its task t1 was cancelled", pending: true},
		{name: "never accepted", answers: slices.Repeat([]error{errServer}, 99), tries: 15, cause: "could not be cancelled yet", pending: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.submit("r1", "t1")
			w.answers["t1"] = test.answers
			if test.runsOn {
				w.runs.Cyberun = fakeCyberun{cancel: w.cancel, task: func(_ context.Context, id string) (cyberun.Task, error) {
					return cyberun.Task{ID: id, Status: cyberun.StatusRunning}, nil
				}}
			}
			closed, r, failure := w.closes(w.execution("r1", executions.Aborted, 0, "", ""))
			if !closed || r.Status != run.Cancelled || failure == nil || len(w.asked) != test.tries || w.slept > CloseBudget {
				t.Errorf("%v, %+v, %d tries within %s", closed, r.Record, len(w.asked), w.slept)
			}
			if r.WorkLeft(w.clock()) != test.pending || r.WorkLeft(w.clock().Add(run.MaxRunTime+time.Hour)) {
				t.Errorf("the sweep is to go on: %v, after 7 days %v", r.WorkLeft(w.clock()), r.WorkLeft(w.clock().Add(run.MaxRunTime+time.Hour)))
			}
		})
	}
}

// TestTaskThatHadCompleted: the close names it, and how to have it.
func TestTaskThatHadCompleted(t *testing.T) {
	w := newWorld(t)
	w.submit("r1", "t1")
	w.tasks["t1"] = cyberun.StatusCompleted
	w.answers["t1"] = []error{errDenied}
	_, r, failure := w.closes(w.execution("r1", executions.Aborted, 0, "", ""))
	if !strings.Contains(failure.Error.Cause, "relay rescue t1") || r.Cancel.EndedAs != "completed" || r.Status != run.Cancelled {
		t.Errorf("%+v, %+v", failure.Error, r.Cancel)
	}
}

// TestCloseGivesUp on a record that changes under it each time.
func TestCloseGivesUp(t *testing.T) {
	w := newWorld(t)
	w.doubt("r1")
	n := 0
	w.around = func(call string, do func() error) error {
		err := do()
		if strings.HasPrefix(call, "PutObject outputs/") {
			around := w.around
			w.around = nil
			if n++; n%2 == 0 {
				r := w.get("r1")
				w.mark(r, fmt.Sprint("a", n))
			} else if _, err := w.runs.NotStarted(t.Context(), w.get("r1")); err != nil {
				t.Error(err)
			}
			w.around = around
		}
		return err
	}
	_, err := w.close.Close(t.Context(), w.execution("r1", executions.Failed, 0, named.Unavailable, "x"), true)
	namedtest.Want(t, err, named.Unavailable, "changed 8 times")
}

// TestCloseDuringAnOutage of the state bucket is told, and tried again.
func TestCloseDuringAnOutage(t *testing.T) {
	w := newWorld(t)
	w.submit("r1", "t1")
	e := w.execution("r1", executions.Failed, 0, named.Unavailable, "x")
	w.around = func(string, func() error) error { return errReset }
	if _, err := w.close.Close(t.Context(), e, true); !named.Is(err, named.Unavailable) || errors.Is(err, ErrNoRecord) {
		t.Error(err)
	}
}
