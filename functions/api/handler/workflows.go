package handler

import (
	"context"
	"net/http"
	"strconv"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// listWorkflows pages through what the key can run. Cyberun pages by number: the
// cursor is the number of the next page, good for the same limit.
func (h *Handler) listWorkflows(w http.ResponseWriter, r *http.Request) error {
	q, err := parseListQuery(r)
	if err != nil {
		return err
	}
	page := cyberun.Page{Number: 1, Size: q.limit}
	if q.cursor != "" {
		if page.Number, err = strconv.Atoi(q.cursor); err != nil || page.Number < 1 {
			return named.Violations{{Parameter: "cursor", Message: "is not the next_cursor of an earlier answer"}}.Err()
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTime)
	defer cancel()
	list, err := h.Cyberun.Workflows(ctx, page)
	if err != nil {
		return cyberun.RemoteError("list the workflows", err)
	}
	answer := struct {
		Workflows  []cyberun.Workflow `json:"workflows"`
		NextCursor string             `json:"next_cursor,omitempty"`
	}{Workflows: list.Workflows}
	if answer.Workflows == nil {
		answer.Workflows = []cyberun.Workflow{}
	}
	if len(list.Workflows) > 0 && page.Number*page.Size < list.Page.TotalCount {
		answer.NextCursor = encodeCursor(strconv.Itoa(page.Number + 1))
	}
	return writeJSON(w, http.StatusOK, answer)
}

// getWorkflow tells one, as slug or slug@version. What cannot be either is not
// asked for.
func (h *Handler) getWorkflow(w http.ResponseWriter, r *http.Request) error {
	ref := r.PathValue("slug")
	if !run.ValidWorkflowRef(ref) {
		return named.Errorf(named.WorkflowNotFound, "no workflow is called %q", named.Quote(ref))
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTime)
	defer cancel()
	workflow, err := h.Cyberun.Workflow(ctx, ref)
	if err != nil {
		return cyberun.WorkflowError(ref, err)
	}
	return writeJSON(w, http.StatusOK, workflow)
}
