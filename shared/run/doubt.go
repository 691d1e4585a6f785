package run

import "time"

// Submission is a POST as it was marked in the record before it was sent. Its
// times are by Cyberun's clock, but for LocalAt.
type Submission struct {
	Attempt   string    `json:"attempt"` // whose POST it is: only the invocation that wrote it posts
	MarkedAt  time.Time `json:"marked_at"`
	PostUntil time.Time `json:"post_until"`
	LocalAt   time.Time `json:"local_at"`          // MarkedAt by the relay's own clock
	EmptyAt   time.Time `json:"empty_at,omitzero"` // when a good look found no task that could be the run's
}

// ServerTime returns the time that Cyberun's clock should show when the relay's
// clock shows now, by the difference of the two at MarkedAt.
func (s Submission) ServerTime(now time.Time) time.Time { return s.MarkedAt.Add(now.Sub(s.LocalAt)) }

// ClockSlack is how far a task's created_at may lie outside the window: a Date
// header has whole seconds, and the service's hosts have clocks of their own.
// It widens both ends; the slack of shared/doubt is another one, between two rows.
const ClockSlack = 5 * time.Second

// Window returns the span in which a task of this submission was created, if it
// started one.
func (s Submission) Window() Window {
	return Window{From: s.MarkedAt.Add(-ClockSlack), Until: s.PostUntil.Add(ClockSlack)}
}

// Marker returns the marker that announces this submission to other runs.
func (s Submission) Marker(runID string) Marker {
	return Marker{RunID: runID, Attempt: s.Attempt, Window: s.Window()}
}

// Window is a span of time by Cyberun's clock.
type Window struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
}

// Contains reports whether t lies in the window, its ends included.
func (w Window) Contains(t time.Time) bool { return !t.Before(w.From) && !t.After(w.Until) }

// Candidate is a task that may be a run's whose submission is in doubt.
type Candidate struct {
	TaskID      string    `json:"task_id"`
	CreatedAt   time.Time `json:"created_at"`
	TaskStatus  string    `json:"task_status"`
	DeliveredBy string    `json:"delivered_by,omitempty"` // the run that delivers it, if one does
}

// Marker is the object submitting/{workflow_id}/{run_id}/{attempt}, which announces
// to other runs of the workflow that a POST is about to be sent.
type Marker struct {
	RunID   string `json:"run_id"`
	Attempt string `json:"attempt"`
	Window  Window `json:"window"`
}
