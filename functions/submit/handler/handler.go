package handler

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/workflows"
)

// Input is what the state Submit sends.
type Input struct {
	RunID        string          `json:"run_id"`
	ExecutionARN string          `json:"execution_arn"`
	StartedAt    time.Time       `json:"started_at"`
	Request      json.RawMessage `json:"request"`
}

// ID names the run in the log.
func (in Input) ID() string { return in.RunID }

// Output goes on to the next states; the request goes no further.
type Output struct {
	RunID  string `json:"run_id"`
	TaskID string `json:"task_id"`
}

// Cyberun is what submit asks of the service.
type Cyberun interface {
	Workflow(ctx context.Context, ref string) (cyberun.Workflow, error)
	Run(ctx context.Context, ref string, parameters map[string]any) (cyberun.RunReceipt, error)
	Task(ctx context.Context, id string) (cyberun.Task, error)
	Tasks(ctx context.Context, q cyberun.TaskQuery) (cyberun.TaskList, error)
	Cancel(ctx context.Context, id string) error
	Presign(ctx context.Context, r cyberun.PresignRequest) (cyberun.Presigned, error)
	Upload(ctx context.Context, p cyberun.Presigned, body io.Reader, size int64) error
}

// Records is what submit does to the state bucket.
type Records interface {
	Create(ctx context.Context, r run.Record) (run.Record, error)
	Get(ctx context.Context, runID string) (run.Record, error)
	Update(ctx context.Context, runID string, change func(*run.Record) error) (run.Record, error)
	Reopen(ctx context.Context, runID string) (run.Record, error)
	Claim(ctx context.Context, taskID string, c store.Claim) (store.Claim, error)
	ClaimOf(ctx context.Context, taskID string) (store.Claim, error)
	MayCancel(ctx context.Context, r run.Record) (may bool, owner string, err error)
	TakeOver(ctx context.Context, taskID string, from, to store.Claim) error
	PutMarker(ctx context.Context, workflowID string, m run.Marker) error
	ClearMarker(ctx context.Context, workflowID, runID, attempt string) error
	ClearMarkers(ctx context.Context, workflowID, runID string) error
	Markers(ctx context.Context, workflowID string) ([]run.Marker, error)
}

// Buckets is what submit asks of S3 beside the records: whether the outputs'
// bucket can be reached, and the files that are inputs.
type Buckets interface {
	HeadBucket(context.Context, *s3.HeadBucketInput, ...func(*s3.Options)) (*s3.HeadBucketOutput, error)
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// Executions tells whether another run's execution still runs.
type Executions interface {
	Running(ctx context.Context, executionARN string) (bool, error)
}

// Handler claims a run, prepares it, submits it once, and finds out what became
// of a submission whose reply was lost.
type Handler struct {
	Cyberun      Cyberun
	Records      Records
	Buckets      Buckets
	Executions   Executions
	OutputBucket string
	StateBucket  string
	Waits        Waits
	InDoubtStop  bool // never adopt or submit again after a lost reply
	Now          func() time.Time
	NewID        func() string
}

// callTime bounds one call to Cyberun, as everywhere in the relay; the POST and
// the uploads have times of their own.
const callTime = 20 * time.Second

// Waits are the times of the submit protocol. Tests shorten them, and never
// their order.
type Waits struct {
	Post     time.Duration // how long a POST may take
	Settle   time.Duration // after that, until the task list is believed
	Between  time.Duration // two empty looks
	Patience time.Duration // in doubt, before a person is asked
}

// DefaultWaits are the design's.
var DefaultWaits = Waits{Post: 25 * time.Second, Settle: 10 * time.Second, Between: 30 * time.Second, Patience: 5 * time.Minute}

// Handle is the state Submit. Whatever happened to an earlier call of the same
// run, it goes on from what the record says.
func (h *Handler) Handle(ctx context.Context, in Input) (Output, error) {
	request, faults := run.ParseRequest(in.Request)
	record, err := h.claim(ctx, in, request)
	if err != nil {
		return Output{}, err
	}
	if record.TaskID != "" {
		return h.settle(ctx, record)
	}
	if record.Stopping() {
		return Output{}, stopped(record)
	}
	if record.InDoubt() {
		if record, err = h.reconcile(ctx, record); err != nil {
			return Output{}, err
		}
		if record.TaskID != "" {
			return h.settle(ctx, record)
		}
	}
	if h.Now().After(record.Deadline()) {
		return Output{}, named.Errorf(named.RunTimedOut, "nothing was submitted within max_seconds (%d)", record.MaxSeconds)
	}
	if request.TaskID != "" && len(faults) == 0 {
		return h.rescue(ctx, record, request.TaskID)
	}
	ready, err := h.prepare(ctx, record, request, faults)
	if err != nil {
		return Output{}, err
	}
	return h.submit(ctx, record, ready)
}

// sameStart is how far two accounts of one execution's start may lie apart: the
// state machine's context and DescribeExecution round it differently.
const sameStart = time.Minute

// claim makes the run ours: this execution's, however often its step is tried.
// An input that is no object at all has no defaults yet; without them it would
// end as timed out, not as invalid.
func (h *Handler) claim(ctx context.Context, in Input, request run.Request) (run.Record, error) {
	record := run.Record{
		RunID: in.RunID, ExecutionARN: in.ExecutionARN, StartedAt: in.StartedAt, Status: run.Submitting,
		Workflow: cmp.Or(request.Workflow, run.RescueSlug), MaxSeconds: cmp.Or(request.MaxSeconds, run.DefaultMaxSeconds),
	}
	if prefix := cmp.Or(request.Destination.Prefix, run.DefaultPrefix); run.ValidPrefix(prefix) {
		record.Prefix = prefix
	}
	created, err := h.Records.Create(ctx, record)
	if !errors.Is(err, store.ErrExists) {
		return created, err
	}
	standing, err := h.Records.Get(ctx, in.RunID)
	switch {
	case err != nil:
		return standing, err
	case standing.ExecutionARN != in.ExecutionARN || standing.StartedAt.Sub(in.StartedAt).Abs() > sameStart:
		return standing, named.Errorf(named.InvalidRequest, "the run id %s was used before, by %s: start the execution under another name", in.RunID, standing.ExecutionARN)
	case standing.Status == run.Failed:
		return h.Records.Reopen(ctx, in.RunID) // a redrive: the execution goes on where it had failed
	}
	return standing, nil
}

// ready is a request that was checked completely and can be submitted.
type ready struct {
	ref        string
	workflowID string
	parameters map[string]any
	clock      serverClock
}

// serverClock is Cyberun's clock, and a moment of ours that is not after it.
type serverClock struct {
	server time.Time
	local  time.Time
}

// prepare is everything that can fail before anything is paid for.
func (h *Handler) prepare(ctx context.Context, record run.Record, request run.Request, faults named.Violations) (ready, error) {
	if request.Workflow == "" || request.TaskID != "" {
		return ready{}, faults.Err()
	}
	workflow, clock, err := h.workflow(ctx, request.Workflow)
	if err != nil {
		if len(faults) > 0 {
			return ready{}, faults.Err() // these stand, whatever the workflow would say
		}
		return ready{}, err
	}
	parameters, more := workflows.CheckParameters(request, workflow)
	files, fileFaults, err := h.inputFiles(ctx, workflow, parameters, request.InputVersions)
	if err != nil {
		return ready{}, err
	}
	if invalid := append(append(faults, more...), fileFaults...).Err(); invalid != nil {
		return ready{}, invalid
	}
	if disabled := workflows.CheckWorkflow(request.Workflow, workflow); disabled != nil {
		return ready{}, disabled
	}
	if _, err := h.Buckets.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &h.OutputBucket}); err != nil {
		return ready{}, named.Errorf(named.Unavailable, "the output bucket %s cannot be reached, so nothing was submitted: %w", h.OutputBucket, err)
	}
	if len(files) > 0 {
		if err := h.uploadFiles(ctx, record, files, parameters); err != nil {
			return ready{}, err
		}
		if workflow, clock, err = h.workflow(ctx, request.Workflow); err != nil { // its clock, not minutes old
			return ready{}, err
		}
	}
	return ready{ref: request.Workflow, workflowID: workflow.ID, parameters: parameters, clock: clock}, nil
}

