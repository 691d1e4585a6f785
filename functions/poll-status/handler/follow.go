package handler

import (
	"context"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

const (
	// minStream is how long the stream is followed once the task is older than HoldSeconds:
	// enough for one tick of progress, a fifteenth of a transition's price.
	minStream = time.Second
	// saveEvery bounds the writes of progress, and what they cost.
	saveEvery = 5 * time.Second
	// callReserve is kept of the call's time for a last look at the task and the
	// writes after it.
	callReserve = cyberun.CallTime + 15*time.Second
)

// streamTime returns how long this call may follow the task's events; 0: not at all. A
// call after a failed try does not: it may have been throttled, and waiting
// calls are what uses up an account's concurrency.
func (h *Handler) streamTime(ctx context.Context, record run.Record, retries int) time.Duration {
	if h.Hold == 0 || retries > 0 {
		return 0
	}
	now := h.Now()
	most := max(h.Hold-now.Sub(record.TaskKnownAt), minStream)
	if deadline, ok := ctx.Deadline(); ok {
		most = min(most, deadline.Sub(now)-callReserve)
	}
	return min(most, record.Deadline().Sub(now))
}

// follow follows the task's events, and writes its progress, until the task ends or
// the time is over. The stream decides nothing, whatever it says or leaves out:
// the caller asks the status endpoint again.
func (h *Handler) follow(ctx context.Context, taskID string, progress *run.Progress, most time.Duration) {
	start := h.Now()
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	defer func() { progress.HeldSeconds += h.Now().Sub(start).Seconds() }()
	saved := time.Time{}
	for event, err := range h.Cyberun.TaskEvents(ctx, taskID) {
		if err != nil {
			if ctx.Err() == nil {
				observe.Log(ctx).InfoContext(ctx, "the event stream broke", "cause", err.Error())
			}
			return
		}
		applyEvent(progress, event)
		if event.Status.Terminal() {
			return
		}
		if now := h.Now(); now.Sub(saved) >= saveEvery {
			saved = now
			h.save(ctx, progress)
		}
	}
}

// applyEvent notes in the progress what an event says; the rest stays as it was.
func applyEvent(p *run.Progress, e cyberun.TaskEvent) {
	if e.Status != "" {
		p.TaskStatus = string(e.Status)
	}
	if e.Type != cyberun.EventProgress {
		return
	}
	p.TaskStatus = string(cyberun.StatusRunning)
	p.Fraction, p.StepCurrent, p.StepTotal = e.Progress, e.StepCurrent, e.StepTotal
	p.CurrentNode, p.Stage, p.Message = named.Shorten(maxText, e.CurrentNode), named.Shorten(maxText, e.Stage), named.Shorten(maxText, e.Message)
}

const maxText = 200 // bytes of a remote's text that are kept: two lines of a terminal

// save writes the progress object. A failure is logged, and does not fail the run.
func (h *Handler) save(ctx context.Context, p *run.Progress) {
	p.UpdatedAt = h.Now().UTC()
	if err := h.Runs.PutProgress(ctx, *p); err != nil {
		observe.Log(ctx).WarnContext(ctx, "the progress object cannot be written", "cause", err.Error())
	}
}
