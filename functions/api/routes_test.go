package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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

type fakeService struct {
	workflows func(cyberun.Page) (cyberun.WorkflowList, error)
	workflow  func(ref string) (cyberun.Workflow, error)
	cancel    func(id string) error
}

func (f fakeService) Workflows(_ context.Context, p cyberun.Page) (cyberun.WorkflowList, error) {
	return f.workflows(p)
}
func (f fakeService) Workflow(_ context.Context, ref string) (cyberun.Workflow, error) {
	return f.workflow(ref)
}
func (f fakeService) Cancel(_ context.Context, id string) error { return f.cancel(id) }

// stateMachine runs a name once, as Step Functions does.
type stateMachine struct {
	executions map[string]*sfn.DescribeExecutionOutput // by ARN
	stopErr    error
	away       error
}

func (m *stateMachine) StartExecution(_ context.Context, in *sfn.StartExecutionInput, _ ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error) {
	if m.away != nil {
		return nil, m.away
	}
	arn := strings.Replace(*in.StateMachineArn, ":stateMachine:", ":execution:", 1) + ":" + *in.Name
	if there := m.executions[arn]; there != nil && (there.Status != types.ExecutionStatusRunning || *there.Input != *in.Input) {
		return nil, &types.ExecutionAlreadyExists{}
	}
	now := time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC)
	m.executions[arn] = &sfn.DescribeExecutionOutput{ExecutionArn: &arn, Input: in.Input, Status: types.ExecutionStatusRunning, StartDate: &now}
	return &sfn.StartExecutionOutput{ExecutionArn: &arn}, nil
}

func (m *stateMachine) StopExecution(_ context.Context, in *sfn.StopExecutionInput, _ ...func(*sfn.Options)) (*sfn.StopExecutionOutput, error) {
	if m.stopErr != nil {
		return nil, m.stopErr
	}
	m.executions[*in.ExecutionArn].Status = types.ExecutionStatusAborted
	return &sfn.StopExecutionOutput{}, nil
}

func (m *stateMachine) DescribeExecution(_ context.Context, in *sfn.DescribeExecutionInput, _ ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error) {
	if e := m.executions[*in.ExecutionArn]; e != nil {
		return e, nil
	}
	return nil, &types.ExecutionDoesNotExist{}
}

type presignFunc func(key string) string

func (f presignFunc) PresignGetObject(_ context.Context, in *s3.GetObjectInput, _ ...func(*s3.PresignOptions)) (*v4.PresignedHTTPRequest, error) {
	return &v4.PresignedHTTPRequest{URL: f(*in.Key)}, nil
}

// door is the API in front of a stack in memory.
type door struct {
	*Handler
	t         *testing.T
	machine   *stateMachine
	buckets   *storetest.S3
	store     *store.Store
	cancelled []string
	clock     time.Time
	down      error // of Cyberun
}

