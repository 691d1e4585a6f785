package lifecycle

import (
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
)

// stops notes the stop with what Step Functions says of the run's execution.
func (w *world) stops(id string) (Run, Effect, error) {
	return w.runs.Stop(w.t.Context(), id, w.executions[id], outputBucket, "")
}

// TestStops in each phase: what is noted, what is left to do, and what DELETE
// says of the task.
func TestStops(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(w *world)
		status  run.Status
		noted   bool
		effects Effect
		task    string // what a cancel then says
	}{
		{name: "nothing was posted", prepare: func(w *world) { w.begin("r1", 0) }, status: run.Submitting, noted: true, effects: MustCancelTask | MustStopExecution, task: "none"},
		{name: "in doubt", prepare: func(w *world) { w.doubt("r1") }, status: run.Submitting, noted: true, effects: MustCancelTask | MustStopExecution, task: "cancelling"},
		{name: "waiting", prepare: func(w *world) { w.submit("r1", "t1") }, status: run.Waiting, noted: true, effects: MustCancelTask | MustStopExecution, task: "cancelled"},
		{name: "copying", prepare: func(w *world) { w.copied("r1", "t1") }, status: run.Copying, noted: true, effects: MustCancelTask | MustStopExecution, task: "cancelled"},
		{name: "the cancel is not accepted", prepare: func(w *world) {
			w.submit("r1", "t1")
			w.answers["t1"] = slices.Repeat([]error{errServer}, 9)
		}, status: run.Waiting, noted: true, effects: MustCancelTask | MustStopExecution, task: "cancelling"},
		{name: "adopted", prepare: func(w *world) {
			if _, err := w.runs.AttachTask(w.t.Context(), w.doubt("r1"), "t1"); err != nil {
				w.t.Fatal(err)
			}
		}, status: run.Waiting, noted: true, effects: MustCancelTask | MustStopExecution, task: "left"},
		{name: "failed: its task was left running", prepare: func(w *world) {
			w.submit("r1", "t1")
			w.closes(w.execution("r1", executions.Failed, 0, named.Unavailable, "x"))
		}, status: run.Failed, effects: MustCancelTask, task: "cancelled"},
		{name: "failed and redriven, its step not there yet", prepare: func(w *world) {
			w.submit("r1", "t1")
			w.closes(w.execution("r1", executions.Failed, 0, named.Unavailable, "x"))
			w.execution("r1", executions.Running, 1, "", "")
		}, status: run.Waiting, noted: true, effects: MustCancelTask | MustStopExecution, task: "cancelled"},
		{name: "cancelled, its task not yet", prepare: func(w *world) {
			w.submit("r1", "t1")
			w.answers["t1"] = slices.Repeat([]error{errServer}, 99)
			w.closes(w.execution("r1", executions.Aborted, 0, "", ""))
			w.answers["t1"] = nil
		}, status: run.Cancelled, effects: MustCancelTask, task: "cancelled"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.tasks["t1"] = cyberun.StatusRunning
			test.prepare(w)
			asked := w.clock()
			var r Run
			for range 2 { // a second DELETE is answered as the first, and moves nothing
				var effects Effect
				var err error
				if r, effects, err = w.stops("r1"); err != nil || effects != test.effects || r.Status != test.status {
					t.Fatalf("%+v, effects %b, %v", r, effects, err)
				}
				w.advance(time.Minute)
			}
			if got := w.get("r1"); test.noted != got.StopRequestedAt.Equal(asked) || !test.noted && !got.StopRequestedAt.IsZero() {
				t.Errorf("noted at %s, asked at %s", got.StopRequestedAt, asked)
			}
			if _, task, err := w.runs.StopCancel(t.Context(), r); err != nil || task != test.task {
				t.Errorf("its task is %q, %v", task, err)
			}
		})
	}
}

// TestStopsOnePastItsPointOfNoReturn: it is finished instead.
func TestStopsOnePastItsPointOfNoReturn(t *testing.T) {
	w := newWorld(t)
	r := w.copied("r1", "t1")
	w.around = refuses("PutObject outputs/", 503)
	if _, err := w.runs.Deliver(t.Context(), r, manifestOf(r)); !named.Is(err, named.Unavailable) {
		t.Fatal(err)
	}
	w.around = nil
	r, effects, err := w.stops("r1")
	if err != nil || r.Status != run.Succeeded || effects&(MustCancelTask|MustStopExecution) != 0 || !w.get("r1").StopRequestedAt.IsZero() {
		t.Errorf("%+v, effects %b, %v", r, effects, err)
	}
	w.delivered("r1")
	if r, effects, err := w.stops("r1"); err != nil || effects != 0 || r.Status != run.Succeeded {
		t.Errorf("one that has succeeded: %+v, effects %b, %v", r, effects, err)
	}
}

