package main

import (
	"context"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

type cancelCmd struct {
	RunID runID `arg:"" name:"run" help:"The run's id."`
}

// Run stops a run; one that has ended is told as it is.
func (c *cancelCmd) Run(ctx context.Context, s *session) error {
	api, err := s.client(ctx)
	if err != nil {
		return err
	}
	answer, raw, err := api.cancel(ctx, string(c.RunID))
	if err != nil {
		return err
	}
	switch {
	case s.JSON:
		s.printJSON(raw)
	case answer.Status == run.Cancelled:
		s.print("run %s is stopped, and %s", c.RunID, stoppedTask[answer.Task])
	default:
		s.print("run %s had ended before: %s", c.RunID, answer.Status)
	}
	return nil
}

// stoppedTask says what became of a stopped run's task, by the API's word for it.
var stoppedTask = map[string]string{
	"":           "its task is being cancelled",
	"cancelled":  "its task is cancelled",
	"cancelling": "its task is being cancelled: relay status tells when it is",
	"left":       "its task was left alone: this run did not start it, or no longer delivers it",
	"none":       "nothing had been submitted",
}
