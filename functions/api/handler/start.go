package handler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/api"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/httpapi"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/workflows"
)

const (
	// maxIdempotencyKey is in bytes; longer ones are refused, not cut.
	maxIdempotencyKey = 255
)

// startRun checks everything that can be checked before money is spent, and
// starts the execution.
func (h *Handler) startRun(ctx context.Context, r httpapi.Request) (none httpapi.Response, err error) {
	key, keyed := httpapi.Header(r, "Idempotency-Key")
	var runID string
	if !keyed {
		runID = h.NewID()
	} else if runID, err = keyedRunID(key); err != nil {
		return none, err
	}
	body, err := httpapi.Body(r)
	if err != nil {
		return none, err
	}
	request, violations := run.ParseRequest(body)
	input, err := run.Canonical(body)
	if err != nil {
		return none, violations.Err()
	}
	if keyed {
		// Before the checks: what was started once is the answer, whatever has
		// become of its workflow since.
		standing, err := h.Runs.Get(ctx, runID)
		switch {
		case err == nil && standing.RequestHash != request.Hash:
			return none, conflict(runID)
		case err == nil:
			return accepted(runID, standing.Status.Shown())
		case !errors.Is(err, lifecycle.ErrNoRecord):
			return none, err
		}
	}
	if err := h.check(ctx, request, violations); err != nil {
		return none, err
	}
	status := run.Submitting
	err = h.Executions.Start(ctx, runID, string(input))
	if errors.Is(err, executions.ErrExists) {
		status, err = h.statusOfSame(ctx, runID, input)
	}
	if named.Is(err, named.Unavailable) {
		err = mayHaveStarted(runID, keyed, err)
	}
	if err != nil {
		return none, err
	}
	return accepted(runID, status)
}

// mayHaveStarted says in an error that the run may have been started all the same, and
// keeps a caller who gave no Idempotency-Key from paying for a second run.
func mayHaveStarted(runID string, keyed bool, err error) error {
	e := named.Within("the run "+runID+" may have been started", err)
	if !keyed {
		e.Hint = "ask GET /runs/" + runID + " before you send the request again: without an Idempotency-Key that is another run, and is paid for as well"
	}
	return e
}

func conflict(runID string) error {
	return named.Errorf(named.IdempotencyConflict, "this Idempotency-Key was used with another request: run %s", runID)
}

// accepted answers 202 with where the run can be looked at.
func accepted(runID string, status run.Status) (httpapi.Response, error) {
	answer, err := httpapi.JSON(http.StatusAccepted, api.Accepted{RunID: runID, Status: status})
	if err == nil {
		answer.Headers["location"] = "/runs/" + url.PathEscape(runID)
	}
	return answer, err
}

// keyedRunID returns the run id that an Idempotency-Key stands for. The whole
// header is the key: an HTTP API joins repeated ones with commas.
func keyedRunID(key string) (string, error) {
	if key == "" || len(key) > maxIdempotencyKey || strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' }) {
		return "", named.Violations{{Parameter: "Idempotency-Key", Message: "must be 1 to 255 printable ASCII characters"}}.Err()
	}
	sum := sha256.Sum256([]byte(key))
	return "key-" + hex.EncodeToString(sum[:16]), nil
}

// check returns every fault of a request at once, those that the workflow finds
// included. Nothing is submitted or paid.
func (h *Handler) check(ctx context.Context, request run.Request, violations named.Violations) error {
	if request.Workflow == "" || request.TaskID != "" {
		return violations.Err()
	}
	callCtx, cancel := context.WithTimeout(ctx, cyberun.CallTime)
	defer cancel()
	workflow, err := h.Cyberun.Workflow(callCtx, request.Workflow)
	if err != nil {
		if len(violations) > 0 {
			return violations.Err() // these stand, whatever the workflow would say
		}
		return cyberun.WorkflowError(request.Workflow, err)
	}
	_, more := workflows.CheckParameters(request, workflow)
	if err := append(violations, more...).Err(); err != nil {
		return err
	}
	return workflows.CheckWorkflow(request.Workflow, workflow)
}

// statusOfSame returns the status of the run that an earlier request started under
// this id, or IdempotencyConflict if that was another request than input.
func (h *Handler) statusOfSame(ctx context.Context, runID string, input []byte) (run.Status, error) {
	execution, err := h.find(ctx, runID)
	if errors.Is(err, executions.ErrNotFound) {
		return "", named.Errorf(named.Unavailable, "Step Functions has the run %s and does not show it yet: send the same request again", runID)
	}
	if err != nil {
		return "", err
	}
	before, err := run.Canonical([]byte(execution.Input))
	if err != nil || string(before) != string(input) {
		return "", conflict(runID)
	}
	record, err := h.Runs.Get(ctx, runID)
	if errors.Is(err, lifecycle.ErrNoRecord) {
		return statusOf(execution.Status), nil
	}
	return record.Status.Shown(), err
}
