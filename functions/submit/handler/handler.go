// Package handler submits a run: it creates the record, checks the request, uploads
// input files and starts the task exactly once, or finds out whether a submission
// whose reply was lost started one.
package handler

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/doubt"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
	"github.com/cyberun-cloud/cyberun-relay/shared/workflows"
)

// Input is the payload of the state Submit.
type Input struct {
	lifecycle.Call
	Request json.RawMessage `json:"request"` // the execution's input, see [run.Request]
}

// Response is the result of the state Submit, and the input of the next states: the
// request goes no further.
type Response struct {
	RunID  string `json:"run_id"`
	TaskID string `json:"task_id"`
}

// Cyberun is the part of the client that submit needs.
type Cyberun interface {
	lifecycle.Cyberun
	doubt.Cyberun
	Workflow(ctx context.Context, ref string) (cyberun.Workflow, error)
	WorkflowByID(ctx context.Context, id string) (cyberun.Workflow, error)
	StartTask(ctx context.Context, ref string, parameters map[string]any) (taskID string, err error)
	Presign(ctx context.Context, r cyberun.PresignRequest) (cyberun.Presigned, error)
	Upload(ctx context.Context, p cyberun.Presigned, body io.Reader, size int64) error
}

// Buckets is the part of an S3 client that submit calls: to read input files, and to
// begin and abort a multipart upload, which proves that the output bucket takes the
// outputs.
type Buckets interface {
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	CreateMultipartUpload(context.Context, *s3.CreateMultipartUploadInput, ...func(*s3.Options)) (*s3.CreateMultipartUploadOutput, error)
	AbortMultipartUpload(context.Context, *s3.AbortMultipartUploadInput, ...func(*s3.Options)) (*s3.AbortMultipartUploadOutput, error)
}

// Handler runs the state Submit.
type Handler struct {
	Cyberun      Cyberun
	Runs         *lifecycle.Runs
	Doubts       doubt.Investigator
	Buckets      Buckets
	OutputBucket string
	OutputPrefix string
	StateBucket  string
	Waits        Waits
	DoubtPolicy  DoubtPolicy
	Now          func() time.Time
	Sleep        func(ctx context.Context, d time.Duration) error
	NewID        func() string
	Random       func(most time.Duration) time.Duration // from 0 to most

	writeCheck writeCheck
}

// DoubtPolicy is the value of the stack parameter InDoubt: what submit may do after a
// lost reply without a person's decision.
type DoubtPolicy string

// The settings of the stack parameter InDoubt.
const (
	PolicyVerify     DoubtPolicy = "verify"      // adopt the only candidate; submit again after proof that there is no task
	PolicyAbsentOnly DoubtPolicy = "absent-only" // submit again after proof that there is no task; leave every candidate to a person
	PolicyAsk        DoubtPolicy = "stop"        // leave both to a person
)

// Waits are the times of the submit protocol, see ADR 4 and docs/lost-replies.md. The
// environment may shorten them, which tests of the local stack do; the template sets
// none of them.
type Waits struct {
	// Post is how long a POST may take.
	Post time.Duration `env:"SUBMIT_POST"`
	// Settle is from a POST's end until the task list is believed to show its task.
	Settle time.Duration `env:"SUBMIT_SETTLE"`
	// Between is between two looks that found no task.
	Between time.Duration `env:"SUBMIT_BETWEEN"`
	// Absence is from a POST's end until a second look may prove that there is no task;
	// without a witness, until the doubt is left to a person.
	Absence time.Duration `env:"SUBMIT_ABSENCE"`
	// GiveUpAfter is from a POST's end until a doubt is left to a person; twice that while
	// the task list cannot be read. doubtLasts of shared/lifecycle and the tries of the
	// state Submit after SubmitInDoubt must last as long as the latter.
	GiveUpAfter time.Duration `env:"SUBMIT_PATIENCE"`
	// Spread is the time over which the runs that waited for another run's doubt submit,
	// each at a random moment. Of a hundred runs that start within two minutes, every
	// 20th of whose replies is lost (TestHundredRuns), a minute leaves none to a person
	// and all have ended after 11 minutes. Without the spread half of the replies are lost
	// while another run is in doubt, and the last run ends after 13 minutes.
	Spread time.Duration `env:"SUBMIT_SPREAD"`
}

