package run

import (
	"cmp"
	"time"
)

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
	// Events estimates how many events the execution's history has. Checks counts
	// the polls since the last wake that found nothing.
	Events      int      `json:"events,omitempty"`
	Checks      int      `json:"checks,omitempty"`
	Missing     *Missing `json:"missing,omitempty"`
	HeldSeconds float64  `json:"held_seconds"`
}

// Transitions returns how many state transitions a run took that polled and copied
// so often: Submit; each poll with its choice and its wait, or its wait for a
// webhook; each call of CopyResult with its choice; Done. Retries are not counted.
func Transitions(polls, copies int) int {
	const submit, poll, copyAndChoice, done = 1, 3, 2, 1
	if polls == 0 {
		return 0
	}
	return submit + poll*polls - 1 + copyAndChoice*cmp.Or(copies, 1) + done // the last poll goes on without a wait
}

// Missing counts the calls about a task, or its result, that were answered with a
// 404, 403 or 410 in a row. One such answer may be an outage of what stands before
// Cyberun; see Gone in shared/workflows.
type Missing struct {
	Looks int       `json:"looks"`
	Since time.Time `json:"since"`
}