func openDoor(t *testing.T) *door {
	d := &door{t: t, machine: &stateMachine{executions: map[string]*sfn.DescribeExecutionOutput{}}, buckets: &storetest.S3{}, clock: time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC)}
	d.store = &store.Store{S3: d.buckets, Bucket: "state"}
	low, high := 1., 150.
	known := cyberun.Workflow{ID: "w1", Slug: "text-to-image", Version: 2, Status: "active", Parameters: []cyberun.Parameter{
		{Key: "prompt", Type: cyberun.TypeString, Required: true}, {Key: "steps", Type: cyberun.TypeNumber, Min: &low, Max: &high},
	}}
	ids := 0
	d.Handler = &Handler{
		Cyberun: fakeService{
			workflows: func(p cyberun.Page) (cyberun.WorkflowList, error) {
				return cyberun.WorkflowList{Workflows: []cyberun.Workflow{known}, Page: cyberun.PageMeta{CurrentPage: p.Number, TotalCount: 3}}, d.down
			},
			workflow: func(ref string) (cyberun.Workflow, error) {
				switch {
				case d.down != nil:
					return cyberun.Workflow{}, d.down
				case strings.HasPrefix(ref, "old"):
					return cyberun.Workflow{Slug: "old", Status: cyberun.WorkflowDisabled}, nil
				case !strings.HasPrefix(ref, "text-to-image"):
					return cyberun.Workflow{}, &cyberun.APIError{Status: http.StatusNotFound, Message: "no such workflow"}
				}
				return known, nil
			},
			cancel: func(id string) error { d.cancelled = append(d.cancelled, id); return d.down },
		},
		Records: d.store, Executions: d.machine, Outputs: d.buckets,
		Presign:         presignFunc(func(key string) string { return "https://signed.example/" + key + "?X-Amz-Signature=s" }),
		OutputBucket:    "out",
		StateMachineARN: "arn:aws:states:us-east-1:123456789012:stateMachine:relay-run",
		Log:             slog.New(slog.NewTextHandler(io.Discard, nil)),
		Now:             func() time.Time { return d.clock },
		NewID:           func() string { ids++; return fmt.Sprintf("run-%03d", ids) },
		Sleep:           func(_ context.Context, by time.Duration) error { d.clock = d.clock.Add(by); return nil },
	}
	return d
}

// call goes through the adapter, as a request on AWS does.
func (d *door) call(method, path, body string, headers ...string) (int, map[string]any, http.Header) {
	d.t.Helper()
	path, query, _ := strings.Cut(path, "?")
	e := events.APIGatewayV2HTTPRequest{RawPath: path, RawQueryString: query, Body: body, Headers: map[string]string{"host": "api.example"}}
	e.RequestContext.HTTP.Method, e.RequestContext.HTTP.Path = method, path
	for i := 0; i+1 < len(headers); i += 2 {
		e.Headers[headers[i]] = headers[i+1]
	}
	return d.send(e)
}