// DefaultWaits are the waits of a deployed stack.
var DefaultWaits = Waits{Post: 25 * time.Second, Settle: 10 * time.Second, Between: 30 * time.Second, Absence: time.Minute, GiveUpAfter: 5 * time.Minute, Spread: time.Minute}

// Handle continues from what the record says, whatever happened to earlier calls for the
// same run.
func (h *Handler) Handle(ctx context.Context, in Input) (Response, error) {
	request, violations := run.ParseRequest(in.Request)
	r, err := h.Runs.Begin(ctx, in.Call, request, h.OutputBucket, h.OutputPrefix)
	if err != nil {
		return Response{}, err
	}
	if r.TaskID == "" && r.InDoubt() {
		if r, err = h.reconcile(ctx, r); err != nil {
			return Response{}, err
		}
	}
	if r.TaskID != "" {
		return response(h.Runs.CompleteSubmission(ctx, r))
	}
	if h.Now().After(r.SubmitBy()) {
		return Response{}, tooLate("nothing was submitted within max_seconds (%d)", r.MaxSeconds)
	}
	if request.TaskID != "" && len(violations) == 0 {
		return h.rescue(ctx, r, request.TaskID)
	}
	ready, err := h.prepare(ctx, r, request, violations)
	if err != nil {
		return Response{}, err
	}
	return h.submit(ctx, request.Workflow, ready)
}

// tooLate is RunTimedOut of a run without a task. A redrive does not give it more
// time, since max_seconds bound a submission from the run's first start.
func tooLate(format string, args ...any) error {
	e := named.Errorf(named.RunTimedOut, format, args...)
	e.Hint = "start a new run; nothing was paid, and a redrive of this one submits nothing any more"
	return e
}

func response(r lifecycle.Run, err error) (Response, error) {
	if err != nil {
		return Response{}, err
	}
	return Response{RunID: r.RunID, TaskID: r.TaskID}, nil
}

// rescue makes the run deliver an existing task, which it never cancels.
func (h *Handler) rescue(ctx context.Context, r lifecycle.Run, taskID string) (Response, error) {
	callCtx, cancel := context.WithTimeout(ctx, cyberun.CallTime)
	defer cancel()
	task, err := h.Cyberun.Task(callCtx, taskID)
	if cyberun.IsNotFound(err) {
		return Response{}, named.Violations{{Parameter: "task_id", Message: "Cyberun knows no task " + taskID + " for this key"}}.Err()
	}
	if err != nil {
		return Response{}, cyberun.RemoteError("look up the task "+taskID, err)
	}
	// Its slug is for the manifest: a workflow that is gone, and comes back empty, does not
	// keep its task from being delivered.
	workflow, _ := h.Cyberun.WorkflowByID(callCtx, task.WorkflowID)
	return response(h.Runs.RescueTask(ctx, r, task.ID, workflow.Slug))
}

// ready is a request that was checked completely and can be submitted.
type ready struct {
	run        lifecycle.Run // as its record stands after the uploads
	workflow   cyberun.Workflow
	asked      time.Time // by the relay's clock, no later than workflow.Date by Cyberun's
	parameters map[string]any
}

