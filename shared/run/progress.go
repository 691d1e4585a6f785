package run

import (
	"cmp"
	"time"
)

// Progress is the object progress/{run_id}.json in the state bucket, which poll-status
// writes while it waits for the task, and copy-result while Cyberun says that the result
// is gone: what `relay status` shows, and the counts of which the manifest's usage is
// made.
type Progress struct {
	RunID       string    `json:"run_id"`
	TaskStatus  string    `json:"task_status,omitempty"`
	Fraction    float64   `json:"progress,omitempty"`     // 0 to 1
	StepCurrent *int      `json:"step_current,omitempty"` // of StepTotal steps, of the workflow's node that runs
	StepTotal   *int      `json:"step_total,omitempty"`
	CurrentNode string    `json:"current_node,omitempty"`
	Stage       string    `json:"stage,omitempty"`
	Message     string    `json:"message,omitempty"`
	UpdatedAt   time.Time `json:"updated_at"`
	Polls       int       `json:"polls"`
	Parks       int       `json:"parks,omitempty"` // waits for a webhook
	// HistoryEvents estimates how many events the execution's history has. EarlyPolls
	// counts the polls since the last webhook that arrived although the task had not ended.
	HistoryEvents int      `json:"events,omitempty"`
	EarlyPolls    int      `json:"checks,omitempty"`
	Missing       *Missing `json:"missing,omitempty"`
	HeldSeconds   float64  `json:"held_seconds"`
}

// StateTransitions returns how many state transitions a run took with so many polls and
// calls of copy-result: one for Submit; for each poll the poll and its choice, and for
// each but the last the wait after it, also for a webhook; for each call of copy-result,
// at least one, the call and its choice; one for Done. Retries are not counted. It
// returns 0 for a run that was never polled, whose states are not known.
func StateTransitions(polls, copies int) int {
	const submit, poll, copyAndChoice, done = 1, 3, 2, 1
	if polls == 0 {
		return 0
	}
	return submit + poll*polls - 1 + copyAndChoice*cmp.Or(copies, 1) + done // the last poll goes on without a wait
}

// Missing counts the answers in a row that a task, or its result, is not there: those
// with the status 403, 404 or 410. Answers is their number, Since the time of the first.
// One such answer may come from a proxy in front of Cyberun during an outage; Gone in
// shared/workflows says when they are believed.
type Missing struct {
	Answers int       `json:"answers"`
	Since   time.Time `json:"since"`
}
