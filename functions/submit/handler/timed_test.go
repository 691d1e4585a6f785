package handler

import (
	"context"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
)

// timed fails the test when a call has no time of its own.
type timed struct {
	*functiontest.Cyberun
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
	return s.Cyberun.Workflow(ctx, ref)
}

func (s timed) Run(ctx context.Context, ref string, parameters map[string]any) (cyberun.RunReceipt, error) {
	s.check(ctx, "Run")
	return s.Cyberun.Run(ctx, ref, parameters)
}

func (s timed) Task(ctx context.Context, id string) (cyberun.Task, error) {
	s.check(ctx, "Task")
	return s.Cyberun.Task(ctx, id)
}

func (s timed) Tasks(ctx context.Context, page cyberun.Page) (cyberun.TaskList, error) {
	s.check(ctx, "Tasks")
	return s.Cyberun.Tasks(ctx, page)
}

func (s timed) Cancel(ctx context.Context, id string) error {
	s.check(ctx, "Cancel")
	return s.Cyberun.Cancel(ctx, id)
}

func (s timed) WorkflowByID(ctx context.Context, id string) (cyberun.Workflow, error) {
	s.check(ctx, "WorkflowByID")
	return s.Cyberun.WorkflowByID(ctx, id)
}

func (s timed) Presign(ctx context.Context, r cyberun.PresignRequest) (cyberun.Presigned, error) {
	s.check(ctx, "Presign")
	return s.Cyberun.Presign(ctx, r)
}
