package main

import (
	"context"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

type cancelCmd struct {
	RunID string `arg:"" name:"run" help:"The run's id."`
}

// Run stops a run; one that has ended is told as it is.
func (c *cancelCmd) Run(ctx context.Context, s *session) error {
	api, err := s.client(ctx)
	if err != nil {
		return err
	}
	answer, raw, err := api.cancel(ctx, c.RunID)
	if err != nil {
		return err
	}
	switch {
	case s.JSON:
		s.printJSON(raw)
	case answer.Status == run.Cancelled:
		s.print("run %s is stopped, and its task is being cancelled", c.RunID)
	default:
		s.print("run %s had ended before: %s", c.RunID, answer.Status)
	}
	return nil
}
