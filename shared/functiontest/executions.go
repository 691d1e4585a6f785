package functiontest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// Executions is Step Functions as the functions see it: executions by their ARNs. A call
// that fails returns Unavailable of shared/named, as that of an executions.Machine does.
type Executions struct {
	// Started, Stopped and Redriven are the runs whose executions calls started, were to
	// stop, and redrove.
	Started, Stopped, Redriven []string

	world *World
	known map[string]*executions.Execution
}

// Put puts an execution there, without a call, in place of the one that its run has.
func (e *Executions) Put(x executions.Execution) *executions.Execution {
	e.known[x.ARN] = &x
	return &x
}

// Begin starts the execution of a run, without a call, or returns the one that the run
// has.
func (e *Executions) Begin(runID, input string, at time.Time) *executions.Execution {
	if x := e.known[ARN(runID)]; x != nil {
		return x
	}
	return e.Put(executions.Execution{ARN: ARN(runID), Name: runID, Status: executions.Running, StartedAt: at, Input: input})
}

// Of returns a run's execution; nil if it was never started.
func (e *Executions) Of(runID string) *executions.Execution { return e.known[ARN(runID)] }

// End ends a run's execution with a status, by an error if err is not nil.
func (e *Executions) End(runID string, as executions.Status, err error) {
	x := e.known[ARN(runID)]
	if x.Status, x.Error = as, nil; err != nil {
		x.Error = named.OrUnavailable(err)
	}
}

// BeginAgain redrives a run's execution, without a call, and returns its redrive count.
func (e *Executions) BeginAgain(runID string) int {
	x := e.known[ARN(runID)]
	x.Status, x.Error = executions.Running, nil
	x.Redrives++
	return x.Redrives
}

// Forget deletes a run's execution, as Step Functions does 90 days after its end.
func (e *Executions) Forget(runID string) { delete(e.known, ARN(runID)) }

// call does one call, and names the error of one that fails.
func (e *Executions) call(name string, do func() error) error {
	err := e.world.Call(name, do)
	_, told := named.As(err)
	if err == nil || told || errors.Is(err, executions.ErrNotFound) || errors.Is(err, executions.ErrExists) || errors.Is(err, executions.ErrNotRedrivable) {
		return err
	}
	return named.Errorf(named.Unavailable, "Step Functions: %w", err)
}

// ExecutionARN returns the ARN that a run's execution has or would have.
func (e *Executions) ExecutionARN(runID string) (arn string) { return ARN(runID) }

// Describe returns an execution by its ARN, or [executions.ErrNotFound].
func (e *Executions) Describe(_ context.Context, arn string) (x executions.Execution, err error) {
	err = e.call("DescribeExecution", func() error {
		if !executions.ValidName(executions.NameOf(arn)) {
			return named.Errorf(named.Unavailable, "InvalidArn")
		}
		known := e.known[arn]
		if known == nil {
			return executions.ErrNotFound
		}
		x = *known
		return nil
	})
	return x, err
}

// Start starts the execution of a run. It does nothing if that runs with the same input,
// and returns [executions.ErrExists] if it has another one or has ended.
func (e *Executions) Start(_ context.Context, runID, input string) error {
	return e.call("StartExecution", func() error {
		x := e.Of(runID)
		switch {
		case x == nil:
			e.Started = append(e.Started, runID)
			e.Begin(runID, input, e.world.Time())
		case x.Status != executions.Running || x.Input != input:
			return executions.ErrExists
		}
		return nil
	})
}

// Stop ends an execution that runs as [executions.Aborted]. It returns no error for one
// that has ended or does not exist.
func (e *Executions) Stop(_ context.Context, arn string, reason *named.Error) error {
	return e.call("StopExecution", func() error {
		x := e.known[arn]
		if x == nil {
			return nil
		}
		if e.Stopped = append(e.Stopped, x.Name); x.Status == executions.Running {
			x.Status, x.Error = executions.Aborted, reason
		}
		return nil
	})
}

// Redrive makes an execution run again that failed, timed out or was stopped. It returns
// [executions.ErrNotRedrivable] for any other.
func (e *Executions) Redrive(_ context.Context, arn string) error {
	return e.call("RedriveExecution", func() error {
		x := e.known[arn]
		if x == nil || !x.Status.Unsuccessful() {
			return executions.ErrNotRedrivable
		}
		e.Redriven = append(e.Redriven, x.Name)
		e.BeginAgain(x.Name)
		return nil
	})
}

// UnsuccessfulSince calls each for every execution that ended otherwise than as
// [executions.Succeeded], whenever that was, without its error and its input, until each
// returns false.
func (e *Executions) UnsuccessfulSince(ctx context.Context, _, _ time.Time, pace func(context.Context) error, each func(executions.Execution) bool) error {
	if err := pace(ctx); err != nil {
		return err
	}
	return e.call("ListExecutions", func() error {
		for _, arn := range slices.Sorted(maps.Keys(e.known)) {
			if x := *e.known[arn]; x.Status.Unsuccessful() {
				x.Error, x.Input = nil, ""
				if !each(x) {
					return nil
				}
			}
		}
		return nil
	})
}
