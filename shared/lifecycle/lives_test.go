package lifecycle

import (
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// TestLives: the first step after a redrive raises the record's life, whatever the
// status, and reopens a run that failed; what comes from a lower one is refused.
func TestLives(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(w *world)
		enters  string // the error of the new life's first step
		status  run.Status
		again   string // the error of its next one
	}{
		{name: "failed", prepare: func(w *world) { w.closes(w.execution("r1", executions.Failed, 0, named.Unavailable, "x")) }, status: run.Waiting},
		{name: "its failure not heard of yet", prepare: func(*world) {}, status: run.Waiting},
		{name: "stopped", prepare: func(w *world) { w.closes(w.execution("r1", executions.Aborted, 0, "", "")) }, enters: named.RunCancelled, again: named.Superseded, status: run.Cancelled},
		{name: "asked to stop", prepare: func(w *world) {
			if _, _, err := w.runs.Stop(w.t.Context(), "r1", executions.Execution{}, outputBucket, ""); err != nil {
				w.t.Fatal(err)
			}
		}, enters: named.RunCancelled, again: named.RunCancelled, status: run.Waiting},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.submit("r1", "t1")
			test.prepare(w)
			w.advance(time.Hour)
			for _, want := range []string{test.enters, test.again} { // a second call of the new life finds it raised
				r, err := w.runs.Continue(t.Context(), call("r1", 1))
				if want != "" {
					namedtest.Want(t, err, want, "")
				} else if err != nil || r.Status != test.status || r.Error != nil || !r.EndedAt.IsZero() || r.TaskID != "t1" {
					t.Fatalf("%+v, %v", r, err)
				}
			}
			if r := w.get("r1"); r.Life != 1 || !r.LifeStartedAt.Equal(began.Add(time.Hour)) || r.Status != test.status {
				t.Errorf("recorded %+v", r)
			}
			_, err := w.runs.Continue(t.Context(), call("r1", 0))
			namedtest.Want(t, err, named.Superseded, "")
			old := w.get("r1")
			old.life = 0
			_, err = w.runs.Note(t.Context(), old, func(r *run.Record) { r.CopyCalls++ })
			namedtest.Want(t, err, named.Superseded, "")
			if _, err := w.runs.Reread(t.Context(), old); !named.Is(err, named.Superseded) {
				t.Errorf("a check of the earlier life: %v", err)
			}
		})
	}
}

// TestDeadline: a redrive gives the task max_seconds again, at most until seven
// days after the first start; the submission has them from that start alone.
func TestDeadline(t *testing.T) {
	w := newWorld(t)
	w.submit("r1", "t1")
	for _, test := range []struct {
		life int
		at   time.Duration
		want time.Duration
	}{
		{life: 1, at: 48 * time.Hour, want: 72 * time.Hour}, {life: 2, at: 6*24*time.Hour + time.Hour, want: 7 * 24 * time.Hour}, {life: 3, at: 20 * 24 * time.Hour, want: 7 * 24 * time.Hour},
	} {
		w.advance(began.Add(test.at).Sub(w.clock()))
		r, err := w.runs.Continue(t.Context(), call("r1", test.life))
		if err != nil || !r.Deadline().Equal(began.Add(test.want)) || !r.SubmitBy().Equal(began.Add(24*time.Hour)) {
			t.Errorf("life %d: until %s, submit by %s, %v", test.life, r.Deadline(), r.SubmitBy(), err)
		}
	}
}

// TestLifeOfACallThatDoesNotSay: executions of an older definition of the state
// machine give no redrive count, so Step Functions is asked.
func TestLifeOfACallThatDoesNotSay(t *testing.T) {
	w := newWorld(t)
	silent := Call{RunID: "r1", ExecutionARN: arnPrefix + "r1", StartedAt: began}
	if r, err := w.runs.Begin(t.Context(), silent, w.request(), outputBucket, ""); err != nil || r.Life != 0 {
		t.Errorf("Step Functions does not know it yet: %+v, %v", r, err)
	}
	w.execution("r1", executions.Running, 2, "", "")
	if r, err := w.runs.Continue(t.Context(), Call{RunID: "r1"}); err != nil || r.Life != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	w.runs.Executions = fakeExecutions{describe: func(string) (executions.Execution, error) {
		return executions.Execution{}, named.Errorf(named.Unavailable, "throttled")
	}}
	if _, err := w.runs.Continue(t.Context(), Call{RunID: "r1"}); !named.Is(err, named.Unavailable) {
		t.Errorf("while Step Functions is away: %v", err)
	}
	if _, err := w.runs.Continue(t.Context(), call("r1", 2)); err != nil {
		t.Errorf("who says its life asks nobody: %v", err)
	}
	_, err := w.runs.Continue(t.Context(), call("none", 0))
	namedtest.Want(t, err, named.RunNotFound, "none")
}

// TestEntersAtEachCall: a step of the next life enters beside whatever the close
// of the last one does. None of its calls undoes the new life.
func TestEntersAtEachCall(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		w.submit("r1", "t1")
		event := w.execution("r1", executions.Failed, 0, named.Unavailable, "x")
		met := w.at(n, func(at string) {
			w.execution("r1", executions.Running, 1, "", "")
			r, err := w.runs.Continue(t.Context(), call("r1", 1))
			if err != nil || !r.Status.Open() {
				t.Errorf("before %s: %+v, %v", at, r, err)
			}
			if _, err = w.runs.Mark(t.Context(), r, "wf-1", w.submission("x")); !named.Is(err, named.SubmitInDoubt) { // it has its task
				t.Errorf("before %s: %v", at, err)
			}
		})
		ended, sure, ok, err := w.close.Ended(t.Context(), event)
		if err == nil && ok {
			_, err = w.close.Close(t.Context(), ended, sure)
		}
		if err != nil {
			t.Errorf("at call %d: %v", n, err)
		}
		w.around = nil
		if !*met {
			if n < 6 {
				t.Errorf("only %d calls", n)
			}
			return
		}
		if r := w.get("r1"); !r.Status.Open() || r.Life != 1 || r.Error != nil || len(w.asked) > 0 {
			t.Errorf("at call %d: %+v, cancelled %v", n, r, w.asked)
		}
		if r, err := w.runs.Continue(t.Context(), call("r1", 1)); err != nil {
			t.Errorf("at call %d the life was undone: %+v, %v", n, r, err)
		}
	}
}
