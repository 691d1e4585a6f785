package lifecycle

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// decidedNotStarted brings the run r1 to its second POST: the first one was left to a
// person, who said that it had started nothing.
func decidedNotStarted(w *world) Run {
	w.t.Helper()
	r := w.doubt("r1")
	if err := w.runs.LeaveToPerson(w.t.Context(), r, []run.Candidate{{TaskID: "t7", CreatedAt: began}}); err != nil {
		w.t.Fatal(err)
	}
	w.closes(w.execution("r1", executions.Failed, 0, named.SubmitOutcomeUnknown, "x"))
	if _, err := w.runs.DecideOutcome(w.t.Context(), "r1", run.Decision{NotStarted: true, DecidedBy: "somebody"}, nil); err != nil {
		w.t.Fatal(err)
	}
	w.execution("r1", executions.Running, 1, "", "")
	r, err := w.runs.NotStarted(w.t.Context(), w.begin("r1", 1))
	if err != nil {
		w.t.Fatal(err)
	}
	return w.mark(r, "a2")
}

// TestSecondDoubt: what was found of an earlier POST, and what a person said of it, says
// nothing of a later one.
func TestSecondDoubt(t *testing.T) {
	w := newWorld(t)
	decidedNotStarted(w)
	_, r, _ := w.closes(w.execution("r1", executions.Aborted, 1, "", ""))
	if !r.InDoubt() || !r.CandidatesAt.IsZero() || !r.WorkLeft(w.clock()) {
		t.Errorf("nobody names the candidates of %+v", r.Record)
	}
	w = newWorld(t)
	r, err := w.runs.AttachTask(t.Context(), decidedNotStarted(w), "t2")
	if err != nil || !r.Adopted {
		t.Errorf("the relay found the task, and not a person: %+v, %v", r.Record, err)
	}
}

// TestCancelOfAnEarlierLife: a redrive gives the task its time again, so a cancel that
// Cyberun never accepted is not repeated when the new life fails.
func TestCancelOfAnEarlierLife(t *testing.T) {
	for _, accepted := range []bool{false, true} {
		w := newWorld(t)
		w.submit("r1", "t1")
		w.answers["t1"] = slices.Repeat([]error{errReset}, 100)
		if accepted {
			w.answers["t1"] = nil
		}
		w.closes(w.execution("r1", executions.TimedOut, 0, "", ""))
		w.answers["t1"], w.asked = nil, nil
		w.execution("r1", executions.Running, 1, "", "")
		w.begin("r1", 1)
		_, r, failure := w.closes(w.execution("r1", executions.Failed, 1, named.Unauthorized, "refused"))
		if accepted != (r.Cancel != nil) || len(w.asked) > 0 || r.WorkLeft(w.clock()) || failure == nil {
			t.Errorf("accepted %v: cancelled %v, %+v", accepted, w.asked, r.Record)
		}
	}
}

// TestExtraTaskOfAnother: a run may cancel only what it delivers, also of the tasks
// that a second receipt named.
func TestExtraTaskOfAnother(t *testing.T) {
	w := newWorld(t)
	w.tasks["t1"], w.tasks["t0"] = cyberun.StatusRunning, cyberun.StatusRunning
	r := w.doubt("r1")
	if _, err := w.runs.Accept(t.Context(), r, "t0"); err != nil {
		t.Fatal(err)
	}
	w.execution("r5", executions.Running, 0, "", "")
	if _, err := w.runs.RescueTask(t.Context(), w.begin("r5", 0), "t1", "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.runs.Accept(t.Context(), r, "t1"); err != nil {
		t.Fatal(err)
	}
	if o := w.ownership("t1"); len(w.asked) > 0 || o.StartedBy != "r1" || o.Evidence != run.ByReceipt || o.DeliveredBy != "r5" {
		t.Errorf("cancelled %v, %+v", w.asked, o)
	}
}