// prepare checks the request against its workflow, proves that the outputs can be
// written, uploads the files, and waits for other runs in doubt: all that can fail
// before anything is paid.
func (h *Handler) prepare(ctx context.Context, r lifecycle.Run, request run.Request, violations named.Violations) (ready, error) {
	if request.Workflow == "" || request.TaskID != "" {
		return ready{}, violations.Err()
	}
	workflow, asked, err := h.workflow(ctx, request.Workflow)
	if err != nil {
		if len(violations) > 0 {
			return ready{}, violations.Err() // these stand, whatever the workflow would say
		}
		return ready{}, err
	}
	parameters, more := workflows.CheckParameters(request, workflow)
	files, wrongFiles, err := h.inputFiles(ctx, workflow, parameters, request.InputVersions)
	if err != nil {
		return ready{}, err
	}
	if err := append(append(violations, more...), wrongFiles...).Err(); err != nil {
		return ready{}, err
	}
	if err := workflows.CheckWorkflow(request.Workflow, workflow); err != nil {
		return ready{}, err
	}
	if err := h.writeCheck.passes(ctx, h.Buckets, r.Record, h.Now()); err != nil {
		return ready{}, err
	}
	if r, err = h.uploadFiles(ctx, r, files, parameters); err != nil {
		return ready{}, err
	}
	// After the uploads: in the minutes that they take, a doubt may arise.
	waited, err := h.awaitOtherDoubts(ctx, workflow.ID, r)
	if err != nil {
		return ready{}, err
	}
	if waited || len(files) > 0 {
		if workflow, asked, err = h.workflow(ctx, request.Workflow); err != nil { // its clock, not minutes old
			return ready{}, err
		}
	}
	return ready{run: r, workflow: workflow, asked: asked, parameters: parameters}, nil
}

// writeCheckLasts is how long a warm function remembers that a bucket can be written.
const writeCheckLasts = 10 * time.Minute

// writeCheck remembers when the output bucket last took a write.
type writeCheck struct {
	mu     sync.Mutex
	at     time.Time
	bucket string
}

// passes checks, before money is spent, that the run's outputs can be written: a
// multipart upload of the run's own manifest.json is created and aborted. That needs the
// same right, region, policy and KMS key as the outputs, and leaves no object and no event.
// What it cannot show is an Object Lock, which is refused at the write alone.
func (p *writeCheck) passes(ctx context.Context, buckets Buckets, r run.Record, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bucket == r.Bucket && now.Sub(p.at) < writeCheckLasts {
		return nil
	}
	key := r.KeyPrefix() + run.ManifestName
	created, err := buckets.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &r.Bucket, Key: &key})
	if err == nil {
		_, err = buckets.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &r.Bucket, Key: &key, UploadId: created.UploadId})
	}
	if err != nil {
		if why, refused := s3errors.RefusedByBucket(err); refused {
			e := named.Errorf(named.OutputBucketRefused, "the output bucket %s refuses s3://%[1]s/%s (%s), so nothing was submitted: %w", r.Bucket, key, why, err)
			e.Hint = "correct the output bucket's policy, region, encryption key (KmsKeyArn) or name (OutputBucketName), then redrive the run; nothing was paid"
			return e
		}
		return named.Errorf(named.Unavailable, "the output bucket %s cannot be reached, so nothing was submitted: %w", r.Bucket, err)
	}
	p.bucket, p.at = r.Bucket, now
	return nil
}

const (
	// othersPause is how often a run looks whether another one is still in doubt, and
	// maxOthers for how long within one call: a LIST costs a fifth of a transition.
	othersPause = 5 * time.Second
	maxOthers   = 5 * time.Minute
)

// awaitOtherDoubts waits while another run of the workflow is in doubt, so that only
// POSTs that are already under way can be lost together, and a single lost reply
// leaves one candidate. Runs that waited continue at random times within Waits.Spread,
// and check again then: all at once they would lose replies together again. It
// returns WorkflowInDoubt if the other doubt lasts for longer than a call, and
// RunTimedOut at the end of the run's own time.
func (h *Handler) awaitOtherDoubts(ctx context.Context, workflowID string, r lifecycle.Run) (waited bool, err error) {
	until, spread, blocker := h.Now().Add(maxOthers), false, ""
	for {
		other, err := h.Runs.OtherInDoubt(ctx, workflowID, r.RunID)
		blocker = cmp.Or(other, blocker)
		left, pause := r.SubmitBy().Sub(h.Now()), othersPause
		switch {
		case err != nil:
			return waited, err
		case other == "" && (!waited || spread):
			return waited, nil
		case left < 0:
			return true, tooLate("nothing was submitted within max_seconds (%d): the run %s of the same workflow was in doubt", r.MaxSeconds, blocker)
		case other == "":
			pause, spread = h.Random(min(h.Waits.Spread, left)), true
		case !h.Now().Before(until):
			return true, named.Errorf(named.WorkflowInDoubt, "the run %s is in doubt whether its task has started", other)
		default:
			spread = false
		}
		if err := h.Sleep(ctx, pause); err != nil {
			return true, err
		}
		waited = true
	}
}

