package main

import (
	"context"
)

type rescueCmd struct {
	TaskID string `arg:"" name:"task" help:"The task's id at Cyberun, as an error.json or relay status names it."`
	startFlags
	watchFlags
}

// Run starts a run that submits nothing: it waits for a task that exists and
// copies what it leaves.
func (c *rescueCmd) Run(ctx context.Context, s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	request, key, err := c.request(s)
	if err != nil {
		return err
	}
	request.TaskID = c.TaskID
	api, err := s.client(ctx)
	if err != nil {
		return err
	}
	return s.start(ctx, api, request, key, c.watchFlags)
}
