// Package api holds the answers of the relay's HTTP API about runs, which functions/api
// writes and cmd/relay reads. docs/openapi.yaml describes them.
package api

import (
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// Run answers GET /runs/{id}, and is a row of GET /runs.
type Run struct {
	RunID       string          `json:"run_id"`
	Status      run.Status      `json:"status"`
	Workflow    string          `json:"workflow,omitempty"`
	TaskID      string          `json:"task_id,omitempty"`
	TaskStatus  string          `json:"task_status,omitempty"`
	Adopted     bool            `json:"adopted,omitempty"`
	StartedAt   time.Time       `json:"started_at,omitzero"`
	EndedAt     time.Time       `json:"ended_at,omitzero"`
	Progress    *run.Progress   `json:"progress,omitempty"`
	Bucket      string          `json:"bucket,omitempty"`
	ManifestKey string          `json:"manifest_key,omitempty"`
	Outputs     []Output        `json:"outputs,omitempty"`
	OutputsNext string          `json:"outputs_next,omitempty"` // for ?outputs_after
	Candidates  []run.Candidate `json:"candidates,omitempty"`
	Submission  *run.Submission `json:"submission,omitempty"` // while its outcome is unknown
	ExtraTasks  []run.ExtraTask `json:"extra_tasks,omitempty"`
	Cancel      *run.Cancel     `json:"cancel,omitempty"`
	Error       *named.Error    `json:"error,omitempty"`
}

// Output is an output of a run, where it is, and a signed address that serves it for a
// while.
type Output struct {
	run.Output
	S3URI string `json:"s3_uri"`
	URL   string `json:"url,omitempty"`
}

// Accepted answers POST /runs and POST /runs/{id}/outcome.
type Accepted struct {
	RunID  string     `json:"run_id"`
	Status run.Status `json:"status"`
}

// Stopped answers DELETE /runs/{id}. Task says what became of the run's task: cancelled
// (or it had ended), cancelling, left (it was not this run's to cancel) or none.
type Stopped struct {
	RunID  string     `json:"run_id"`
	Status run.Status `json:"status"`
	Task   string     `json:"task"`
}
