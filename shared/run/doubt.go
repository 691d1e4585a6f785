package run

import "time"

// Submission is the POST that starts a run's task, as the record has it before the POST
// is sent. Its times are by Cyberun's clock, except LocalAt.
type Submission struct {
	AttemptID string    `json:"attempt"`           // its id: only the call that marked it may post
	MarkedAt  time.Time `json:"marked_at"`         // Cyberun's Date in the last answer before the record was marked
	PostUntil time.Time `json:"post_until"`        // by when the POST has ended, with or without an answer
	LocalAt   time.Time `json:"local_at"`          // the relay's own clock just before it asked for that answer
	EmptyAt   time.Time `json:"empty_at,omitzero"` // when the task list was first seen to have no task that could be the run's
}

// ServerTime returns the time by Cyberun's clock when the relay's clock shows now, by
// the difference between the two at MarkedAt.
func (s Submission) ServerTime(now time.Time) time.Time { return s.MarkedAt.Add(now.Sub(s.LocalAt)) }

// clockSlack is how far a task's created_at may lie before MarkedAt or after PostUntil:
// a Date header has whole seconds, and the clocks of Cyberun's hosts differ.
// ADR 4 names the 5 s. rowSlack of shared/doubt is another one, between two rows.
const clockSlack = 5 * time.Second

// Window returns the span in which the task of this submission was created, if it
// started one: from MarkedAt to PostUntil, and 5 s more at either end for clocks that
// differ. PostUntil is set by the Waits of functions/submit/handler.
func (s Submission) Window() Window {
	return Window{From: s.MarkedAt.Add(-clockSlack), Until: s.PostUntil.Add(clockSlack)}
}

// Marker returns the marker that announces this submission to other runs.
func (s Submission) Marker(runID string) Marker {
	return Marker{RunID: runID, AttemptID: s.AttemptID, Window: s.Window()}
}

// Window is a span of time by Cyberun's clock.
type Window struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
}

// Contains reports whether t lies in the window, its ends included.
func (w Window) Contains(t time.Time) bool { return !t.Before(w.From) && !t.After(w.Until) }

// Candidate is a task that a run in doubt may have started.
type Candidate struct {
	TaskID      string    `json:"task_id"`
	CreatedAt   time.Time `json:"created_at"`
	TaskStatus  string    `json:"task_status"`
	DeliveredBy string    `json:"delivered_by,omitempty"` // the run that delivers it, if one does
}

// Marker is the object submitting/{workflow_id}/{run_id}/{attempt} in the state bucket.
// It tells other runs of the workflow that a POST is about to be sent, and in which
// window a task of that POST is created.
type Marker struct {
	RunID     string `json:"run_id"`
	AttemptID string `json:"attempt"`
	Window    Window `json:"window"`
}
