package handler

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
)

const (
	stateBucket  = functiontest.StateBucket
	outputBucket = functiontest.OutputBucket
)

// began is when every case begins.
var began = functiontest.Began

// fakeCyberun has a list of workflows beside what every function asks for.
type fakeCyberun struct {
	*functiontest.Cyberun
	w *world
}

func (f fakeCyberun) Workflows(_ context.Context, page cyberun.Page) (list cyberun.WorkflowList, err error) {
	err = f.w.Call("Workflows", func() error { list = f.w.workflows(page); return nil })
	return list, err
}

// presigner signs an address that says what it is for.
type presigner struct{}

func (presigner) PresignGetObject(_ context.Context, in *s3.GetObjectInput, options ...func(*s3.PresignOptions)) (*v4.PresignedHTTPRequest, error) {
	var o s3.PresignOptions
	for _, option := range options {
		option(&o)
	}
	return &v4.PresignedHTTPRequest{URL: fmt.Sprintf("https://signed.example/%s/%s?for=%s", *in.Bucket, *in.Key, o.Expires)}, nil
}

// world is what the API works in; its clock stands still between sleeps.
type world struct {
	*functiontest.World
	runs      *lifecycle.Runs
	h         *Handler
	workflows func(cyberun.Page) cyberun.WorkflowList // what Cyberun lists
}

// newWorld returns the world of a stack without runs. Cyberun runs a task t1.
func newWorld(t *testing.T) *world {
	w := &world{World: functiontest.New(t)}
	w.TimePerCall, w.Cyberun.MaxTime = 0, cyberun.CallTime
	w.Cyberun.PutTask("t1", cyberun.StatusRunning)
	w.runs = w.Runs()
	w.workflows = func(cyberun.Page) cyberun.WorkflowList {
		return cyberun.WorkflowList{Workflows: []cyberun.Workflow{w.Cyberun.Flow}}
	}
	w.h = &Handler{
		Cyberun: fakeCyberun{w.Cyberun, w}, Runs: w.runs, Executions: w.Executions, OutputS3: w.S3, Presign: presigner{},
		OutputBucket: outputBucket, Log: slog.New(slog.DiscardHandler), Now: w.Time, NewID: w.NewID, Sleep: w.Sleep, Concurrency: 1,
	}
	return w
}

func ptr[T any](v T) *T { return &v }

// start puts a run's execution there, which began a moment after the run's record says.
func (w *world) start(runID, input string, state executions.Status) *executions.Execution {
	return w.Executions.Put(executions.Execution{ARN: functiontest.ARN(runID), Name: runID, Status: state, Input: input, StartedAt: began.Add(123 * time.Millisecond)})
}

// s3Fails has every call to S3 fail whose object's name has a part.
func (w *world) s3Fails(part string) {
	w.Around = func(call string, do func() error) error {
		if functiontest.OnS3(call) && strings.Contains(call, part) {
			return functiontest.ErrNetwork
		}
		return do()
	}
}

// describesLate has Step Functions not show any execution in its first answers.
func (w *world) describesLate(misses int) {
	w.Around = func(call string, do func() error) error {
		if misses > 0 && call == "DescribeExecution" {
			misses--
			return executions.ErrNotFound
		}
		return do()
	}
}

// answer is what the HTTP API would send.
type answer struct {
	status  int
	headers map[string]string
	raw     string
	body    map[string]any
}

// call is one request as the HTTP API hands it over.
func (w *world) call(method, target, body string, headers ...string) answer {
	w.T.Helper()
	return w.event(httpEvent(method, target, body, headers...))
}

func postEvent(body string, headers ...string) events.APIGatewayV2HTTPRequest {
	return httpEvent("POST", "/runs", body, headers...)
}

// httpEvent is a request as the gateway hands it over in the payload format 2.0:
// matched to a route, each header's name in lower case or as the test writes it.
func httpEvent(method, target, body string, headers ...string) events.APIGatewayV2HTTPRequest {
	path, query, _ := strings.Cut(target, "?")
	e := events.APIGatewayV2HTTPRequest{Version: "2.0", RawPath: decoded(path), RawQueryString: query, Body: body, Headers: map[string]string{"host": "x.example"}}
	e.RequestContext.DomainName = "x.example"
	e.RequestContext.HTTP.Method, e.RequestContext.HTTP.Path = method, e.RawPath
	e.RouteKey, e.PathParameters = match(method, path)
	e.RequestContext.RouteKey = e.RouteKey
	for i := 0; i+1 < len(headers); i += 2 {
		e.Headers[headers[i]] = headers[i+1]
	}
	return e
}

// decoded is a path as the gateway hands it over: of the escapes %25 alone stays.
func decoded(path string) string {
	plain, err := url.PathUnescape(strings.ReplaceAll(path, "%25", "%2525"))
	if err != nil {
		return path // a lone percent sign stays one
	}
	return plain
}

// match finds a request's route as the gateway does.
func match(method, path string) (key string, parameters map[string]string) {
	for key := range (&Handler{}).endpoints() {
		verb, pattern, _ := strings.Cut(key, " ")
		names, values := strings.Split(pattern, "/"), strings.Split(path, "/")
		if verb != method || len(names) != len(values) {
			continue
		}
		parameters, fits := map[string]string{}, true
		for i, name := range names {
			if bare, isName := strings.CutPrefix(name, "{"); isName && values[i] != "" {
				parameters[strings.TrimSuffix(bare, "}")] = decoded(values[i])
			} else {
				fits = fits && name == values[i]
			}
		}
		if fits {
			return key, parameters
		}
	}
	return "$default", nil
}

func (w *world) event(e events.APIGatewayV2HTTPRequest) answer {
	w.T.Helper()
	out, err := w.h.Handle(context.Background(), e)
	if err != nil || out.IsBase64Encoded {
		w.T.Fatal(err, out)
	}
	raw := out.Body
	a := answer{out.StatusCode, out.Headers, raw, nil}
	if err := json.Unmarshal([]byte(raw), &a.body); err != nil {
		w.T.Errorf("%d %s is no JSON: %v", a.status, raw, err)
	}
	if strings.Contains(raw, "sk-local") {
		w.T.Errorf("a key in %s", raw)
	}
	if a.headers["cache-control"] != "no-store" {
		w.T.Errorf("an answer that could be cached: %v", a.headers)
	}
	want := "application/json"
	if a.status >= 400 {
		want = "application/problem+json"
		if a.body["status"] != float64(a.status) || a.body["type"] != fmt.Sprint("urn:cyberun-relay:error:", a.body["title"]) || a.body["detail"] == "" || a.body["hint"] == nil {
			w.T.Errorf("not RFC 9457: %s", raw)
		}
	}
	if a.headers["content-type"] != want {
		w.T.Errorf("%d with %s", a.status, a.headers["content-type"])
	}
	documents(w.T, e.RouteKey, a)
	return a
}

// violations are the parameters that a problem names.
func (a answer) violations() (names []string) {
	list, _ := a.body["errors"].([]any)
	for _, f := range list {
		names = append(names, f.(map[string]any)["parameter"].(string))
	}
	return names
}
