package handler

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

func rescueOf(taskID string) string { return fmt.Sprintf(`{"task_id":%q}`, taskID) }

// rescuing is a world with a task and a run that was started for it.
func rescuing(t *testing.T) (*world, Input, string) {
	w := newWorld(t)
	id := w.Cyberun.Start(map[string]any{"prompt": "r1"})
	return w, w.input("r1", rescueOf(id)), id
}

// owned makes a task the run r0's, by how it is known; r0 is of that status, and
// its execution runs or has ended.
func (w *world) owned(taskID string, how run.Evidence, status run.Status, running bool) {
	w.own(taskID, run.Ownership{StartedBy: "r0", Evidence: how, DeliveredBy: "r0"})
	w.standing("r0", taskID, status, running)
}

// standing writes the record of a run with a task.
func (w *world) standing(runID, taskID string, status run.Status, running bool) {
	in := w.input(runID, prompted(runID))
	if !running {
		w.Executions.End(runID, executions.Failed, named.Errorf(named.Unavailable, "x"))
	}
	w.Set("runs/"+runID+".json", run.Record{RunID: runID, ExecutionARN: in.ExecutionARN, StartedAt: in.StartedAt, Status: status, TaskID: taskID, Evidence: run.ByReceipt, MaxSeconds: 60})
}

func TestRescue(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(w *world, id string)
		want    string
		text    string
		after   run.Ownership // of the task, if it was rescued
	}{
		{name: "nobody's", after: run.Ownership{Evidence: run.ByRescue, DeliveredBy: "r1"}},
		{name: "its own already", prepare: func(w *world, id string) { w.own(id, run.Ownership{Evidence: run.ByRescue, DeliveredBy: "r1"}) },
			after: run.Ownership{Evidence: run.ByRescue, DeliveredBy: "r1"}},
		{name: "a candidate of a run that has ended", prepare: func(w *world, id string) {
			w.own(id, run.Ownership{StartedBy: "r0", Evidence: run.AsCandidate})
		}, after: run.Ownership{StartedBy: "r0", Evidence: run.AsCandidate, DeliveredBy: "r1"}},
		{name: "a live run's", prepare: func(w *world, id string) { w.owned(id, run.ByReceipt, run.Waiting, true) }, want: named.TaskTaken, text: "the run r0"},
		{name: "a live run's by exclusion", prepare: func(w *world, id string) { w.owned(id, run.ByExclusion, run.Copying, true) }, want: named.TaskTaken, text: "r0"},
		{name: "a failed run's", prepare: func(w *world, id string) { w.owned(id, run.ByReceipt, run.Failed, false) },
			after: run.Ownership{StartedBy: "r0", Evidence: run.ByReceipt, DeliveredBy: "r1"}},
		{name: "a cancelled run's", prepare: func(w *world, id string) { w.owned(id, run.ByReceipt, run.Cancelled, false) },
			after: run.Ownership{StartedBy: "r0", Evidence: run.ByReceipt, DeliveredBy: "r1"}},
		{name: "a delivered run's", prepare: func(w *world, id string) { w.owned(id, run.ByExclusion, run.Succeeded, false) },
			after: run.Ownership{StartedBy: "r0", Evidence: run.ByExclusion, DeliveredBy: "r1"}},
		{name: "a run's that ended, not closed yet", prepare: func(w *world, id string) { w.owned(id, run.ByReceipt, run.Waiting, false) },
			after: run.Ownership{StartedBy: "r0", Evidence: run.ByReceipt, DeliveredBy: "r1"}},
		{name: "a live run's that is about to record it", prepare: func(w *world, id string) {
			w.owned(id, run.ByReceipt, run.Submitting, true)
			w.standing("r0", "", run.Submitting, true)
		},
			want: named.TaskTaken, text: "the run r0"},
		{name: "a run's that never got it", prepare: func(w *world, id string) {
			w.owned(id, run.ByReceipt, run.Waiting, true)
			w.standing("r0", "another", run.Waiting, true)
		}, after: run.Ownership{StartedBy: "r0", Evidence: run.ByReceipt, DeliveredBy: "r1"}},
		{name: "an expired run's", prepare: func(w *world, id string) {
			w.own(id, run.Ownership{StartedBy: "r0", Evidence: run.ByReceipt, DeliveredBy: "r0"})
		}, after: run.Ownership{StartedBy: "r0", Evidence: run.ByReceipt, DeliveredBy: "r1"}},
		{name: "a live rescue's", prepare: func(w *world, id string) {
			w.own(id, run.Ownership{StartedBy: "r9", Evidence: run.ByReceipt, DeliveredBy: "r0"})
			w.standing("r0", id, run.Waiting, true)
		}, want: named.TaskTaken, text: "the run r0"},
		{name: "key refused", prepare: func(w *world, _ string) { w.Fails("Task", functiontest.Answered(http.StatusUnauthorized)) }, want: named.Unauthorized},
		{name: "Cyberun away", prepare: func(w *world, _ string) { w.Fails("Task", errNetwork) }, want: named.Unavailable},
		{name: "not there, says a proxy", prepare: func(w *world, _ string) { w.Fails("Task", functiontest.HTMLPage(http.StatusNotFound)) }, want: named.Unavailable},
		{name: "Step Functions away", prepare: func(w *world, id string) {
			w.owned(id, run.ByReceipt, run.Waiting, false)
			w.Fails("DescribeExecution", named.Errorf(named.Unavailable, "x"))
		}, want: named.Unavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, in, id := rescuing(t)
			if test.prepare != nil {
				test.prepare(w, id)
			}
			out, _, err, _ := w.once(in)
			w.Around = nil
			if test.want != "" {
				namedtest.Want(t, err, test.want, test.text)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			record := w.Run("r1")
			if out.TaskID != id || record.TaskID != id || record.Evidence != run.ByRescue || record.Workflow != run.RescueSlug || record.TaskWorkflow != "text-to-image" || record.Status != run.Waiting {
				t.Errorf("%+v, %+v", out, record.Record)
			}
			if o := w.ownership(id); o != test.after || o.MayCancel("r1") {
				t.Errorf("%+v, want %+v", o, test.after)
			}
			if len(w.Cyberun.Started) != 1 {
				t.Error("submitted one as well")
			}
		})
	}
}

