package lifecycle

import (
	"fmt"
	"sync"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// TestOwnershipGrows: what is known more surely replaces what is known less
// surely, never the other way; a deliverer that stands stays.
func TestOwnershipGrows(t *testing.T) {
	receipt := run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: "r1"}
	exclusion := run.Ownership{StartedBy: "r1", Evidence: run.ByExclusion, DeliveredBy: "r1"}
	candidate := run.Ownership{StartedBy: "r1", Evidence: run.AsCandidate}
	rescue := run.Ownership{Evidence: run.ByRescue, DeliveredBy: "r1"}
	tests := []struct {
		name string
		had  run.Ownership
		fact run.Ownership
		want run.Ownership
	}{
		{"a receipt after a rescue", rescue, run.Ownership{StartedBy: "r2", Evidence: run.ByReceipt, DeliveredBy: "r2"}, run.Ownership{StartedBy: "r2", Evidence: run.ByReceipt, DeliveredBy: "r1"}},
		{"a receipt after a guess", candidate, run.Ownership{StartedBy: "r2", Evidence: run.ByReceipt, DeliveredBy: "r2"}, run.Ownership{StartedBy: "r2", Evidence: run.ByReceipt, DeliveredBy: "r2"}},
		{"a receipt after an adoption", exclusion, run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: "r1"}, receipt},
		{"another run's receipt after an adoption", exclusion, run.Ownership{StartedBy: "r2", Evidence: run.ByReceipt, DeliveredBy: "r2"}, run.Ownership{StartedBy: "r2", Evidence: run.ByReceipt, DeliveredBy: "r1"}},
		{"a rescue after a receipt", receipt, run.Ownership{Evidence: run.ByRescue, DeliveredBy: "r9"}, receipt},
		{"a guess after a receipt", receipt, run.Ownership{StartedBy: "r2", Evidence: run.AsCandidate}, receipt},
		{"a guess after an adoption", exclusion, run.Ownership{StartedBy: "r2", Evidence: run.AsCandidate}, exclusion},
		{"a guess after a rescue", rescue, candidate, run.Ownership{StartedBy: "r1", Evidence: run.AsCandidate, DeliveredBy: "r1"}},
		{"another's guess after a guess", candidate, run.Ownership{StartedBy: "r2", Evidence: run.AsCandidate}, candidate},
		{"an adoption after another's", exclusion, run.Ownership{StartedBy: "r2", Evidence: run.ByExclusion, DeliveredBy: "r2"}, exclusion},
		{"an adoption after a guess", candidate, exclusion, exclusion},
		{"a rescue after a guess: who started it stays known", candidate, run.Ownership{Evidence: run.ByRescue, DeliveredBy: "r9"}, run.Ownership{StartedBy: "r1", Evidence: run.AsCandidate, DeliveredBy: "r9"}},
		{"the same receipt again", receipt, receipt, receipt},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			for _, fact := range []run.Ownership{test.had, test.fact, test.fact} {
				if _, err := w.runs.addOwnership(t.Context(), "t1", fact); err != nil {
					t.Fatal(err)
				}
			}
			if got := w.ownership("t1"); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestMayCancel(t *testing.T) {
	tests := []struct {
		name string
		own  run.Ownership
		want bool
	}{
		{"its own, by a receipt", run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: "r1"}, true},
		{"its own, delivered by another", run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: "r9"}, false},
		{"adopted", run.Ownership{StartedBy: "r1", Evidence: run.ByExclusion, DeliveredBy: "r1"}, false},
		{"a guess", run.Ownership{StartedBy: "r1", Evidence: run.AsCandidate, DeliveredBy: "r1"}, false},
		{"rescued", run.Ownership{Evidence: run.ByRescue, DeliveredBy: "r1"}, false},
		{"another's", run.Ownership{StartedBy: "r2", Evidence: run.ByReceipt, DeliveredBy: "r1"}, false},
	}
	for _, test := range tests {
		if got := test.own.MayCancel("r1"); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// TestAdoptedByOne: of two runs in doubt that would adopt one task, one does, and
// the other is told whose it is.
func TestAdoptedByOne(t *testing.T) {
	w := newWorld(t)
	one, two := w.doubt("r1"), w.doubt("r2")
	found, err := w.runs.AttachTask(t.Context(), one, "t1")
	if err != nil || found.TaskID != "t1" || !found.Adopted || found.Evidence != run.ByExclusion || found.Status != run.Waiting {
		t.Errorf("%+v, %v", found, err)
	}
	_, err = w.runs.AttachTask(t.Context(), two, "t1")
	namedtest.Want(t, err, named.SubmitInDoubt, "the run r1's")
	if got := w.get("r2"); got.TaskID != "" {
		t.Errorf("%+v", got)
	}
	w = newWorld(t)
	runs := []Run{w.doubt("r0"), w.doubt("r1"), w.doubt("r2"), w.doubt("r3")}
	var group sync.WaitGroup
	for _, r := range runs {
		group.Go(func() {
			if _, err := w.runs.AttachTask(t.Context(), r, "t1"); err != nil && !named.Is(err, named.SubmitInDoubt) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	have := 0
	for i := range runs {
		if r := w.get(fmt.Sprint("r", i)); r.TaskID == "t1" {
			have++
			if w.ownership("t1").StartedBy != r.RunID {
				t.Errorf("%s has it and %+v", r.RunID, w.ownership("t1"))
			}
		}
	}
	if have != 1 {
		t.Errorf("%d runs adopted it", have)
	}
}

// TestRescues: a rescue changes who delivers alone; it is refused while a run that
// has not ended delivers, and takes over from one that has, by its record or by
// Step Functions.
func TestRescues(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(w *world)
		taken   bool
		want    run.Ownership
	}{
		{name: "a task of nobody here", prepare: func(*world) {}, want: run.Ownership{Evidence: run.ByRescue, DeliveredBy: "r9"}},
		{name: "of a live run", prepare: func(w *world) { w.submit("r1", "t1") }, taken: true, want: run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: "r1"}},
		{name: "of a run that failed", prepare: func(w *world) {
			w.submit("r1", "t1")
			w.closes(w.execution("r1", executions.Failed, 0, named.Unavailable, "x"))
		}, want: run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: "r9"}},
		{name: "of a run whose end is not recorded yet", prepare: func(w *world) {
			w.submit("r1", "t1")
			w.execution("r1", executions.Failed, 0, named.Unavailable, "x")
		}, want: run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: "r9"}},
		{name: "of a run whose execution is forgotten", prepare: func(w *world) {
			w.submit("r1", "t1")
			delete(w.executions, "r1")
		}, want: run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: "r9"}},
		{name: "of a run that has succeeded, its execution in its last state", prepare: func(w *world) {
			r := w.copied("r1", "t1")
			if _, err := w.runs.Deliver(w.t.Context(), r, manifestOf(r)); err != nil {
				w.t.Fatal(err)
			}
		}, want: run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: "r9"}},
		{name: "of a run without a record", prepare: func(w *world) {
			if _, err := w.runs.addOwnership(w.t.Context(), "t1", run.Ownership{Evidence: run.ByRescue, DeliveredBy: "gone"}); err != nil {
				w.t.Fatal(err)
			}
		}, want: run.Ownership{Evidence: run.ByRescue, DeliveredBy: "r9"}},
		{name: "of a rescue that died before it had the task", prepare: func(w *world) {
			w.execution("r5", executions.Failed, 0, "Lambda.Unknown", "x")
			w.begin("r5", 0)
			if _, err := w.runs.addOwnership(w.t.Context(), "t1", run.Ownership{Evidence: run.ByRescue, DeliveredBy: "r5"}); err != nil {
				w.t.Fatal(err)
			}
		}, want: run.Ownership{Evidence: run.ByRescue, DeliveredBy: "r9"}},
		{name: "named by a run in doubt", prepare: func(w *world) {
			if err := w.runs.LeaveToPerson(w.t.Context(), w.doubt("r1"), []run.Candidate{{TaskID: "t1"}}); err != nil {
				w.t.Fatal(err)
			}
		}, want: run.Ownership{StartedBy: "r1", Evidence: run.AsCandidate, DeliveredBy: "r9"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			test.prepare(w)
			w.execution("r9", executions.Running, 0, "", "")
			for range 2 {
				r, err := w.runs.RescueTask(t.Context(), w.begin("r9", 0), "t1", "their-workflow")
				if test.taken {
					namedtest.Want(t, err, named.TaskTaken, "the run r1, which has not ended, delivers the task t1")
				} else if err != nil && !named.Is(err, named.SubmitInDoubt) { // the second finds the task recorded
					t.Fatal(err)
				} else if got := w.get("r9"); r.TaskID != "t1" || got.TaskID != "t1" || got.Evidence != run.ByRescue || got.TaskWorkflow != "their-workflow" || got.Status != run.Waiting {
					t.Errorf("%+v", got)
				}
			}
			if got := w.ownership("t1"); got != test.want {
				t.Errorf("owned %+v, want %+v", got, test.want)
			}
		})
	}
}

