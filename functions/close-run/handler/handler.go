package handler

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

// Input is an EventBridge event that an execution ended, or the hourly sweep.
type Input struct {
	Sweep  bool   `json:"sweep"`
	Detail Detail `json:"detail"`
}

// Detail is what is used of "Step Functions Execution Status Change".
type Detail struct {
	ExecutionARN string `json:"executionArn"`
	Name         string `json:"name"`
}

// ID names the run in the log.
func (in Input) ID() string { return in.Detail.Name }

// Output says what was done, for the log of a call by hand.
type Output struct {
	Closed int `json:"closed"`
	Failed int `json:"failed,omitempty"` // sweep only: left for the next one
}

// Cyberun is what close-run asks of the service.
type Cyberun interface {
	Cancel(ctx context.Context, id string) error
}

// Records is what it does to the state bucket.
type Records interface {
	Create(ctx context.Context, r run.Record) (run.Record, error)
	Get(ctx context.Context, runID string) (run.Record, error)
	Update(ctx context.Context, runID string, change func(*run.Record) error) (run.Record, error)
	MayCancel(ctx context.Context, r run.Record) (may bool, owner string, err error)
	Claim(ctx context.Context, taskID string, c store.Claim) (store.Claim, error)
	ClearMarkers(ctx context.Context, workflowID, runID string) error
	AllMarkers(ctx context.Context, each func(workflowID, runID string) bool) error
	OpenRuns(ctx context.Context, each func(runID string) bool) error
	ClearOpen(ctx context.Context, runID string) error
	Copies(ctx context.Context, runID string, each func(state []byte) error) error
	ClearCopies(ctx context.Context, runID string) error
}

// Bucket is what it does to the output bucket.
type Bucket interface {
	transfer.Aborter
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	DeleteObject(context.Context, *s3.DeleteObjectInput, ...func(*s3.Options)) (*s3.DeleteObjectOutput, error)
}

// Executions tells what became of an execution.
type Executions interface {
	DescribeExecution(context.Context, *sfn.DescribeExecutionInput, ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error)
}

// Handler closes the runs whose execution ended without closing them.
type Handler struct {
	Cyberun      Cyberun
	Records      Records
	Bucket       Bucket
	Executions   Executions
	OutputBucket string
	Log          *slog.Logger
	Now          func() time.Time
}

// callTime bounds one call to Cyberun, as everywhere in the relay.
const callTime = 20 * time.Second

// Handle closes one run, or sweeps.
func (h *Handler) Handle(ctx context.Context, in Input) (Output, error) {
	if in.Sweep {
		return h.sweep(ctx)
	}
	if in.Detail.ExecutionARN == "" {
		return Output{}, named.Errorf(named.InvalidRequest, "the event names no execution: expected detail.executionArn, or {\"sweep\": true}")
	}
	closed, err := h.close(ctx, in.Detail.ExecutionARN)
	if err != nil {
		return Output{}, err
	}
	return Output{Closed: closed}, nil
}

// ending is how an execution ended, by Step Functions' own account: an event may
// come twice, late, or after a redrive.
type ending struct {
	arn       string
	runID     string
	startedAt time.Time
	request   run.Request
	status    run.Status
	reason    *named.Error
}

// errRunning: there is nothing to close.
var errRunning = errors.New("the execution runs, or succeeded")

func (h *Handler) close(ctx context.Context, arn string) (int, error) {
	end, err := h.describe(ctx, arn)
	if errors.Is(err, errRunning) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	record, err := h.Records.Get(ctx, end.runID)
	if errors.Is(err, store.ErrNotFound) {
		return h.tombstone(ctx, end)
	}
	if err != nil {
		return 0, err
	}
	return h.closeRecord(ctx, record, end)
}

func (h *Handler) describe(ctx context.Context, arn string) (ending, error) {
	end := ending{arn: arn, runID: arn[strings.LastIndex(arn, ":")+1:]}
	out, err := h.Executions.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &arn})
	var gone *types.ExecutionDoesNotExist
	if errors.As(err, &gone) {
		end.status = run.Failed
		end.reason = named.Errorf(named.Unavailable, "the execution no longer exists: its state machine was deleted, or it ended over 90 days ago")
		return end, nil
	}
	if err != nil {
		return end, named.Errorf(named.Unavailable, "Step Functions could not describe %s: %w", arn, err)
	}
	if out.StartDate != nil {
		end.startedAt = *out.StartDate
	}
	if out.Input != nil {
		end.request, _ = run.ParseRequest([]byte(*out.Input)) // its faults are the execution's error already
	}
	switch out.Status {
	case types.ExecutionStatusAborted:
		end.status = run.Cancelled
		end.reason = named.Errorf(named.RunCancelled, "the execution was stopped")
	case types.ExecutionStatusTimedOut:
		end.status = run.Failed
		end.reason = named.Errorf(named.RunTimedOut, "the execution timed out")
	case types.ExecutionStatusFailed:
		end.status = run.Failed
		end.reason = named.ExecutionError(deref(out.Error), deref(out.Cause))
		if end.reason.Name == named.RunCancelled { // a step that met the stop failed before the stop took hold
			end.status = run.Cancelled
		}
	default:
		return end, errRunning
	}
	return end, nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// tombstone closes a run that ended before it had a record; Submit, should it
