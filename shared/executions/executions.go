// Package executions is the one adapter for Step Functions: it starts, reads,
// lists, stops, redrives and resumes the executions of one state machine, and
// turns what Step Functions says of them into the relay's own terms.
//
// It imports the Step Functions client and shared/named.
package executions

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// API is what the adapter calls: a Step Functions client.
type API interface {
	StartExecution(context.Context, *sfn.StartExecutionInput, ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error)
	DescribeExecution(context.Context, *sfn.DescribeExecutionInput, ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error)
	ListExecutions(context.Context, *sfn.ListExecutionsInput, ...func(*sfn.Options)) (*sfn.ListExecutionsOutput, error)
	StopExecution(context.Context, *sfn.StopExecutionInput, ...func(*sfn.Options)) (*sfn.StopExecutionOutput, error)
	RedriveExecution(context.Context, *sfn.RedriveExecutionInput, ...func(*sfn.Options)) (*sfn.RedriveExecutionOutput, error)
	SendTaskSuccess(context.Context, *sfn.SendTaskSuccessInput, ...func(*sfn.Options)) (*sfn.SendTaskSuccessOutput, error)
}

var (
	// ErrNotFound says that Step Functions knows no such execution: it never was,
	// or it ended over 90 days ago. Step Functions' reads are eventually
	// consistent, so it may also have started a moment ago.
	ErrNotFound = errors.New("no such execution")
	// ErrExists says that an execution of that name exists with another input, or has ended.
	ErrExists = errors.New("an execution of that name exists")
	// ErrNotRedrivable says that an execution cannot be redriven: it runs, it
	// succeeded, or it ended over 14 days ago.
	ErrNotRedrivable = errors.New("the execution cannot be redriven")
)

// State is how an execution stands.
type State string

// The states. Pending redrive counts as running.
const (
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	TimedOut  State = "timed out"
	Aborted   State = "aborted"
)

// Ended reports whether the execution ended otherwise than well.
func (s State) Ended() bool { return s == Failed || s == TimedOut || s == Aborted }

// Execution is one execution as Step Functions last said.
type Execution struct {
	ARN       string
	Name      string // the run's id
	State     State
	StartedAt time.Time // its first start, also after a redrive
	Redrives  int       // how often it was redriven
	Input     string
	// Error is why it ended; nil while it runs, after a success, and in a list.
	Error *named.Error
}

// Machine is one state machine.
type Machine struct {
	API API
	ARN string // of the state machine; empty for a caller that has whole execution ARNs
}

// Execution returns the ARN of the execution of that name.
func (m Machine) Execution(name string) string {
	return strings.Replace(m.ARN, ":stateMachine:", ":execution:", 1) + ":" + name
}

// NameOf returns the name at the end of an execution's ARN.
func NameOf(arn string) string { return arn[strings.LastIndexByte(arn, ':')+1:] }

// ValidName reports whether Step Functions allows the name for an execution: 1
// to 80 characters, none of which needs quoting.
func ValidName(name string) bool {
	const maxName = 80
	return name != "" && utf8.ValidString(name) && utf8.RuneCountInString(name) <= maxName && !strings.ContainsFunc(name, func(r rune) bool {
		return r == 0xfffe || r == 0xffff || r == 0x10ffff || r <= ' ' || r >= 0x7f && r <= 0x9f || strings.ContainsRune(`<>{}[]?*"#%\^|~`+"`$&,;:/", r)
	})
}

// Describe reads an execution; ErrNotFound if Step Functions knows none.
func (m Machine) Describe(ctx context.Context, arn string) (Execution, error) {
	out, err := m.API.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &arn})
	var missing *types.ExecutionDoesNotExist
	switch {
	case errors.As(err, &missing):
		return Execution{}, ErrNotFound
	case err != nil:
		return Execution{}, unavailable("describe "+arn, err)
	}
	e := Execution{
		ARN: arn, Name: NameOf(arn), State: stateOf(out.Status), StartedAt: aws.ToTime(out.StartDate).UTC(),
		Redrives: int(aws.ToInt32(out.RedriveCount)), Input: aws.ToString(out.Input),
	}
	e.Error = errorOf(e.State, aws.ToString(out.Error), aws.ToString(out.Cause))
	return e, nil
}

func stateOf(s types.ExecutionStatus) State {
	switch s {
	case types.ExecutionStatusSucceeded:
		return Succeeded
	case types.ExecutionStatusFailed:
		return Failed
	case types.ExecutionStatusTimedOut:
		return TimedOut
	case types.ExecutionStatusAborted:
		return Aborted
	}
	return Running
}

// FromEvent reads an execution out of the fields of a "Step Functions Execution
// Status Change" event.
func FromEvent(arn, status, name, cause string, redrives int, started time.Time) Execution {
	e := Execution{ARN: arn, Name: NameOf(arn), State: stateOf(types.ExecutionStatus(status)), Redrives: redrives, StartedAt: started}
	e.Error = errorOf(e.State, name, cause)
	return e
}

func errorOf(s State, name, cause string) *named.Error {
	switch s {
	case Failed:
		return readError(name, cause)
	case TimedOut:
		return named.Errorf(named.RunTimedOut, "the execution timed out")
	case Aborted:
		return named.Errorf(named.RunCancelled, "the execution was stopped")
	}
	return nil
}

// tooLarge is Step Functions' own name for a state's data over its quota. Only
// Submit's can be: a request of the last bytes below 256 KiB has no room for its
// ids. The function was never called, and no redrive would mend it.
const tooLarge = "States.DataLimitExceeded"

// maxCause bounds what is kept, in bytes, of a cause that is not the relay's: a
// stack trace can be 32 KiB.
const maxCause = 1000

