package handler

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// TestRoutesByKey: the route that the gateway matched decides, whatever rawPath
// is: a stage or a base path stands before it, and an odd id within it.
func TestRoutesByKey(t *testing.T) {
	for _, path := range []string{"/runs/r1", "/relay/runs/r1", "/v1/relay/runs/r1", "/runs/another", "", "%"} {
		w := newWorld(t)
		w.start("r1", body, executions.Running)
		w.start("another", body, executions.Running)
		e := httpEvent("DELETE", "/runs/r1", "")
		e.RawPath, e.RequestContext.HTTP.Path = path, path
		if a := w.event(e); a.status != 202 || fmt.Sprint(w.Executions.Stopped) != "[r1]" {
			t.Errorf("%s: %d %s, stopped %v", path, a.status, a.raw, w.Executions.Stopped)
		}
	}
}

// TestIDsThatNoRunCanHave touch no run whose id they begin or end with, and ask
// nobody.
func TestIDsThatNoRunCanHave(t *testing.T) {
	for _, id := range []string{
		"r1#x", "r1?x", "r1/x", "x/../r1", "r1%23x", "r1%", "%", "r1\x00", "\x00", "r1\n", "r1\x7f", " r1", "r1 ", "r1:x", "r1\ufffd", "r1\xff", "r1\uffff",
		strings.Repeat("r", 81), "",
	} {
		for _, route := range []string{"GET /runs/{id}", "DELETE /runs/{id}", "POST /runs/{id}/outcome"} {
			w := newWorld(t)
			w.start("r1", body, executions.Running)
			w.Record(run.Record{RunID: "r1", Status: run.Waiting, TaskID: "t1", Evidence: run.ByReceipt})
			e := httpEvent(strings.Fields(route)[0], "/", `{"not_started":true}`)
			e.RouteKey, e.PathParameters = route, map[string]string{"id": id}
			a := w.event(e)
			if a.status != 404 || a.body["title"] != "RunNotFound" || w.Calls("") > 0 {
				t.Errorf("%s of %q: %d %s, after %d calls", route, id, a.status, a.raw, w.Calls(""))
			}
		}
	}
}

// TestWorkflowsThatNobodyHas are not asked for.
func TestWorkflowsThatNobodyHas(t *testing.T) {
	for _, slug := range []string{"50%25off", "%", "a\x00", "a\nb", "a b", "..", "a#b", "text-to-image@", "text-to-image@x", strings.Repeat("w", 2000)} {
		w := newWorld(t)
		e := httpEvent("GET", "/workflows/x", "")
		e.PathParameters["slug"] = slug
		if a := w.event(e); a.status != 404 || a.body["title"] != "WorkflowNotFound" || w.Calls("") > 0 {
			t.Errorf("%q: %d %s", slug, a.status, a.raw)
		}
	}
}

func TestQueriesThatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	w.start("r1", body, executions.Running)
	for _, path := range []string{"/runs", "/runs/r1", "/workflows"} {
		for _, q := range []string{"limit=%", "limit=%zz", "wait=1;limit=2"} {
			if a := w.call("GET", path+"?"+q, ""); a.status != 400 || fmt.Sprint(a.violations()) != "[query]" {
				t.Errorf("%s?%s: %d %s", path, q, a.status, a.raw)
			}
		}
	}
}

func TestBodyThatIsNotBase64(t *testing.T) {
	e := postEvent("{")
	e.IsBase64Encoded = true
	if a := newWorld(t).event(e); a.status != 400 || fmt.Sprint(a.violations()) != "[request]" {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// TestPanic: the gateway would answer a bare 500, and the log would say nothing.
func TestPanic(t *testing.T) {
	w := newWorld(t)
	var log bytes.Buffer
	w.h.Log = slog.New(slog.NewJSONHandler(&log, nil))
	w.Around = func(string, func() error) error {
		panic("slipped at https://x.example/a?X-Amz-Signature=secret")
	}
	a := w.call("GET", "/workflows/text-to-image", "")
	if a.status != 503 || a.body["title"] != "Unavailable" || strings.Contains(a.raw, "slipped") || a.headers["retry-after"] == "" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if text := log.String(); !strings.Contains(text, "slipped") || !strings.Contains(text, "gateway_test.go") || strings.Contains(text, "secret") {
		t.Error(text)
	}
}

// TestLogNamesTheRun: one line for each request, with the run of its path or the one
// that it started.
func TestLogNamesTheRun(t *testing.T) {
	w := newWorld(t)
	var log bytes.Buffer
	w.h.Log = slog.New(slog.NewTextHandler(&log, nil))
	started := w.call("POST", "/runs", body).body["run_id"].(string)
	w.call("GET", "/runs/"+started, "")
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "run_id="+started) || !strings.Contains(lines[1], "run_id="+started) {
		t.Errorf("not two lines with run_id=%s:\n%s", started, log.String())
	}
}
