package handler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

const ann = "arn:aws:iam::123456789012:user/ann"

// says is a person's POST /runs/{id}/outcome.
func (w *world) says(id, decision string) answer {
	w.T.Helper()
	e := httpEvent("POST", "/runs/"+id+"/outcome", decision)
	e.RequestContext.Authorizer = &events.APIGatewayV2HTTPRequestContextAuthorizerDescription{IAM: &events.APIGatewayV2HTTPRequestContextAuthorizerIAMDescription{UserARN: ann}}
	return w.event(e)
}

// doubtful puts a run there that failed in doubt, whose execution may be redriven.
func (w *world) doubtful() *world {
	w.Record(run.Record{
		RunID: "r1", Status: run.Failed, WorkflowID: "wf-1", Submission: &run.Submission{AttemptID: "a1"}, Posts: 1, EndedAt: began,
		Error: named.Errorf(named.SubmitOutcomeUnknown, "x"), Candidates: []run.Candidate{{TaskID: "t1"}},
	})
	w.Set("tasks/t1", run.Ownership{StartedBy: "r1", Evidence: run.AsCandidate})
	w.start("r1", body, executions.Failed)
	return w
}

// deliverer puts a run r9 there that delivers the task t1 and whose execution is in this
// state.
func (w *world) deliverer(state executions.Status) {
	w.Set("tasks/t1", run.Ownership{StartedBy: "r1", Evidence: run.AsCandidate, DeliveredBy: "r9"})
	w.Record(run.Record{RunID: "r9", Status: run.Waiting, TaskID: "t1", Evidence: run.ByRescue})
	w.start("r9", body, state)
}

// TestOutcomeOfEndedDelivery names the task of a run in doubt that another run was to
// deliver, which has ended without: the decision stands.
func TestOutcomeOfEndedDelivery(t *testing.T) {
	w := newWorld(t).doubtful()
	w.deliverer(executions.Failed)
	if a := w.says("r1", `{"task_id":"t1"}`); a.status != 202 || w.Run("r1").Decision == nil {
		t.Errorf("%+v", a)
	}
}

// TestOutcome: a person's decision is stored with the attempt it speaks of and who said
// it, then the run is redriven.
func TestOutcome(t *testing.T) {
	for decision, want := range map[string]run.Decision{`{"task_id":"t1"}`: {TaskID: "t1"}, `{"not_started":true}`: {NotStarted: true}, "\ufeff" + `{"task_id":"t1"}`: {TaskID: "t1"}} {
		w := newWorld(t).doubtful()
		a := w.says("r1", decision)
		if a.status != 202 || a.body["run_id"] != "r1" || a.body["status"] != "submitting" || len(a.body) != 2 {
			t.Fatalf("%+v", a)
		}
		want.AttemptID, want.DecidedBy, want.DecidedAt = "a1", ann, began
		if d := w.Run("r1").Decision; d == nil || *d != want || fmt.Sprint(w.Executions.Redriven) != "[r1]" {
			t.Errorf("stored %+v, redriven %v", d, w.Executions.Redriven)
		}
		// The same decision again, before and after the redrive's step: 202, nothing new.
		for range 2 {
			if a := w.says("r1", decision); a.status != 202 || a.body["run_id"] != "r1" {
				t.Errorf("the same decision: %+v", a)
			}
			life := 1
			if _, err := w.runs.Continue(t.Context(), lifecycle.Call{RunID: "r1", Redrives: &life}); err != nil {
				t.Fatal(err)
			}
		}
		for _, other := range []string{`{"task_id":"t2"}`, `{"not_started":true}`, `{"task_id":"t1"}`} {
			w.Cyberun.PutTask("t2", cyberun.StatusRunning)
			if a := w.says("r1", other); !strings.HasSuffix(decision, other) && (a.status != 409 || a.body["title"] != "NotInDoubt") {
				t.Errorf("%s after %s: %+v", other, decision, a)
			}
		}
		if d := w.Run("r1").Decision; *d != want || len(w.Executions.Redriven) != 1 {
			t.Errorf("stored %+v, redriven %v", d, w.Executions.Redriven)
		}
		// And once more when the run has failed by something else.
		r := w.Run("r1").Record
		r.Status, r.Submission = run.Failed, nil
		w.Record(r)
		if a := w.says("r1", decision); a.status != 202 || a.body["status"] != "failed" || len(w.Executions.Redriven) != 1 {
			t.Errorf("after it failed: %+v", a)
		}
	}
}

