package main

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

type statusCmd struct {
	RunID string `arg:"" name:"run" type:"run" help:"The run's id, as relay run and relay list print it."`
	watchFlags
}

// Run shows a run. Its exit code says how it ended, as that of a watched one.
func (c *statusCmd) Run(ctx context.Context, s *session, relay *client) error {
	if c.asked() {
		return s.watch(ctx, relay, c.RunID, c.watchFlags, time.Time{})
	}
	v, err := relay.run(ctx, c.RunID, 0, patience)
	if err != nil {
		return err
	}
	_ = s.show(v.raw, func() { s.console.status(v, s.now()) })
	switch v.Status {
	case run.Failed:
		return &failure{code: codeFailed}
	case run.Cancelled:
		return &failure{code: codeCancelled}
	}
	return nil
}

// status prints a run as it was at a moment.
func (c *console) status(v view, now time.Time) {
	task := v.TaskID
	if v.Adopted {
		task += " (found in the task list after a lost reply)"
	}
	rows := [][]string{
		{"run", v.RunID}, {"status", statusLine(v, now)}, {"workflow", v.Workflow}, {"task", task},
		{"started", formatTime(v.StartedAt)}, {"ended", formatTime(v.EndedAt)},
	}
	if v.Error != nil {
		rows = append(rows, []string{"error", v.Error.Name + ": " + v.Error.Cause})
		if !v.undecided() { // its two commands follow
			rows = append(rows, []string{"hint", errorHint(v)})
		}
	}
	c.facts(rows)
	c.doubt(v)
	if v.Status == run.Succeeded {
		c.resultf("")
	}
	c.outputs(v)
}

func statusLine(v view, now time.Time) string {
	line := string(v.Status)
	if v.Status == run.Waiting {
		line += " (" + stateOf(v)
		if v.Progress != nil && v.Progress.Fraction > 0 {
			line += ", " + strconv.Itoa(percent(v)) + "%"
		}
		line += ")"
	}
	switch took := v.took(now); {
	case took > 0 && v.Status.Open():
		line += ", " + formatDuration(took) + " so far"
	case took > 0:
		line += " after " + formatDuration(took)
	}
	return line
}

// undecided reports whether the run waits for a person to say what became of its
// submission.
func (v view) undecided() bool {
	return v.Status == run.Failed && v.Submission != nil && v.TaskID == ""
}

// doubt prints the tasks that may be the run's beside what was asked for, and the two
// decisions that a person can take.
func (c *console) doubt(v view) {
	if v.Submission == nil || v.TaskID != "" {
		return
	}
	c.resultf("\nasked for  %s, submitted between %s and %s", v.Workflow, formatTime(v.Submission.MarkedAt), formatTime(v.Submission.PostUntil))
	rows := [][]string{{"candidate", "status", "created", "delivered by"}}
	for _, candidate := range v.Candidates {
		rows = append(rows, []string{candidate.TaskID, candidate.TaskStatus, formatTime(candidate.CreatedAt), cmp.Or(candidate.DeliveredBy, "nobody")})
	}
	started, task := "one of them is this run's:", "TASK"
	switch {
	case len(v.Candidates) == 1:
		started, task = "it is this run's:", v.Candidates[0].TaskID
	case len(v.Candidates) == 0:
		started = "a task at Cyberun is this run's:"
	}
	if len(v.Candidates) > 0 {
		c.table(rows)
	} else if !v.Status.Open() {
		c.resultf("no candidate was found in Cyberun's task list")
	}
	if !v.undecided() {
		return
	}
	c.resultf("")
	c.table([][]string{
		{started, "relay decide " + v.RunID + " " + task},
		{"this run started none, submit again:", "relay decide " + v.RunID + " --not-started"},
	})
}
