package run

import (
	"slices"
	"time"
)

// Submission is the mark that stands in the record before a POST is made, and
// until its outcome is known. Its times are by Cyberun's clock.
type Submission struct {
	Attempt   string    `json:"attempt"` // whose POST it is: only the invocation that wrote it posts
	MarkedAt  time.Time `json:"marked_at"`
	PostUntil time.Time `json:"post_until"`
	EmptyAt   time.Time `json:"empty_at,omitzero"` // when a look found no task that could be ours
}

// clockSlack is what a task's created_at may lie outside the window by: a Date
// header has whole seconds, and the service's hosts have clocks of their own.
const clockSlack = 5 * time.Second

// Window is when a task of this submission was created, if it was.
func (s Submission) Window() Window {
	return Window{From: s.MarkedAt.Add(-clockSlack), Until: s.PostUntil.Add(clockSlack)}
}

// Marker is what the other runs of the workflow see of this submission.
func (s Submission) Marker(runID string) Marker {
	return Marker{RunID: runID, Attempt: s.Attempt, Window: s.Window()}
}

// Window is a span of Cyberun's clock.
type Window struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
}

// Contains reports whether t lies in the window, its ends included.
func (w Window) Contains(t time.Time) bool { return !t.Before(w.From) && !t.After(w.Until) }

// Candidate is a task that was created while a submission was in doubt.
type Candidate struct {
	TaskID    string
	CreatedAt time.Time
	Owner     string // the run that has claimed it, if one has
	Disputed  bool   // a run in doubt named it as a candidate: a person decides whose it is
}

// Marker says that another run was submitting to the same workflow.
type Marker struct {
	RunID   string `json:"run_id"`
	Attempt string `json:"attempt"`
	Window  Window `json:"window"`
}

// Verdict is what the task list says about a submission in doubt.
type Verdict int

const (
	Absent  Verdict = iota // no task can be ours
	Ours                   // exactly one task can be ours, and no one else's
	Rivals                 // a task can be ours, but also that of a run that is in doubt as well
	Unclear                // more than one task can be ours
)

// Judge never guesses: a task is ours only if it can be nobody else's. It
// returns the candidates that a person would have to choose from.
func Judge(runID string, tasks []Candidate, markers []Marker) (Verdict, []string) {
	var free []Candidate
	for _, t := range tasks {
		if t.Owner == "" || t.Owner == runID {
			free = append(free, t)
		}
	}
	ids := make([]string, len(free))
	for i, t := range free {
		ids[i] = t.TaskID
	}
	slices.Sort(ids)
	switch {
	case len(free) == 0:
		return Absent, nil
	case len(free) > 1:
		if rivalFor(runID, free, markers) {
			return Rivals, ids // the others may yet claim theirs
		}
		return Unclear, ids
	case rivalFor(runID, free, markers):
		return Rivals, ids
	case free[0].Disputed:
		return Unclear, ids // neither ours, nor proof that ours never started
	}
	return Ours, ids
}

// rivalFor reports whether another run's submission could have made one of these
// tasks. A marker whose window lies elsewhere could not.
func rivalFor(runID string, tasks []Candidate, markers []Marker) bool {
	for _, m := range markers {
		if m.RunID == runID {
			continue
		}
		for _, t := range tasks {
			if m.Window.Contains(t.CreatedAt) {
				return true
			}
		}
	}
	return false
}
