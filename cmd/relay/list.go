package main

import (
	"context"
	"net/url"
	"slices"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

type listCmd struct {
	Status string `placeholder:"STATUS" help:"Only runs that are: submitting, waiting, copying, succeeded, failed or cancelled."`
	Limit  int    `default:"20" placeholder:"N" help:"At most this many (${default})."`
	Cursor string `placeholder:"CURSOR" help:"Go on from the next_cursor of an earlier answer."`
}

// Validate refuses a limit or a status that no list has.
func (c *listCmd) Validate() error {
	if c.Limit < 1 || c.Limit > maxListed {
		return &failure{code: codeUsage, what: "--limit must be from 1 to 10000"}
	}
	if c.Status != "" && !slices.Contains(run.Statuses, run.Status(c.Status)) {
		return &failure{code: codeUsage, what: "no run has the status " + c.Status, hint: "relay list --help lists them"}
	}
	return nil
}

// Run lists runs.
func (c *listCmd) Run(ctx context.Context, s *session, relay *client) error {
	query := url.Values{}
	for name, value := range map[string]string{"status": c.Status, "cursor": c.Cursor} {
		if value != "" {
			query.Set(name, value)
		}
	}
	all, err := list[view](ctx, relay, "runs", query, c.Limit)
	if err != nil {
		return err
	}
	next := ""
	if all.next != "" {
		next = "there are more: --limit N"
	}
	return showList(s, all, []string{"RUN", "STATUS", "WORKFLOW", "STARTED", "TOOK", "ERROR"}, func(v view) []string {
		name := ""
		if v.Error != nil {
			name = v.Error.Name
		}
		return []string{v.RunID, string(v.Status), v.Workflow, formatTime(v.StartedAt), formatDuration(v.took(s.now())), name}
	}, "there are no such runs (records are kept for 90 days)", next)
}