// readError reads an execution's error and cause back into a named error. What
// the platform throws under names of its own becomes Unavailable: a redrive goes
// on from there.
func readError(name, cause string) *named.Error {
	var lambda struct {
		Message string `json:"errorMessage"`
	}
	if json.Unmarshal([]byte(cause), &lambda) == nil && lambda.Message != "" {
		cause = lambda.Message
	}
	if _, ours := named.Lookup(name); ours {
		return named.Parse(name, cause)
	}
	if name == tooLarge {
		return named.Errorf(named.InvalidRequest, "request: with the run's ids beside it, it is more than the 262144 bytes that Step Functions passes on; put large inputs into S3 and pass s3://…")
	}
	if cause == "" {
		cause = "no cause was given"
	}
	return named.Errorf(named.Unavailable, "%s: %s", name, named.Shorten(maxCause, cause))
}

// Start starts an execution. Another start with the same name and input is the
// same execution, and no error; ErrExists if the name is taken.
func (m Machine) Start(ctx context.Context, name, input string) error {
	_, err := m.API.StartExecution(ctx, &sfn.StartExecutionInput{StateMachineArn: &m.ARN, Name: &name, Input: &input})
	var exists *types.ExecutionAlreadyExists
	switch {
	case errors.As(err, &exists):
		return ErrExists
	case err != nil:
		return unavailable("start the run "+name, err)
	}
	return nil
}

// Stop stops an execution under the error and cause given. One that is gone is no error.
func (m Machine) Stop(ctx context.Context, arn string, reason *named.Error) error {
	_, err := m.API.StopExecution(ctx, &sfn.StopExecutionInput{ExecutionArn: &arn, Error: &reason.Name, Cause: &reason.Cause})
	var missing *types.ExecutionDoesNotExist
	if err == nil || errors.As(err, &missing) {
		return nil
	}
	return unavailable("stop "+arn, err)
}

// Redrive continues an ended execution at the state that failed; ErrNotRedrivable
// if Step Functions refuses.
func (m Machine) Redrive(ctx context.Context, arn string) error {
	_, err := m.API.RedriveExecution(ctx, &sfn.RedriveExecutionInput{ExecutionArn: &arn})
	var refused *types.ExecutionNotRedrivable
	var missing *types.ExecutionDoesNotExist
	switch {
	case errors.As(err, &refused), errors.As(err, &missing):
		return ErrNotRedrivable
	case err != nil:
		return unavailable("redrive "+arn, err)
	}
	return nil
}

// Resume lets the execution that gave this task token go on. A token that was
// used, timed out, or belongs to a deleted machine is no error: whatever ended
// that wait, poll-status looks at the task itself.
func (m Machine) Resume(ctx context.Context, token string) error {
	output := "{}"
	_, err := m.API.SendTaskSuccess(ctx, &sfn.SendTaskSuccessInput{TaskToken: &token, Output: &output})
	var timedOut *types.TaskTimedOut
	var gone *types.TaskDoesNotExist
	var invalid *types.InvalidToken
	if err == nil || errors.As(err, &timedOut) || errors.As(err, &gone) || errors.As(err, &invalid) {
		return nil
	}
	return unavailable("resume a run that awaits a webhook", err)
}

// EndedSince calls each for the executions that ended as FAILED, TIMED_OUT or
// ABORTED since stopped, until each returns false for a status. Each page of
// 1,000 is one call; pace is called before it.
//
// AWS's API reference says that ended executions are sorted by their stop date;
// older texts say "by time", which may be the start. The pages end at a stop
// before stopped only if the stops descend and the starts do not, else at the
// first start before started: no execution that began earlier can have ended
// since stopped.
func (m Machine) EndedSince(ctx context.Context, stopped, started time.Time, pace func(context.Context) error, each func(Execution) bool) error {
	for _, status := range []types.ExecutionStatus{types.ExecutionStatusFailed, types.ExecutionStatusTimedOut, types.ExecutionStatusAborted} {
		if err := m.endedAs(ctx, status, stopped, started, pace, each); err != nil {
			return err
		}
	}
	return nil
}

func (m Machine) endedAs(ctx context.Context, status types.ExecutionStatus, stopped, started time.Time, pace func(context.Context) error, each func(Execution) bool) error {
	in := &sfn.ListExecutionsInput{StateMachineArn: &m.ARN, StatusFilter: status, MaxResults: 1000}
	var last, lastStart time.Time // stop and start so far
	byStop, byStart := true, true
	for {
		if err := pace(ctx); err != nil {
			return err
		}
		out, err := m.API.ListExecutions(ctx, in)
		if err != nil {
			return unavailable("list the executions that ended", err)
		}
		for _, item := range out.Executions {
			e := Execution{
				ARN: aws.ToString(item.ExecutionArn), Name: aws.ToString(item.Name), State: stateOf(item.Status),
				StartedAt: aws.ToTime(item.StartDate).UTC(), Redrives: int(aws.ToInt32(item.RedriveCount)),
			}
			stop := aws.ToTime(item.StopDate)
			byStop = byStop && (last.IsZero() || !stop.After(last.Add(time.Second)))
			byStart = byStart && (lastStart.IsZero() || !e.StartedAt.After(lastStart.Add(time.Second)))
			last, lastStart = stop, e.StartedAt
			switch {
			case !stop.Before(stopped):
				if !each(e) {
					return nil
				}
			case e.StartedAt.Before(started):
				return nil
			}
		}
		if in.NextToken = out.NextToken; in.NextToken == nil || byStop && !byStart && last.Before(stopped) {
			return nil
		}
	}
}

func unavailable(doing string, err error) error {
	return named.Errorf(named.Unavailable, "Step Functions could not %s: %w", doing, err)
}