// TestOutcomeRefuses what is no decision, speaks of no such task, or of a run that is
// not in doubt; nothing is stored and nothing redriven.
func TestOutcomeRefuses(t *testing.T) {
	task := `{"task_id":"t1"}`
	tests := []struct {
		name       string
		id         string
		decision   string
		prepare    func(w *world)
		status     int
		title      string
		violations string
	}{
		{name: "nothing", decision: "", status: 400, title: "InvalidRequest", violations: "[outcome]"},
		{name: "no JSON", decision: "{", status: 400, title: "InvalidRequest", violations: "[outcome]"},
		{name: "two decisions", decision: `{"task_id":"t0","task_id":"t1"}`, status: 400, title: "InvalidRequest", violations: "[task_id]"},
		{name: "two decisions, one escaped", decision: `{"task_id":"t0","task\u005fid":"t1"}`, status: 400, title: "InvalidRequest", violations: "[task_id]"},
		{name: "an array", decision: "[]", status: 400, title: "InvalidRequest", violations: "[outcome]"},
		{name: "neither", decision: "{}", status: 400, title: "InvalidRequest", violations: "[outcome]"},
		{name: "both", decision: `{"task_id":"t1","not_started":true}`, status: 400, title: "InvalidRequest", violations: "[outcome]"},
		{name: "an unknown field", decision: `{"task_id":"t1","why":"x"}`, status: 400, title: "InvalidRequest", violations: "[why]"},
		{name: "another type", decision: `{"task_id":7}`, status: 400, title: "InvalidRequest", violations: "[outcome]"},
		{name: "not started is false", decision: `{"not_started":false}`, status: 400, title: "InvalidRequest", violations: "[not_started]"},
		{name: "not an id", decision: `{"task_id":"../x"}`, status: 400, title: "InvalidRequest", violations: "[task_id]"},
		{name: "an empty id", decision: `{"task_id":""}`, status: 400, title: "InvalidRequest", violations: "[task_id]"},
		{name: "too large", decision: `{"task_id":"` + strings.Repeat("x", maxDecision) + `"}`, status: 400, title: "InvalidRequest", violations: "[outcome]"},
		{name: "a task that Cyberun does not know", decision: `{"task_id":"t9"}`, status: 400, title: "InvalidRequest", violations: "[task_id]"},
		{name: "a page says that it does not", decision: task, prepare: func(w *world) { w.Fails("Task", functiontest.HTMLPage(404)) }, status: 503, title: "Unavailable", violations: "[]"},
		{name: "the key was revoked", decision: task, prepare: func(w *world) { w.Fails("Task", functiontest.Answered(401)) }, status: 502, title: "Unauthorized", violations: "[]"},
		{name: "another run delivers it", decision: task, prepare: func(w *world) {
			w.deliverer(executions.Running)
		}, status: 409, title: "TaskTaken", violations: "[]"},
		{name: "another run started it", decision: task, prepare: func(w *world) {
			w.Set("tasks/t1", run.Ownership{StartedBy: "r9", Evidence: run.ByReceipt})
		}, status: 409, title: "TaskTaken", violations: "[]"},
		{name: "no such run", id: "nope", decision: task, status: 404, title: "RunNotFound", violations: "[]"},
		{name: "a run that waits", decision: task, prepare: func(w *world) {
			w.Record(run.Record{RunID: "r1", Status: run.Waiting, TaskID: "t1", Evidence: run.ByReceipt})
		}, status: 409, title: "NotInDoubt", violations: "[]"},
		{name: "a run that waits, and a task that Cyberun does not know", decision: `{"task_id":"t9"}`, prepare: func(w *world) {
			w.Record(run.Record{RunID: "r1", Status: run.Waiting, TaskID: "t1", Evidence: run.ByReceipt})
		}, status: 409, title: "NotInDoubt", violations: "[]"},
		{name: "a run that failed otherwise", decision: `{"not_started":true}`, prepare: func(w *world) {
			w.Record(run.Record{RunID: "r1", Status: run.Failed, TaskID: "t1", Evidence: run.ByReceipt, EndedAt: began})
		}, status: 409, title: "NotInDoubt", violations: "[]"},
		{name: "a run in doubt that has not ended", decision: task, prepare: func(w *world) {
			w.Record(run.Record{RunID: "r1", Status: run.Submitting, Submission: &run.Submission{AttemptID: "a1"}})
		}, status: 409, title: "NotInDoubt", violations: "[]"},
		{name: "a run that was stopped in doubt", decision: task, prepare: func(w *world) {
			w.Record(run.Record{RunID: "r1", Status: run.Cancelled, Submission: &run.Submission{AttemptID: "a1"}, EndedAt: began})
		}, status: 409, title: "NotInDoubt", violations: "[]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t).doubtful()
			if test.prepare != nil {
				test.prepare(w)
			}
			if test.id == "" {
				test.id = "r1"
			}
			a := w.says(test.id, test.decision)
			if a.status != test.status || a.body["title"] != test.title || fmt.Sprint(a.violations()) != test.violations {
				t.Errorf("%d %s", a.status, a.raw)
			}
			if d := w.Run("r1").Decision; d != nil || w.Executions.Redriven != nil {
				t.Errorf("stored %+v, redriven %v", d, w.Executions.Redriven)
			}
		})
	}
}