// TestStopsBeforeTheRecord: the request to stop is left in its place, for Submit to find.
func TestStopsBeforeTheRecord(t *testing.T) {
	w := newWorld(t)
	e := w.execution("r1", executions.Running, 0, "", "")
	e.Input = `{"workflow":"text-to-image@2","destination":{"prefix":"p/{run_id}/"},"max_seconds":60}`
	w.executions["r1"] = e
	if _, effects, err := w.stops("r1"); err != nil || effects != MustCancelTask|MustStopExecution {
		t.Fatalf("effects %b, %v", effects, err)
	}
	if r := w.get("r1"); !r.WasStopped() || !r.Status.Open() || r.Prefix != "p/r1/" || r.MaxSeconds != 60 || r.Workflow != "text-to-image@2" || r.ExecutionARN != arnPrefix+"r1" || len(w.keys("index/")) != 1 {
		t.Errorf("%+v", r)
	}
	_, err := w.runs.Begin(t.Context(), call("r1", 0), w.request(), outputBucket, "")
	namedtest.Want(t, err, named.RunCancelled, "before anything was submitted")
	for _, known := range []bool{true, false} {
		if delete(w.executions, "r2"); known {
			w.execution("r2", executions.Failed, 0, "", "")
		}
		if _, _, err := w.stops("r2"); !errors.Is(err, ErrNoRecord) || len(w.keys("runs/r2")) > 0 {
			t.Errorf("of an execution that has ended, or is not known: %v", err)
		}
	}
}

// TestStopMeetsSubmit at each call of the stop: whatever Submit has reached, it is
// stopped, and a task that it got is cancelled by one of the two.
func TestStopMeetsSubmit(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		w.tasks["t1"] = cyberun.StatusRunning
		w.execution("r1", executions.Running, 0, "", "")
		var refused error
		met := w.at(n, func(string) {
			r, err := w.runs.Begin(t.Context(), call("r1", 0), w.request(), outputBucket, "")
			if err == nil {
				r, err = w.runs.Mark(t.Context(), r, "wf-1", w.submission("a1"))
			}
			if err == nil {
				_, err = w.runs.Accept(t.Context(), r, "t1")
			}
			refused = err
		})
		r, _, err := w.stops("r1")
		if err != nil {
			t.Fatalf("at call %d: %v", n, err)
		}
		if _, _, err := w.runs.StopCancel(t.Context(), r); err != nil {
			t.Fatalf("at call %d: %v", n, err)
		}
		got := w.get("r1")
		if !got.WasStopped() || refused == nil && *met && w.tasks["t1"] != cyberun.StatusCancelled || refused != nil && !named.Is(refused, named.RunCancelled) {
			t.Errorf("at call %d: %+v, Submit %v, its task is %s", n, got, refused, w.tasks["t1"])
		}
		if !*met {
			return
		}
	}
}

// TestStopKeepsARedrivenRun stopped, whichever comes first: the redrive's step or
// the stop.
func TestStopKeepsARedrivenRunStopped(t *testing.T) {
	w := newWorld(t)
	w.submit("r1", "t1")
	w.closes(w.execution("r1", executions.Failed, 0, named.Unavailable, "x"))
	w.execution("r1", executions.Running, 1, "", "")
	if r, _, err := w.stops("r1"); err != nil || r.Life != 1 || !r.LifeStartedAt.Equal(w.clock()) {
		t.Fatalf("%+v, %v", r, err)
	}
	_, err := w.runs.Continue(t.Context(), call("r1", 1))
	namedtest.Want(t, err, named.RunCancelled, "")
	closed, r, failure := w.closes(w.execution("r1", executions.Failed, 1, named.RunCancelled, "x"))
	if !closed || r.Status != run.Cancelled || failure == nil {
		t.Errorf("%+v, %+v", r, failure)
	}
}

