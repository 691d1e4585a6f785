package handler

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/awslabs/aws-lambda-go-api-proxy/httpadapter"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

const (
	stateBucket  = "state"
	outputBucket = "outputs"
	machineARN   = "arn:aws:states:eu-central-1:123456789012:stateMachine:relay-run"
	arnPrefix    = "arn:aws:states:eu-central-1:123456789012:execution:relay-run:"
)

var (
	began      = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	errNetwork = errors.New("connection reset by peer")
)

type fakeCyberun struct {
	workflows func(ctx context.Context, page cyberun.Page) (cyberun.WorkflowList, error)
	workflow  func(ctx context.Context, ref string) (cyberun.Workflow, error)
	cancel    func(ctx context.Context, id string) error
}

func (f *fakeCyberun) Workflows(ctx context.Context, page cyberun.Page) (cyberun.WorkflowList, error) {
	return f.workflows(ctx, page)
}
func (f *fakeCyberun) Workflow(ctx context.Context, ref string) (cyberun.Workflow, error) {
	return f.workflow(ctx, ref)
}
func (f *fakeCyberun) Cancel(ctx context.Context, id string) error { return f.cancel(ctx, id) }

type presign func(key string, expires time.Duration) (string, error)

func (p presign) PresignGetObject(_ context.Context, in *s3.GetObjectInput, options ...func(*s3.PresignOptions)) (*v4.PresignedHTTPRequest, error) {
	var o s3.PresignOptions
	for _, option := range options {
		option(&o)
	}
	url, err := p(*in.Bucket+"/"+*in.Key, o.Expires)
	return &v4.PresignedHTTPRequest{URL: url}, err
}

// machine is Step Functions: a name runs once, the same input again is the same run.
type machine struct {
	mu      sync.Mutex
	runs    map[string]*sfn.DescribeExecutionOutput
	started int
	stopped []string
	fail    func(op string) error
	now     func() time.Time
}

func (m *machine) failing(op string) error {
	if m.fail == nil {
		return nil
	}
	return m.fail(op)
}

func (m *machine) StartExecution(_ context.Context, in *sfn.StartExecutionInput, _ ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing("Start"); err != nil {
		return nil, err
	}
	if there, ok := m.runs[*in.Name]; ok {
		if there.Status == types.ExecutionStatusRunning && *there.Input == *in.Input {
			return &sfn.StartExecutionOutput{}, nil
		}
		return nil, &types.ExecutionAlreadyExists{}
	}
	m.started++
	start := m.now()
	m.runs[*in.Name] = &sfn.DescribeExecutionOutput{Status: types.ExecutionStatusRunning, Input: in.Input, StartDate: &start}
	return &sfn.StartExecutionOutput{}, nil
}

func (m *machine) StopExecution(_ context.Context, in *sfn.StopExecutionInput, _ ...func(*sfn.Options)) (*sfn.StopExecutionOutput, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing("Stop"); err != nil {
		return nil, err
	}
	name := strings.TrimPrefix(*in.ExecutionArn, arnPrefix)
	if m.runs[name] == nil {
		return nil, &types.ExecutionDoesNotExist{}
	}
	m.stopped = append(m.stopped, name)
	m.runs[name].Status = types.ExecutionStatusAborted
	return &sfn.StopExecutionOutput{}, nil
}

func (m *machine) DescribeExecution(_ context.Context, in *sfn.DescribeExecutionInput, _ ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing("Describe"); err != nil {
		return nil, err
	}
	name := strings.TrimPrefix(*in.ExecutionArn, arnPrefix)
	if !validName(name) {
		return nil, &types.InvalidArn{}
	}
	there, ok := m.runs[name]
	if !ok {
		return nil, &types.ExecutionDoesNotExist{}
	}
	copied := *there
	return &copied, nil
}

// world is what the API works in.
type world struct {
	t         *testing.T
	s3        *storetest.S3
	now       time.Time
	machine   *machine
	cyberun   *fakeCyberun
	h         *Handler
	slept     time.Duration
	ids       int
	cancelled []string
	onSleep   func()
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, s3: &storetest.S3{}, now: began}
	w.machine = &machine{runs: map[string]*sfn.DescribeExecutionOutput{}, now: func() time.Time { return w.now }}
	timed := func(ctx context.Context) {
		if d, ok := ctx.Deadline(); !ok || time.Until(d) > callTime {
			t.Error("a call to Cyberun has no time of its own")
		}
	}
	w.cyberun = &fakeCyberun{
		workflow: func(ctx context.Context, ref string) (cyberun.Workflow, error) {
			timed(ctx)
			if slug, _, _ := strings.Cut(ref, "@"); slug != "text-to-image" {
				return cyberun.Workflow{}, answered(http.StatusNotFound)
			}
			return textToImage(), nil
		},
		cancel: func(ctx context.Context, id string) error {
			timed(ctx)
			w.cancelled = append(w.cancelled, id)
			return nil
		},
	}
	w.h = &Handler{
		Cyberun: w.cyberun, Records: w.records(), Executions: w.machine, Outputs: w.s3,
		Presign: presign(func(key string, d time.Duration) (string, error) {
			return "https://signed.example/" + key + "?for=" + d.String(), nil
		}),
		OutputBucket: outputBucket, StateMachineARN: machineARN,
		Log:   slog.New(slog.NewTextHandler(io.Discard, nil)),
		Now:   func() time.Time { return w.now },
		NewID: func() string { w.ids++; return fmt.Sprintf("id-%d", w.ids) },
		Sleep: func(_ context.Context, d time.Duration) error {
			w.now, w.slept = w.now.Add(d), w.slept+d
			if w.onSleep != nil {
				w.onSleep()
			}
			return nil
		},
	}
	return w
}