func (d *door) send(e events.APIGatewayV2HTTPRequest) (int, map[string]any, http.Header) {
	d.t.Helper()
	res, err := httpadapter.NewV2(d.Routes()).ProxyWithContext(d.t.Context(), e)
	if err != nil {
		d.t.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal([]byte(res.Body), &answer); err != nil {
		d.t.Fatalf("HTTP %d, no JSON: %s", res.StatusCode, res.Body)
	}
	header := http.Header{}
	for k, v := range res.Headers {
		header.Set(k, v)
	}
	return res.StatusCode, answer, header
}

const goodRun = `{"workflow":"text-to-image@2","parameters":{"prompt":"a fir","steps":30}}`

func TestRefusalsOfTheAPI(t *testing.T) {
	refused := func(status int) error {
		return &cyberun.APIError{Method: "GET", Path: "/r/x", Status: status, Message: "no"}
	}
	tests := map[string]struct {
		method, path, body string
		headers            []string
		down               error
		status             int
		title              string
		errors             int
	}{
		"five faults":                  {method: "POST", path: "/runs", body: `{"workflow":"text-to-image","colour":1,"max_seconds":0,"parameters":{"prompt":7,"steps":1000,"x":1}}`, status: 400, title: run.InvalidRequest, errors: 5},
		"unknown workflow":             {method: "POST", path: "/runs", body: `{"workflow":"nope"}`, status: 404, title: run.WorkflowNotFound},
		"unknown workflow and a fault": {method: "POST", path: "/runs", body: `{"workflow":"nope","colour":1}`, status: 400, title: run.InvalidRequest, errors: 1},
		"disabled":                     {method: "POST", path: "/runs", body: `{"workflow":"old"}`, status: 400, title: run.WorkflowDisabled},
		"not JSON":                     {method: "POST", path: "/runs", body: `x`, status: 400, title: run.InvalidRequest, errors: 1},
		"too large":                    {method: "POST", path: "/runs", body: `{"workflow":"` + strings.Repeat("a", run.MaxRequestBytes) + `"}`, status: 400, title: run.InvalidRequest, errors: 1},
		"Cyberun is down":              {method: "POST", path: "/runs", body: goodRun, down: errors.New("dial: refused"), status: 503, title: run.Unavailable},
		"Cyberun is busy":              {method: "POST", path: "/runs", body: goodRun, down: refused(429), status: 503, title: run.Unavailable},
		"the key is refused":           {method: "POST", path: "/runs", body: goodRun, down: refused(401), status: 502, title: run.Unauthorized},
		"not licensed":                 {method: "GET", path: "/workflows", down: refused(403), status: 502, title: run.FeatureNotLicensed},
		"empty idempotency key":        {method: "POST", path: "/runs", body: goodRun, headers: []string{"idempotency-key", strings.Repeat("k", 256)}, status: 400, title: run.InvalidRequest, errors: 1},
		"key that is not ASCII":        {method: "POST", path: "/runs", body: goodRun, headers: []string{"idempotency-key", "ä"}, status: 400, title: run.InvalidRequest, errors: 1},
		"no such run":                  {method: "GET", path: "/runs/none", status: 404, title: "RunNotFound"},
		"an id that is no name":        {method: "GET", path: "/runs/a%20b", status: 404, title: "RunNotFound"},
		"bad wait":                     {method: "GET", path: "/runs/none?wait=long", status: 400, title: run.InvalidRequest, errors: 1},
		"three bad settings":           {method: "GET", path: "/runs?status=x&limit=0&cursor=%25", status: 400, title: run.InvalidRequest, errors: 3},
		"bad workflow cursor":          {method: "GET", path: "/workflows?cursor=" + base64.RawURLEncoding.EncodeToString([]byte("x")), status: 400, title: run.InvalidRequest, errors: 1},
		"no such route":                {method: "PUT", path: "/runs", status: 404, title: "NotFound"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := openDoor(t)
			d.down = tt.down
			status, p, header := d.call(tt.method, tt.path, tt.body, tt.headers...)
			list, _ := p["errors"].([]any)
			if status != tt.status || p["title"] != tt.title || p["status"] != float64(tt.status) || p["detail"] == "" || p["type"] == "" || len(list) != tt.errors {
				t.Errorf("HTTP %d %v; want %d %s with %d errors", status, p, tt.status, tt.title, tt.errors)
			}
			if header.Get("Content-Type") != "application/problem+json" || (status == 503) != (header.Get("Retry-After") != "") {
				t.Errorf("headers %v", header)
			}
			if status == 502 && !strings.Contains(fmt.Sprint(p["detail"]), "ApiKeySecretArn") && tt.title == run.Unauthorized {
				t.Errorf("the detail does not say which secret to fix: %v", p["detail"])
			}
			if len(d.machine.executions) != 0 {
				t.Error("an execution was started")
			}
		})
	}
}

func TestOneKeyIsOneRun(t *testing.T) {
	d := openDoor(t)
	status, first, header := d.call("POST", "/runs", goodRun, "idempotency-key", "order 4711, again")
	if status != 202 || first["status"] != "submitting" || header.Get("Location") != "/runs/"+fmt.Sprint(first["run_id"]) {
		t.Fatalf("HTTP %d %v %v", status, first, header)
	}
	same := `{ "parameters":{"steps":3e1,"prompt":"a fir"},"workflow":"text-to-image@2" }`
	for _, down := range []error{nil, errors.New("Cyberun is down")} {
		d.down = down
		if status, again, _ := d.call("POST", "/runs", same, "idempotency-key", "order 4711, again"); status != 202 || again["run_id"] != first["run_id"] {
			t.Errorf("the same value again: HTTP %d %v", status, again)
		}
	}
	for _, e := range d.machine.executions {
		e.Status = types.ExecutionStatusSucceeded
	}
	if status, again, _ := d.call("POST", "/runs", goodRun, "idempotency-key", "order 4711, again"); status != 202 || again["status"] != "succeeded" {
		t.Errorf("after its end: HTTP %d %v", status, again)
	}
	if status, p, _ := d.call("POST", "/runs", `{"workflow":"text-to-image@2","parameters":{"prompt":"another"}}`, "idempotency-key", "order 4711, again"); status != 409 {
		t.Errorf("another value: HTTP %d %v", status, p)
	}
	if len(d.machine.executions) != 1 {
		t.Errorf("%d executions", len(d.machine.executions))
	}
}

