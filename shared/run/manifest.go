package run

import (
	"cmp"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// Manifest is the content of manifest.json, the last object that a run writes to the
// output bucket: if it exists, all outputs exist. It is made of the record, the
// counts in [Progress] and the stored outputs. A new member that describes the run is
// first a field of [Record], set in shared/lifecycle.
type Manifest struct {
	RunID    string   `json:"run_id"`
	TaskID   string   `json:"task_id"`
	Workflow string   `json:"workflow"`
	Adopted  bool     `json:"adopted,omitempty"`
	Outputs  []Output `json:"outputs"`
	Timings  Timings  `json:"timings"`
	Usage    Usage    `json:"usage"`
	// ExtraTasks are tasks that a second receipt of this run named.
	ExtraTasks []ExtraTask `json:"extra_tasks,omitempty"`
}

// NewManifest returns the manifest of a run whose outputs are all stored.
func NewManifest(r Record, p Progress, outputs []Output, now time.Time) Manifest {
	var copied int64
	for _, o := range outputs {
		copied += o.Bytes
	}
	return Manifest{
		RunID: r.RunID, TaskID: r.TaskID, Workflow: cmp.Or(r.TaskWorkflow, r.Workflow), Adopted: r.Adopted, Outputs: outputs,
		Timings: Timings{
			StartedAt: r.StartedAt, SubmittedAt: r.TaskKnownAt, TaskCompletedAt: r.CompletedAt,
			CopyStartedAt: r.CopyStartedAt, FinishedAt: now.UTC(),
		},
		Usage: Usage{
			Polls: p.Polls, HeldSeconds: p.HeldSeconds, CopiedBytes: copied, Transitions: StateTransitions(p.Polls, r.CopyCalls),
		},
		ExtraTasks: r.ExtraTasks,
	}
}

// Output is one file of a task, as it is stored in the output bucket.
type Output struct {
	ID          string `json:"id"`
	Key         string `json:"key"`
	Bytes       int64  `json:"bytes"`
	CRC32       string `json:"crc32"` // IEEE, of the whole file, 8 hex digits
	ContentType string `json:"content_type"`
	ETag        string `json:"etag"` // S3's
}

// Timings are when a run began, got its task, and so on, in UTC.
type Timings struct {
	StartedAt       time.Time `json:"started_at"`
	SubmittedAt     time.Time `json:"submitted_at"`               // when the run got its task: by its receipt, by adoption, by a person's decision or by a rescue ([Record].TaskKnownAt)
	TaskCompletedAt time.Time `json:"task_completed_at,omitzero"` // by Cyberun's clock
	CopyStartedAt   time.Time `json:"copy_started_at"`
	FinishedAt      time.Time `json:"finished_at"`
}

// Usage is what a run used of AWS.
type Usage struct {
	Polls       int     `json:"polls"`
	HeldSeconds float64 `json:"held_seconds"` // how long calls of poll-status followed the task's event stream
	Transitions int     `json:"transitions"`  // as [StateTransitions] counts them
	CopiedBytes int64   `json:"copied_bytes"` // the size of all outputs
}

// Failure is the content of error.json, which a run leaves that did not succeed.
type Failure struct {
	RunID      string       `json:"run_id"`
	TaskID     string       `json:"task_id,omitempty"`
	Error      *named.Error `json:"error"`
	Candidates []Candidate  `json:"candidates,omitempty"`
	ExtraTasks []ExtraTask  `json:"extra_tasks,omitempty"`
}
