package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// progress shows what a watched run is doing: on a terminal as a bar that is drawn
// anew, else as a line for each change, which is what a log file can hold.
type progress struct {
	console *console
	now     func() time.Time
	begun   time.Time // when the watching began
	last    view      // on a terminal
	before  string    // the last line elsewhere
}

// show shows an open run.
func (p *progress) show(v view) {
	now := p.now()
	elapsed := formatDuration(max(v.took(now), now.Sub(p.begun)))
	state := oneLine(stateOf(v))
	if p.console.terminal {
		p.last = v
		p.console.drawBar(percent(v), elapsed+"  "+state)
		return
	}
	if n := percent(v); n > 0 {
		state = fmt.Sprintf("%d%% %s", n, state)
	}
	if state != p.before {
		p.before = state
		p.console.notef("%s  %s", elapsed, state)
	}
}

// tick draws the bar anew when a second has passed.
func (p *progress) tick() {
	if p.last.RunID != "" {
		p.show(p.last)
	}
}

// close removes the bar.
func (p *progress) close() {
	if p.console.terminal {
		p.console.redraw("")
	}
}

// percent returns how far the task is. Copying comes after it.
func percent(v view) int {
	if v.Status == run.Copying {
		return 100
	}
	if v.Progress == nil {
		return 0
	}
	const slack = 1e-9 // 0.29*100 is 28.999…
	return int(min(max(v.Progress.Fraction, 0), 1)*100 + slack)
}

// taskStatuses says what a task's statuses mean to someone who waits.
var taskStatuses = map[string]string{
	"pending":      "accepted by Cyberun",
	"waiting":      "waiting for a free machine",
	"provisioning": "a machine starts",
	"queued":       "queued on a machine",
	"completed":    "completed",
}

// stateOf says what a run is doing, without how long: it changes only when
// something happens.
func stateOf(v view) string {
	switch {
	case v.Status == run.Copying:
		return "copying the outputs to S3"
	case v.Status != run.Waiting:
		return string(v.Status)
	}
	words := []string{cmp.Or(taskStatuses[v.TaskStatus], v.TaskStatus, "waiting for its task")}
	if p := v.Progress; p != nil && v.TaskStatus == "running" {
		words = append(words, withPrefix("stage ", p.Stage))
		if p.StepCurrent != nil && p.StepTotal != nil {
			words = append(words, fmt.Sprintf("step %d/%d", *p.StepCurrent, *p.StepTotal))
		}
		words = append(words, withPrefix("node ", p.CurrentNode), p.Message)
		words = slices.DeleteFunc(words, func(word string) bool { return word == "" })
	}
	return strings.Join(words, ", ")
}

// took returns how long a run has taken until now, or took.
func (v view) took(now time.Time) time.Duration {
	switch {
	case v.StartedAt.IsZero():
		return 0
	case v.EndedAt.IsZero():
		return now.Sub(v.StartedAt)
	}
	return v.EndedAt.Sub(v.StartedAt)
}
