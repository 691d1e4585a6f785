package main

import "context"

type decideCmd struct {
	RunID      runID  `arg:"" name:"run" help:"The id of a run that failed in doubt: relay status shows its candidates."`
	TaskID     string `arg:"" optional:"" name:"task" help:"The task that the run started."`
	NotStarted bool   `name:"not-started" help:"The run started no task: it submits again, and pays for one."`
	watchFlags
}

// Run stores a person's word on a submission whose outcome is unknown, and lets
// the run go on with it.
func (c *decideCmd) Run(ctx context.Context, s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	if (c.TaskID == "") != c.NotStarted {
		return &failure{code: codeUsage, what: "say which task the run started, or --not-started", hint: "relay status " + string(c.RunID) + " shows the candidates"}
	}
	api, err := s.client(ctx)
	if err != nil {
		return err
	}
	before, err := api.run(ctx, string(c.RunID), 0, patience)
	if err != nil {
		return err
	}
	_, raw, err := api.decide(ctx, string(c.RunID), outcome{TaskID: c.TaskID, NotStarted: c.NotStarted})
	if err != nil {
		return err
	}
	switch {
	case c.asked():
		s.say("run %s goes on", c.RunID)
		return s.watch(ctx, api, string(c.RunID), c.watchFlags, before.EndedAt)
	case s.JSON:
		s.printJSON(raw)
		return nil
	case c.NotStarted:
		s.print("run %s goes on: it submits again", c.RunID)
	default:
		s.print("run %s goes on with the task %s", c.RunID, c.TaskID)
	}
	s.advise(string(c.RunID))
	return nil
}