// TestRescueOfAForgottenWorkflow: a workflow that is gone does not keep its task
// from being delivered.
func TestRescueOfAForgottenWorkflow(t *testing.T) {
	w, in, id := rescuing(t)
	w.Cyberun.Flow.ID = "wf-2"
	if out, err := w.drive(in); err != nil || out.TaskID != id {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestRescueWithAFault(t *testing.T) {
	w, _, id := rescuing(t)
	_, _, err, _ := w.once(w.input("r2", fmt.Sprintf(`{"task_id":%q,"parameters":{}}`, id)))
	namedtest.Want(t, err, named.InvalidRequest, "parameters")
}

// TestRescuedTwice at once: one gets it, wherever the other comes in between.
func TestRescuedTwice(t *testing.T) {
	for n := 1; ; n++ {
		w, in, id := rescuing(t)
		w.owned(id, run.ByReceipt, run.Failed, false)
		other := w.input("r2", string(in.Request))
		var otherErr error
		count := 0
		w.Around = func(_ string, do func() error) error {
			if count++; count == n {
				w.Undisturbed(func() { _, otherErr = w.drive(other) })
			}
			return do()
		}
		_, err := w.drive(in)
		if w.Around = nil; count < n {
			break
		}
		got := w.ownership(id).DeliveredBy
		switch {
		case err == nil && otherErr == nil:
			t.Errorf("at call %d both got it", n)
		case err != nil && otherErr != nil:
			t.Errorf("at call %d neither got it: %v, %v", n, err, otherErr)
		case err != nil && (got != "r2" || !named.Is(err, named.TaskTaken)), err == nil && (got != "r1" || !named.Is(otherErr, named.TaskTaken)):
			t.Errorf("at call %d: %s delivers it; %v, %v", n, got, err, otherErr)
		}
	}
}

// TestRescueCrashes at every call.
func TestRescueCrashes(t *testing.T) {
	prepare := func(w *world) Input {
		id := w.Cyberun.Start(map[string]any{"prompt": "r1"})
		w.owned(id, run.ByReceipt, run.Waiting, false)
		return w.input("r1", rescueOf(id))
	}
	w := newWorld(t)
	in := prepare(w)
	var names []string
	w.Around = func(call string, do func() error) error { names = append(names, call); return do() }
	if _, err := w.drive(in); err != nil {
		t.Fatal(err)
	}
	for _, f := range fates {
		for n, call := range names {
			w := newWorld(t)
			in := prepare(w)
			w.at(n+1, f)
			out, err := w.drive(in)
			if err != nil {
				t.Fatalf("%s at %d %s: %v", f.name, n+1, call, err)
			}
			w.Around = nil
			o, record := w.ownership(out.TaskID), w.Run("r1")
			if o.DeliveredBy != "r1" || o.StartedBy != "r0" || o.Evidence != run.ByReceipt || record.Evidence != run.ByRescue || record.TaskID != out.TaskID {
				t.Errorf("%s at %d %s: %+v, %+v", f.name, n+1, call, o, record.Record)
			}
		}
	}
}

// TestTakenOver: the run whose task was rescued is refused when it is redriven,
// for as long as the rescue lives; then it may have its task back.
func TestTakenOver(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	out, err := w.drive(in)
	if err != nil {
		t.Fatal(err)
	}
	w.fail("r1", named.Errorf(named.Unavailable, "x"))
	if _, err := w.drive(w.input("r2", rescueOf(out.TaskID))); err != nil {
		t.Fatal(err)
	}
	in = w.redrive(in)
	_, err = w.drive(in)
	namedtest.Want(t, err, named.TaskTaken, "the run r2")
	if task := w.Cyberun.Of(out.TaskID); task.Status == cyberun.StatusCancelled {
		t.Error("cancelled")
	}
	w.fail("r1", err)
	w.fail("r2", named.Errorf(named.Unavailable, "x"))
	again, err := w.drive(w.redrive(in))
	if err != nil || again.TaskID != out.TaskID {
		t.Fatalf("%+v, %v", again, err)
	}
	w.checkSettled("r1", again)
}

// TestRedriveAfterADeadRescue: a rescue that died after it had taken the delivery,
// before its record had the task, does not bar the run that started it.
func TestRedriveAfterADeadRescue(t *testing.T) {
	for _, closed := range []bool{true, false} {
		t.Run(fmt.Sprintf("the rescue is closed %v", closed), func(t *testing.T) {
			w := newWorld(t)
			in := w.input("r1", prompted("r1"))
			out, err := w.drive(in)
			if err != nil {
				t.Fatal(err)
			}
			w.fail("r1", named.Errorf(named.Unavailable, "x"))
			writes := 0
			w.Around = func(call string, do func() error) error {
				if call == "PutObject state/runs/r5.json" {
					if writes++; writes > 1 { // the record is there, and never gets its task
						panic(killed{})
					}
				}
				return do()
			}
			_, err = w.drive(w.input("r5", rescueOf(out.TaskID)))
			w.Around = nil
			if err == nil || w.ownership(out.TaskID).DeliveredBy != "r5" || w.Run("r5").TaskID != "" {
				t.Fatalf("the rescue was to die with the delivery: %v, %+v", err, w.ownership(out.TaskID))
			}
			w.Executions.End("r5", executions.Failed, named.Errorf(named.Unavailable, "ten deaths"))
			if closed {
				w.Close("r5")
			}
			again, err := w.drive(w.redrive(in))
			if err != nil {
				t.Fatal(err)
			}
			w.checkSettled("r1", again)
		})
	}
}

// TestRedriveAfterARescueOfAnOwnedTask: r1 in doubt found its task, owned it, and
// died before its record had it. A rescue takes the delivery and leaves who
// started it: redriven, r1 knows its task and never pays for a second one.
func TestRedriveAfterARescueOfAnOwnedTask(t *testing.T) {
	for _, rescueEnds := range []bool{true, false} {
		t.Run(fmt.Sprintf("the rescue ends %v", rescueEnds), func(t *testing.T) {
			w, in := doubtful(t, true)
			mine := w.Cyberun.Paid("r1")[0]
			w.Now = began.Add(time.Minute)
			w.Around = func(call string, do func() error) error {
				if call == "PutObject state/tasks/"+mine {
					_ = do()
					panic(killed{})
				}
				return do()
			}
			if _, _, _, died := w.once(in); !died {
				t.Fatal("it was to die")
			}
			w.Around = nil
			w.fail("r1", named.Errorf(named.Unavailable, "ten deaths"))
			if _, err := w.drive(w.input("r5", rescueOf(mine))); err != nil {
				t.Fatal(err)
			}
			if o := w.ownership(mine); (o != run.Ownership{StartedBy: "r1", Evidence: run.ByExclusion, DeliveredBy: "r5"}) {
				t.Errorf("%+v", o)
			}
			if rescueEnds {
				w.fail("r5", named.Errorf(named.Unavailable, "x"))
			}
			out, err := w.drive(w.redrive(in))
			if paid := w.Cyberun.Paid("r1"); len(paid) != 1 {
				t.Errorf("paid %v", paid)
			}
			if rescueEnds {
				if err != nil {
					t.Fatal(err)
				}
				w.checkSettled("r1", out)
				return
			}
			namedtest.Want(t, err, named.TaskTaken, "r5")
			if record := w.Run("r1"); record.TaskID != mine {
				t.Errorf("%+v", record.Record)
			}
		})
	}
}

// TestRescueOfTaskInDoubt: a rescue says who delivers a task, not who started it.
// The run that may have started it does not take it for proof that it never did.
func TestRescueOfTaskInDoubt(t *testing.T) {
	rescue := func(w *world, task string) {
		t.Helper()
		if _, _, err, _ := w.once(w.input("b1", rescueOf(task))); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("while the run lives", func(t *testing.T) {
		w, in := doubtful(t, true)
		rescue(w, w.Cyberun.Paid("r1")[0])
		_, err := w.drive(in)
		namedtest.Want(t, err, named.SubmitOutcomeUnknown, w.Cyberun.Paid("r1")[0])
		if record := w.Run("r1"); len(record.Candidates) != 1 || record.Candidates[0].DeliveredBy != "b1" {
			t.Errorf("a person is told %+v", record.Candidates)
		}
		if paid := w.Cyberun.Paid("r1"); len(paid) != 1 {
			t.Errorf("paid %v", paid)
		}
	})
	t.Run("by hand, then redriven", func(t *testing.T) {
		w, in := doubtful(t, true)
		w.mark("r9", began) // a rival: r1 must not adopt
		_, err := w.drive(in)
		namedtest.Want(t, err, named.SubmitOutcomeUnknown, "")
		w.fail("r1", err)
		rescue(w, w.Cyberun.Paid("r1")[0])
		_, err = w.drive(w.redrive(in))
		namedtest.Want(t, err, named.SubmitOutcomeUnknown, "")
		if paid := w.Cyberun.Paid("r1"); len(paid) != 1 {
			t.Errorf("paid %v", paid)
		}
	})
}
