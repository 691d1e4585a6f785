package handler

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/fanout"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
	"github.com/cyberun-cloud/cyberun-relay/shared/workflows"
)

// copying is what one call copies of a run's outputs.
type copying struct {
	*Handler
	run        lifecycle.Run
	copier     Copier
	stopBefore time.Time // when no further output is started; zero: never
	deadline   time.Time // when what is under way is cut off; zero: never

	unfinished atomic.Bool  // some output is not stored yet
	stored     atomic.Int64 // bytes that the next call need not fetch again
}

// copyAll copies the outputs that are not stored yet. done is false if time ran out
// first: the next call resumes the copies from their checkpoints. A call that stores
// nothing makes the next one use fewer connections, by slowDown.
func (h *Handler) copyAll(ctx context.Context, r lifecycle.Run, outputs []workflows.RemoteOutput) (copied []run.Output, done bool, err error) {
	if r.CopyConnections == tooSlow {
		return nil, false, errTooSlow()
	}
	c := &copying{Handler: h, run: r}
	if deadline, ok := ctx.Deadline(); ok {
		left := deadline.Sub(h.Now())
		c.stopBefore = deadline.Add(-min(stopMargin, left/2))
		c.deadline = deadline.Add(-min(endMargin, left/4))
	}
	c.copier = h.NewCopier(c.stopBefore, r.CopyConnections)
	copied = make([]run.Output, len(outputs))
	if err := fanout.Each(ctx, h.Concurrency, len(outputs), func(ctx context.Context, i int) (err error) {
		if copied[i], err = c.copyOutput(ctx, outputs[i]); err != nil {
			return named.Within("output "+outputs[i].ID, err)
		}
		return nil
	}); err != nil {
		return nil, false, err
	}
	unfinished := c.unfinished.Load()
	if unfinished && c.stored.Load() == 0 {
		return nil, false, h.slowDown(ctx, r)
	}
	return copied, !unfinished, nil
}

// copyOutput copies one output, unless time is over or its copy's state says that
// it is stored.
func (c *copying) copyOutput(ctx context.Context, o workflows.RemoteOutput) (run.Output, error) {
	if !c.stopBefore.IsZero() && !c.Now().Before(c.stopBefore) {
		c.unfinished.Store(true)
		return run.Output{}, nil
	}
	state, err := c.Runs.CopyState(ctx, c.run.RunID, o.ID)
	if err != nil {
		return run.Output{}, err
	}
	// A redrive may come after days: then Copy looks, once in each life, whether the
	// object is still there.
	if state.Output != nil && state.Life == c.run.Life {
		return *state.Output, nil
	}
	result, err := c.copy(ctx, o, state.Checkpoint)
	c.stored.Add(result.Stored)
	if err != nil || !result.Done {
		c.unfinished.Store(true)
		return run.Output{}, err
	}
	c.stored.Add(1) // an output of 0 bytes is progress too, and so is one that was there already
	observe.Log(ctx).InfoContext(ctx, "copied", "output", o.ID, "bytes", result.Bytes, "fetched", result.Fetched, "skipped", result.Skipped)
	output := run.Output{
		ID: o.ID, Key: result.Key, Bytes: result.Bytes, CRC32: fmt.Sprintf("%08x", result.CRC32),
		ContentType: result.ContentType, ETag: result.ETag,
	}
	return output, c.Runs.PutCopyState(ctx, c.run.RunID, o.ID, lifecycle.CopyState{Output: &output, Life: c.run.Life})
}

// copy copies one output until the deadline, after which its checkpoint is stored.
func (c *copying) copy(ctx context.Context, o workflows.RemoteOutput, from *transfer.Checkpoint) (transfer.Result, error) {
	if !c.deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, c.deadline)
		defer cancel()
	}
	return c.copier.Copy(ctx,
		transfer.Source{URL: o.URL, Refresh: func(ctx context.Context) (cyberun.SignedURL, error) { return c.refresh(ctx, o.ID) }},
		transfer.Target{
			Bucket:   c.run.Bucket,
			Metadata: run.OutputMetadata(c.run.Record, o.ID),
			Key: func(r transfer.OriginFile) string {
				return c.run.KeyPrefix() + run.OutputName(o.ID, r.Name, r.ContentType)
			},
		},
		from,
		func(ctx context.Context, cp transfer.Checkpoint) error { return c.save(ctx, o.ID, cp) })
}

// save stores the checkpoint, then reads the record again. If the run was closed
// in between, its close has already aborted the uploads that it saw: the error
// makes Copy abort this one. A call of an earlier life of the run is refused too.
func (c *copying) save(ctx context.Context, outputID string, cp transfer.Checkpoint) error {
	if err := c.Runs.PutCopyState(ctx, c.run.RunID, outputID, lifecycle.CopyState{Checkpoint: &cp}); err != nil {
		return err
	}
	_, err := c.Runs.Reread(ctx, c.run)
	return err
}

// slowDown halves the number of connections that the next call shares the origin's
// bytes among, so that a part comes to its end within a call. If one connection did
// not do either, it returns errTooSlow.
func (h *Handler) slowDown(ctx context.Context, r lifecycle.Run) error {
	next := cmp.Or(r.CopyConnections, transfer.DefaultConnections) / 2
	if next == 0 {
		next = tooSlow
	}
	_, err := h.Runs.Note(ctx, r, func(rec *run.Record) { rec.CopyConnections = next })
	if err == nil && next == tooSlow {
		err = errTooSlow()
	}
	return err
}

// tooSlow stands in a record instead of a number of connections: the retries of
// the step fetch nothing any more. A redrive begins with all connections.
const tooSlow = -1

func errTooSlow() error {
	return named.Errorf(named.Unavailable, "the origin is too slow: over one connection, a whole call of copy-result did not get one part of %d MiB, or an output without ranges", transfer.DefaultPartSize>>20)
}

// refresh reads a fresh URL of one output: the old one is valid for about an hour.
func (c *copying) refresh(ctx context.Context, outputID string) (cyberun.SignedURL, error) {
	result, err := c.result(ctx, c.run.RunID, c.run.TaskID)
	if err != nil {
		return "", err
	}
	for _, o := range workflows.RemoteOutputs(result) {
		if o.ID == outputID {
			return o.URL, nil
		}
	}
	return "", named.Errorf(named.OutputExpired, "the result of the task %s no longer has the output %s", c.run.TaskID, outputID)
}
