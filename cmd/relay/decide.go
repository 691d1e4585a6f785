package main

import "context"

type decideCmd struct {
	RunID      string `arg:"" name:"run" type:"run" help:"The id of a run that failed in doubt: relay status shows its candidates."`
	TaskID     string `arg:"" optional:"" name:"task" help:"The task that the run started."`
	NotStarted bool   `name:"not-started" help:"The run started no task: it submits again, and pays for one."`
	watchFlags
}

// Run stores a person's decision on a submission whose outcome is unknown, and lets the
// run go on with it.
func (c *decideCmd) Run(ctx context.Context, s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	if (c.TaskID == "") != c.NotStarted {
		return &failure{code: codeUsage, what: "say which task the run started, or --not-started", hint: "relay status " + c.RunID + " shows the candidates"}
	}
	api, err := s.client(ctx)
	if err != nil {
		return err
	}
	before, err := api.run(ctx, c.RunID, 0, patience)
	if err != nil {
		return err
	}
	raw, err := api.decide(ctx, c.RunID, decisionBody{TaskID: c.TaskID, NotStarted: c.NotStarted})
	if err != nil {
		return err
	}
	if c.asked() {
		s.console.notef("run %s goes on", c.RunID)
		return s.watch(ctx, api, c.RunID, c.watchFlags, before.EndedAt)
	}
	return s.show(raw, func() {
		if c.NotStarted {
			s.console.resultf("run %s goes on: it submits again", c.RunID)
		} else {
			s.console.resultf("run %s goes on with the task %s", c.RunID, c.TaskID)
		}
		s.console.followUps(c.RunID)
	})
}
