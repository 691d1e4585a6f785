package run

import (
	"cmp"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// Status is what a run is doing, as everyone outside sees it.
type Status string

const (
	Submitting Status = "submitting"
	Waiting    Status = "waiting"
	Copying    Status = "copying"
	Succeeded  Status = "succeeded"
	Failed     Status = "failed"
	Cancelled  Status = "cancelled"
)

// Statuses are all of them, in the order of a run's life.
var Statuses = []Status{Submitting, Waiting, Copying, Succeeded, Failed, Cancelled}

// Open reports whether a run of this status can still change.
func (s Status) Open() bool { return s == Submitting || s == Waiting || s == Copying }

// Record is the run's durable state. It is created once, and changed only by
// conditional writes. It holds no parameter, no key and no signed URL.
type Record struct {
	RunID        string    `json:"run_id"`
	ExecutionARN string    `json:"execution_arn"`
	StartedAt    time.Time `json:"started_at"` // the execution's start, by Step Functions' clock
	Status       Status    `json:"status"`
	Workflow     string    `json:"workflow"` // as asked, slug or slug@version; "rescue" for a bare task_id
	WorkflowID   string    `json:"workflow_id,omitempty"`
	Prefix       string    `json:"prefix"` // the template
	MaxSeconds   int       `json:"max_seconds"`

	TaskID     string    `json:"task_id,omitempty"`
	Adopted    bool      `json:"adopted,omitempty"` // found after a lost reply: ours by exclusion
	Rescued    bool      `json:"rescued,omitempty"` // the task was there before the run
	AcceptedAt time.Time `json:"accepted_at,omitzero"`

	Submission *Submission       `json:"submission,omitempty"`
	Posts      int               `json:"posts,omitempty"`   // how often a POST was marked
	Uploads    map[string]Upload `json:"uploads,omitempty"` // by file parameter
	Candidates []string          `json:"candidates,omitempty"`

	TaskStatus      string       `json:"task_status,omitempty"` // the last one that a step acted on
	CompletedAt     time.Time    `json:"completed_at,omitzero"` // the task's own end, by Cyberun's clock
	CopyStartedAt   time.Time    `json:"copy_started_at,omitzero"`
	Copies          int          `json:"copies,omitempty"`           // calls of copy-result that began
	CopyConnections int          `json:"copy_connections,omitempty"` // fewer than usual, after calls that stored nothing; -1: given up
	StopRequestedAt time.Time    `json:"stop_requested_at,omitzero"`
	Redriven        bool         `json:"redriven,omitempty"`
	EndedAt         time.Time    `json:"ended_at,omitzero"`
	Error           *named.Error `json:"error,omitempty"`
	ManifestKey     string       `json:"manifest_key,omitempty"`

	Nonce string `json:"nonce"` // of the last write: how a writer knows its own after a lost reply
}

// Upload is a file that was given to Cyberun once and is not given again, as long
// as Cyberun keeps it.
type Upload struct {
	Source  string    `json:"source"` // s3://bucket/key
	ETag    string    `json:"etag"`
	FileKey string    `json:"file_key"`
	At      time.Time `json:"at,omitzero"`
}

// Deadline is when the run must stop waiting.
func (r Record) Deadline() time.Time {
	return r.StartedAt.Add(time.Duration(r.MaxSeconds) * time.Second)
}

// Slug is the workflow without its version.
func (r Record) Slug() string { return Request{Workflow: r.Workflow}.Slug() }

// OutputPrefix is where this run's objects go.
func (r Record) OutputPrefix() string {
	return RenderPrefix(r.Prefix, r.RunID, r.TaskID, r.Slug(), r.StartedAt)
}

// MayCancelTask reports whether stopping the run stops the task. A task that
// was adopted or rescued might be a colleague's: it is named instead.
func (r Record) MayCancelTask() bool { return r.TaskID != "" && !r.Adopted && !r.Rescued }

// InDoubt reports whether a submission was begun whose outcome is not known.
func (r Record) InDoubt() bool { return r.TaskID == "" && r.Submission != nil }

// Stopping reports whether a person asked for the end of this run.
func (r Record) Stopping() bool { return !r.StopRequestedAt.IsZero() || r.Status == Cancelled }

// Close ends a run that is still open. A record closes once.
func (r *Record) Close(status Status, at time.Time, e *named.Error) {
	r.Status, r.EndedAt, r.Error = status, at, e
}

// Reopen undoes a close after a redrive: the execution goes on, so does the run.
func (r *Record) Reopen() {
	switch {
	case r.TaskID == "":
		r.Status = Submitting
	case r.CopyStartedAt.IsZero():
		r.Status = Waiting
	default:
		r.Status = Copying
	}
	r.Redriven, r.EndedAt, r.Error, r.CopyConnections = true, time.Time{}, nil, 0
}

// Manifest is the last object that a run writes: if it is there, everything is.
type Manifest struct {
	RunID    string   `json:"run_id"`
	TaskID   string   `json:"task_id"`
	Workflow string   `json:"workflow"`
	Adopted  bool     `json:"adopted,omitempty"`
	Outputs  []Output `json:"outputs"`
	Timings  Timings  `json:"timings"`
	Usage    Usage    `json:"usage"`
}

// Output is one file that the task left, where it is now.
type Output struct {
	ID          string `json:"id"`
	Key         string `json:"key"`
	Bytes       int64  `json:"bytes"`
	CRC32       string `json:"crc32"` // IEEE, of the whole file, 8 hex digits
	ContentType string `json:"content_type"`
	ETag        string `json:"etag"` // S3's
}

// Timings are a run's moments, UTC.
type Timings struct {
	StartedAt       time.Time `json:"started_at"`
	SubmittedAt     time.Time `json:"submitted_at"`
	TaskCompletedAt time.Time `json:"task_completed_at,omitzero"`
	CopyStartedAt   time.Time `json:"copy_started_at"`
	FinishedAt      time.Time `json:"finished_at"`
}

// Usage is what the run took on the AWS side.
type Usage struct {
	Polls       int     `json:"polls"`
	HeldSeconds float64 `json:"held_seconds"`
	Transitions int     `json:"transitions"`
	CopiedBytes int64   `json:"copied_bytes"`
}

// Failure is the content of error.json.
type Failure struct {
	RunID  string       `json:"run_id"`
	TaskID string       `json:"task_id,omitempty"`
	Error  *named.Error `json:"error"`
}

// Progress is the object that poll-status rewrites while it waits: what
// `relay status` shows, and the counts that the manifest's usage is made of.
type Progress struct {
	RunID       string    `json:"run_id"`
	TaskStatus  string    `json:"task_status,omitempty"`
	Progress    float64   `json:"progress,omitempty"` // 0 to 1
	StepCurrent *int      `json:"step_current,omitempty"`
	StepTotal   *int      `json:"step_total,omitempty"`
	CurrentNode string    `json:"current_node,omitempty"`
	Stage       string    `json:"stage,omitempty"`
	Message     string    `json:"message,omitempty"`
	UpdatedAt   time.Time `json:"updated_at"`
	Polls       int       `json:"polls"`
	Parks       int       `json:"parks,omitempty"`
	HeldSeconds float64   `json:"held_seconds"`
}

// Transitions counts the state machine's steps from what ran: Submit; each poll
// with its choice and its wait, or its park; each copy with its choice; Done.
// Retries are not in it.
func Transitions(polls, copies int) int {
	const submit, poll, copyAndChoice, done = 1, 3, 2, 1
	if polls == 0 {
		return 0
	}
	return submit + poll*polls - 1 + copyAndChoice*cmp.Or(copies, 1) + done // the last poll goes on without a wait
}
