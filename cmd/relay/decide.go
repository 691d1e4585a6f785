package main

import (
	"context"
	"net/http"

	"github.com/cyberun-cloud/cyberun-relay/shared/api"
)

type decideCmd struct {
	RunID      string `arg:"" name:"run" type:"run" help:"The id of a run that failed in doubt: relay status shows its candidates."`
	TaskID     string `arg:"" optional:"" name:"task" help:"The task that the run started."`
	NotStarted bool   `name:"not-started" help:"The run started no task: it submits again, and pays for one, unless its max-seconds since its first start are over."`
	watchFlags
}

// Validate refuses a decision that names a task and none, or neither.
func (c *decideCmd) Validate() error {
	if (c.TaskID == "") != c.NotStarted {
		return &failure{code: codeUsage, what: "say which task the run started, or --not-started", hint: "relay status " + c.RunID + " shows the candidates"}
	}
	return c.watchFlags.Validate()
}

// Run stores a person's decision on a submission whose outcome is unknown, and lets the
// run go on with it.
func (c *decideCmd) Run(ctx context.Context, s *session, relay *client) error {
	before, err := relay.run(ctx, c.RunID, 0, patience)
	if err != nil {
		return err
	}
	outcome, how := map[string]any{"task_id": c.TaskID}, " with the task "+c.TaskID
	if c.NotStarted {
		outcome, how = map[string]any{"not_started": true}, ": it submits again, unless its max-seconds are over"
	}
	_, raw, err := do[api.Accepted](ctx, relay, apiCall{method: http.MethodPost, path: runPath(c.RunID) + "/outcome", body: outcome})
	if err != nil {
		return err
	}
	return s.goesOn(ctx, relay, c.RunID, raw, "goes on", how, c.watchFlags, before.EndedAt)
}
