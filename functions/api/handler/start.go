package handler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/workflows"
)

const (
	// callTime is what a call to Cyberun gets of the 30 s that an HTTP API has.
	callTime = 20 * time.Second
	// maxIdempotencyKey is in bytes; longer ones are refused, not cut.
	maxIdempotencyKey = 255
)

// started answers POST /runs.
type started struct {
	RunID  string     `json:"run_id"`
	Status run.Status `json:"status"`
}

// startRun checks everything that can be checked before money is spent, and
// starts the execution.
func (h *Handler) startRun(w http.ResponseWriter, r *http.Request) error {
	runID, err := h.runID(r)
	if err != nil {
		return err
	}
	raw, err := run.ReadText(r.Body)
	if err != nil {
		return named.Violations{{Parameter: "request", Message: "its body could not be read"}}.Err()
	}
	request, faults := run.ParseRequest(raw)
	input, err := run.Canonical(raw)
	if err != nil {
		return faults.Err()
	}
	if r.Header.Values("Idempotency-Key") != nil {
		// Before the checks: what was started once is the answer, whatever has
		// become of its workflow since.
		standing, err := h.Runs.Get(r.Context(), runID)
		switch {
		case err == nil && standing.RequestHash != request.Hash:
			return conflict(runID)
		case err == nil:
			return h.answer(w, nil, started{runID, standing.Status.Shown()})
		case !errors.Is(err, lifecycle.ErrNoRecord):
			return err
		}
	}
	if err := h.check(r.Context(), request, faults); err != nil {
		return err
	}
	err = h.Executions.Start(r.Context(), runID, string(input))
	if errors.Is(err, executions.ErrExists) {
		status, err := h.same(r.Context(), runID, input)
		return h.answer(w, err, started{runID, status})
	}
	return h.answer(w, err, started{runID, run.Submitting})
}

func conflict(runID string) error {
	return named.Errorf(named.IdempotencyConflict, "this Idempotency-Key was used with another request: run %s", runID)
}

func (h *Handler) answer(w http.ResponseWriter, err error, s started) error {
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/runs/"+url.PathEscape(s.RunID))
	return writeJSON(w, http.StatusAccepted, s)
}

// runID follows from the Idempotency-Key, or is new.
func (h *Handler) runID(r *http.Request) (string, error) {
	keys := r.Header.Values("Idempotency-Key")
	if len(keys) == 0 {
		return h.NewID(), nil
	}
	key := keys[0] // the whole of it: an HTTP API joins repeated headers with commas
	valid := len(key) >= 1 && len(key) <= maxIdempotencyKey
	for _, c := range []byte(key) {
		valid = valid && c >= ' ' && c <= '~'
	}
	if !valid {
		return "", named.Violations{{Parameter: "Idempotency-Key", Message: "must be 1 to 255 printable ASCII characters"}}.Err()
	}
	sum := sha256.Sum256([]byte(key))
	return "key-" + hex.EncodeToString(sum[:16]), nil
}

// check is every fault of the request at once; nothing is submitted or paid.
func (h *Handler) check(ctx context.Context, request run.Request, faults named.Violations) error {
	if request.Workflow == "" || request.TaskID != "" {
		return faults.Err()
	}
	callCtx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	workflow, err := h.Cyberun.Workflow(callCtx, request.Workflow)
	if err != nil {
		if len(faults) > 0 {
			return faults.Err() // these stand, whatever the workflow would say
		}
		return cyberun.WorkflowError(request.Workflow, err)
	}
	_, more := workflows.CheckParameters(request, workflow)
	if err := append(faults, more...).Err(); err != nil {
		return err
	}
	return workflows.CheckWorkflow(request.Workflow, workflow)
}

// same returns the status of an earlier request under this id, or a conflict if
// it was another request.
func (h *Handler) same(ctx context.Context, runID string, input []byte) (run.Status, error) {
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
		return statusOf(execution.State), nil
	}
	return record.Status.Shown(), err
}
