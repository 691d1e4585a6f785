package handler

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

const body = `{"workflow":"text-to-image@2","parameters":{"prompt":"a sunset","steps":30}}`

func TestStart(t *testing.T) {
	w := newWorld(t)
	a := w.call("POST", "/runs", body)
	if a.status != 202 || a.headers["location"] != "/runs/id-1" || a.body["run_id"] != "id-1" || a.body["status"] != "submitting" {
		t.Fatalf("%+v", a)
	}
	if got := w.Executions.Of("id-1").Input; got != `{"parameters":{"prompt":"a sunset","steps":30},"workflow":"text-to-image@2"}` {
		t.Error(got)
	}
	if a := w.call("POST", "/runs", body); a.body["run_id"] != "id-2" || len(w.Executions.Started) != 2 {
		t.Errorf("%+v", a)
	}
}

func TestStartsRescue(t *testing.T) {
	w := newWorld(t)
	if a := w.call("POST", "/runs", `{"task_id":"0b8f8a52-6f0e-4a3d-9d5c-2f7f6f1f7a11"}`); a.status != 202 || w.Calls("Workflow") > 0 {
		t.Errorf("%+v", a)
	}
}

// TestRefuses before anything is started, let alone paid.
func TestRefuses(t *testing.T) {
	tests := []struct {
		name, body string
		prepare    func(*world)
		status     int
		title      string
		violations string
		detail     string
	}{
		{"five violations", `{"workflow":"text-to-image@2","colour":"red","max_seconds":0,"destination":{"prefix":"results/"},"parameters":{"prompt":7,"steps":1000}}`, nil,
			400, "InvalidRequest", "[colour destination.prefix max_seconds prompt steps]", "send the request again; nothing was started or paid"},
		{"no body", "", nil, 400, "InvalidRequest", "[request]", "empty"},
		{"no JSON", "{", nil, 400, "InvalidRequest", "[request]", "not JSON"},
		{"two documents", "{}{}", nil, 400, "InvalidRequest", "[request]", ""},
		{"an array", "[]", nil, 400, "InvalidRequest", "[request]", "object"},
		{"no UTF-8", "{\"workflow\":\"\xff\"}", nil, 400, "InvalidRequest", "[request]", "UTF-8"},
		{"too large", `{"workflow":"text-to-image","parameters":{"prompt":"` + strings.Repeat("x", run.MaxRequestBytes) + `"}}`, nil, 400, "InvalidRequest", "[request]", "at most 261632 bytes"},
		{"much too large", `{"workflow":"` + strings.Repeat("x", 2<<20) + `"}`, nil, 400, "InvalidRequest", "[request]", ""},
		{"too long to be read", body + strings.Repeat(" ", run.MaxTextBytes), nil, 400, "InvalidRequest", "[request]", "at most 261632"},
		{"UTF-16", "\xff\xfe{\x00}\x00", nil, 400, "InvalidRequest", "[request]", "UTF-16"},
		{"gzip", "\x1f\x8b\x08", nil, 400, "InvalidRequest", "[request]", "gzip"},
		{"half a character", `{"workflow":"text-to-image","parameters":{"prompt":"\ud83d"}}`, nil, 400, "InvalidRequest", "[request]", "surrogate"},
		{"names given twice", `{"workflow":"a","workflow":"text-to-image","parameters":{"prompt":"a","prompt":"b"}}`, nil, 400, "InvalidRequest", "[workflow parameters.prompt]", "twice"},
		{"too large when written out", `{"workflow":"text-to-image","parameters":{"prompt":"x","seeds":[1e38` + strings.Repeat(",1e38", 10_000) + `]}}`, nil, 400, "InvalidRequest", "[request seeds]", "is 400106 bytes"},
		{"nothing in it", "{}", nil, 400, "InvalidRequest", "[workflow]", "missing"},
		{"both", `{"workflow":"text-to-image","task_id":"t"}`, nil, 400, "InvalidRequest", "[task_id]", ""},
		{"unknown workflow", `{"workflow":"nope"}`, nil, 404, "WorkflowNotFound", "[]", `"nope"`},
		{"unknown workflow and a fault", `{"workflow":"nope","max_seconds":0}`, nil, 400, "InvalidRequest", "[max_seconds]", ""},
		{"disabled", body, func(w *world) { w.Cyberun.Flow.Status = cyberun.WorkflowDisabled }, 400, "WorkflowDisabled", "[]", "disabled"},
		{"Cyberun down", body, fails(&cyberun.NetworkError{Err: functiontest.ErrNetwork}), 503, "Unavailable", "[]", ""},
		{"Cyberun slow", body, fails(context.DeadlineExceeded), 503, "Unavailable", "[]", ""},
		{"Cyberun 502", body, fails(functiontest.Answered(502)), 503, "Unavailable", "[]", "502"},
		{"rate limited", body, fails(functiontest.Answered(429)), 503, "Unavailable", "[]", "429"},
		{"Cyberun down and a fault", `{"workflow":"text-to-image","max_seconds":0}`, fails(functiontest.Answered(502)), 400, "InvalidRequest", "[max_seconds]", ""},
		{"401", body, fails(functiontest.Answered(401)), 502, "Unauthorized", "[]", "ApiKeySecretArn"},
		{"403", body, fails(functiontest.Answered(403)), 502, "FeatureNotLicensed", "[]", "administrator"},
		{"no key", body, fails(named.Errorf(named.Unauthorized, "the secret holds no value yet")), 502, "Unauthorized", "[]", "no value"},
		{"Secrets Manager down", body, fails(named.Errorf(named.Unavailable, "Secrets Manager")), 503, "Unavailable", "[]", "Secrets Manager"},
		{"Step Functions down", body, func(w *world) { w.Fails("StartExecution", functiontest.ErrNetwork) }, 503, "Unavailable", "[]", "before you send the request again"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			if test.prepare != nil {
				test.prepare(w)
			}
			a := w.post(test.body)
			if a.status != test.status || a.body["title"] != test.title || fmt.Sprint(a.violations()) != test.violations || !strings.Contains(fmt.Sprint(a.body["detail"], a.body["hint"]), test.detail) {
				t.Errorf("%d %s", a.status, a.raw)
			}
			if (a.headers["retry-after"] != "") != (test.status == 503) {
				t.Errorf("Retry-After %q", a.headers["retry-after"])
			}
			if len(w.Executions.Started) > 0 {
				t.Error("started")
			}
		})
	}
}

