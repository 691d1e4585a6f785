package run

import (
	"cmp"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// Status is where a run stands.
type Status string

// The statuses, in the order in which a run passes through them.
const (
	Submitting Status = "submitting" // until a task is known
	Waiting    Status = "waiting"    // for the task's end
	Copying    Status = "copying"
	// Delivering begins when every output is stored and the manifest's bytes are fixed:
	// from then on the run cannot be stopped. It succeeds, or fails as OutputBucketRefused
	// if the bucket refuses the manifest for good. The API shows it as copying.
	Delivering Status = "delivering"
	Succeeded  Status = "succeeded"
	Failed     Status = "failed"
	Cancelled  Status = "cancelled"
)

// Statuses lists the statuses that the API shows, in the order in which a run passes
// through them.
var Statuses = []Status{Submitting, Waiting, Copying, Succeeded, Failed, Cancelled}

// Open reports whether the run's record is still to be closed.
func (s Status) Open() bool {
	return s == Submitting || s == Waiting || s == Copying || s == Delivering
}

// Shown returns the status as the API shows it.
func (s Status) Shown() Status {
	if s == Delivering {
		return Copying
	}
	return s
}

// Record is a run's durable state, the object runs/{run_id}.json in the state
// bucket. shared/lifecycle alone creates and changes it, by conditional writes.
// It holds no API key, no signed URL, and of the parameters only where its input files
// came from and what an InvalidRequest quotes of a wrong one.
type Record struct {
	RunID        string    `json:"run_id"`
	ExecutionARN string    `json:"execution_arn"`
	StartedAt    time.Time `json:"started_at"` // the execution's first start, by Step Functions' clock
	// Life is the number of the life that the run is in: the highest redrive count with
	// which a step has called, or that a stop or close-run has seen. LifeStartedAt is when
	// that life began: life 0 at the execution's start, a later one with the first call of
	// one of its steps, or with a stop before that; a close that raises Life leaves it as
	// it was. The wait for the task ends max_seconds after it ([Record.Deadline]);
	// submitting ends max_seconds after StartedAt ([Record.SubmitBy]).
	Life          int       `json:"life"`
	LifeStartedAt time.Time `json:"life_started_at"`
	Status        Status    `json:"status"`
	Workflow      string    `json:"workflow"` // as in the request; "rescue" if that names a task only
	WorkflowID    string    `json:"workflow_id,omitempty"`
	RequestHash   string    `json:"request_hash,omitempty"` // [Request.Hash]
	Bucket        string    `json:"bucket"`                 // of the outputs
	// Prefix is the prefix of the run's keys in the output bucket, with {task_id} in it
	// until the task is known; empty if the request's template was invalid.
	Prefix     string `json:"prefix"`
	MaxSeconds int    `json:"max_seconds"`

	TaskID       string    `json:"task_id,omitempty"`
	Evidence     Evidence  `json:"how,omitempty"`           // how it is known which run started the task
	Adopted      bool      `json:"adopted,omitempty"`       // found in the task list after a lost reply
	TaskWorkflow string    `json:"task_workflow,omitempty"` // of a rescued task: its own
	TaskKnownAt  time.Time `json:"accepted_at,omitzero"`    // when the run got its task: by its receipt, by adoption, by a person's decision or by a rescue

	// Submission is the last POST that was marked. It is kept after the task is known: a
	// later run in doubt uses the task as a witness, whose created_at must lie in this
	// submission's Window.
	Submission *Submission `json:"submission,omitempty"`
	// Posts is how many POSTs were marked, without those that were never sent or were
	// refused; one that was lost and proved to have started nothing counts.
	Posts int `json:"posts,omitempty"`
	// LastAnswer is what Cyberun, or what stands before it, answered to the last POST
	// that was answered and left in doubt, redacted: the error of a run that gives up
	// repeats it.
	LastAnswer string              `json:"last_answer,omitempty"`
	SentFiles  map[string]SentFile `json:"uploads,omitempty"` // by file parameter
	// Candidates are the tasks that a run in doubt may have started.
	Candidates   []Candidate `json:"candidates,omitempty"`
	CandidatesAt time.Time   `json:"candidates_at,omitzero"` // when the task list was read for them
	ExtraTasks   []ExtraTask `json:"extra_tasks,omitempty"`
	Decision     *Decision   `json:"decision,omitempty"`
	Cancel       *Cancel     `json:"cancel,omitempty"`

	TaskStatus      string       `json:"task_status,omitempty"` // as a step last saw it
	CompletedAt     time.Time    `json:"completed_at,omitzero"` // the task's own end, by Cyberun's clock
	CopyStartedAt   time.Time    `json:"copy_started_at,omitzero"`
	CopyCalls       int          `json:"copies,omitempty"`           // calls of copy-result that began
	CopyConnections int          `json:"copy_connections,omitempty"` // fewer than usual, after calls that stored nothing; -1: given up
	StopRequestedAt time.Time    `json:"stop_requested_at,omitzero"`
	EndedAt         time.Time    `json:"ended_at,omitzero"`
	Error           *named.Error `json:"error,omitempty"`
	ErrorKey        string       `json:"error_key,omitempty"` // the key of error.json, once a close has written it
	ManifestKey     string       `json:"manifest_key,omitempty"`
	ManifestBodyKey string       `json:"manifest_body,omitempty"` // from Delivering on: the key, in the state bucket, of the manifest's fixed bytes
	// CleanUpDue says that the close left work to the sweep: markers to delete, extra
	// tasks to cancel, or candidates to name. A cancel that is to be confirmed is in
	// Cancel.
	CleanUpDue bool `json:"clean_up_due,omitempty"`

	WriteID string `json:"write_id"` // id of the last write, by which a writer recognises its own after a lost reply
}

// SentFile is an input file that a run has uploaded to Cyberun. A later call of submit
// uses it again, as long as Cyberun keeps it.
type SentFile struct {
	Source  string    `json:"source"` // s3://bucket/key
	ETag    string    `json:"etag"`   // of the object at Source
	FileKey string    `json:"file_key"`
	At      time.Time `json:"at,omitzero"`
}

// ExtraTask is a second task of one run: a second receipt named it. It is billed like
// the run's own task, and the relay cancels it.
type ExtraTask struct {
	TaskID    string `json:"task_id"`
	Cancelled bool   `json:"cancelled"` // Cyberun accepted the cancel
}

// Decision is what a person decides about a submission whose outcome is unknown: that
// it started the task TaskID, or that it started none.
type Decision struct {
	AttemptID  string    `json:"attempt"` // of the submission that is decided
	TaskID     string    `json:"task_id,omitempty"`
	NotStarted bool      `json:"not_started,omitempty"`
	DecidedBy  string    `json:"decided_by"` // the caller's ARN
	DecidedAt  time.Time `json:"decided_at"`
}

// Same reports whether two decisions are equal but for who made them and when.
func (d Decision) Same(o Decision) bool {
	return d.AttemptID == o.AttemptID && d.TaskID == o.TaskID && d.NotStarted == o.NotStarted
}

// Cancel is the cancel of a run's task: when the relay first tried it, when Cyberun
// accepted it or the task was seen to have ended, and how it ended.
type Cancel struct {
	AskedAt    time.Time `json:"asked_at"`
	AcceptedAt time.Time `json:"accepted_at,omitzero"`
	EndedAs    string    `json:"ended_as,omitempty"` // the task's terminal status, once a call has shown it
}

// MaxRunTime is 7 days. A run waits no longer than that after its first start, in whatever
// life, since Cyberun keeps outputs for 7 days by default; and the sweep goes on with a
// closed run no longer than that after its end.
const MaxRunTime = MaxMaxSeconds * time.Second

// SubmitBy returns the time after which the run may not submit any more: max_seconds
// after its first start.
func (r Record) SubmitBy() time.Time {
	return r.StartedAt.Add(time.Duration(r.MaxSeconds) * time.Second)
}

// Deadline returns the time at which the run stops waiting for its task: max_seconds
// after the start of its life, and at most 7 days after its first start.
func (r Record) Deadline() time.Time {
	deadline := r.LifeStartedAt.Add(time.Duration(r.MaxSeconds) * time.Second)
	if last := r.StartedAt.Add(MaxRunTime); deadline.After(last) {
		return last
	}
	return deadline
}

// KeyPrefix returns the prefix of the run's objects in the output bucket. For a run
// without a task the run's id takes the place of {task_id}, so that its error.json has
// a key of its own.
func (r Record) KeyPrefix() string {
	return strings.ReplaceAll(r.Prefix, taskPlaceholder, cmp.Or(r.TaskID, r.RunID))
}

// SetTask sets the run's task, the evidence of who started it, and the time at which the
// run got it. The run has no candidates from then on.
func (r *Record) SetTask(taskID string, how Evidence, at time.Time) {
	r.TaskID, r.Evidence, r.TaskKnownAt, r.Candidates = taskID, how, at, nil
	r.Prefix = strings.ReplaceAll(r.Prefix, taskPlaceholder, taskID)
}

// InDoubt reports whether the run has a submission and no task: a POST was sent, or may
// have been, and its outcome is unknown.
func (r Record) InDoubt() bool { return r.TaskID == "" && r.Submission != nil }

// WasStopped reports whether a person stopped the run. It is true of a closed run as
// well.
func (r Record) WasStopped() bool { return !r.StopRequestedAt.IsZero() || r.Status == Cancelled }

// WorkLeft reports whether the sweep has work left, at the time now, on a run that
// failed or was cancelled. Work that is not done 7 days after the run's end is given
// up.
func (r Record) WorkLeft(now time.Time) bool {
	if r.Status.Open() || r.Status == Succeeded || now.Sub(r.EndedAt) > MaxRunTime {
		return false
	}
	return r.CleanUpDue || r.Cancel != nil && r.Cancel.EndedAs == ""
}

// Text returns what became of the cancel of the task taskID, as part of an error's
// cause. c is nil if no cancel was tried.
func (c *Cancel) Text(taskID string) string {
	switch {
	case c == nil:
		return "its task " + taskID + " was not cancelled yet"
	case c.EndedAs == "completed":
		return "its task " + taskID + " had completed before it could be cancelled: `relay rescue " + taskID + "` delivers it"
	case c.EndedAs == "cancelled":
		return "its task " + taskID + " was cancelled"
	case c.EndedAs != "":
		return "its task " + taskID + " had ended as " + c.EndedAs
	case !c.AcceptedAt.IsZero():
		return "Cyberun accepted the cancel of its task " + taskID
	}
	return "its task " + taskID + " could not be cancelled yet; the sweep goes on trying"
}
