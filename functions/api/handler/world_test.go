package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

const (
	stateBucket  = "state"
	outputBucket = "outputs"
	arnPrefix    = "arn:aws:states:eu-central-1:123456789012:execution:relay-run:"
)

var (
	began      = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	errNetwork = errors.New("connection reset by peer")
)

type fakeCyberun struct {
	workflows func(ctx context.Context, page cyberun.Page) (cyberun.WorkflowList, error)
	workflow  func(ctx context.Context, ref string) (cyberun.Workflow, error)
	task      func(ctx context.Context, id string) (cyberun.Task, error)
	cancel    func(ctx context.Context, id string) error
}

func (f *fakeCyberun) Task(ctx context.Context, id string) (cyberun.Task, error) {
	return f.task(ctx, id)
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
	mu       sync.Mutex
	runs     map[string]*executions.Execution
	started  int
	looks    int // descriptions
	stopped  []string
	redriven []string
	fail     func(op string) error
	now      func() time.Time
}

func (m *machine) failing(op string) error {
	if m.fail == nil {
		return nil
	}
	return m.fail(op)
}

func (m *machine) Execution(runID string) string { return arnPrefix + runID }

func (m *machine) Start(_ context.Context, runID, input string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing("Start"); err != nil {
		return err
	}
	if there, ok := m.runs[runID]; ok {
		if there.State == executions.Running && there.Input == input {
			return nil
		}
		return executions.ErrExists
	}
	m.started++
	m.runs[runID] = &executions.Execution{ARN: arnPrefix + runID, Name: runID, State: executions.Running, Input: input, StartedAt: m.now()}
	return nil
}

func (m *machine) Stop(_ context.Context, arn string, _ *named.Error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing("Stop"); err != nil {
		return err
	}
	name := executions.NameOf(arn)
	if m.runs[name] == nil {
		return nil
	}
	m.stopped = append(m.stopped, name)
	m.runs[name].State = executions.Aborted
	return nil
}

func (m *machine) Redrive(_ context.Context, arn string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.failing("Redrive"); err != nil {
		return err
	}
	e := m.runs[executions.NameOf(arn)]
	if e == nil || !e.State.Ended() {
		return executions.ErrNotRedrivable
	}
	m.redriven = append(m.redriven, e.Name)
	e.State, e.Redrives = executions.Running, e.Redrives+1
	return nil
}

func (m *machine) Describe(_ context.Context, arn string) (executions.Execution, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looks++
	if err := m.failing("Describe"); err != nil {
		return executions.Execution{}, err
	}
	name := executions.NameOf(arn)
	if !executions.ValidName(name) {
		return executions.Execution{}, named.Errorf(named.Unavailable, "InvalidArn")
	}
	there, ok := m.runs[name]
	if !ok {
		return executions.Execution{}, executions.ErrNotFound
	}
	return *there, nil
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
	ids       atomic.Int32
	cancelled []string
	cancels   []time.Duration           // when each cancel came, since the world began
	tasks     map[string]cyberun.Status // what Cyberun knows
	onSleep   func()
	runs      *lifecycle.Runs
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, s3: &storetest.S3{}, now: began, tasks: map[string]cyberun.Status{"t1": cyberun.StatusRunning}}
	w.machine = &machine{runs: map[string]*executions.Execution{}, now: func() time.Time { return w.now }}
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
			w.cancels, w.cancelled = append(w.cancels, w.now.Sub(began)), append(w.cancelled, id)
			if !w.tasks[id].Terminal() {
				w.tasks[id] = cyberun.StatusCancelled
			}
			return nil
		},
		task: func(ctx context.Context, id string) (cyberun.Task, error) {
			timed(ctx)
			status, known := w.tasks[id]
			if !known {
				return cyberun.Task{}, answered(http.StatusNotFound)
			}
			return cyberun.Task{ID: id, Status: status}, nil
		},
	}
	w.h = &Handler{
		Cyberun: w.cyberun, Executions: w.machine, Outputs: w.s3,
		Presign: presign(func(key string, d time.Duration) (string, error) {
			return "https://signed.example/" + key + "?for=" + d.String(), nil
		}),
		OutputBucket: outputBucket,
		Log:          slog.New(slog.NewTextHandler(io.Discard, nil)),
		Now:          func() time.Time { return w.now },
		NewID:        func() string { return fmt.Sprintf("id-%d", w.ids.Add(1)) },
		Sleep: func(_ context.Context, d time.Duration) error {
			w.now, w.slept = w.now.Add(d), w.slept+d
			if w.onSleep != nil {
				w.onSleep()
			}
			return nil
		},
	}
	w.runs = &lifecycle.Runs{
		Store: &store.Store{S3: w.s3, Bucket: stateBucket, NoPause: true}, Outputs: w.s3, Cyberun: w.cyberun, Executions: w.machine,
		Now: w.h.Now, Sleep: func(ctx context.Context, d time.Duration) error { return w.h.Sleep(ctx, d) }, NewID: w.h.NewID,
	}
	w.h.Runs = w.runs
	return w
}

