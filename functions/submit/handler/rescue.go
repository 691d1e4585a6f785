package handler

import (
	"context"
	"errors"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

// rescue takes an existing task as the run's own: it is waited for, copied and
// closed, and never cancelled.
func (h *Handler) rescue(ctx context.Context, record run.Record, taskID string) (Output, error) {
	callCtx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	task, err := h.Cyberun.Task(callCtx, taskID)
	if cyberun.IsNotFound(err) {
		return Output{}, named.Violations{{Parameter: "task_id", Message: "Cyberun knows no task " + taskID + " for this key"}}.Err()
	}
	if err != nil {
		return Output{}, cyberun.RemoteError("look up the task "+taskID, err)
	}
	if err := h.own(ctx, record.RunID, task.ID); err != nil {
		return Output{}, err
	}
	rescued, err := h.store(ctx, record.RunID, task.ID, func(r *run.Record) { r.Rescued = true })
	if err != nil {
		return Output{}, err
	}
	return h.settle(ctx, rescued)
}

// own claims a task, from a run that has ended if need be.
func (h *Handler) own(ctx context.Context, runID, taskID string) error {
	mine := store.Claim{RunID: runID, Rescued: true}
	claim, err := h.Records.Claim(ctx, taskID, mine)
	if err != nil || claim.RunID == runID && !claim.Candidate {
		return err
	}
	mine.Rescued = claim.Candidate || claim.Rescued
	if claim.RunID != runID {
		alive, err := h.alive(ctx, claim.RunID)
		if err != nil {
			return err
		}
		if alive {
			return named.Errorf(named.TaskTaken, "the task %s belongs to the run %s, which has not ended", taskID, claim.RunID)
		}
	}
	if err := h.Records.TakeOver(ctx, taskID, claim, mine); err != nil {
		if errors.Is(err, store.ErrExists) {
			return named.Errorf(named.TaskTaken, "another run took the task %s over first", taskID)
		}
		return err
	}
	return nil
}

// alive asks Step Functions as well: a record may still be open although its
// execution has ended, until close-run has heard of it.
func (h *Handler) alive(ctx context.Context, runID string) (bool, error) {
	owner, err := h.Records.Get(ctx, runID)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil // its record has expired: it ended long ago
	}
	if err != nil || !owner.Status.Open() {
		return false, err
	}
	return h.Executions.Running(ctx, owner.ExecutionARN)
}