// TestOutcomeThroughOutages: what was stored stands, and the same decision redrives.
func TestOutcomeThroughOutages(t *testing.T) {
	w := newWorld(t).doubtful()
	w.Fails("RedriveExecution", away)
	if a := w.says("r1", `{"not_started":true}`); a.status != 503 || w.Run("r1").Decision == nil || !strings.Contains(fmt.Sprint(a.body["detail"]), "the decision is stored") || !strings.Contains(fmt.Sprint(a.body["hint"]), "look at the run before") {
		t.Errorf("%+v, %+v", a, w.Run("r1").Decision)
	}
	w.Around = nil
	w.Now = w.Now.Add(time.Minute)
	if a := w.says("r1", `{"not_started":true}`); a.status != 202 || fmt.Sprint(w.Executions.Redriven) != "[r1]" || !w.Run("r1").Decision.DecidedAt.Equal(began) {
		t.Errorf("%+v, redriven %v", a, w.Executions.Redriven)
	}
	// A decision that was stored is answered without Cyberun.
	w = newWorld(t).doubtful()
	if a := w.says("r1", `{"task_id":"t1"}`); a.status != 202 {
		t.Errorf("%+v", a)
	}
	w.Fails("Task", away)
	if a := w.says("r1", `{"task_id":"t1"}`); a.status != 202 {
		t.Errorf("said again while Cyberun is away: %+v", a)
	}
	// Somebody else has redriven it by now.
	w = newWorld(t).doubtful()
	w.Executions.Of("r1").Status = executions.Running
	if a := w.says("r1", `{"task_id":"t1"}`); a.status != 202 {
		t.Errorf("%+v", a)
	}
	// It ended over 14 days ago, or is forgotten: the answer says what is left to do.
	w = newWorld(t).doubtful()
	w.Executions.Forget("r1")
	if a := w.says("r1", `{"task_id":"t1"}`); a.status != 409 || a.body["title"] != "NotInDoubt" || !strings.Contains(a.raw, "task_id") {
		t.Errorf("%+v", a)
	}
}

// TestOutcomeOfATaskThatEnded: it is the run's all the same; the redrive says how
// it ended, or delivers it.
func TestOutcomeOfATaskThatEnded(t *testing.T) {
	for _, status := range []cyberun.Status{"completed", "failed", "cancelled"} {
		w := newWorld(t).doubtful()
		w.Cyberun.PutTask("t1", status)
		if a := w.says("r1", `{"task_id":"t1"}`); a.status != 202 {
			t.Errorf("%s: %+v", status, a)
		}
	}
}

func FuzzOutcome(f *testing.F) {
	for _, s := range []string{`{"task_id":"t1"}`, `{"not_started":true}`, `{"task_id":null}`, `{"not_started":0}`, "null", "", "{", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		said, err := parseOutcome([]byte(body))
		if err != nil && !named.Is(err, named.InvalidRequest) {
			t.Fatal(err)
		}
		if err == nil && (said.TaskID == "") != said.NotStarted {
			t.Fatalf("%q says %+v", body, said)
		}
	})
}
