package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/cyberun-cloud/cyberun-relay/shared/api"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/httpapi"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// maxDecision bounds the body of a decision, in bytes: a task's id and some room.
const maxDecision = 4 << 10

// decideOutcome stores a person's decision on the submission of a run that failed in
// doubt, and redrives the run, which acts on it.
func (h *Handler) decideOutcome(ctx context.Context, r httpapi.Request) (none httpapi.Response, err error) {
	id := r.PathParameters["id"]
	body, err := httpapi.Body(r)
	if err != nil {
		return none, err
	}
	decision, err := parseOutcome(body)
	if err != nil {
		return none, err
	}
	decision.DecidedBy, decision.DecidedAt = httpapi.Caller(r), h.Now().UTC()
	record, err := h.Runs.DecideOutcome(ctx, id, decision, func() error {
		if decision.NotStarted {
			return nil
		}
		return h.checkTask(ctx, id, decision.TaskID)
	})
	if errors.Is(err, lifecycle.ErrNoRecord) {
		return none, notFound(id)
	}
	if err != nil {
		return none, err
	}
	status := record.Status.Shown()
	if status == run.Failed && record.InDoubt() {
		if err := h.redrive(ctx, record); named.Is(err, named.Unavailable) {
			e := named.Within("the decision is stored; whether the run was redriven is not known", err)
			e.Hint = "look at the run before you send the decision again: if it has submitted anew meanwhile and failed in doubt once more, the decision would be about that second submission"
			return none, e
		} else if err != nil {
			return none, err
		}
		status = run.Submitting
	}
	return httpapi.JSON(http.StatusAccepted, api.Accepted{RunID: id, Status: status})
}

func (h *Handler) redrive(ctx context.Context, record lifecycle.Run) error {
	err := h.Executions.Redrive(ctx, record.ExecutionARN)
	if !errors.Is(err, executions.ErrNotRedrivable) {
		return err
	}
	if h.running(ctx, record.RunID) {
		return nil // somebody has redriven it: its step finds the decision
	}
	return named.Errorf(named.NotInDoubt, "the run %s can no longer be redriven (Step Functions keeps that for 14 days): start a run with {\"task_id\": \"…\"} for its task, or a new run", record.RunID)
}

// parseOutcome reads the body of the route: the task that the submission in doubt
// started, or that it started none.
func parseOutcome(raw []byte) (decision run.Decision, err error) {
	malformed := named.Violations{{Parameter: "outcome", Message: `must be {"task_id": "…"} or {"not_started": true}`}}.Err()
	if len(bytes.TrimSpace(raw)) == 0 || len(raw) > maxDecision {
		return decision, malformed
	}
	// By the rules of a request: a byte order mark is skipped, and a name that
	// stands twice is refused, for the last one would win.
	document, violations := run.DecodeJSON("outcome", raw)
	if len(violations) > 0 {
		return decision, violations.Err()
	}
	var given struct {
		TaskID     *string `json:"task_id"`
		NotStarted *bool   `json:"not_started"`
	}
	if text, err := json.Marshal(document); err != nil || json.Unmarshal(text, &given) != nil {
		return decision, malformed
	}
	fields, _ := document.(map[string]any)
	for name := range fields {
		if name != "task_id" && name != "not_started" {
			violations.Add(named.Quote(name), "is not a field of a decision; known are task_id and not_started")
		}
	}
	switch {
	case (given.TaskID == nil) == (given.NotStarted == nil):
		violations.Add("outcome", "must say either task_id or not_started")
	case given.NotStarted != nil && !*given.NotStarted:
		violations.Add("not_started", "must be true: name the task with task_id instead")
	case given.NotStarted != nil:
		decision.NotStarted = true
	case !run.ValidTaskID(*given.TaskID):
		violations.Add("task_id", "is not a task id")
	default:
		decision.TaskID = *given.TaskID
	}
	return decision, violations.Err()
}

// checkTask refuses a task that Cyberun does not know, or that another run has.
func (h *Handler) checkTask(ctx context.Context, runID, taskID string) error {
	callCtx, cancel := context.WithTimeout(ctx, cyberun.CallTime)
	defer cancel()
	_, err := h.Cyberun.Task(callCtx, taskID)
	switch {
	case err == nil:
		return h.Runs.RefuseTaken(ctx, runID, taskID)
	case cyberun.IsNotFound(err):
		return named.Violations{{Parameter: "task_id", Message: "Cyberun knows no task " + taskID + " for this key"}}.Err()
	}
	return cyberun.RemoteError("look up the task "+taskID, err)
}
