// Package handler closes the runs whose execution was stopped, failed or timed
// out: one for each event, and in a sweep those whose event was lost.
package handler

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/doubt"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/fanout"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

// Input is an EventBridge event that an execution ended, or the input of the hourly
// sweep.
type Input struct {
	Sweep  bool   `json:"sweep"`
	Detail Detail `json:"detail"`
}

// Detail has the fields that are used of an event "Step Functions Execution Status
// Change".
type Detail struct {
	ExecutionARN string `json:"executionArn"`
	Name         string `json:"name"`   // the run's id
	Status       string `json:"status"` // such as TIMED_OUT
	Error        string `json:"error"`
	Cause        string `json:"cause"` // mostly Lambda's JSON: see [executions.New]
	RedriveCount int    `json:"redriveCount"`
}

// ID names the run in the log.
func (in Input) ID() string { return in.Detail.Name }

// Response counts what a call did, for somebody who invokes the function by hand.
type Response struct {
	Closed int `json:"closed"`
	Left   int `json:"left,omitempty"` // of a sweep: runs left for the next one
}

// Handler closes runs whose execution failed, timed out or was stopped.
type Handler struct {
	Closer      lifecycle.Closer
	Doubts      doubt.Investigator
	Executions  lifecycle.Lister
	Concurrency int // runs that a sweep closes side by side
	Now         func() time.Time
	Sleep       func(ctx context.Context, d time.Duration) error

	pacing sync.Mutex
}

const (
	// DefaultConcurrency is how many runs a sweep closes side by side. While Cyberun does not
	// answer, each cancel takes all of its budget, and the sweep has to reach the other
	// runs as well.
	DefaultConcurrency = 8
	// sweepRest is kept of the function's time for closes that are under way.
	sweepRest = lifecycle.SweepBudget + time.Minute
	// describePause spaces the calls to Step Functions: 5 a second, below the 10 to
	// 15 that it allows an account.
	describePause = 200 * time.Millisecond
	// settle is DefaultWaits.Settle of submit: how long after the end of its POST the
	// task list is read for the candidates. A task that is listed later is not among them.
	settle = 10 * time.Second
	// maxSettle bounds the wait for that: a POST takes 25 s at most.
	maxSettle = 45 * time.Second
)

// Handle closes the run of an event, or sweeps: it closes every run whose event was
// lost, and does what earlier closes left undone.
func (h *Handler) Handle(ctx context.Context, in Input) (Response, error) {
	if in.Sweep {
		return h.sweep(ctx)
	}
	d := in.Detail
	if d.ExecutionARN == "" {
		return Response{}, named.Errorf(named.InvalidRequest, "the event names no execution: expected detail.executionArn, or {\"sweep\": true}")
	}
	closed, err := h.close(ctx, h.Closer, executions.New(d.ExecutionARN, d.Status, d.Error, d.Cause, d.RedriveCount, time.Time{}))
	if err != nil || !closed {
		return Response{}, err
	}
	return Response{Closed: 1}, nil
}

// close closes one run, and names the candidates of one that closed in doubt.
func (h *Handler) close(ctx context.Context, closer lifecycle.Closer, reported executions.Execution) (bool, error) {
	e, sure, ended, err := closer.Ended(ctx, reported)
	if err != nil {
		return false, err
	}
	if !ended {
		return false, closer.RepairError(ctx, reported.Name)
	}
	closed, err := closer.Close(ctx, e, sure)
	if err != nil {
		return closed, err
	}
	return closed, h.nameCandidates(ctx, e.Name)
}

// nameCandidates names the candidates of a run that closed in doubt, once. It waits
// until a task of the run's submission would be listed.
func (h *Handler) nameCandidates(ctx context.Context, runID string) error {
	r, err := h.Closer.Get(ctx, runID)
	if errors.Is(err, lifecycle.ErrNoRecord) {
		return nil
	}
	if err != nil || r.Status.Open() || !r.InDoubt() || !r.CandidatesAt.IsZero() {
		return err
	}
	if left := r.Submission.PostUntil.Add(settle).Sub(r.Submission.ServerTime(h.Now())); left > 0 {
		if err := h.Sleep(ctx, min(left, maxSettle)); err != nil {
			return err
		}
	}
	found, err := h.Doubts.Investigate(ctx, r.Record)
	if err != nil {
		return named.Errorf(named.Unavailable, "the candidates of the run %s cannot be named yet: %w", runID, err)
	}
	return h.Closer.NameCandidates(ctx, r, found.Candidates)
}

// sweep closes every run whose execution ended: EventBridge's events are best effort,
// and a lost one would leave a record open, and perhaps a task running, for ever.
func (h *Handler) sweep(ctx context.Context) (Response, error) {
	begin := ctx
	if deadline, bounded := ctx.Deadline(); bounded {
		var cancel context.CancelFunc
		begin, cancel = context.WithDeadline(ctx, deadline.Add(-sweepRest))
		defer cancel()
	}
	var swept []executions.Execution
	left, err := h.Closer.Sweep(begin, h.Executions, h.pace, func(e executions.Execution) { swept = append(swept, e) })
	// What earlier closes left undone comes last: while Cyberun does not answer, cancels
	// that are tried once more take all the time that there is.
	var mu sync.Mutex
	var unfinished []executions.Execution
	closed, failed := h.each(ctx, begin, swept, func(ctx context.Context, e executions.Execution) (bool, error) {
		due, err := h.Closer.DueOf(ctx, e)
		switch due {
		case lifecycle.CloseDue:
			return h.sweepOne(ctx, e)
		case lifecycle.WorkDue:
			mu.Lock()
			defer mu.Unlock()
			unfinished = append(unfinished, e)
		}
		return false, err
	})
	closedLast, failedLast := h.each(ctx, begin, unfinished, h.sweepOne)
	if left > 0 {
		observe.Log(ctx).WarnContext(ctx, "executions are left to the next sweep", "left", left)
	}
	return Response{Closed: closed + closedLast, Left: failed + failedLast + left}, err
}

// each calls do for every execution, several side by side, until begin has ended. It
// counts the runs that do closed, and those that failed or were not reached.
func (h *Handler) each(ctx, begin context.Context, list []executions.Execution, do func(context.Context, executions.Execution) (bool, error)) (int, int) {
	var closed, failed atomic.Int64
	_ = fanout.Each(ctx, h.Concurrency, len(list), func(ctx context.Context, i int) error {
		if begin.Err() != nil {
			failed.Add(1)
			return nil
		}
		ctx = observe.WithLog(ctx, observe.Log(ctx).With(observe.RunID, list[i].Name))
		did, err := do(ctx, list[i])
		if err != nil {
			failed.Add(1)
			observe.Log(ctx).WarnContext(ctx, "could not be closed; the next sweep tries again", "cause", err.Error())
		}
		if did {
			closed.Add(1)
		}
		return nil
	})
	return int(closed.Load()), int(failed.Load())
}

// sweepOne closes one run of a sweep, with the sweep's budget for its cancel, and reports
// whether it did.
func (h *Handler) sweepOne(ctx context.Context, e executions.Execution) (bool, error) {
	if err := h.pace(ctx); err != nil {
		return false, err
	}
	closer := h.Closer
	closer.Budget = lifecycle.SweepBudget
	return h.close(ctx, closer, e)
}

// pace spaces the calls to Step Functions, also those of closes side by side.
func (h *Handler) pace(ctx context.Context) error {
	h.pacing.Lock()
	defer h.pacing.Unlock()
	return h.Sleep(ctx, describePause)
}