func TestRunFromThe202On(t *testing.T) {
	d := openDoor(t)
	_, begun, _ := d.call("POST", "/runs", goodRun)
	id := fmt.Sprint(begun["run_id"])
	if status, v, _ := d.call("GET", "/runs/"+id, ""); status != 200 || v["status"] != "submitting" || v["workflow"] != "text-to-image@2" {
		t.Errorf("before there is a record: HTTP %d %v", status, v)
	}
	d.machine.executions[d.executionARN(id)].Status = types.ExecutionStatusAborted
	if _, v, _ := d.call("GET", "/runs/"+id, ""); v["status"] != "cancelled" || v["error"] == nil {
		t.Errorf("stopped before there was one: %v", v)
	}
}

// recorded puts a run as it stands into the state bucket.
func (d *door) recorded(r run.Record) {
	d.t.Helper()
	if r.StartedAt.IsZero() {
		r.StartedAt = d.clock
	}
	if _, err := d.store.Create(d.t.Context(), r); err != nil {
		d.t.Fatal(err)
	}
}

func TestRunTellsItsOutputs(t *testing.T) {
	d := openDoor(t)
	d.recorded(run.Record{RunID: "r1", Status: run.Succeeded, TaskID: "t1", Workflow: "text-to-image", ManifestKey: "runs/r1/manifest.json"})
	manifest := `{"outputs":[{"id":"output","key":"runs/r1/output.png","bytes":3,"crc32":"352441c2"}]}`
	bucket, key := "out", "runs/r1/manifest.json"
	if _, err := d.buckets.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(manifest)}); err != nil {
		t.Fatal(err)
	}
	_, v, _ := d.call("GET", "/runs/r1?wait=20", "")
	outputs, _ := v["outputs"].([]any)
	if len(outputs) != 1 {
		t.Fatalf("%v", v)
	}
	o := outputs[0].(map[string]any)
	if o["s3_uri"] != "s3://out/runs/r1/output.png" || !strings.HasPrefix(fmt.Sprint(o["url"]), "https://signed.example/runs/r1/output.png") || o["crc32"] != "352441c2" {
		t.Errorf("%v", o)
	}
}

func TestLongPollEndsWithTheRunOrTheTime(t *testing.T) {
	d := openDoor(t)
	d.recorded(run.Record{RunID: "r1", Status: run.Waiting, TaskID: "t1"})
	begin := d.clock
	d.call("GET", "/runs/r1?wait=99", "")
	if waited := d.clock.Sub(begin); waited != maxLongPoll {
		t.Errorf("waited %v, want %v", waited, maxLongPoll)
	}
	begin = d.clock
	d.Sleep = func(ctx context.Context, by time.Duration) error {
		d.clock = d.clock.Add(by)
		if d.clock.Sub(begin) >= 3*time.Second {
			_, err := d.store.Update(ctx, "r1", func(r *run.Record) error { r.Close(run.Failed, d.clock, run.Errorf(run.TaskFailed, "x")); return nil })
			return err
		}
		return nil
	}
	if _, v, _ := d.call("GET", "/runs/r1?wait=20", ""); v["status"] != "failed" || d.clock.Sub(begin) > 4*time.Second {
		t.Errorf("%v after %v", v["status"], d.clock.Sub(begin))
	}
}

