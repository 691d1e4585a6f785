package lifecycle

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

// Cyberun is the part of the client that this package calls: to read a task, and to
// cancel it.
type Cyberun interface {
	Task(ctx context.Context, id string) (cyberun.Task, error)
	Cancel(ctx context.Context, id string) error
}

// Executions reads an execution by its ARN, as executions.Machine does.
type Executions interface {
	Describe(ctx context.Context, arn string) (executions.Execution, error)
}

// OutputS3 is the part of an S3 client that this package calls for the output bucket: to
// write and delete manifest.json and error.json, and to abort multipart uploads.
type OutputS3 interface {
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	DeleteObject(context.Context, *s3.DeleteObjectInput, ...func(*s3.Options)) (*s3.DeleteObjectOutput, error)
	AbortMultipartUpload(context.Context, *s3.AbortMultipartUploadInput, ...func(*s3.Options)) (*s3.AbortMultipartUploadOutput, error)
}

// Runs reads and changes the runs of one stack. All methods need Store, Now and NewID;
// the comment of a method says what else it needs. The method Runs of config.StateStore sets
// all but Cyberun and OutputS3, which a Lambda function that does not need them leaves nil.
type Runs struct {
	Store       *store.Store
	OutputS3    OutputS3
	Cyberun     Cyberun
	Executions  Executions
	Now         func() time.Time
	Sleep       func(ctx context.Context, d time.Duration) error
	NewID       func() string // a new id for each write and each object
	Concurrency int           // objects of one run that are read or deleted side by side; 0: one after the other
}

// Run is a record as it was last read or written, with the life in which its caller
// acts. Methods that change a run return it as it is afterwards.
type Run struct {
	run.Record
	life   int
	object store.Object
	// first says that this call created the record, so that no earlier one can
	// have left a marker behind.
	first bool
}

// ErrNoRecord says that a run has no record: Submit has not created it yet, or it
// has expired, 90 days after its last change.
var ErrNoRecord = errors.New("no record")

// Get reads a run without entering a life. Its error is ErrNoRecord, Unavailable, or one
// without a name for a record that cannot be read.
func (s *Runs) Get(ctx context.Context, runID string) (Run, error) {
	object, err := s.Store.Get(ctx, recordKey(runID))
	if errors.Is(err, store.ErrNotFound) {
		return Run{}, ErrNoRecord
	}
	if err != nil {
		return Run{}, err
	}
	return decodeRun(object)
}

func decodeRun(object store.Object) (Run, error) {
	r := Run{object: object}
	if err := json.Unmarshal(object.Body, &r.Record); err != nil {
		return r, fmt.Errorf("a record of the state bucket cannot be read: %w", err)
	}
	r.life = r.Life
	return r, nil
}

// update applies an event, of the life in which the caller acts, to a record as apply
// does, and writes the record if that changed it. do gets a record of its own, decoded
// for this call of it. Every change of a record goes through update: only create writes
// the first one, and reuse replaces that of a run whose name Step Functions has given
// out again. It returns the run as it stands then, and the table's cell.
func (s *Runs) update(ctx context.Context, r Run, event event, do func(*run.Record) error) (Run, cell, error) {
	var met cell
	var err error
	r.object, err = s.Store.Update(ctx, recordKey(r.RunID), r.object, func(body []byte) ([]byte, error) {
		current, err := decodeRun(store.Object{Body: body})
		if err != nil {
			return nil, err
		}
		before, err := json.Marshal(current.Record)
		if err != nil {
			return nil, err
		}
		met, err = apply(&current.Record, r.life, event, do)
		if r.Record = current.Record; err != nil {
			return nil, err
		}
		if after, err := json.Marshal(r.Record); err != nil || bytes.Equal(before, after) {
			return nil, err
		}
		r.WriteID = s.NewID()
		return json.Marshal(r.Record)
	})
	if errors.Is(err, store.ErrNotFound) {
		err = ErrNoRecord
	}
	return r, met, err
}

// Call is the part that the inputs of all steps have: which run a call is for, and in
// which life by Step Functions. ExecutionARN and StartedAt, which is the execution's
// first start, come to submit alone.
type Call struct {
	RunID        string    `json:"run_id"`
	ExecutionARN string    `json:"execution_arn,omitempty"`
	StartedAt    time.Time `json:"started_at,omitzero"`
	// Redrives is $$.Execution.RedriveCount; nil in calls of executions that began
	// under a definition of the state machine that did not pass it.
	Redrives *int `json:"redrive_count,omitempty"`
}

