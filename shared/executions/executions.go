// Package executions calls Step Functions: a [Machine] starts, reads, lists, stops,
// redrives and resumes the executions of one state machine, and returns them as an
// [Execution]. A call that fails returns Unavailable of shared/named, unless its
// comment names one of [ErrNotFound], [ErrExists] and [ErrNotRedrivable].
//
// It imports the Step Functions client and shared/named.
package executions

import (
	"cmp"
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

var (
	// ErrNotFound says that Step Functions does not show the execution: there never was
	// one of that name, it ended over 90 days ago, or it started a moment ago, since reads
	// are eventually consistent.
	ErrNotFound = errors.New("no such execution")
	// ErrExists says that an execution of that name has another input, or has ended.
	ErrExists = errors.New("an execution of that name exists")
	// ErrNotRedrivable says that Step Functions does not redrive the execution: it runs,
	// it succeeded, it ended over 14 days ago, or its history is full.
	ErrNotRedrivable = errors.New("the execution cannot be redriven")
)

// Status is the status of an execution: whether it runs, or how it ended.
type Status string

// The statuses of an execution. One that waits for its redrive counts as running.
const (
	Running   Status = "running"
	Succeeded Status = "succeeded"
	Failed    Status = "failed"
	TimedOut  Status = "timed out"
	Aborted   Status = "aborted"
)

// Unsuccessful reports whether the execution ended as Failed, TimedOut or Aborted.
func (s Status) Unsuccessful() bool { return s == Failed || s == TimedOut || s == Aborted }

// Execution is one execution of the state machine, which is one run.
type Execution struct {
	ARN       string
	Name      string // the run's id
	Status    Status
	StartedAt time.Time // its first start, also after a redrive
	Redrives  int       // how often it was redriven
	Input     string    // the run's request, as JSON; empty from [New] and [Machine.UnsuccessfulSince]
	// Error says why it ended as Failed, TimedOut or Aborted; nil from
	// [Machine.UnsuccessfulSince].
	Error *named.Error
}

// Machine calls Step Functions for the executions of one state machine.
type Machine struct {
	API *sfn.Client
	ARN string // of the state machine; empty for a caller that has the ARNs of executions
}

// ExecutionARN returns the ARN that the execution with this name has or would have.
func (m Machine) ExecutionARN(name string) string {
	return strings.Replace(m.ARN, ":stateMachine:", ":execution:", 1) + ":" + name
}

// NameOf returns the name that an execution's ARN ends with, which is the run's id.
func NameOf(arn string) string { return arn[strings.LastIndexByte(arn, ':')+1:] }

// ValidName reports whether Step Functions allows the name for an execution: 1 to 80
// characters without blanks, control characters, brackets, wildcards and the other
// special characters that the reference of StartExecution lists.
func ValidName(name string) bool {
	const maxName = 80
	return name != "" && utf8.ValidString(name) && utf8.RuneCountInString(name) <= maxName && !strings.ContainsFunc(name, func(r rune) bool {
		return r == 0xfffe || r == 0xffff || r == 0x10ffff || r <= ' ' || r >= 0x7f && r <= 0x9f || strings.ContainsRune(`<>{}[]?*"#%\^|~`+"`$&,;:/", r)
	})
}

// Describe reads an execution by its ARN. It returns [ErrNotFound] if there is none.
func (m Machine) Describe(ctx context.Context, arn string) (Execution, error) {
	out, err := m.API.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &arn})
	switch {
	case errors.As(err, new(*types.ExecutionDoesNotExist)):
		return Execution{}, ErrNotFound
	case err != nil:
		return Execution{}, unavailable("describe "+arn, err)
	}
	e := New(arn, string(out.Status), aws.ToString(out.Error), aws.ToString(out.Cause),
		int(aws.ToInt32(out.RedriveCount)), aws.ToTime(out.StartDate).UTC())
	e.Input = aws.ToString(out.Input)
	return e, nil
}

// ended has the statuses of an execution that has ended, by Step Functions' names; in
// any other it runs.
var ended = map[types.ExecutionStatus]Status{
	types.ExecutionStatusSucceeded: Succeeded,
	types.ExecutionStatusFailed:    Failed,
	types.ExecutionStatusTimedOut:  TimedOut,
	types.ExecutionStatusAborted:   Aborted,
}

// New returns an execution as DescribeExecution and the event "Step Functions Execution
// Status Change" describe it: status is Step Functions' own, such as TIMED_OUT; errorName
// and cause are the execution's error and its cause, which is mostly Lambda's JSON whose
// errorMessage [named.Error.Message] made.
func New(arn, status, errorName, cause string, redrives int, started time.Time) Execution {
	mapped := cmp.Or(ended[types.ExecutionStatus(status)], Running)
	e := Execution{ARN: arn, Name: NameOf(arn), Status: mapped, Redrives: redrives, StartedAt: started}
	switch mapped {
	case Failed:
		e.Error = readError(errorName, cause)
	case TimedOut:
		e.Error = named.Errorf(named.RunTimedOut, "the execution timed out")
	case Aborted:
		e.Error = named.Errorf(named.RunCancelled, "the execution was stopped")
	}
	return e
}

// tooLarge is Step Functions' own name for a state's data over its quota of 256 KiB.
// Only Submit's can be: a request just below it has no room for the run's ids. The
// function was never called, and no redrive would mend it.
const tooLarge = "States.DataLimitExceeded"

// maxCause bounds, in bytes, what is kept of a cause that is not the relay's own: a
// stack trace can have 32 KiB.
const maxCause = 1000