func TestStop(t *testing.T) {
	running := func(d *door, id string) {
		input := goodRun
		d.machine.executions[d.executionARN(id)] = &sfn.DescribeExecutionOutput{Status: types.ExecutionStatusRunning, Input: &input, StartDate: &d.clock}
	}
	tests := map[string]struct {
		record    *run.Record
		stopErr   error
		status    int
		says      string
		cancelled int
		marked    bool
	}{
		"waiting":                 {record: &run.Record{Status: run.Waiting, TaskID: "t1"}, status: 202, says: "cancelled", cancelled: 1, marked: true},
		"adopted":                 {record: &run.Record{Status: run.Waiting, TaskID: "t1", Adopted: true}, status: 202, says: "cancelled", marked: true},
		"rescued":                 {record: &run.Record{Status: run.Waiting, TaskID: "t1", Rescued: true}, status: 202, says: "cancelled", marked: true},
		"before it has a record":  {status: 202, says: "cancelled", marked: true},
		"succeeded":               {record: &run.Record{Status: run.Succeeded, TaskID: "t1"}, status: 202, says: "succeeded"},
		"cancelled":               {record: &run.Record{Status: run.Cancelled, TaskID: "t1"}, status: 202, says: "cancelled"},
		"Step Functions is away":  {record: &run.Record{Status: run.Waiting, TaskID: "t1"}, stopErr: errors.New("throttled"), status: 503, cancelled: 1, marked: true},
		"Cyberun is away as well": {record: &run.Record{Status: run.Waiting, TaskID: "t1"}, status: 202, says: "cancelled", cancelled: 1, marked: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := openDoor(t)
			running(d, "r1")
			d.machine.stopErr = tt.stopErr
			if strings.HasPrefix(name, "Cyberun") {
				d.down = errors.New("away")
			}
			if tt.record != nil {
				tt.record.RunID = "r1"
				d.recorded(*tt.record)
			}
			status, v, _ := d.call("DELETE", "/runs/r1", "")
			if status != tt.status || tt.says != "" && v["status"] != tt.says || len(d.cancelled) != tt.cancelled {
				t.Errorf("HTTP %d %v, cancelled %v", status, v, d.cancelled)
			}
			record, err := d.store.Get(t.Context(), "r1")
			if err != nil || record.StopRequestedAt.IsZero() == tt.marked {
				t.Errorf("record %+v, %v", record, err)
			}
		})
	}
}

func TestListIsNewestFirst(t *testing.T) {
	d := openDoor(t)
	for i := range 7 {
		status := run.Succeeded
		if i%3 == 0 {
			status = run.Failed
		}
		d.recorded(run.Record{RunID: fmt.Sprintf("r%d", i), Status: status, StartedAt: d.clock.Add(time.Duration(i) * time.Minute)})
	}
	for query, want := range map[string]string{"": "r6 r5 r4 r3 r2 r1 r0", "status=failed&": "r6 r3 r0", "status=succeeded&": "r5 r4 r2 r1", "status=waiting&": ""} {
		for _, limit := range []int{1, 2, 3, 100} {
			var got []string
			cursor := ""
			for range 20 {
				_, page, _ := d.call("GET", fmt.Sprintf("/runs?%slimit=%d&cursor=%s", query, limit, cursor), "")
				rows, _ := page["runs"].([]any)
				if len(rows) > limit {
					t.Fatalf("%d rows for a limit of %d", len(rows), limit)
				}
				for _, row := range rows {
					got = append(got, fmt.Sprint(row.(map[string]any)["run_id"]))
				}
				next, more := page["next_cursor"].(string)
				if cursor = next; !more {
					break
				}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s limit %d: %v, want %s", query, limit, got, want)
			}
		}
	}
}

func TestSampleRequests(t *testing.T) {
	files, err := filepath.Glob("../../events/api-*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %d samples", err, len(files))
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var e events.APIGatewayV2HTTPRequest
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		want := map[string]int{"start-run": 202, "start-run-base64": 202, "start-run-five-faults": 400, "start-run-unknown-workflow": 404, "list-runs": 200,
			"get-run": 404, "stop-run": 404, "list-workflows": 200, "get-workflow": 200}[strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "api-"), ".json")]
		if status, v, _ := openDoor(t).send(e); status != want {
			t.Errorf("%s: HTTP %d %v, want %d", file, status, v, want)
		}
	}
}
