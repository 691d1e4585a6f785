package main

import (
	"context"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

type cancelCmd struct {
	RunID string `arg:"" name:"run" type:"run" help:"The run's id."`
}

// Run stops a run; of one that has ended it says how.
func (c *cancelCmd) Run(ctx context.Context, s *session) error {
	api, err := s.client(ctx)
	if err != nil {
		return err
	}
	answer, raw, err := api.cancel(ctx, c.RunID)
	if err != nil {
		return err
	}
	return s.show(raw, func() {
		if answer.Status == run.Cancelled {
			s.console.resultf("run %s is stopped, and %s", c.RunID, stoppedTask[answer.Task])
		} else {
			s.console.resultf("run %s had ended before: %s", c.RunID, answer.Status)
		}
	})
}

// stoppedTask says what became of a stopped run's task, by the API's word for it.
var stoppedTask = map[string]string{
	"":           "its task is being cancelled",
	"cancelled":  "its task is cancelled",
	"cancelling": "its task is being cancelled: relay status shows when it is",
	"left":       "its task was left alone: this run did not start it, or no longer delivers it",
	"none":       "nothing had been submitted",
}
