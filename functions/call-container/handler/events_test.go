package handler

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/eventstest"
	"github.com/cyberun-cloud/cyberun-relay/shared/httpapi"
)

// TestSamples puts each of events/call-container-*.json through the types and
// the handler.
func TestSamples(t *testing.T) {
	type outcome struct {
		status      int
		path, query string // as they go out
	}
	want := map[string]outcome{
		"call-container-list.json": {200, "", ""}, "call-container-show.json": {200, "", ""},
		"call-container-chat.json": {200, "/v1/chat/completions", ""}, "call-container-binary.json": {200, "/upload", ""},
		"call-container-odd-path.json": {200, "//a%20b/50%25/%c3%a4%2Fc", "q=%20+&q=2&&="},
		"call-container-climbs.json":   {400, "", ""}, "call-container-unknown.json": {404, "/v1", ""}, "call-container-stopped.json": {409, "/v1", ""},
	}
	eventstest.Each(t, "call-container-*.json", want, func(t *testing.T, want outcome, raw []byte) {
		var e events.APIGatewayV2HTTPRequest
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		http := e.RequestContext.HTTP
		if e.Version != "2.0" || e.RawPath != http.Path || e.RequestContext.RouteKey != e.RouteKey || httpapi.Caller(e) == "" {
			t.Errorf("not as an HTTP API sends it: %+v", e)
		}
		w := newWorld(t)
		w.c.container = func(_ context.Context, slug string) (cyberun.Container, error) {
			switch slug {
			case "none":
				return cyberun.Container{}, &cyberun.APIError{Status: 404, JSON: true}
			case "stopped":
				return cyberun.Container{Slug: slug, Status: "stopped"}, nil
			}
			return cyberun.Container{Slug: slug, Status: cyberun.ContainerRunning}, nil
		}
		w.c.call = func(_ context.Context, k cyberun.ContainerCall) (*cyberun.ContainerAnswer, error) {
			if k.Slug == "none" || k.Slug == "stopped" {
				return answers(503, ""), nil
			}
			return answers(200, "fine"), nil
		}
		a := w.handle(e)
		if a.StatusCode != want.status {
			t.Fatalf("%d %s", a.StatusCode, a.Body)
		}
		if want.path == "" {
			if len(w.c.calls) > 0 {
				t.Errorf("called %+v", w.c.calls)
			}
			return
		}
		k := w.c.calls[0]
		if k.Path != want.path || k.Query != want.query || k.Header.Get("Authorization")+k.Header.Get("Cookie") != "" || e.Body != "" && (w.c.bodies[0] == "" || strings.Contains(w.c.bodies[0], "=")) {
			t.Errorf("%+v %q", k, w.c.bodies)
		}
	})
}
