package main

import (
	"context"
	"encoding/json"
)

type listCmd struct {
	Status string `placeholder:"STATUS" help:"Only runs that are: submitting, waiting, copying, succeeded, failed or cancelled."`
	Limit  int    `default:"20" placeholder:"N" help:"At most this many (${default})."`
	Cursor string `placeholder:"CURSOR" help:"Go on from the next_cursor of an earlier answer."`
}

// maxList keeps a typo from reading the records of 90 days.
const maxList = 10000

// Run lists runs. The API gives them in pages, and a page with a --status may be
// shorter than asked for though there are more.
func (c *listCmd) Run(ctx context.Context, s *session) error {
	if c.Limit < 1 || c.Limit > maxList {
		return &failure{code: codeUsage, what: "--limit must be from 1 to 10000"}
	}
	api, err := s.client(ctx)
	if err != nil {
		return err
	}
	all := runPage{Runs: []json.RawMessage{}, NextCursor: c.Cursor}
	for first := true; len(all.Runs) < c.Limit && (first || all.NextCursor != ""); first = false {
		page, err := api.runs(ctx, c.Status, all.NextCursor, min(c.Limit-len(all.Runs), maxPage))
		if err != nil {
			return err
		}
		if page.NextCursor != "" && page.NextCursor == all.NextCursor {
			return notOurs("the API's list of runs does not end")
		}
		all.Runs, all.NextCursor = append(all.Runs, page.Runs...), page.NextCursor
	}
	if s.JSON {
		return s.printDocument(all)
	}
	return s.printRuns(all)
}

func (s *session) printRuns(all runPage) error {
	if len(all.Runs) == 0 {
		s.say("there are no such runs (records are kept for 90 days)")
		return nil
	}
	rows := [][]string{{"RUN", "STATUS", "WORKFLOW", "STARTED", "TOOK", "ERROR"}}
	for _, raw := range all.Runs {
		var v view
		if err := json.Unmarshal(raw, &v); err != nil {
			return notOurs("the API's list holds a row that is not a run")
		}
		row := []string{v.RunID, string(v.Status), v.Workflow, moment(v.StartedAt), clock(s.took(v)), ""}
		if v.Error != nil {
			row[5] = v.Error.Name
		}
		rows = append(rows, row)
	}
	table(s.stdout, rows)
	if all.NextCursor != "" {
		s.say("there are more: --limit N")
	}
	return nil
}

// printDocument writes what was put together from several answers.
func (s *session) printDocument(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	s.printJSON(raw)
	return nil
}