// ID names the run in the log.
func (c Call) ID() string { return c.RunID }

// sameStart is the most by which two reports of one execution's start differ: the
// state machine's context and DescribeExecution round it differently.
const sameStart = time.Minute

// reusable is how old a closed record must be to give way to another execution
// of the same name. Step Functions forgets a name 90 days after its execution
// ended, and S3 may expire a record a day or two later than that.
const reusable = 80 * 24 * time.Hour

// newRecord returns the record of a run that begins, in life n: 0, or, for an execution
// that was redriven before the run had a record, its redrive count.
func newRecord(runID, arn string, started time.Time, n int, request run.Request, bucket, outputPrefix string, now time.Time) run.Record {
	lifeStart := started // a later life begins when its first step enters
	if n > 0 {
		lifeStart = now
	}
	return run.Record{
		RunID: runID, ExecutionARN: arn, StartedAt: started.UTC(), Life: n, LifeStartedAt: lifeStart.UTC(), Status: run.Submitting,
		Workflow: cmp.Or(request.Workflow, run.RescueSlug), RequestHash: request.Hash, Bucket: bucket, MaxSeconds: cmp.Or(request.MaxSeconds, run.DefaultMaxSeconds),
		Prefix: run.RenderPrefix(outputPrefix, cmp.Or(request.Destination.Prefix, run.DefaultPrefix), runID, request.Slug(), started),
	}
}

// Begin enters a run for submit: it creates the record, or continues the one that
// exists. bucket and outputPrefix are the stack's. It returns InvalidRequest for a run
// id that another execution used within the last 80 days, and otherwise what Continue
// returns. It returns InvalidRequest as well for an id whose record is still open under
// another execution. It needs Executions if call.Redrives is nil.
func (s *Runs) Begin(ctx context.Context, call Call, request run.Request, bucket, outputPrefix string) (Run, error) {
	r, err := s.begin(ctx, call, request, bucket, outputPrefix)
	if errors.Is(err, store.ErrExists) { // created by another call meanwhile, or by a stop or a close
		r, err = s.begin(ctx, call, request, bucket, outputPrefix)
	}
	return r, err
}

// begin is Begin, but returns store.ErrExists if the record was created after begin had
// found none.
func (s *Runs) begin(ctx context.Context, call Call, request run.Request, bucket, outputPrefix string) (Run, error) {
	standing, err := s.Get(ctx, call.RunID)
	recorded := !errors.Is(err, ErrNoRecord)
	switch {
	case !recorded:
	case err != nil:
		return standing, err
	case standing.ExecutionARN == call.ExecutionARN && standing.StartedAt.Sub(call.StartedAt).Abs() <= sameStart:
		return s.enter(ctx, standing, call)
	case standing.Status.Open() || s.Now().Sub(standing.StartedAt) < reusable:
		return standing, named.Errorf(named.InvalidRequest, "the run id %s was used before, by %s: start the execution under another name", call.RunID, standing.ExecutionARN)
	}
	n, err := s.lifeOf(ctx, call)
	if err != nil {
		return standing, err
	}
	fresh := newRecord(call.RunID, call.ExecutionARN, call.StartedAt, n, request, bucket, outputPrefix, s.Now())
	if recorded {
		return s.reuse(ctx, standing, fresh)
	}
	return s.create(ctx, fresh)
}

// create writes a new record, or returns store.ErrExists. The entry of the index comes
// first, so that no record is without one; readers skip an entry without a record.
func (s *Runs) create(ctx context.Context, r run.Record) (Run, error) {
	if err := s.Store.Put(ctx, indexKey(r), nil); err != nil {
		return Run{}, err
	}
	r.WriteID = s.NewID()
	body, err := json.Marshal(r)
	if err != nil {
		return Run{}, err
	}
	object, err := s.Store.Create(ctx, recordKey(r.RunID), body)
	return Run{Record: r, life: r.Life, object: object, first: true}, err
}