// workflow reads the local clock before it asks: an answer that was long under
// way has an old Date, and a POST timed from its arrival would lie outside the
// window that a lost reply is looked for in.
func (h *Handler) workflow(ctx context.Context, ref string) (cyberun.Workflow, serverClock, error) {
	asked := h.Now()
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	w, err := h.Cyberun.Workflow(ctx, ref)
	if err != nil {
		return w, serverClock{}, cyberun.WorkflowError(ref, err)
	}
	if w.Date.IsZero() {
		return w, serverClock{}, named.Errorf(named.Unavailable, "Cyberun's answers carry no Date header, so a lost reply could not be traced; nothing was submitted")
	}
	return w, serverClock{server: w.Date, local: asked}, nil
}

// settle finishes what follows a known task id: the claim, then the markers'
// end. It is safe to repeat.
func (h *Handler) settle(ctx context.Context, record run.Record) (Output, error) {
	claim, err := h.Records.Claim(ctx, record.TaskID, store.Claim{RunID: record.RunID})
	if err != nil {
		return Output{}, err
	}
	// A receipt is certain: it outweighs what a run in doubt named as a candidate.
	certain := !record.Adopted && !record.Rescued
	if claim.Candidate && (certain || claim.RunID == record.RunID) {
		if err := h.Records.TakeOver(ctx, record.TaskID, claim, store.Claim{RunID: record.RunID}); err != nil {
			return Output{}, err
		}
	} else if claim.RunID != record.RunID {
		return Output{}, named.Errorf(named.TaskTaken, "the task %s belongs to the run %s by now", record.TaskID, claim.RunID)
	}
	if record.Stopping() {
		// Before the markers go: by them the sweep finds a task whose call died here.
		if err := h.cancel(ctx, record); err != nil {
			return Output{}, err
		}
	}
	if record.WorkflowID != "" {
		if err := h.Records.ClearMarkers(ctx, record.WorkflowID, record.RunID); err != nil {
			return Output{}, err
		}
	}
	if record.Stopping() {
		return Output{}, stopped(record)
	}
	return Output{RunID: record.RunID, TaskID: record.TaskID}, nil
}

// cancel stops paying for a task whose run was stopped while it was submitted.
func (h *Handler) cancel(ctx context.Context, record run.Record) error {
	may, _, err := h.Records.MayCancel(ctx, record)
	if err != nil || !may {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	if err := h.Cyberun.Cancel(ctx, record.TaskID); err != nil {
		return cyberun.RemoteError("cancel the task "+record.TaskID, err)
	}
	return nil
}

func stopped(record run.Record) error {
	if record.InDoubt() {
		return named.Errorf(named.RunCancelled, "the run was stopped while it was in doubt whether its task had started")
	}
	if record.TaskID == "" {
		return named.Errorf(named.RunCancelled, "the run was stopped before anything was submitted")
	}
	if !record.MayCancelTask() {
		return named.Errorf(named.RunCancelled, "the run was stopped; the task %s was not started by it and was left alone", record.TaskID)
	}
	return named.Errorf(named.RunCancelled, "the run was stopped and its task %s cancelled", record.TaskID)
}