func textToImage() cyberun.Workflow {
	return cyberun.Workflow{ID: "wf-1", Slug: "text-to-image", Version: 2, Status: cyberun.WorkflowActive, Parameters: []cyberun.Parameter{
		{Key: "prompt", Type: cyberun.TypeString, Required: true}, {Key: "steps", Type: cyberun.TypeInteger, Min: ptr(1.0), Max: ptr(50.0)},
	}}
}

func ptr[T any](v T) *T { return &v }

// start puts an execution there.
func (w *world) start(name, input string, state executions.State) {
	w.machine.mu.Lock()
	defer w.machine.mu.Unlock()
	w.machine.runs[name] = &executions.Execution{ARN: arnPrefix + name, Name: name, State: state, Input: input, StartedAt: began.Add(123 * time.Millisecond)}
}

// record puts a run there, as Submit leaves it.
func (w *world) record(r run.Record) {
	w.t.Helper()
	r.ExecutionARN = arnPrefix + r.RunID
	if r.StartedAt.IsZero() {
		r.StartedAt = began
	}
	if r.Prefix == "" {
		r.Prefix = "runs/" + r.RunID + "/"
	}
	if r.Bucket == "" {
		r.Bucket = outputBucket
	}
	w.set("index/"+lifecycle.CursorOf(r), nil)
	w.set("runs/"+r.RunID+".json", r)
	if r.TaskID != "" && r.How != "" {
		w.set("tasks/"+r.TaskID, run.Ownership{StartedBy: r.RunID, How: r.How, DeliveredBy: r.RunID})
	}
}

// set puts an object into the state bucket, as another function does.
func (w *world) set(key string, v any) {
	w.t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	w.s3.Set(stateBucket, key, storetest.Object{Body: body})
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
	w.t.Helper()
	out, err := w.h.Handle(context.Background(), e)
	if err != nil || out.IsBase64Encoded {
		w.t.Fatal(err, out)
	}
	raw := out.Body
	a := answer{out.StatusCode, out.Headers, raw, nil}
	if err := json.Unmarshal([]byte(raw), &a.body); err != nil {
		w.t.Errorf("%d %s is no JSON: %v", a.status, raw, err)
	}
	if strings.Contains(raw, "sk-local") {
		w.t.Errorf("a key in %s", raw)
	}
	if a.headers["cache-control"] != "no-store" {
		w.t.Errorf("an answer that could be cached: %v", a.headers)
	}
	want := "application/json"
	if a.status >= 400 {
		want = "application/problem+json"
		if a.body["status"] != float64(a.status) || a.body["type"] != fmt.Sprint("urn:cyberun-relay:error:", a.body["title"]) || a.body["detail"] == "" || a.body["hint"] == nil {
			w.t.Errorf("not RFC 9457: %s", raw)
		}
	}
	if a.headers["content-type"] != want {
		w.t.Errorf("%d with %s", a.status, a.headers["content-type"])
	}
	documents(w.t, e.RouteKey, a)
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

// answered is a refusal that Cyberun itself gave.
func answered(status int) error {
	return &cyberun.APIError{Status: status, Message: http.StatusText(status), JSON: true}
}