// workflow reads the workflow and, in its Date, Cyberun's clock. It reads the local clock
// before it asks: an answer that took long has an old Date, and a POST timed from its
// arrival could lie outside the window in which a lost reply is searched for.
func (h *Handler) workflow(ctx context.Context, ref string) (w cyberun.Workflow, asked time.Time, err error) {
	asked = h.Now()
	ctx, cancel := context.WithTimeout(ctx, cyberun.CallTime)
	defer cancel()
	w, err = h.Cyberun.Workflow(ctx, ref)
	if err != nil {
		return w, asked, cyberun.WorkflowError(ref, err)
	}
	if w.Date.IsZero() {
		return w, asked, named.Errorf(named.Unavailable, "Cyberun's answer has no Date header of its own, or came from a cache, so a lost reply could not be traced; nothing was submitted")
	}
	return w, asked, nil
}

const (
	// maxPosts bounds how often a submission that surely never started is made
	// again: by then it is not the network.
	maxPosts = 5
	// leastPost: with less time than this left of a POST's own, none is begun.
	leastPost = time.Second
)

// submit marks the submission, posts it once to the workflow that ref names, and accepts
// the receipt. The order is that of the protocol in ADR 4.
func (h *Handler) submit(ctx context.Context, ref string, ready ready) (Response, error) {
	r := ready.run
	if r.Posts >= maxPosts {
		e := named.Errorf(named.RunRejected, "%d submissions in a row reached Cyberun and never started a task%s", r.Posts, lastAnswer(r.Record))
		e.Hint = "look at Cyberun's own status, then start a new run; no task was paid for"
		return Response{}, e
	}
	date := ready.workflow.Date.UTC()
	r, err := h.Runs.Mark(ctx, r, ready.workflow.ID, run.Submission{
		AttemptID: h.NewID(), MarkedAt: date, PostUntil: date.Add(h.Waits.Post), LocalAt: ready.asked.UTC(),
	})
	if err != nil {
		return Response{}, err
	}
	left := h.Waits.Post - h.Now().Sub(ready.asked)
	if left < min(leastPost, h.Waits.Post/2) {
		return Response{}, h.Runs.Unmark(ctx, r, named.Errorf(named.Unavailable, "the state bucket was too slow to submit in time; nothing was submitted"))
	}
	postCtx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	taskID, err := h.Cyberun.StartTask(postCtx, ref, ready.parameters)
	if err == nil {
		if r, err = h.Runs.Accept(ctx, r, taskID); err != nil {
			return Response{}, err
		}
		return response(h.Runs.Reread(ctx, r)) // the run may have been stopped, or redriven, while this call posted
	}
	if failed, ok := errors.AsType[*cyberun.StartError](err); ok && failed.NotStarted {
		return Response{}, h.Runs.Unmark(ctx, r, cyberun.SubmitError(ref, err))
	}
	doubtCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cyberun.CallTime)
	defer cancel()
	if err := h.Runs.AnnounceDoubt(doubtCtx, r.Record); err != nil {
		return Response{}, err
	}
	if answered(err) {
		// The announcement came first, for it keeps others from posting; this is a
		// courtesy to the reader of a later error, and may fail.
		_, _ = h.Runs.Note(doubtCtx, r, func(rec *run.Record) { rec.LastAnswer = err.Error() })
	}
	return Response{}, named.Errorf(named.SubmitInDoubt, "%w", err)
}

// answered reports whether a POST in doubt got an answer, whosever it was.
func answered(err error) bool {
	_, status := errors.AsType[*cyberun.APIError](err)
	_, body := errors.AsType[*cyberun.AnswerError](err)
	return status || body
}

// lastAnswer ends a sentence about a run's submissions with what was answered to them.
func lastAnswer(r run.Record) string {
	if r.LastAnswer == "" {
		return ""
	}
	return ": " + r.LastAnswer
}
