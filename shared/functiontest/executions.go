package functiontest

import (
	"context"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

type execution = executions.Execution

// Executions is Step Functions as the functions see it: executions by their ARNs.
type Executions struct {
	world *World
	known map[string]*execution
}

// Start starts the execution of a run, or returns the one that the run has.
func (e *Executions) Start(runID, input string, at time.Time) *executions.Execution {
	if x := e.known[ARN(runID)]; x != nil {
		return x
	}
	x := &execution{ARN: ARN(runID), Name: runID, State: executions.Running, StartedAt: at, Input: input}
	e.known[x.ARN] = x
	return x
}

// Of returns a run's execution; nil if it was never started.
func (e *Executions) Of(runID string) *executions.Execution { return e.known[ARN(runID)] }

// End ends a run's execution in a state, by an error if err is not nil.
func (e *Executions) End(runID string, as executions.State, err error) {
	x := e.known[ARN(runID)]
	x.State = as
	if x.Error, _ = named.As(err); x.Error == nil && err != nil {
		x.Error = named.Errorf(named.Unavailable, "%w", err)
	}
}

// Redrive makes a run's execution run again, and returns its redrive count.
func (e *Executions) Redrive(runID string) int {
	x := e.known[ARN(runID)]
	x.State, x.Error = executions.Running, nil
	x.Redrives++
	return x.Redrives
}

// Forget deletes a run's execution, as Step Functions does 90 days after its end.
func (e *Executions) Forget(runID string) { delete(e.known, ARN(runID)) }

// event returns a run's execution as an EventBridge event describes it; of one that is
// not known the ARN and the name only.
func (e *Executions) event(runID string) executions.Execution {
	if x := e.known[ARN(runID)]; x != nil {
		return *x
	}
	return execution{ARN: ARN(runID), Name: runID}
}

// Describe returns an execution by its ARN, or [executions.ErrNotFound].
func (e *Executions) Describe(_ context.Context, arn string) (x executions.Execution, err error) {
	err = e.world.Call("DescribeExecution", func() error {
		known := e.known[arn]
		if known == nil {
			return executions.ErrNotFound
		}
		x = *known
		return nil
	})
	return x, err
}
