package handler

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

// stopRun marks the stop, cancels the task and stops the execution; close-run
// closes the record. A run that has ended is answered as it is.
func (h *Handler) stopRun(w http.ResponseWriter, r *http.Request) error {
	ctx, id := r.Context(), r.PathValue("id")
	record, err := h.markStop(ctx, id)
	if err != nil {
		return err
	}
	if !record.Status.Open() {
		// Of a run that failed the task may go on, or it could not be cancelled at the stop.
		if record.Status != run.Succeeded {
			if err := h.cancelOwn(ctx, record); err != nil {
				return err
			}
		}
		return writeJSON(w, http.StatusAccepted, started{id, record.Status})
	}
	// First the cause of the costs. If Cyberun is down the execution is stopped
	// all the same: close-run and its sweep go on cancelling.
	if err := h.cancelOwn(ctx, record); err != nil {
		h.Log.WarnContext(ctx, "the task is not cancelled yet", "run_id", id, "cause", err.Error())
	}
	arn, cause := h.executionARN(id), "stopped through the API"
	name := named.RunCancelled
	_, err = h.Executions.StopExecution(ctx, &sfn.StopExecutionInput{ExecutionArn: &arn, Error: &name, Cause: &cause})
	if err != nil && h.running(ctx, id) {
		return named.Errorf(named.Unavailable, "Step Functions could not stop the run %s: %w", id, err)
	}
	return writeJSON(w, http.StatusAccepted, started{id, run.Cancelled})
}

// cancelOwn cancels the run's task, if it is the run's to cancel.
func (h *Handler) cancelOwn(ctx context.Context, record run.Record) error {
	may, _, err := h.Records.MayCancel(ctx, record)
	if err != nil || !may {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	if err := h.Cyberun.Cancel(ctx, record.TaskID); err != nil {
		return cyberun.RemoteError("cancel the task "+record.TaskID, err)
	}
	return nil
}

// running tells a stop that failed from one that came too late: an execution
// that has ended is not to be stopped any more.
func (h *Handler) running(ctx context.Context, id string) bool {
	execution, err := h.describe(ctx, id)
	return err != nil || execution != nil && statusOf(execution.Status).Open()
}

// markStop leaves the mark that every step honours: in the record, or in place
// of one that Submit has not made yet.
func (h *Handler) markStop(ctx context.Context, id string) (run.Record, error) {
	now := h.Now().UTC()
	mark := func(r *run.Record) error {
		if r.Status.Open() && r.StopRequestedAt.IsZero() {
			r.StopRequestedAt = now
		}
		return nil
	}
	record, err := h.Records.Update(ctx, id, mark)
	if err == nil && record.Status == run.Failed {
		return h.markRedriven(ctx, record, mark)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return record, err
	}
	execution, err := h.find(ctx, id)
	if err != nil {
		return record, err
	}
	if execution == nil {
		return record, notFound(id)
	}
	if status := statusOf(execution.Status); !status.Open() {
		return run.Record{RunID: id, Status: status}, nil
	}
	request, _ := run.ParseRequest([]byte(text(execution.Input)))
	tombstone := run.Record{
		RunID: id, ExecutionARN: h.executionARN(id), StartedAt: *execution.StartDate, StopRequestedAt: now,
		Status: run.Submitting, Workflow: cmp.Or(request.Workflow, run.RescueSlug), MaxSeconds: cmp.Or(request.MaxSeconds, run.DefaultMaxSeconds),
	}
	if prefix := cmp.Or(request.Destination.Prefix, run.DefaultPrefix); run.ValidPrefix(prefix) {
		tombstone.Prefix = prefix
	}
	created, err := h.Records.Create(ctx, tombstone)
	if errors.Is(err, store.ErrExists) {
		return h.Records.Update(ctx, id, mark)
	}
	return created, err
}

// markRedriven: of a failed run that a redrive has set going again, the record is
// closed until its step comes. It is opened here, so that the step finds the stop
// and, should no step come, close-run closes it as stopped.
func (h *Handler) markRedriven(ctx context.Context, record run.Record, mark func(*run.Record) error) (run.Record, error) {
	execution, err := h.describe(ctx, record.RunID)
	if err != nil || execution == nil || !statusOf(execution.Status).Open() {
		return record, err
	}
	if _, err := h.Records.Reopen(ctx, record.RunID); err != nil {
		return record, err
	}
	return h.Records.Update(ctx, record.RunID, mark)
}
