package handler

import (
	"context"
	"net/http"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/httpapi"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// listWorkflows pages through the workflows that the stack's key can run.
func (h *Handler) listWorkflows(ctx context.Context, r httpapi.Request) (none httpapi.Response, err error) {
	page, number, err := httpapi.NumberedPage(r, usualLimit)
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(ctx, cyberun.CallTime)
	defer cancel()
	list, err := h.Cyberun.Workflows(ctx, cyberun.Page{Number: number, Size: page.Limit})
	if err != nil {
		return none, cyberun.RemoteError("list the workflows", err)
	}
	return httpapi.JSON(http.StatusOK, struct {
		Workflows  []cyberun.Workflow `json:"workflows"`
		NextCursor string             `json:"next_cursor,omitempty"`
	}{append([]cyberun.Workflow{}, list.Workflows...), page.NextNumber(number, len(list.Workflows), list.Page.TotalCount)})
}

// getWorkflow shows one workflow, by slug or slug@version. What cannot be either
// is not asked for.
func (h *Handler) getWorkflow(ctx context.Context, r httpapi.Request) (none httpapi.Response, err error) {
	ref := r.PathParameters["slug"]
	if !run.ValidWorkflowRef(ref) {
		return none, named.Errorf(named.WorkflowNotFound, "no workflow is called %q", named.Quote(ref))
	}
	ctx, cancel := context.WithTimeout(ctx, cyberun.CallTime)
	defer cancel()
	workflow, err := h.Cyberun.Workflow(ctx, ref)
	if err != nil {
		return none, cyberun.WorkflowError(ref, err)
	}
	return httpapi.JSON(http.StatusOK, workflow)
}
