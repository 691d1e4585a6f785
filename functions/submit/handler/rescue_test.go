package handler

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

// rescuing is a world with a task and a run that was started for it.
func rescuing(t *testing.T) (*world, Input, string) {
	w := newWorld(t)
	id := w.service.start(map[string]any{"prompt": "r1"})
	return w, w.input("r1", fmt.Sprintf(`{"task_id":%q}`, id)), id
}

func TestRescue(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(w *world, id string)
		want    string
		text    string
	}{
		{"nobody's", func(*world, string) {}, "", ""},
		{"its own already", func(w *world, id string) { w.claim(id, store.Claim{RunID: "r1"}) }, "", ""},
		{"its own candidate", func(w *world, id string) { w.claim(id, candidateOf("r1")) }, "", ""},
		{"a live run's", func(w *world, id string) { w.owned(id, "r0", run.Waiting, true) }, named.TaskTaken, "belongs to the run r0"},
		{"a live run's candidate", func(w *world, id string) { w.owned(id, "r0", run.Submitting, true); w.recandidate(id, "r0") }, named.TaskTaken, "r0"},
		{"a failed run's", func(w *world, id string) { w.owned(id, "r0", run.Failed, false) }, "", ""},
		{"a failed run's candidate", func(w *world, id string) { w.owned(id, "r0", run.Failed, false); w.recandidate(id, "r0") }, "", ""},
		{"a cancelled run's", func(w *world, id string) { w.owned(id, "r0", run.Cancelled, false) }, "", ""},
		{"a delivered run's", func(w *world, id string) { w.owned(id, "r0", run.Succeeded, false) }, "", ""},
		{"a run's that ended, not closed yet", func(w *world, id string) { w.owned(id, "r0", run.Waiting, false) }, "", ""},
		{"an expired run's", func(w *world, id string) { w.claim(id, store.Claim{RunID: "r0"}) }, "", ""},
		{"key refused", func(w *world, _ string) { w.fails("Task", answered(http.StatusUnauthorized)) }, named.Unauthorized, ""},
		{"Cyberun away", func(w *world, _ string) { w.fails("Task", errNetwork) }, named.Unavailable, ""},
		{"Step Functions away", func(w *world, id string) {
			w.owned(id, "r0", run.Waiting, false)
			w.fails("DescribeExecution", named.Errorf(named.Unavailable, "x"))
		}, named.Unavailable, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, in, id := rescuing(t)
			test.prepare(w, id)
			out, _, err, _ := w.once(in)
			if test.want != "" {
				wantName(t, err, test.want, test.text)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			w.checkSettled("r1", out)
			record, _ := w.records().Get(t.Context(), "r1")
			if !record.Rescued || record.Workflow != run.RescueSlug || record.MayCancelTask() {
				t.Errorf("%+v", record)
			}
			if len(w.service.tasks) != 1 {
				t.Error("submitted one as well")
			}
		})
	}
}

// owned makes a task some run's.
func (w *world) owned(taskID, runID string, status run.Status, running bool) {
	w.claim(taskID, store.Claim{RunID: runID})
	w.running[arnPrefix+runID] = running
	if _, err := w.records().Create(w.t.Context(), run.Record{RunID: runID, ExecutionARN: arnPrefix + runID, StartedAt: began, Status: status, TaskID: taskID}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) recandidate(taskID, runID string) {
	if err := w.records().TakeOver(w.t.Context(), taskID, store.Claim{RunID: runID}, candidateOf(runID)); err != nil {
		w.t.Fatal(err)
	}
}

func TestRescueWithAFault(t *testing.T) {
	w, _, id := rescuing(t)
	_, _, err, _ := w.once(w.input("r1", fmt.Sprintf(`{"task_id":%q,"parameters":{}}`, id)))
	wantName(t, err, named.InvalidRequest, "parameters")
}

// TestRescuedTwice at once: one gets it.
func TestRescuedTwice(t *testing.T) {
	w, in, id := rescuing(t)
	w.owned(id, "r0", run.Failed, false)
	other := w.input("r2", string(in.Request))
	var otherErr error
	count := 0
	w.around = func(call string, do func() error) error {
		if count++; call == "PutObject state/tasks/"+id && count > 6 { // the take-over itself
			w.around = nil
			_, _, otherErr, _ = w.once(other)
		}
		return do()
	}
	_, err := w.drive(in)
	if w.around = nil; otherErr != nil {
		t.Fatal(otherErr)
	}
	wantName(t, err, named.TaskTaken, "")
	claim, _ := w.records().ClaimOf(t.Context(), id)
	if claim.RunID != "r2" {
		t.Errorf("%+v", claim)
	}
}

// TestRescueCrashes at every call.
func TestRescueCrashes(t *testing.T) {
	prepare := func(w *world) Input {
		id := w.service.start(map[string]any{"prompt": "r1"})
		w.owned(id, "r0", run.Waiting, false)
		return w.input("r1", fmt.Sprintf(`{"task_id":%q}`, id))
	}
	w := newWorld(t)
	in := prepare(w)
	var names []string
	w.around = func(call string, do func() error) error { names = append(names, call); return do() }
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
			w.around = nil
			claim, _ := w.records().ClaimOf(t.Context(), out.TaskID)
			record, _ := w.records().Get(t.Context(), "r1")
			if claim.RunID != "r1" || claim.Candidate || !record.Rescued || record.TaskID != out.TaskID {
				t.Errorf("%s at %d %s: %+v, %+v", f.name, n+1, call, claim, record)
			}
		}
	}
}

// TestTakenOver: the run whose task was rescued is refused when it is redriven.
func TestTakenOver(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	out, err := w.drive(in)
	if err != nil {
		t.Fatal(err)
	}
	closeFailed(w, "r1")
	if _, err := w.drive(w.input("r2", fmt.Sprintf(`{"task_id":%q}`, out.TaskID))); err != nil {
		t.Fatal(err)
	}
	_, err = w.drive(in)
	wantName(t, err, named.TaskTaken, "belongs to the run r2")
	if task := w.service.task(out.TaskID); task.Status == cyberun.StatusCancelled {
		t.Error("cancelled")
	}
}

// TestRescueOfTaskInDoubt: a rescue says who delivers a task, not who started it.
// The run that may have started it does not take it for proof that it never did.
func TestRescueOfTaskInDoubt(t *testing.T) {
	rescue := func(w *world, task string) {
		t.Helper()
		if _, _, err, _ := w.once(w.input("b1", fmt.Sprintf(`{"task_id":%q}`, task))); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("while the run lives", func(t *testing.T) {
		w, in := doubtful(t, true)
		rescue(w, w.service.paid("r1")[0])
		_, err := w.drive(in)
		wantName(t, err, named.SubmitOutcomeUnknown, w.service.paid("r1")[0])
		if paid := w.service.paid("r1"); len(paid) != 1 {
			t.Errorf("paid %v", paid)
		}
	})
	t.Run("as its hint says, then redriven", func(t *testing.T) {
		w, in := doubtful(t, true)
		w.mark("r9", began) // a rival: r1 must not adopt
		_, err := w.drive(in)
		wantName(t, err, named.SubmitOutcomeUnknown, "")
		closeFailed(w, "r1")
		w.running[arnPrefix+"r1"] = false
		rescue(w, w.service.paid("r1")[0])
		w.running[arnPrefix+"r1"] = true
		_, err = w.drive(in)
		wantName(t, err, named.SubmitOutcomeUnknown, "")
		if paid := w.service.paid("r1"); len(paid) != 1 {
			t.Errorf("paid %v", paid)
		}
	})
}