// TestExtraTaskIsCancelledInTheEnd: the sweep goes on until Cyberun accepts.
func TestExtraTaskIsCancelledInTheEnd(t *testing.T) {
	w := newWorld(t)
	w.tasks["t1"], w.tasks["t0"] = cyberun.StatusRunning, cyberun.StatusRunning
	r := w.doubt("r1")
	if _, err := w.runs.Accept(t.Context(), r, "t0"); err != nil {
		t.Fatal(err)
	}
	w.answers["t1"] = slices.Repeat([]error{errReset}, 100)
	if _, err := w.runs.Accept(t.Context(), r, "t1"); err != nil {
		t.Fatal(err)
	}
	_, got, _ := w.closes(w.execution("r1", executions.Failed, 0, named.Unauthorized, "refused"))
	if !got.WorkLeft(w.clock()) {
		t.Fatalf("t1 runs, and nobody cancels it: %+v", got.Record)
	}
	w.answers["t1"] = nil
	if err := w.close.cleanUpClosed(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	got = w.get("r1")
	if failure := w.failure(got); w.tasks["t1"] != cyberun.StatusCancelled || got.WorkLeft(w.clock()) || failure == nil || !failure.ExtraTasks[0].Cancelled {
		t.Errorf("%s, %+v", w.tasks["t1"], got.Record)
	}
}

// TestUnsureStopWithoutARecord: a record that is cancelled stays so, so Step Functions
// has to show the end first; a run that failed is closed at once, as a redrive mends it.
func TestUnsureStopWithoutARecord(t *testing.T) {
	for state, want := range map[executions.Status]string{executions.Aborted: named.Unavailable, executions.Failed: ""} {
		w := newWorld(t)
		event := w.execution("r1", state, 0, named.Unavailable, "x")
		w.execution("r1", executions.Running, 0, "", "")
		e, sure, ok, err := w.close.Ended(t.Context(), event)
		if err != nil || !ok || sure {
			t.Fatalf("%+v, %v, %v, %v", e, sure, ok, err)
		}
		closed, err := w.close.Close(t.Context(), e, sure)
		if want == "" {
			if err != nil || !closed {
				t.Errorf("%s: %v, %v", state, closed, err)
			}
			continue
		}
		namedtest.Want(t, err, want, "does not show yet")
		if len(w.keys("runs/")) > 0 {
			t.Errorf("%s: %v", state, w.keys("runs/"))
		}
	}
}

// TestReceiptAfterTheClose: what a close said of its doubt is no longer so.
func TestReceiptAfterTheClose(t *testing.T) {
	tests := []struct {
		state executions.Status
		name  string
		want  string
		hint  string
	}{
		{executions.Aborted, "", "the execution was stopped; its task t1 was cancelled", "stopped by a person"},
		{executions.Failed, named.Unauthorized, "; its receipt came after that: the task t1 is this run's", "redrive the run: it delivers its task"},
		{executions.Failed, named.SubmitOutcomeUnknown, "; its receipt came after that: the task t1 is this run's", "redrive the run: it delivers its task"},
	}
	for _, test := range tests {
		for _, outputs := range []bool{true, false} { // Submit has none, and leaves error.json to the sweep
			w := newWorld(t)
			w.tasks["t1"] = cyberun.StatusRunning
			r := w.doubt("r1")
			_, closed, _ := w.closes(w.execution("r1", test.state, 0, test.name, "x"))
			if err := w.close.NameCandidates(t.Context(), closed, []run.Candidate{{TaskID: "t1", CreatedAt: began}}); err != nil {
				t.Fatal(err)
			}
			w.advance(time.Minute)
			submits := *w.runs
			if !outputs {
				submits.OutputS3 = nil
			}
			if _, err := submits.Accept(t.Context(), r, "t1"); err != nil {
				t.Fatal(err)
			}
			if err := w.close.cleanUpClosed(t.Context(), w.get("r1")); err != nil {
				t.Fatal(err)
			}
			got := w.get("r1")
			failure := w.failure(got)
			if failure == nil || failure.TaskID != "t1" || failure.Error.Cause != got.Error.Cause || got.WorkLeft(w.clock()) {
				t.Fatalf("%s: %+v, %+v", test.state, got.Record, failure)
			}
			if e := failure.Error; !strings.HasSuffix(e.Cause, test.want) || strings.Contains(e.Cause, "in doubt from") || !strings.Contains(e.Hint, test.hint) {
				t.Errorf("%s: %q, %q", test.state, e.Cause, e.Hint)
			}
		}
	}
}

// TestLifeThatNeverEntered: of a life that ended before any of its steps came, none may
// come later, and pay for an execution that has ended.
func TestLifeThatNeverEntered(t *testing.T) {
	for _, swept := range []bool{false, true} {
		w := newWorld(t)
		w.begin("r1", 0)
		w.closes(w.execution("r1", executions.Failed, 0, named.Unauthorized, "refused"))
		e := w.execution("r1", executions.Failed, 1, named.Unavailable, "throttled")
		if due, err := w.close.DueOf(t.Context(), e); swept && (err != nil || due == NothingDue) {
			t.Fatalf("the sweep passes it over: %v", err)
		}
		_, r, failure := w.closes(e)
		if r.Status != run.Failed || r.Life != 1 || r.Error.Name != named.Unauthorized || failure == nil || r.WorkLeft(w.clock()) {
			t.Errorf("%+v", r.Record)
		}
		_, err := w.runs.Begin(t.Context(), call("r1", 1), w.request(), outputBucket, "")
		namedtest.Want(t, err, named.Superseded, "")
		w.execution("r1", executions.Running, 2, "", "")
		w.begin("r1", 2)
	}
}
