package handler

import (
	"context"
	"errors"
	"net/http"

	"github.com/cyberun-cloud/cyberun-relay/shared/api"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/fanout"
	"github.com/cyberun-cloud/cyberun-relay/shared/httpapi"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// stopRun notes the stop in the record, then cancels the task and stops the execution
// side by side; close-run closes the record. Of a run that has ended it changes no
// status, and cancels a task that was left running.
func (h *Handler) stopRun(ctx context.Context, r httpapi.Request) (none httpapi.Response, err error) {
	id := r.PathParameters["id"]
	record, effects, execution, err := h.requestStop(ctx, id)
	if err != nil {
		return none, err
	}
	answer := api.Stopped{RunID: id, Status: record.Status.Shown(), Task: "none"}
	switch {
	case record.RunID == "":
		answer.Status = statusOf(execution.Status)
	case record.TaskID != "":
		answer.Task = "left" // unless the cancel says otherwise
	}
	var stopErr, cancelErr error
	var calls []func()
	if effects&lifecycle.MustCancelTask != 0 {
		calls = append(calls, func() { _, answer.Task, cancelErr = h.Runs.StopCancel(ctx, record) })
	}
	if effects&lifecycle.MustStopExecution != 0 {
		answer.Status = run.Cancelled
		reason := named.Errorf(named.RunCancelled, "stopped through the API")
		calls = append(calls, func() { stopErr = h.Executions.Stop(ctx, h.Executions.ExecutionARN(id), reason) })
	}
	_ = fanout.Each(ctx, h.Concurrency, len(calls), func(_ context.Context, i int) error { calls[i](); return nil })
	if cancelErr != nil { // the request to stop stands: close-run and its sweep go on cancelling
		observe.Log(ctx).WarnContext(ctx, "the task is not cancelled yet", "cause", cancelErr.Error())
	}
	if stopErr != nil && h.running(ctx, id) {
		return none, named.Within("the stop of the run "+id+" is noted, and its steps obey it; its execution may still run", stopErr)
	}
	return httpapi.JSON(http.StatusAccepted, answer)
}

// requestStop notes the stop in the run's record, which every step reads. It asks Step
// Functions only about a run without a record, or one that failed and may have been
// redriven since.
func (h *Handler) requestStop(ctx context.Context, id string) (record lifecycle.Run, effects lifecycle.Effect, execution executions.Execution, err error) {
	record, effects, err = h.Runs.Stop(ctx, id, execution, h.OutputBucket, h.OutputPrefix)
	if err == nil && record.Status != run.Failed || err != nil && !errors.Is(err, lifecycle.ErrNoRecord) {
		return record, effects, execution, err
	}
	execution, findErr := h.find(ctx, id)
	switch {
	case errors.Is(findErr, executions.ErrNotFound) && err != nil:
		return record, 0, execution, notFound(id)
	case errors.Is(findErr, executions.ErrNotFound):
		return record, effects, execution, nil
	case findErr != nil:
		return record, 0, execution, findErr
	case err != nil && execution.Status != executions.Running:
		return record, 0, execution, nil // it ended before it had a record: close-run's to write
	}
	record, effects, err = h.Runs.Stop(ctx, id, execution, h.OutputBucket, h.OutputPrefix)
	return record, effects, execution, err
}

// running reports whether a run's execution still runs, or may still run: of one
// that has ended, a stop that failed only came too late.
func (h *Handler) running(ctx context.Context, id string) bool {
	execution, err := h.Executions.Describe(ctx, h.Executions.ExecutionARN(id))
	return err != nil && !errors.Is(err, executions.ErrNotFound) || err == nil && execution.Status == executions.Running
}