func textToImage() cyberun.Workflow {
	return cyberun.Workflow{ID: "wf-1", Slug: "text-to-image", Version: 2, Status: cyberun.WorkflowActive, Parameters: []cyberun.Parameter{
		{Key: "prompt", Type: cyberun.TypeString, Required: true}, {Key: "steps", Type: cyberun.TypeInteger, Min: ptr(1.0), Max: ptr(50.0)},
	}}
}

func ptr[T any](v T) *T { return &v }

func (w *world) records() *store.Store { return &store.Store{S3: w.s3, Bucket: stateBucket} }

// start puts an execution there.
func (w *world) start(name, input string, status types.ExecutionStatus) {
	w.machine.mu.Lock()
	defer w.machine.mu.Unlock()
	w.machine.runs[name] = &sfn.DescribeExecutionOutput{Status: status, Input: &input, StartDate: ptr(began.Add(123 * time.Millisecond))}
}

// record puts a run there.
func (w *world) record(r run.Record) {
	w.t.Helper()
	r.ExecutionARN = arnPrefix + r.RunID
	if r.StartedAt.IsZero() {
		r.StartedAt = began
	}
	if _, err := w.records().Create(w.t.Context(), r); err != nil {
		w.t.Fatal(err)
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
	w.t.Helper()
	return w.event(httpEvent(method, target, body, headers...))
}

func postEvent(body string, headers ...string) events.APIGatewayV2HTTPRequest {
	return httpEvent("POST", "/runs", body, headers...)
}

// httpEvent has the payload format 2.0.
func httpEvent(method, target, body string, headers ...string) events.APIGatewayV2HTTPRequest {
	path, query, _ := strings.Cut(target, "?")
	e := events.APIGatewayV2HTTPRequest{Version: "2.0", RawPath: path, RawQueryString: query, Body: body, Headers: map[string]string{"host": "x.example"}}
	e.RequestContext.DomainName = "x.example"
	e.RequestContext.HTTP.Method, e.RequestContext.HTTP.Path = method, path
	for i := 0; i+1 < len(headers); i += 2 {
		e.Headers[headers[i]] = headers[i+1]
	}
	return e
}

func (w *world) event(e events.APIGatewayV2HTTPRequest) answer {
	w.t.Helper()
	out, err := httpadapter.NewV2(w.h.Routes()).ProxyWithContext(context.Background(), e)
	if err != nil {
		w.t.Fatal(err)
	}
	raw := out.Body
	if out.IsBase64Encoded {
		b, err := base64.StdEncoding.DecodeString(raw)
		if err != nil {
			w.t.Fatal(err)
		}
		raw = string(b)
	}
	a := answer{out.StatusCode, out.Headers, raw, nil}
	if err := json.Unmarshal([]byte(raw), &a.body); err != nil {
		w.t.Errorf("%d %s is no JSON: %v", a.status, raw, err)
	}
	if strings.Contains(raw, "sk-local") {
		w.t.Errorf("a key in %s", raw)
	}
	if a.headers["Cache-Control"] != "no-store" {
		w.t.Errorf("an answer that could be cached: %v", a.headers)
	}
	want := "application/json"
	if a.status >= 400 {
		want = "application/problem+json"
		if a.body["status"] != float64(a.status) || a.body["type"] != fmt.Sprint("urn:cyberun-relay:error:", a.body["title"]) || a.body["detail"] == "" {
			w.t.Errorf("not RFC 9457: %s", raw)
		}
	}
	if a.headers["Content-Type"] != want {
		w.t.Errorf("%d with %s", a.status, a.headers["Content-Type"])
	}
	return a
}

// faults are the parameters that a problem names.
func (a answer) faults() (names []string) {
	list, _ := a.body["errors"].([]any)
	for _, f := range list {
		names = append(names, f.(map[string]any)["parameter"].(string))
	}
	return names
}

func answered(status int) error {
	return &cyberun.APIError{Status: status, Message: http.StatusText(status)}
}
