package run

import (
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// Status is the state of a run.
type Status string

// The statuses, in the order of a run's life.
const (
	Submitting Status = "submitting" // until a task is known
	Waiting    Status = "waiting"    // for the task's end
	Copying    Status = "copying"
	// Delivering is past the point of no return: every output is stored and the
	// manifest's bytes are fixed. Outside it is shown as copying.
	Delivering Status = "delivering"
	Succeeded  Status = "succeeded"
	Failed     Status = "failed"
	Cancelled  Status = "cancelled"
)

// Statuses lists the statuses that are shown outside, in the order of a run's life.
var Statuses = []Status{Submitting, Waiting, Copying, Succeeded, Failed, Cancelled}

// Open reports whether the run has not ended.
func (s Status) Open() bool {
	return s == Submitting || s == Waiting || s == Copying || s == Delivering
}

// Shown returns the status as it is shown outside.
func (s Status) Shown() Status {
	if s == Delivering {
		return Copying
	}
	return s
}

// Record is a run's durable state, the object runs/{run_id}.json in the state
// bucket. shared/lifecycle alone creates and changes it, by conditional writes.
// It holds no parameter, no key and no signed URL.
type Record struct {
	RunID        string    `json:"run_id"`
	ExecutionARN string    `json:"execution_arn"`
	StartedAt    time.Time `json:"started_at"` // the execution's first start, by Step Functions' clock
	// Life is the highest redrive count whose step has entered: 0 before any
	// redrive. LifeStartedAt is when it entered; max_seconds of waiting count
	// from there.
	Life          int       `json:"life"`
	LifeStartedAt time.Time `json:"life_started_at"`
	Status        Status    `json:"status"`
	Workflow      string    `json:"workflow"` // as asked, slug or slug@version; "rescue" for a bare task_id
	WorkflowID    string    `json:"workflow_id,omitempty"`
	RequestHash   string    `json:"request_hash,omitempty"` // [Request.Hash]
	Bucket        string    `json:"bucket"`                 // of the outputs
	// Prefix is where the run's objects go, rendered but for {task_id}, which is
	// filled in when the task is known; empty if the request's was not valid.
	Prefix     string `json:"prefix"`
	MaxSeconds int    `json:"max_seconds"`

	TaskID       string    `json:"task_id,omitempty"`
	How          How       `json:"how,omitempty"`           // how it is known who started the task
	Adopted      bool      `json:"adopted,omitempty"`       // found in the task list after a lost reply
	TaskWorkflow string    `json:"task_workflow,omitempty"` // of a rescued task: its own
	AcceptedAt   time.Time `json:"accepted_at,omitzero"`

	// Submission is the last POST that was marked. It is kept after the task is
	// known, so that later runs can compare clocks with it.
	Submission *Submission       `json:"submission,omitempty"`
	Posts      int               `json:"posts,omitempty"`   // how often a POST was marked and not taken back
	Uploads    map[string]Upload `json:"uploads,omitempty"` // by file parameter
	// Candidates are the tasks that may be the run's, of a run in doubt.
	Candidates   []Candidate `json:"candidates,omitempty"`
	CandidatesAt time.Time   `json:"candidates_at,omitzero"` // when the list was read for them
	ExtraTasks   []ExtraTask `json:"extra_tasks,omitempty"`
	Decision     *Decision   `json:"decision,omitempty"`
	Cancel       *Cancel     `json:"cancel,omitempty"`

	TaskStatus      string       `json:"task_status,omitempty"` // the last one that a step acted on
	CompletedAt     time.Time    `json:"completed_at,omitzero"` // the task's own end, by Cyberun's clock
	CopyStartedAt   time.Time    `json:"copy_started_at,omitzero"`
	Copies          int          `json:"copies,omitempty"`           // calls of copy-result that began
	CopyConnections int          `json:"copy_connections,omitempty"` // fewer than usual, after calls that stored nothing; -1: given up
	StopRequestedAt time.Time    `json:"stop_requested_at,omitzero"`
	EndedAt         time.Time    `json:"ended_at,omitzero"`
	Error           *named.Error `json:"error,omitempty"`
	ErrorKey        string       `json:"error_key,omitempty"` // of the error.json that a close left
	ManifestKey     string       `json:"manifest_key,omitempty"`
	ManifestBody    string       `json:"manifest_body,omitempty"` // of a delivery: the key, in the state bucket, of its fixed bytes
	// Unsettled says that the close left something to the sweep: markers to
	// delete, a cancel to confirm, candidates to name.
	Unsettled bool `json:"unsettled,omitempty"`

	WriteID string `json:"write_id"` // of the last write: how a writer knows its own after a lost reply
}

// Upload is a file that was given to Cyberun once and is not given again, as long
// as Cyberun keeps it.
type Upload struct {
	Source  string    `json:"source"` // s3://bucket/key
	ETag    string    `json:"etag"`
	FileKey string    `json:"file_key"`
	At      time.Time `json:"at,omitzero"`
}

// ExtraTask is a task that a second receipt of the same run named: it was paid
// for beside the run's own, and is cancelled.
type ExtraTask struct {
	TaskID    string `json:"task_id"`
	Cancelled bool   `json:"cancelled"`
}

// Decision is a person's word on a submission whose outcome is unknown: the task
// it started, or that it started none.
type Decision struct {
	Attempt    string    `json:"attempt"` // of the submission it speaks of
	TaskID     string    `json:"task_id,omitempty"`
	NotStarted bool      `json:"not_started,omitempty"`
	DecidedBy  string    `json:"decided_by"` // the caller's ARN
	DecidedAt  time.Time `json:"decided_at"`
}

// Same reports whether two decisions say the same of the same submission, whoever
// made them.
func (d Decision) Same(o Decision) bool {
	return d.Attempt == o.Attempt && d.TaskID == o.TaskID && d.NotStarted == o.NotStarted
}

// Cancel is the cancel of a run's task: when it was asked for, when Cyberun
// accepted it, and how the task ended.
type Cancel struct {
	AskedAt    time.Time `json:"asked_at"`
	AcceptedAt time.Time `json:"accepted_at,omitzero"`
	EndedAs    string    `json:"ended_as,omitempty"` // the task's terminal status, once seen
}

// MaxLife bounds how long after its first start a run may wait: Cyberun's
// outputs live 7 days by default, and so may a request's max_seconds.
const MaxLife = MaxMaxSeconds * time.Second

// SubmitBy returns the time by which the run must have submitted: max_seconds
// after its first start.
func (r Record) SubmitBy() time.Time {
	return r.StartedAt.Add(time.Duration(r.MaxSeconds) * time.Second)
}

// Deadline returns the time at which the run must stop waiting: max_seconds after
// the start of its life, at most 7 days after its first start.
func (r Record) Deadline() time.Time {
	deadline, last := r.LifeStartedAt.Add(time.Duration(r.MaxSeconds)*time.Second), r.StartedAt.Add(MaxLife)
	if deadline.After(last) {
		deadline = last
	}
	return deadline
}

// OutputPrefix returns the prefix of the run's objects in the output bucket. A run
// that ended before it had a task has its own id in place of {task_id}, so that its
// error.json has a place of its own.
func (r Record) OutputPrefix() string {
	task := r.TaskID
	if task == "" {
		task = r.RunID
	}
	return strings.ReplaceAll(r.Prefix, taskPlaceholder, task)
}

// SetTask notes the run's task, how it is known that the run started it, and when
// that became known.
func (r *Record) SetTask(taskID string, how How, at time.Time) {
	r.TaskID, r.How, r.AcceptedAt, r.Candidates = taskID, how, at, nil
	r.Prefix = strings.ReplaceAll(r.Prefix, taskPlaceholder, taskID)
}

// InDoubt reports whether a POST was sent, or may have been, whose outcome is not
// known.
func (r Record) InDoubt() bool { return r.TaskID == "" && r.Submission != nil }

// Stopping reports whether a person stopped the run, be it closed by now or not.
func (r Record) Stopping() bool { return !r.StopRequestedAt.IsZero() || r.Status == Cancelled }

// Pending reports whether a run that has ended still has work for the sweep at the
// time given. Work is given up 7 days after the run's end.
func (r Record) Pending(now time.Time) bool {
	if r.Status.Open() || r.Status == Succeeded || now.Sub(r.EndedAt) > MaxLife {
		return false
	}
	return r.Unsettled || r.Cancel != nil && r.Cancel.EndedAs == ""
}

// Text says for a person what became of the cancel of a task. c may be nil: no
// cancel was asked for.
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
