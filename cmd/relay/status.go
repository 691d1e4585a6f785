package main

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

type statusCmd struct {
	RunID runID `arg:"" name:"run" help:"The run's id, as relay run and relay list print it."`
	watchFlags
}

// Run shows a run. Its exit code tells how it ended, as that of a watched one.
func (c *statusCmd) Run(ctx context.Context, s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	api, err := s.client(ctx)
	if err != nil {
		return err
	}
	if c.asked() {
		return s.watch(ctx, api, string(c.RunID), c.watchFlags, time.Time{})
	}
	v, err := api.run(ctx, string(c.RunID), 0, patience)
	if err != nil {
		return err
	}
	if s.JSON {
		s.printJSON(v.raw)
	} else {
		s.printStatus(v)
	}
	switch v.Status {
	case run.Failed:
		return &failure{code: codeFailed}
	case run.Cancelled:
		return &failure{code: codeCancelled}
	}
	return nil
}

func (s *session) printStatus(v view) {
	rows := [][]string{{"run", v.RunID}, {"status", s.statusLine(v)}}
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	add("workflow", v.Workflow)
	task := v.TaskID
	if v.Adopted {
		task += " (found in the task list after a lost reply)"
	}
	add("task", task)
	add("started", moment(v.StartedAt))
	add("ended", moment(v.EndedAt))
	if v.Error != nil {
		add("error", v.Error.Name+": "+v.Error.Cause)
		if !v.undecided() { // its two commands follow
			add("hint", howOn(v))
		}
	}
	table(s.stdout, rows)
	s.printDoubt(v)
	if v.Status == run.Succeeded {
		s.print("")
	}
	s.printOutputs(v)
}

func (s *session) statusLine(v view) string {
	line := string(v.Status)
	if v.Status == run.Waiting {
		line += " (" + stateOf(v)
		if v.Progress != nil && v.Progress.Progress > 0 {
			line += ", " + strconv.Itoa(percent(v)) + "%"
		}
		line += ")"
	}
	switch took := s.took(v); {
	case took > 0 && v.Status.Open():
		line += ", " + clock(took) + " so far"
	case took > 0:
		line += " after " + clock(took)
	}
	return line
}

// undecided reports whether the run waits for a person to say what became of its
// submission.
func (v view) undecided() bool {
	return v.Status == run.Failed && v.Submission != nil && v.TaskID == ""
}

// printDoubt shows the tasks that may be the run's beside what was asked for, and
// the two words that a person can say of them.
func (s *session) printDoubt(v view) {
	if v.Submission == nil || v.TaskID != "" {
		return
	}
	s.print("")
	s.print("asked for  %s, submitted between %s and %s", v.Workflow, moment(v.Submission.MarkedAt), moment(v.Submission.PostUntil))
	rows := [][]string{{"candidate", "state", "created", "delivered by"}}
	for _, c := range v.Candidates {
		rows = append(rows, []string{c.TaskID, c.TaskStatus, moment(c.CreatedAt), cmp.Or(c.DeliveredBy, "nobody")})
	}
	started, task := "one of them is this run's:", "TASK"
	switch {
	case len(v.Candidates) == 1:
		started, task = "it is this run's:", v.Candidates[0].TaskID
	case len(v.Candidates) == 0:
		started = "a task at Cyberun is this run's:"
	}
	if len(v.Candidates) > 0 {
		table(s.stdout, rows)
	} else if !v.Status.Open() {
		s.print("no candidate was found in Cyberun's task list")
	}
	if !v.undecided() {
		return
	}
	s.print("")
	table(s.stdout, [][]string{
		{started, "relay decide " + v.RunID + " " + task},
		{"this run started none, submit again:", "relay decide " + v.RunID + " --not-started"},
	})
}