func fails(err error) func(*world) {
	return func(w *world) { w.Fails("Workflow", err) }
}

// post sends the body base64-encoded, as the HTTP API does when it cannot tell
// that it is text.
func (w *world) post(body string, headers ...string) answer {
	w.T.Helper()
	e := postEvent(body, headers...)
	e.Body, e.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte(body)), true
	return w.event(e)
}

func TestIdempotencyKey(t *testing.T) {
	key := func(k string) []string { return []string{"idempotency-key", k} }
	w := newWorld(t)
	first := w.post(body, key("order 4711")...)
	id, _ := first.body["run_id"].(string)
	if first.status != 202 || !strings.HasPrefix(id, "key-") || !executions.ValidName(id) || len(w.Executions.Started) != 1 {
		t.Fatalf("%+v", first)
	}
	same := `{"parameters": {"steps": 3e1, "prompt": "a sunset"}, "workflow": "text-to-image@2"}`
	for what, a := range map[string]answer{"the same": w.post(body, key("order 4711")...), "the same value": w.post(same, key("order 4711")...)} {
		if a.status != 202 || a.body["run_id"] != id || a.body["status"] != "submitting" {
			t.Errorf("%s: %+v", what, a)
		}
	}
	other := w.post(`{"workflow":"text-to-image@2","parameters":{"prompt":"a sunrise"}}`, key("order 4711")...)
	if other.status != 409 || other.body["title"] != "IdempotencyConflict" || !strings.Contains(other.raw, id) {
		t.Errorf("%+v", other)
	}
	if a := w.post(body, key("order 4712")...); a.status != 202 || a.body["run_id"] == id {
		t.Errorf("%+v", a)
	}

	// After the end, and whatever has become of the workflow since.
	w.Executions.Of(id).Status = executions.Succeeded
	asked, violations := run.ParseRequest([]byte(body))
	if len(violations) > 0 {
		t.Fatal(violations)
	}
	w.Record(run.Record{RunID: id, Status: run.Succeeded, RequestHash: asked.Hash})
	fails(functiontest.Answered(503))(w)
	looks := w.Calls("DescribeExecution")
	if a := w.post(body, key("order 4711")...); a.status != 202 || a.body["run_id"] != id || a.body["status"] != "succeeded" {
		t.Errorf("%+v", a)
	}
	if a := w.post(same, key("order 4711")...); a.status != 202 || a.body["run_id"] != id {
		t.Errorf("the same value: %+v", a)
	}
	if a := w.post(`{"task_id":"t1"}`, key("order 4711")...); a.status != 409 {
		t.Errorf("%+v", a)
	}
	if again := w.Calls("DescribeExecution") - looks; again > 0 {
		t.Errorf("Step Functions was asked %d times for what the record says", again)
	}
	w.Executions.Of(id).Status = executions.Failed // its record has gone for good: Step Functions' word is left
	w.S3.Remove(stateBucket, "runs/"+id+".json")
	if a := w.post(body, key("order 4711")...); a.status != 503 { // the workflow's check comes first then
		t.Errorf("%+v", a)
	}
	if len(w.Executions.Started) != 2 {
		t.Errorf("%d started", len(w.Executions.Started))
	}
}

// TestIdempotencyRace: the execution comes between the look and the start, and
// ends at once.
func TestIdempotencyRace(t *testing.T) {
	for _, mine := range []bool{true, false} {
		w := newWorld(t)
		id := w.post(body, "idempotency-key", "k").body["run_id"].(string)
		input := `{"workflow":"other"}`
		if mine {
			input = w.Executions.Of(id).Input
		}
		w.Executions.Forget(id)
		w.Around = func(call string, do func() error) error {
			if call == "Workflow" {
				w.start(id, input, executions.Failed)
			}
			return do()
		}
		a := w.post(body, "idempotency-key", "k")
		if mine && (a.status != 202 || a.body["status"] != "failed") || !mine && a.status != 409 {
			t.Errorf("mine %v: %+v", mine, a)
		}
	}
}

