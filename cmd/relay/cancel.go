package main

import (
	"context"
	"net/http"

	"github.com/cyberun-cloud/cyberun-relay/shared/api"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

type cancelCmd struct {
	RunID string `arg:"" name:"run" type:"run" help:"The run's id."`
}

// Run stops a run. Of one that had ended it says how, and what became of a task that was
// left running.
func (c *cancelCmd) Run(ctx context.Context, s *session, relay *client) error {
	answer, raw, err := do[api.Stopped](ctx, relay, apiCall{method: http.MethodDelete, path: runPath(c.RunID)})
	if err != nil {
		return err
	}
	return s.show(raw, func() {
		switch {
		case answer.Status == run.Cancelled:
			s.console.resultf("run %s is stopped, and %s", c.RunID, stoppedTask[answer.Task])
		case answer.Task == "cancelled", answer.Task == "cancelling":
			s.console.resultf("run %s had ended before: %s, and %s", c.RunID, answer.Status, stoppedTask[answer.Task])
		default:
			s.console.resultf("run %s had ended before: %s", c.RunID, answer.Status)
		}
	})
}

// stoppedTask says what became of a stopped run's task, by the API's word for it.
var stoppedTask = map[string]string{
	"":           "its task is being cancelled",
	"cancelled":  "its task is cancelled",
	"cancelling": "its task is being cancelled: relay status shows when it is",
	"left":       "its task was left alone: no receipt says that this run started it, or another run delivers it",
	"none":       "nothing had been submitted",
}
