package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
	"golang.org/x/sync/errgroup"
)

// atOnce bounds how many outputs are under way together. They share the copier's
// connections; more would only hold more buffers.
const atOnce = 4

// state is what is stored of an output's copy: where a multipart upload stands,
// or what the finished object is.
type state struct {
	Checkpoint *transfer.Checkpoint `json:"checkpoint,omitempty"`
	Output     *run.Output          `json:"output,omitempty"`
}

// copyAll copies what is not there yet. done is false when time ran out first;
// the next call goes on from the stored states.
func (h *Handler) copyAll(ctx context.Context, record run.Record, outputs []run.RemoteOutput) (copied []run.Output, done bool, err error) {
	var stopBefore time.Time
	copyCtx := ctx
	if deadline, ok := ctx.Deadline(); ok {
		left := deadline.Sub(h.Now())
		stopBefore = deadline.Add(-min(stopMargin, left/2))
		var cancel context.CancelFunc
		copyCtx, cancel = context.WithDeadline(ctx, deadline.Add(-min(endMargin, left/4)))
		defer cancel()
	}
	copier := h.NewCopier(stopBefore)
	copied = make([]run.Output, len(outputs))
	var unfinished atomic.Bool
	group, groupCtx := errgroup.WithContext(copyCtx)
	group.SetLimit(atOnce)
	for i, o := range outputs {
		group.Go(func() error {
			output, done, err := h.copyOne(groupCtx, copier, record, o)
			if err != nil {
				return failed(o.ID, err)
			}
			if !done {
				unfinished.Store(true)
			}
			copied[i] = output
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, false, err
	}
	return copied, !unfinished.Load(), nil
}

// failed names the output in the error's own cause, where Step Functions and
// error.json show it.
func failed(outputID string, err error) error {
	e, ok := run.AsError(err)
	if !ok {
		return run.Errorf(run.Unavailable, "output %s: %w", outputID, err)
	}
	named := *e
	named.Cause = "output " + outputID + ": " + e.Cause
	return &named
}

func (h *Handler) copyOne(ctx context.Context, copier Copier, record run.Record, o run.RemoteOutput) (run.Output, bool, error) {
	var known state
	if _, err := h.Records.Copy(ctx, record.RunID, o.ID, &known); err != nil {
		return run.Output{}, false, err
	}
	if known.Output != nil {
		return *known.Output, true, nil
	}
	result, err := copier.Copy(ctx,
		transfer.Source{URL: string(o.URL), Refresh: func(ctx context.Context) (string, error) { return h.refresh(ctx, record.TaskID, o.ID) }},
		transfer.Target{
			Bucket:   h.OutputBucket,
			Metadata: metadata(record, o.ID),
			Key: func(r transfer.Remote) string {
				return record.OutputPrefix() + run.OutputName(o.ID, r.Name, r.ContentType)
			},
		},
		known.Checkpoint,
		func(ctx context.Context, cp transfer.Checkpoint) error {
			return h.Records.PutCopy(ctx, record.RunID, o.ID, state{Checkpoint: &cp})
		})
	if err != nil || !result.Done {
		return run.Output{}, false, err
	}
	h.Log.InfoContext(ctx, "copied", "run_id", record.RunID, "output", o.ID, "bytes", result.Bytes, "fetched", result.Copied, "skipped", result.Skipped)
	output := run.Output{
		ID: o.ID, Key: result.Key, Bytes: result.Bytes, CRC32: fmt.Sprintf("%08x", result.CRC32),
		ContentType: result.ContentType, ETag: result.ETag,
	}
	return output, true, h.Records.PutCopy(ctx, record.RunID, o.ID, state{Output: &output})
}

// refresh mints a fresh URL of one output: the old one lives about an hour.
func (h *Handler) refresh(ctx context.Context, taskID, outputID string) (string, error) {
	result, err := h.result(ctx, taskID)
	if err != nil {
		return "", err
	}
	for _, o := range run.RemoteOutputs(result) {
		if o.ID == outputID {
			return string(o.URL), nil
		}
	}
	return "", run.Errorf(run.OutputExpired, "the result of the task %s no longer has the output %s", taskID, outputID)
}