// TestStartedAMomentAgo: Step Functions knows the name and does not describe it yet.
func TestStartedAMomentAgo(t *testing.T) {
	for misses, want := range map[int]int{describeAgain: 202, describeAgain + 1: 503} {
		w := newWorld(t)
		id := w.post(body, "idempotency-key", "k").body["run_id"].(string)
		w.Executions.Of(id).Status = executions.Succeeded
		w.describesLate(misses)
		a := w.post(body, "idempotency-key", "k")
		if a.status != want || len(w.Executions.Started) != 1 || want == 202 && a.body["status"] != "succeeded" || (a.headers["retry-after"] != "") != (want == 503) {
			t.Errorf("%d misses: %d %s", misses, a.status, a.raw)
		}
	}
}

func TestTwentyAtOnce(t *testing.T) {
	w := newWorld(t)
	var group sync.WaitGroup
	answers := make([]answer, 20)
	for i := range answers {
		group.Go(func() { answers[i] = w.post(body, "idempotency-key", "k") })
	}
	group.Wait()
	for _, a := range answers {
		if a.status != 202 || a.body["run_id"] != answers[0].body["run_id"] {
			t.Errorf("%+v", a)
		}
	}
	if len(w.Executions.Started) != 1 {
		t.Errorf("%d started", len(w.Executions.Started))
	}
}

func TestIdempotencyKeyItself(t *testing.T) {
	tests := map[string]bool{
		"k": true, "a,b": true, "a, b": true, " ": true, ",": true, "a  b": true, strings.Repeat("k", 255): true, "order 4711!~": true,
		"": false, strings.Repeat("k", 256): false, "schlüssel": false, "a\tb": false, "a\x7f": false,
	}
	for key, valid := range tests {
		w := newWorld(t)
		a := w.post(body, "idempotency-key", key)
		if valid != (a.status == 202) || !valid && fmt.Sprint(a.violations()) != "[Idempotency-Key]" {
			t.Errorf("%q: %d %s", key, a.status, a.raw)
		}
		if again := w.post(body, "Idempotency-Key", key); valid && (again.body["run_id"] != a.body["run_id"] || len(w.Executions.Started) != 1) {
			t.Errorf("%q: %d started", key, len(w.Executions.Started))
		}
	}
}

// TestIdempotencyKeysThatLookAlike: each is a key of its own, byte by byte.
func TestIdempotencyKeysThatLookAlike(t *testing.T) {
	w := newWorld(t)
	seen := map[string]string{}
	for _, key := range []string{"a,b", "a, b", "a ,b", "a,,b", "a,b,", ",a,b", "a b", "a  b", "A,b"} {
		a := w.post(body, "idempotency-key", key)
		id := fmt.Sprint(a.body["run_id"])
		if a.status != 202 || seen[id] != "" {
			t.Errorf("%q: %d %s, as %q", key, a.status, id, seen[id])
		}
		seen[id] = key
	}
}

func TestUnknownRoutes(t *testing.T) {
	w := newWorld(t)
	for _, route := range []string{"GET /", "GET /nope", "PUT /runs", "PATCH /runs/x", "POST /runs/x", "DELETE /runs", "POST /workflows", "GET /runs/a/b", "GET /runs/x/outcome", "POST /runs/outcome", "GET //runs", "GET /runs/", "HEAD /runs"} {
		method, path, _ := strings.Cut(route, " ")
		if a := w.call(method, path, ""); a.status != http.StatusNotFound || a.body["title"] != "NotFound" {
			t.Errorf("%s: %d %s", route, a.status, a.raw)
		}
	}
}

// TestStartUnanswered: Step Functions started the run and its reply was lost. Only a caller
// with an Idempotency-Key is told to send the request again.
func TestStartUnanswered(t *testing.T) {
	for _, key := range []string{"", "k1"} {
		w := newWorld(t)
		w.Around = func(call string, do func() error) error {
			err := do()
			if call == "StartExecution" {
				return named.Errorf(named.Unavailable, "away")
			}
			return err
		}
		var headers []string
		if key != "" {
			headers = []string{"idempotency-key", key}
		}
		a := w.call("POST", "/runs", body, headers...)
		detail, hint := fmt.Sprint(a.body["detail"]), fmt.Sprint(a.body["hint"])
		if a.status != 503 || len(w.Executions.Started) != 1 || !strings.Contains(detail, "may have been started: away") {
			t.Errorf("key %q: %d %s", key, a.status, a.raw)
		}
		if again := strings.Contains(hint, "send the request again") && !strings.Contains(hint, "before you"); again != (key != "") {
			t.Errorf("key %q: %s", key, hint)
		}
	}
}