// TestDecides: a person's decision on a run that failed in doubt, with the attempt that
// it speaks of and who said it.
func TestDecides(t *testing.T) {
	started := run.Decision{TaskID: "t7", DecidedBy: "arn:ann", DecidedAt: began}
	not := run.Decision{NotStarted: true, DecidedBy: "arn:ben", DecidedAt: began}
	doubtful := func(w *world) {
		w.doubt("r1")
		w.closes(w.execution("r1", executions.Failed, 0, named.SubmitOutcomeUnknown, "x"))
	}
	tests := []struct {
		name      string
		prepare   func(w *world)
		decisions []run.Decision
		refused   []bool
		stands    run.Decision
	}{
		{name: "its task", prepare: doubtful, decisions: []run.Decision{started}, refused: []bool{false}, stands: started},
		{name: "not started", prepare: doubtful, decisions: []run.Decision{not}, refused: []bool{false}, stands: not},
		{name: "the same again, by another person", prepare: doubtful, decisions: []run.Decision{started, {TaskID: "t7", DecidedBy: "arn:eve"}}, refused: []bool{false, false}, stands: started},
		{name: "another decision", prepare: doubtful, decisions: []run.Decision{started, not, {TaskID: "t8"}}, refused: []bool{false, true, true}, stands: started},
		{name: "of a run that waits", prepare: func(w *world) { w.submit("r1", "t1") }, decisions: []run.Decision{not}, refused: []bool{true}},
		{name: "of a run in doubt that has not ended", prepare: func(w *world) { w.doubt("r1") }, decisions: []run.Decision{not}, refused: []bool{true}},
		{name: "of a run that failed otherwise", prepare: func(w *world) {
			w.submit("r1", "t1")
			w.closes(w.execution("r1", executions.Failed, 0, named.TaskFailed, "x"))
		}, decisions: []run.Decision{not}, refused: []bool{true}},
		{name: "of a run that was stopped in doubt", prepare: func(w *world) {
			w.doubt("r1")
			w.closes(w.execution("r1", executions.Aborted, 0, "", ""))
		}, decisions: []run.Decision{started}, refused: []bool{true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			test.prepare(w)
			for i, decision := range test.decisions {
				_, err := w.runs.DecideOutcome(t.Context(), "r1", decision, nil)
				if test.refused[i] {
					namedtest.Want(t, err, named.NotInDoubt, "")
				} else if err != nil {
					t.Error(err)
				}
			}
			stands := w.get("r1").Decision
			if test.stands == (run.Decision{}) {
				if stands != nil {
					t.Errorf("%+v was stored", stands)
				}
				return
			}
			test.stands.AttemptID = "a1"
			if stands == nil || *stands != test.stands {
				t.Errorf("%+v stands", stands)
			}
		})
	}
	w := newWorld(t)
	if _, err := w.runs.DecideOutcome(t.Context(), "none", not, nil); !errors.Is(err, ErrNoRecord) {
		t.Errorf("of no run: %v", err)
	}
}

// TestDecidesTwice: a decision speaks of one attempt. The run was redriven, posted
// again and is in doubt again: the same decision is a new one.
func TestDecidesTwice(t *testing.T) {
	w := newWorld(t)
	w.doubt("r1")
	not := run.Decision{NotStarted: true, DecidedBy: "arn:ben", DecidedAt: began}
	for life, attempt := range []string{"a1", "a2"} {
		w.closes(w.execution("r1", executions.Failed, life, named.SubmitOutcomeUnknown, "x"))
		if _, err := w.runs.DecideOutcome(t.Context(), "r1", not, nil); err != nil {
			t.Fatal(err)
		}
		if d := w.get("r1").Decision; d == nil || d.AttemptID != attempt {
			t.Errorf("it speaks of %+v, the attempt is %s", d, attempt)
		}
		w.execution("r1", executions.Running, life+1, "", "")
		redriven := w.begin("r1", life+1)
		if _, err := w.runs.DecideOutcome(t.Context(), "r1", not, nil); err != nil {
			t.Errorf("the same decision, beside the redrive that it asked for: %v", err)
		}
		_, err := w.runs.DecideOutcome(t.Context(), "r1", run.Decision{TaskID: "t7"}, nil)
		namedtest.Want(t, err, named.NotInDoubt, "")
		r, err := w.runs.NotStarted(t.Context(), redriven)
		if err != nil {
			t.Fatal(err)
		}
		// Said late, once it was acted on, it does no harm.
		if _, err := w.runs.DecideOutcome(t.Context(), "r1", not, nil); err != nil {
			t.Errorf("the same decision, late: %v", err)
		}
		w.mark(r, "a2")
	}
}

// TestStoppedCause says of a stopped run what became of its task.
func TestStoppedCause(t *testing.T) {
	for text, r := range map[string]run.Record{
		"in doubt whether its task had started": {Submission: &run.Submission{}},
		"before anything was submitted":         {},
		"t1 was not cancelled yet":              {TaskID: "t1"},
		"t1 was cancelled":                      {TaskID: "t1", Cancel: &run.Cancel{AcceptedAt: began, EndedAs: "cancelled"}},
		"`relay rescue t1` delivers it":         {TaskID: "t1", Cancel: &run.Cancel{AcceptedAt: began, EndedAs: "completed"}},
		"could not be cancelled yet":            {TaskID: "t1", Cancel: &run.Cancel{AskedAt: began}},
	} {
		if got := stoppedCause(r); !strings.Contains(got, text) {
			t.Errorf("%q does not say %q", got, text)
		}
	}
}