// reuse replaces the closed record of a run that started over 80 days ago, and whose name
// Step Functions has given to another execution.
func (s *Runs) reuse(ctx context.Context, old Run, fresh run.Record) (Run, error) {
	for _, key := range []string{progressKey(old.RunID), wakeKey(old.RunID)} {
		if err := s.Store.Delete(ctx, key); err != nil {
			return old, err
		}
	}
	if err := s.clearDelivery(ctx, old.RunID); err != nil {
		return old, err
	}
	if err := s.Store.Put(ctx, indexKey(fresh), nil); err != nil {
		return old, err
	}
	object, err := s.Store.Update(ctx, recordKey(old.RunID), old.object, func(body []byte) ([]byte, error) {
		if !bytes.Equal(body, old.object.Body) {
			return nil, named.Errorf(named.Unavailable, "another call begins the run %s", old.RunID)
		}
		fresh.WriteID = s.NewID()
		return json.Marshal(fresh)
	})
	return Run{Record: fresh, life: fresh.Life, object: object}, err
}

// lifeOf returns the life that a call belongs to, from Step Functions if the call
// does not say it.
func (s *Runs) lifeOf(ctx context.Context, call Call) (int, error) {
	if call.Redrives != nil {
		return *call.Redrives, nil
	}
	e, err := s.Executions.Describe(ctx, call.ExecutionARN)
	if errors.Is(err, executions.ErrNotFound) {
		return 0, nil // it started a moment ago: Step Functions' reads lag behind
	}
	return e.Redrives, err
}

// Continue enters a run for poll-status or copy-result. The call of a higher life than
// the record's begins that life, and opens a run again that had failed. Continue
// returns RunCancelled for a run that is being stopped, and to the new life of one that
// was; Superseded for a call of a lower life, and for one of the same life if the run
// has failed or was cancelled; and RunNotFound without a record. A run that has
// succeeded is returned as it is. With OutputS3 Continue finishes a delivery that an
// earlier call began; without it, it returns such a run as it is. It needs Executions
// if call.Redrives is nil.
func (s *Runs) Continue(ctx context.Context, call Call) (Run, error) {
	r, err := s.Get(ctx, call.RunID)
	if errors.Is(err, ErrNoRecord) {
		return r, named.Errorf(named.RunNotFound, "the run %s has no record", call.RunID)
	}
	if err != nil {
		return r, err
	}
	call.ExecutionARN = cmp.Or(call.ExecutionARN, r.ExecutionARN)
	return s.enter(ctx, r, call)
}

// enter checks that a call may go on with a run, and raises the run's life if the
// call belongs to a higher one.
func (s *Runs) enter(ctx context.Context, r Run, call Call) (Run, error) {
	n, err := s.lifeOf(ctx, call)
	if err != nil {
		return r, err
	}
	now := s.Now().UTC()
	begin := func(rec *run.Record) error {
		if n > rec.Life {
			raise(rec, n, now)
		}
		return nil
	}
	r.life = n
	// The record as it was read decides a call of its own life: it needs no write.
	seen := r.Record
	cell, err := apply(&seen, n, onEnter, begin)
	if err == nil && n > r.Life {
		r, cell, err = s.update(ctx, r, onEnter, begin)
	}
	switch {
	case err != nil:
		return r, err
	case cell.Then&doEndStep != 0:
		return r, refusal(named.RunCancelled, r.Record)
	case cell.Then&doFinish != 0 && s.OutputS3 != nil:
		return s.finishDelivery(ctx, r)
	}
	return r, nil
}

// raise begins life n of a record at the time now.
func raise(r *run.Record, n int, now time.Time) {
	r.Life, r.LifeStartedAt, r.CopyConnections = n, now, 0
	if r.Status == run.Failed {
		r.EndedAt, r.Error, r.CleanUpDue = time.Time{}, nil, false
		if r.Cancel != nil && r.Cancel.AcceptedAt.IsZero() {
			r.Cancel = nil // the task runs on, and this life waits for it: only a new stop or deadline cancels it
		}
	}
}

// Reread reads the run again for a call that entered it a while ago. It returns
// RunCancelled if the run was stopped since, and Superseded if it was redriven or
// closed: the call must not go on.
func (s *Runs) Reread(ctx context.Context, r Run) (Run, error) {
	now, err := s.Get(ctx, r.RunID)
	if err != nil {
		return now, err
	}
	now.life = r.life
	_, err = apply(&now.Record, r.life, onNote, nil)
	return now, err
}

// Note changes the record of a run and not its status, for a step in the run's life. do
// makes the change; it may be called more than once. Note returns
// RunCancelled for a run that was stopped, and Superseded for one that was redriven, was
// closed, or is being delivered.
func (s *Runs) Note(ctx context.Context, r Run, do func(*run.Record)) (Run, error) {
	r, _, err := s.update(ctx, r, onNote, func(rec *run.Record) error {
		do(rec)
		return nil
	})
	return r, err
}
