package handler

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
)

func TestWorkflows(t *testing.T) {
	w := newWorld(t)
	w.workflows = func(page cyberun.Page) cyberun.WorkflowList {
		const total = 5
		list := cyberun.WorkflowList{Page: cyberun.PageMeta{CurrentPage: page.Number, PerPage: page.Size, TotalCount: total}}
		for i := (page.Number - 1) * page.Size; i < min(total, page.Number*page.Size); i++ {
			list.Workflows = append(list.Workflows, cyberun.Workflow{ID: fmt.Sprint(i), Slug: fmt.Sprint("w", i)})
		}
		return list
	}
	for limit, pages := range map[int]int{1: 5, 2: 3, 5: 1, 100: 1} {
		cursor, seen, asked := "", 0, 0
		for {
			a := w.call("GET", fmt.Sprintf("/workflows?limit=%d&cursor=%s", limit, cursor), "")
			list, ok := a.body["workflows"].([]any)
			if a.status != 200 || !ok {
				t.Fatalf("%+v", a)
			}
			for _, wf := range list {
				if wf.(map[string]any)["workflow_slug"] != fmt.Sprint("w", seen) {
					t.Errorf("%v", wf)
				}
				seen++
			}
			asked++
			if cursor, _ = a.body["next_cursor"].(string); cursor == "" {
				break
			}
		}
		if seen != 5 || asked != pages {
			t.Errorf("limit %d: %d workflows on %d pages", limit, seen, asked)
		}
	}
	for _, bad := range []string{"%21", "YWJj%21", "YWJj", "LTE", "MA"} { // none, abc and more, abc, -1, 0
		if a := w.call("GET", "/workflows?cursor="+bad, ""); a.status != 400 || fmt.Sprint(a.violations()) != "[cursor]" {
			t.Errorf("%s: %d %s", bad, a.status, a.raw)
		}
	}
}

func TestNoWorkflows(t *testing.T) {
	w := newWorld(t)
	w.workflows = func(cyberun.Page) cyberun.WorkflowList {
		return cyberun.WorkflowList{Page: cyberun.PageMeta{TotalCount: -1}}
	}
	if a := w.call("GET", "/workflows", ""); a.status != 200 || a.raw != "{\"workflows\":[]}\n" {
		t.Errorf("%+v", a)
	}
}

// asking notes the workflow that was asked for.
type asking struct {
	Cyberun
	asked *string
}

func (a asking) Workflow(ctx context.Context, ref string) (cyberun.Workflow, error) {
	*a.asked = ref
	return a.Cyberun.Workflow(ctx, ref)
}

func TestWorkflow(t *testing.T) {
	w := newWorld(t)
	asked := ""
	w.h.Cyberun = asking{w.h.Cyberun, &asked}
	for _, path := range []string{"text-to-image@2", "text-to-image%402"} {
		a := w.call("GET", "/workflows/"+path, "")
		if a.status != 200 || asked != "text-to-image@2" || a.body["workflow_slug"] != "text-to-image" || len(a.body["parameters"].([]any)) != 3 {
			t.Errorf("%s: asked %q, %+v", path, asked, a)
		}
	}
	if a := w.call("GET", "/workflows/nope", ""); a.status != 404 || a.body["title"] != "WorkflowNotFound" {
		t.Errorf("%+v", a)
	}
	for status, want := range map[int]int{401: 502, 403: 502, 500: 503, 429: 503, 422: 400} {
		fails(functiontest.Answered(status))(w)
		for _, path := range []string{"/workflows/text-to-image", "/workflows"} {
			want := want
			if status == 422 && path == "/workflows" { // nothing that the caller said is refused there
				want = 503
			}
			if a := w.call("GET", path, ""); a.status != want || (want == 503) != (a.headers["retry-after"] != "") || strings.Contains(fmt.Sprint(a.body["hint"]), "redrive") {
				t.Errorf("%d at %s: %+v", status, path, a)
			}
		}
	}
}
