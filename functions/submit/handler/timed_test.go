package handler

import (
	"context"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
)

// timed fails the test when a call has no time of its own.
type timed struct {
	*service
	t *testing.T
}

func (s timed) check(ctx context.Context, call string) {
	s.t.Helper()
	deadline, ok := ctx.Deadline()
	if !ok || time.Until(deadline) > DefaultWaits.Post {
		s.t.Errorf("%s may take for ever", call)
	}
}

func (s timed) Workflow(ctx context.Context, ref string) (cyberun.Workflow, error) {
	s.check(ctx, "Workflow")
	return s.service.Workflow(ctx, ref)
}

func (s timed) Run(ctx context.Context, ref string, parameters map[string]any) (cyberun.RunReceipt, error) {
	s.check(ctx, "Run")
	return s.service.Run(ctx, ref, parameters)
}

func (s timed) Task(ctx context.Context, id string) (cyberun.Task, error) {
	s.check(ctx, "Task")
	return s.service.Task(ctx, id)
}

func (s timed) Tasks(ctx context.Context, q cyberun.TaskQuery) (cyberun.TaskList, error) {
	s.check(ctx, "Tasks")
	return s.service.Tasks(ctx, q)
}

func (s timed) Cancel(ctx context.Context, id string) error {
	s.check(ctx, "Cancel")
	return s.service.Cancel(ctx, id)
}

func (s timed) Presign(ctx context.Context, r cyberun.PresignRequest) (cyberun.Presigned, error) {
	s.check(ctx, "Presign")
	return s.service.Presign(ctx, r)
}
