package handler

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/httpapi"
)

const someone = "arn:aws:iam::123456789012:user/someone"

// fakeCyberun is a service of funcs.
type fakeCyberun struct {
	containers func(cyberun.Page) (cyberun.ContainerList, error)
	container  func(ctx context.Context, slug string) (cyberun.Container, error)
	call       func(ctx context.Context, k cyberun.ContainerCall) (*cyberun.ContainerAnswer, error)
	lookUps    int
	calls      []cyberun.ContainerCall
	bodies     []string
}

func (f *fakeCyberun) Containers(_ context.Context, page cyberun.Page) (cyberun.ContainerList, error) {
	return f.containers(page)
}

func (f *fakeCyberun) Container(ctx context.Context, slug string) (cyberun.Container, error) {
	f.lookUps++
	return f.container(ctx, slug)
}

func (f *fakeCyberun) CallContainer(ctx context.Context, k cyberun.ContainerCall) (*cyberun.ContainerAnswer, error) {
	f.calls = append(f.calls, k)
	body := ""
	if k.Body != nil {
		raw, _ := io.ReadAll(io.NewSectionReader(k.Body, 0, k.Length))
		body = string(raw)
	}
	f.bodies = append(f.bodies, body)
	return f.call(ctx, k)
}

// world is a handler whose Cyberun is a fake: one container that runs and
// answers "fine".
type world struct {
	t   *testing.T
	h   *Handler
	c   *fakeCyberun
	log bytes.Buffer
}

func newWorld(t *testing.T) *world {
	w := &world{t: t}
	w.c = &fakeCyberun{
		containers: func(cyberun.Page) (cyberun.ContainerList, error) {
			return cyberun.ContainerList{Containers: []cyberun.Container{{Slug: "echo", Status: "running"}}}, nil
		},
		container: func(_ context.Context, slug string) (cyberun.Container, error) {
			return cyberun.Container{Slug: slug, Status: cyberun.ContainerRunning}, nil
		},
		call: func(context.Context, cyberun.ContainerCall) (*cyberun.ContainerAnswer, error) {
			return answers(200, "fine"), nil
		},
	}
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	w.h = &Handler{Cyberun: w.c, ContainerTime: DefaultContainerTime, LookUpTime: DefaultLookUpTime, Log: slog.New(slog.NewJSONHandler(&w.log, nil)), Now: func() time.Time {
		now = now.Add(7 * time.Millisecond)
		return now
	}}
	return w
}

func answers(status int, body string, headers ...string) *cyberun.ContainerAnswer {
	a := &cyberun.ContainerAnswer{Status: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	for i := 0; i+1 < len(headers); i += 2 {
		a.Header.Add(headers[i], headers[i+1])
	}
	return a
}

// answersWith is an answer with headers whose names are not made canonical.
func answersWith(header http.Header) *cyberun.ContainerAnswer {
	return &cyberun.ContainerAnswer{Status: 200, Header: header, Body: io.NopCloser(strings.NewReader("x"))}
}

// event is one request as an HTTP API hands it over; path is as rawPath holds it.
func event(method, path, query, body string, headers ...string) events.APIGatewayV2HTTPRequest {
	e := events.APIGatewayV2HTTPRequest{Version: "2.0", RawPath: path, RawQueryString: query, Headers: map[string]string{"host": "x.example"}, PathParameters: map[string]string{}}
	rest := strings.TrimPrefix(path, "/containers")
	switch slug, below, deeper := strings.Cut(strings.TrimPrefix(rest, "/"), "/"); {
	case rest == "":
		e.RouteKey = routeList
	case !deeper:
		e.RouteKey, e.PathParameters["slug"] = routeShow, slug
	default:
		e.RouteKey, e.PathParameters["slug"], e.PathParameters["path"] = routeCall, slug, below
	}
	e.RequestContext.HTTP.Method, e.RequestContext.HTTP.Path = method, path
	e.RequestContext.Authorizer = &events.APIGatewayV2HTTPRequestContextAuthorizerDescription{IAM: &events.APIGatewayV2HTTPRequestContextAuthorizerIAMDescription{UserARN: someone}}
	if body != "" {
		e.Body, e.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte(body)), true
	}
	for i := 0; i+1 < len(headers); i += 2 {
		e.Headers[headers[i]] = headers[i+1]
	}
	return e
}

// answer is what the HTTP API would send.
type answer struct {
	events.APIGatewayV2HTTPResponse
	content []byte
}

func (w *world) handle(e events.APIGatewayV2HTTPRequest) answer {
	w.t.Helper()
	out, err := w.h.Handle(w.t.Context(), e)
	if err != nil {
		w.t.Fatal(err)
	}
	a := answer{out, []byte(out.Body)}
	if out.IsBase64Encoded {
		if a.content, err = base64.StdEncoding.DecodeString(out.Body); err != nil {
			w.t.Fatal(err)
		}
	}
	return a
}

// problem demands that an answer is the relay's own and names this error.
func (w *world) problem(a answer, status int, name string) map[string]any {
	w.t.Helper()
	var p map[string]any
	err := json.Unmarshal(a.content, &p)
	if err != nil || a.StatusCode != status || a.Headers[httpapi.ErrorHeader] != name || a.Headers["content-type"] != "application/problem+json" ||
		p["title"] != name || p["status"] != float64(status) || p["type"] != "urn:cyberun-relay:error:"+name || p["detail"] == "" || p["hint"] == "" {
		w.t.Fatalf("want %d %s: %d %v %s (%v)", status, name, a.StatusCode, a.Headers, a.content, err)
	}
	if strings.Contains(fmt.Sprint(p["hint"]), "redrive") || strings.Contains(fmt.Sprint(p["hint"]), "new run") {
		w.t.Errorf("the hint speaks of runs: %s", p["hint"])
	}
	return p
}

// line is the last line of the log.
func (w *world) line() map[string]any {
	w.t.Helper()
	lines := strings.Split(strings.TrimSpace(w.log.String()), "\n")
	var line map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil {
		w.t.Fatal(err)
	}
	delete(line, "time")
	return line
}