// come yet, finds it and starts nothing.
func (h *Handler) tombstone(ctx context.Context, end ending) (int, error) {
	record := run.Record{
		RunID: end.runID, ExecutionARN: end.arn, StartedAt: end.startedAt,
		Workflow: cmp.Or(end.request.Workflow, run.RescueSlug), MaxSeconds: cmp.Or(end.request.MaxSeconds, run.DefaultMaxSeconds),
	}
	if prefix := cmp.Or(end.request.Destination.Prefix, run.DefaultPrefix); run.ValidPrefix(prefix) {
		record.Prefix = prefix
	}
	record.Close(end.status, h.Now().UTC(), end.reason)
	if err := h.leaveError(ctx, record, end.reason); err != nil {
		return 0, err
	}
	_, err := h.Records.Create(ctx, record)
	if errors.Is(err, store.ErrExists) {
		standing, err := h.Records.Get(ctx, end.runID)
		if err != nil {
			return 0, err
		}
		return h.closeRecord(ctx, standing, end)
	}
	return 1, err
}

// closeRecord does everything before the close that a second call would not do
// after it: of two calls, both do it, and one closes.
func (h *Handler) closeRecord(ctx context.Context, record run.Record, end ending) (int, error) {
	if !record.Status.Open() {
		return 0, h.closedByAnother(ctx, record)
	}
	status, reason := end.status, end.reason
	if !record.StopRequestedAt.IsZero() {
		status, reason = run.Cancelled, named.Errorf(named.RunCancelled, "the run was stopped")
	}
	switch {
	case status == run.Failed && record.InDoubt() && reason.Name != named.SubmitOutcomeUnknown:
		reason = named.Errorf(named.SubmitOutcomeUnknown, "the execution ended while it was in doubt whether its task had started: %s: %s; %s", reason.Name, reason.Cause, doubt(record))
		// By itself it would find out: a person chooses only if that is not to be.
		reason.Hint = "mend the cause and redrive the run, which looks for its task before it submits again; or start a run with {\"task_id\": \"…\"} for a task that you know to be this run's"
	case status == run.Cancelled || reason.Name == named.RunTimedOut:
		said, err := h.stopPaying(ctx, record)
		if err != nil {
			return 0, err
		}
		told := *reason
		told.Cause += "; " + said
		reason = &told
	}
	if err := h.leaveError(ctx, record, reason); err != nil {
		return 0, err
	}
	closed, err := h.Records.Update(ctx, record.RunID, func(r *run.Record) error {
		if !r.Status.Open() {
			return errClosed
		}
		if r.TaskID != record.TaskID || r.InDoubt() != record.InDoubt() || r.Stopping() != record.Stopping() {
			return errMoved
		}
		r.Close(status, h.Now().UTC(), reason)
		return nil
	})
	switch {
	case errors.Is(err, errMoved):
		return h.closeRecord(ctx, closed, end) // Submit posts, or stored a task id, or a person stopped it: it is to be named, or cancelled
	case errors.Is(err, errClosed):
		return 0, h.closedByAnother(ctx, closed)
	case err != nil:
		return 0, err
	}
	h.Log.InfoContext(ctx, "closed", "run_id", record.RunID, "status", status, "error", reason.Name)
	return 1, h.tidy(ctx, closed)
}

var (
	errClosed = errors.New("closed by another")
	errMoved  = errors.New("the submission went on meanwhile")
)

// stopPaying cancels the task of a run that ends before it. The service's word
// that it cannot be is final; an outage is tried again, by Lambda and the sweep, and
// so is a refused key: one that is being rotated must not leave a task running.
func (h *Handler) stopPaying(ctx context.Context, record run.Record) (string, error) {
	switch {
	case record.InDoubt():
		return doubt(record), nil
	case record.TaskID == "":
		return "nothing had been submitted", nil
	}
	may, owner, err := h.Records.MayCancel(ctx, record)
	switch {
	case err != nil:
		return "", err
	case owner != "": // rescued before this close came: it is another run's delivery now
		return fmt.Sprintf("its task %s was left alone, since the run %s has taken it over", record.TaskID, owner), nil
	case !may:
		return fmt.Sprintf("the task %s was left alone, since this run did not start it", record.TaskID), nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	err = h.Cyberun.Cancel(ctx, record.TaskID)
	var answer *cyberun.APIError
	switch {
	case err == nil:
		return fmt.Sprintf("its task %s was cancelled", record.TaskID), nil
	case errors.As(err, &answer) && !answer.Temporary() && answer.Status != http.StatusUnauthorized:
		return fmt.Sprintf("its task %s could not be cancelled (%v)", record.TaskID, err), nil
	}
	return "", cyberun.RemoteError("cancel the task "+record.TaskID, err)
}

// doubt is what a person needs to find a task that may be the run's.
func doubt(record run.Record) string {
	said := fmt.Sprintf("a submission was in doubt from %s to %s: a task of the workflow %s created then may be this run's and was not cancelled",
		record.Submission.MarkedAt.Format(time.RFC3339), record.Submission.PostUntil.Format(time.RFC3339), record.Workflow)
	if len(record.Candidates) > 0 {
		said += "; candidates: " + strings.Join(record.Candidates, ", ")
	}
	return said
}

// abortUploads ends the multipart uploads of a run that nothing will go on with,
// once its record is closed: a copy that stores another one then looks there, and
// ends it itself. A failed run keeps its own: a redrive goes on from the parts
// that are there.
func (h *Handler) abortUploads(ctx context.Context, record run.Record) error {
	if record.Status != run.Cancelled {
		return nil
	}
	err := h.Records.Copies(ctx, record.RunID, func(raw []byte) error {
		var state struct {
			Checkpoint *transfer.Checkpoint `json:"checkpoint"`
		}
		if json.Unmarshal(raw, &state) != nil || state.Checkpoint == nil {
			return nil
		}
		return transfer.Abort(ctx, h.Bucket, h.OutputBucket, *state.Checkpoint)
	})
	if err != nil {
		return err
	}
	return h.Records.ClearCopies(ctx, record.RunID)
}