// readError makes a named error of an execution's error and cause. One that has a name
// of the platform's becomes Unavailable, since a redrive goes on from there.
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
	return named.Errorf(named.Unavailable, "%s: %s", name, named.Shorten(maxCause, cmp.Or(cause, "no cause was given")))
}

// Start starts an execution with this name, and the run's request as its input. It does
// nothing if an execution of that name runs with the same input, and returns
// [ErrExists] if one has another input or has ended.
func (m Machine) Start(ctx context.Context, name, input string) error {
	_, err := m.API.StartExecution(ctx, &sfn.StartExecutionInput{StateMachineArn: &m.ARN, Name: &name, Input: &input})
	if errors.As(err, new(*types.ExecutionAlreadyExists)) {
		return ErrExists
	}
	return unavailable("start the run "+name, err)
}

// Stop stops an execution, which then ends as [Aborted] with the reason's name and
// cause. It returns no error for an execution that does not exist.
func (m Machine) Stop(ctx context.Context, arn string, reason *named.Error) error {
	_, err := m.API.StopExecution(ctx, &sfn.StopExecutionInput{ExecutionArn: &arn, Error: &reason.Name, Cause: &reason.Cause})
	if errors.As(err, new(*types.ExecutionDoesNotExist)) {
		return nil
	}
	return unavailable("stop "+arn, err)
}

// Redrive runs an execution again, which has ended otherwise than as [Succeeded], from
// the state that failed. It returns [ErrNotRedrivable] if Step Functions refuses.
func (m Machine) Redrive(ctx context.Context, arn string) error {
	_, err := m.API.RedriveExecution(ctx, &sfn.RedriveExecutionInput{ExecutionArn: &arn})
	if errors.As(err, new(*types.ExecutionNotRedrivable)) || errors.As(err, new(*types.ExecutionDoesNotExist)) {
		return ErrNotRedrivable
	}
	return unavailable("redrive "+arn, err)
}

// Resume ends the wait for a webhook of the execution that handed out this task token.
// It returns no error for a token that was used, timed out, or belongs to a deleted
// state machine: that wait has ended, and the next step asks how the task stands.
func (m Machine) Resume(ctx context.Context, token string) error {
	_, err := m.API.SendTaskSuccess(ctx, &sfn.SendTaskSuccessInput{TaskToken: &token, Output: aws.String("{}")})
	if errors.As(err, new(*types.TaskTimedOut)) || errors.As(err, new(*types.TaskDoesNotExist)) || errors.As(err, new(*types.InvalidToken)) {
		return nil
	}
	return unavailable("resume a run that awaits a webhook", err)
}

// UnsuccessfulSince calls each for every execution that ended as [Failed], [TimedOut] or
// [Aborted] at the time endedSince or later. When each returns false, it goes on with the
// next of these statuses. It calls pace before each call of Step Functions, which returns
// up to 1,000 executions; an error of pace ends it.
//
// started is a time such that every execution that ended since endedSince began after it;
// it bounds how far the lists are read. AWS's API reference says that executions that
// have ended are sorted by their stop date, the latest first; older texts say "by
// time", which may be the start. So a list is read to its first stop before endedSince
// only if its stops descend and its starts do not, else to its first start before
// started.
func (m Machine) UnsuccessfulSince(ctx context.Context, endedSince, started time.Time, pace func(context.Context) error, each func(Execution) bool) error {
	for _, status := range []types.ExecutionStatus{types.ExecutionStatusFailed, types.ExecutionStatusTimedOut, types.ExecutionStatusAborted} {
		if err := m.endedAs(ctx, status, endedSince, started, pace, each); err != nil {
			return err
		}
	}
	return nil
}

func (m Machine) endedAs(ctx context.Context, status types.ExecutionStatus, endedSince, started time.Time, pace func(context.Context) error, each func(Execution) bool) error {
	pages := sfn.NewListExecutionsPaginator(m.API, &sfn.ListExecutionsInput{StateMachineArn: &m.ARN, StatusFilter: status, MaxResults: 1000})
	var last, lastStart time.Time // stop and start so far
	byStop, byStart := true, true
	for pages.HasMorePages() {
		if err := pace(ctx); err != nil {
			return err
		}
		out, err := pages.NextPage(ctx)
		if err != nil {
			return unavailable("list the executions that ended", err)
		}
		for _, item := range out.Executions {
			e := Execution{
				ARN: aws.ToString(item.ExecutionArn), Name: aws.ToString(item.Name), Status: ended[status],
				StartedAt: aws.ToTime(item.StartDate).UTC(), Redrives: int(aws.ToInt32(item.RedriveCount)),
			}
			stop := aws.ToTime(item.StopDate)
			byStop = byStop && (last.IsZero() || !stop.After(last.Add(time.Second)))
			byStart = byStart && (lastStart.IsZero() || !e.StartedAt.After(lastStart.Add(time.Second)))
			last, lastStart = stop, e.StartedAt
			switch {
			case !stop.Before(endedSince):
				if !each(e) {
					return nil
				}
			case e.StartedAt.Before(started):
				return nil
			}
		}
		if byStop && !byStart && last.Before(endedSince) {
			return nil
		}
	}
	return nil
}

// unavailable returns the error of a call that failed; nil if err is nil.
func unavailable(doing string, err error) error {
	if err == nil {
		return nil
	}
	return named.Errorf(named.Unavailable, "Step Functions could not %s: %w", doing, err)
}
