// Package handler copies a task's outputs into the output bucket, over as many
// calls as it takes, writes the manifest last, and closes the run.
package handler

import (
	"context"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
	"github.com/cyberun-cloud/cyberun-relay/shared/workflows"
)

// Input is the payload of the state CopyResult.
type Input struct {
	lifecycle.Call
	Retries int `json:"attempts,omitempty"` // how often this state was tried before this call
}

// Response is what the state IsCopied chooses the next state by and, once Done, the
// execution's output. Every field is always written: the state machine selects them by
// path, and a path that is missing fails the run.
type Response struct {
	Done        bool   `json:"done"`
	RunID       string `json:"run_id"`
	TaskID      string `json:"task_id"`
	Bucket      string `json:"bucket"`
	ManifestKey string `json:"manifest_key"` // empty until done
}

// Cyberun is the part of the client that copy-result calls.
type Cyberun interface {
	workflows.TaskLister
	Result(ctx context.Context, id string) (cyberun.Result, error)
}

// Copier copies one output, as *transfer.Copier does.
type Copier interface {
	Copy(ctx context.Context, src transfer.Source, dst transfer.Target, from *transfer.Checkpoint, save transfer.Save) (transfer.Result, error)
}

// Handler copies all outputs of a run, the manifest last, and closes the record.
type Handler struct {
	Cyberun Cyberun
	Runs    *lifecycle.Runs
	// NewCopier returns the copier for one call: all copies share its connections (0: the
	// default number), and it starts nothing at stopBefore or later.
	NewCopier   func(stopBefore time.Time, connections int) Copier
	Concurrency int // how many outputs are copied at once, such as DefaultConcurrency
	Now         func() time.Time
}

const (
	// DefaultConcurrency is how many outputs are copied at once. They share the copier's
	// connections; more outputs would only use more buffers.
	DefaultConcurrency = 4
	// stopMargin is how long before the call's deadline no further part is started: a
	// part of transfer.DefaultPartSize takes 20 s at under 1 MB/s. What has not ended
	// by endMargin is cut off.
	stopMargin = 30 * time.Second
	// endMargin is kept before the deadline to store how far the copies have come.
	endMargin = 5 * time.Second
)

// Handle copies for as long as the context's deadline allows. If Response.Done
// is false the state machine calls it again, and the copies are resumed from their
// checkpoints. An error without a name, as for a record that cannot be read, is a fault that
// observe.Invocation reports as Unavailable.
func (h *Handler) Handle(ctx context.Context, in Input) (Response, error) {
	r, err := h.Runs.Continue(ctx, in.Call)
	if err != nil {
		return Response{}, err
	}
	if r.Status == run.Succeeded { // an earlier call delivered, and its reply was lost
		return response(r), nil
	}
	outputs, err := h.outputs(ctx, r)
	if err != nil {
		return Response{}, err
	}
	if r, err = h.Runs.StartCopy(ctx, r); err != nil || r.Status == run.Succeeded {
		return response(r), err
	}
	copied, done, err := h.copyAll(ctx, r, outputs)
	if named.Is(err, named.Superseded) { // most likely another live call of this step has delivered meanwhile
		if r, again := h.Runs.Continue(ctx, in.Call); again == nil && r.Status == run.Succeeded {
			return response(r), nil
		}
	}
	if err != nil || !done {
		return response(r), err
	}
	progress, err := h.Runs.Progress(ctx, r.RunID)
	if err != nil {
		return Response{}, err
	}
	r, err = h.Runs.Deliver(ctx, r, run.NewManifest(r.Record, progress, copied, h.Now()))
	return response(r), err
}

// outputs reads the task's result: each output's id, and a fresh URL of it.
func (h *Handler) outputs(ctx context.Context, r lifecycle.Run) ([]workflows.RemoteOutput, error) {
	result, err := h.result(ctx, r.RunID, r.TaskID)
	if err != nil {
		return nil, err
	}
	outputs := workflows.RemoteOutputs(result)
	if len(outputs) == 0 {
		return nil, named.Errorf(named.NoOutputs, "the task %s is %s and its result has no download URL", r.TaskID, result.Status)
	}
	return outputs, nil
}

// result reads the task's result. An answer that the result is gone becomes
// OutputExpired once workflows.Gone believes it, and until then Unavailable, by which
// the step is retried.
func (h *Handler) result(ctx context.Context, runID, taskID string) (cyberun.Result, error) {
	callCtx, cancel := context.WithTimeout(ctx, cyberun.CallTime)
	defer cancel()
	result, err := h.Cyberun.Result(callCtx, taskID)
	if err != nil && !cyberun.SaysMissing(err) {
		return result, cyberun.RemoteError("read the result of the task "+taskID, err)
	}
	progress, readErr := h.Runs.Progress(ctx, runID)
	if readErr != nil {
		return result, readErr
	}
	if err == nil {
		if progress.Missing == nil {
			return result, nil
		}
		progress.Missing = nil // the looks have to agree
		return result, h.Runs.PutProgress(ctx, progress)
	}
	gone, listErr := workflows.Gone(ctx, h.Cyberun, taskID, &progress.Missing, h.Now())
	if listErr != nil {
		observe.Log(ctx).WarnContext(ctx, "the task list cannot be read", "cause", listErr.Error())
	}
	if writeErr := h.Runs.PutProgress(ctx, progress); writeErr != nil {
		return result, writeErr
	}
	if gone {
		return result, named.Errorf(named.OutputExpired, "Cyberun no longer has a result of the task %s, nor the task in its list: %w", taskID, err)
	}
	return result, named.Errorf(named.Unavailable, "read the result of the task %s: %w", taskID, err)
}

func response(r lifecycle.Run) Response {
	return Response{Done: r.Status == run.Succeeded, RunID: r.RunID, TaskID: r.TaskID, Bucket: r.Bucket, ManifestKey: r.ManifestKey}
}