// TestRedriveBesideARescue: the run that started a task may not deliver it while a
// rescue does, and may again once the rescue has ended, even one that died before
// it had the task.
func TestRedriveBesideARescue(t *testing.T) {
	w := newWorld(t)
	w.submit("r1", "t1")
	w.closes(w.execution("r1", executions.Failed, 0, named.Unavailable, "x"))
	w.execution("r9", executions.Running, 0, "", "")
	if _, err := w.runs.RescueTask(t.Context(), w.begin("r9", 0), "t1", "x"); err != nil {
		t.Fatal(err)
	}
	redriven := w.begin("r1", 1)
	_, err := w.runs.CompleteSubmission(t.Context(), redriven)
	namedtest.Want(t, err, named.TaskTaken, "r9")
	w.execution("r9", executions.Failed, 0, named.Unavailable, "x")
	if _, err := w.runs.CompleteSubmission(t.Context(), redriven); err != nil || w.ownership("t1").DeliveredBy != "r1" {
		t.Errorf("%v, %+v", err, w.ownership("t1"))
	}
}

// TestRescueForgetsNothing: r1 is in doubt and its task was rescued by r5. r1 must
// never take that for proof that its own task does not exist, and pay again.
func TestRescueForgetsNothing(t *testing.T) {
	w := newWorld(t)
	w.doubt("r1")
	// r1 had adopted the task in the ownership and died before it recorded it.
	if _, err := w.runs.addOwnership(t.Context(), "t1", run.Ownership{StartedBy: "r1", Evidence: run.ByExclusion, DeliveredBy: "r1"}); err != nil {
		t.Fatal(err)
	}
	w.closes(w.execution("r1", executions.Failed, 0, named.Unauthorized, "x"))
	w.execution("r5", executions.Running, 0, "", "")
	if _, err := w.runs.RescueTask(t.Context(), w.begin("r5", 0), "t1", "x"); err != nil {
		t.Fatal(err)
	}
	if o := w.ownership("t1"); o.StartedBy != "r1" || o.Evidence != run.ByExclusion || o.DeliveredBy != "r5" {
		t.Errorf("who started it is forgotten: %+v", o)
	}
	r := w.begin("r1", 1)
	if found, err := w.runs.AttachTask(t.Context(), r, "t1"); err != nil || found.TaskID != "t1" {
		t.Errorf("%+v, %v", found, err)
	}
	_, err := w.runs.CompleteSubmission(t.Context(), w.get("r1"))
	namedtest.Want(t, err, named.TaskTaken, "r5")
}
