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
	// minStream is how long the stream is held once the task is older than
	// HoldSeconds: enough for one tick of progress, a fifteenth of a transition's
	// price.
	minStream = time.Second
	// saveEvery bounds the writes of progress, and what they cost.
	saveEvery = 5 * time.Second
	// callReserve is what must be left of the call for a last look and its writes.
	callReserve = callTime + 15*time.Second
)

// budget is how long this call may hold the stream. A call that follows a failed
// attempt does not hold: held functions are what an account that throttles has
// too many of.
func (h *Handler) budget(ctx context.Context, record run.Record, attempts int) time.Duration {
	if h.Hold == 0 || attempts > 0 {
		return 0
	}
	now := h.Now()
	budget := max(h.Hold-now.Sub(record.AcceptedAt), minStream)
	if deadline, ok := ctx.Deadline(); ok {
		budget = min(budget, deadline.Sub(now)-callReserve)
	}
	return min(budget, record.Deadline().Sub(now))
}

// hold follows the task's events for progress, and returns at its end. Nothing
// the stream says or fails to say decides anything: the caller looks again.
func (h *Handler) hold(ctx context.Context, taskID string, progress *run.Progress, budget time.Duration) {
	start := h.Now()
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	defer func() { progress.HeldSeconds += h.Now().Sub(start).Seconds() }()
	saved := time.Time{}
	for event, err := range h.Cyberun.Events(ctx, taskID) {
		if err != nil {
			if ctx.Err() == nil {
				observe.Log(ctx).InfoContext(ctx, "the event stream broke", "cause", err.Error())
			}
			return
		}
		take(progress, event)
		if event.Status.Terminal() {
			return
		}
		if now := h.Now(); now.Sub(saved) >= saveEvery {
			saved = now
			h.save(ctx, progress)
		}
	}
}

// take keeps what an event tells; what it does not tell stays as it was.
func take(p *run.Progress, e cyberun.Event) {
	if e.Status != "" {
		p.TaskStatus = string(e.Status)
	}
	if e.Type != eventProgress {
		return
	}
	p.TaskStatus = string(cyberun.StatusRunning)
	p.Progress, p.StepCurrent, p.StepTotal = e.Progress, e.StepCurrent, e.StepTotal
	p.CurrentNode, p.Stage, p.Message = named.Shorten(maxText, e.CurrentNode), named.Shorten(maxText, e.Stage), named.Shorten(maxText, e.Message)
}

const (
	eventProgress = "progress"
	maxText       = 200 // bytes of a remote's text: a line of a terminal or two
)

// save writes the progress; that it cannot is no reason to fail a run.
func (h *Handler) save(ctx context.Context, p *run.Progress) {
	p.UpdatedAt = h.Now().UTC()
	if err := h.Runs.PutProgress(ctx, *p); err != nil {
		observe.Log(ctx).WarnContext(ctx, "the progress object cannot be written", "cause", err.Error())
	}
}
