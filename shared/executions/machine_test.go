package executions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

const (
	machineARN   = "arn:aws:states:us-east-1:123456789012:stateMachine:run"
	executionARN = "arn:aws:states:us-east-1:123456789012:execution:run:run-1"
)

// request is what Step Functions was sent.
type request struct {
	action string
	body   map[string]any
}

// service answers each call as the service's JSON protocol has it, and keeps what
// it was sent.
func service(t *testing.T, answer func(request) (status int, body string)) (Machine, func() []request) {
	t.Helper()
	var mu sync.Mutex
	var asked []request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		in := request{action: strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AWSStepFunctions.")}
		if err := json.Unmarshal(raw, &in.body); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, in)
		status, body := answer(in)
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	client := sfn.NewFromConfig(aws.Config{
		Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
		// As in the functions, but for its pauses: the SDK tries again what broke off.
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond })
		},
	})
	return Machine{API: client, ARN: machineARN}, func() []request {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(asked)
	}
}

func always(status int, body string) func(request) (int, string) {
	return func(request) (int, string) { return status, body }
}

func refused(kind string) string {
	return fmt.Sprintf(`{"__type":"com.amazonaws.states#%s","message":"refused"}`, kind)
}

func TestNames(t *testing.T) {
	m := Machine{ARN: machineARN}
	if arn := m.ExecutionARN("run-1"); arn != executionARN || NameOf(arn) != "run-1" {
		t.Errorf("%s, %s", arn, NameOf(arn))
	}
	for name, valid := range map[string]bool{
		"run-1": true, "größe": true, "a.b_c": true, strings.Repeat("x", 80): true, strings.Repeat("日", 80): true,
		"": false, strings.Repeat("x", 81): false, strings.Repeat("日", 81): false, "a\xff": false, "a\uffff": false, "a b": false, "a/b": false, "a:b": false, "a\x00": false, "a\x7f": false, "a\u0085": false, "a*": false, "a#b": false, "a`": false,
	} {
		if ValidName(name) != valid {
			t.Errorf("%q: %v", name, !valid)
		}
	}
}

func TestDescribe(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		want   Status
		reason string // the name of why it ended
		says   string
		fails  error
	}{
		{name: "running", status: 200, body: `{"status":"RUNNING","startDate":1795435200.123,"input":"{}","redriveCount":0}`, want: Running},
		{name: "about to be redriven", status: 200, body: `{"status":"PENDING_REDRIVE"}`, want: Running},
		{name: "an unknown status", status: 200, body: `{"status":"RESTING"}`, want: Running},
		{name: "succeeded", status: 200, body: `{"status":"SUCCEEDED"}`, want: Succeeded},
		{name: "failed", status: 200, body: `{"status":"FAILED","error":"TaskFailed","cause":"{\"errorMessage\":\"out of memory\"}"}`, want: Failed, reason: named.TaskFailed, says: "out of memory"},
		{name: "failed without a word", status: 200, body: `{"status":"FAILED"}`, want: Failed, reason: named.Unavailable, says: "no cause was given"},
		{name: "timed out", status: 200, body: `{"status":"TIMED_OUT"}`, want: TimedOut, reason: named.RunTimedOut, says: "timed out"},
		{name: "stopped", status: 200, body: `{"status":"ABORTED","error":"RunCancelled","cause":"x"}`, want: Aborted, reason: named.RunCancelled, says: "was stopped"},
		{name: "gone, after 90 days", status: 400, body: refused("ExecutionDoesNotExist"), fails: ErrNotFound},
		{name: "not allowed", status: 400, body: refused("AccessDeniedException"), fails: errAway},
		{name: "away", status: 500, body: `{}`, fails: errAway},
		{name: "not JSON", status: 502, body: `<html>`, fails: errAway},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, asked := service(t, always(test.status, test.body))
			e, err := m.Describe(t.Context(), executionARN)
			if !failsAs(err, test.fails, executionARN) {
				t.Fatalf("got %v", err)
			}
			if call := asked()[0]; call.action != "DescribeExecution" || call.body["executionArn"] != executionARN {
				t.Errorf("asked %+v", call)
			}
			if test.fails != nil {
				return
			}
			if e.Status != test.want || e.Name != "run-1" || e.ARN != executionARN || (e.Error == nil) != (test.reason == "") {
				t.Errorf("got %+v", e)
			}
			if e.Error != nil && (e.Error.Name != test.reason || !strings.Contains(e.Error.Cause, test.says) || e.Error.Hint == "") {
				t.Errorf("it ended of %+v", e.Error)
			}
			if ended := test.want == Failed || test.want == TimedOut || test.want == Aborted; e.Status.Unsuccessful() != ended {
				t.Errorf("%s ended: %v", e.Status, e.Status.Unsuccessful())
			}
		})
	}
	m, _ := service(t, always(200, `{"status":"RUNNING","startDate":1795435200.123,"input":"{\"a\":1}","redriveCount":3}`))
	e, err := m.Describe(t.Context(), executionARN)
	if err != nil || !e.StartedAt.Equal(time.UnixMilli(1795435200123)) || e.StartedAt.Location() != time.UTC || e.Redrives != 3 || e.Input != `{"a":1}` {
		t.Errorf("%+v, %v", e, err)
	}
}

// errAway stands for an Unavailable that says what was asked.
var errAway = errors.New("unavailable")

func failsAs(err, want error, names string) bool {
	switch {
	case want == nil:
		return err == nil
	case want == errAway:
		return named.Is(err, named.Unavailable) && strings.Contains(err.Error(), names)
	}
	return errors.Is(err, want)
}

// TestNew reads what EventBridge says as Describe would.
func TestNew(t *testing.T) {
	started := time.Unix(1795435200, 0)
	e := New(executionARN, "FAILED", named.TaskFailed, "x", 2, started)
	if e.Name != "run-1" || e.Status != Failed || e.Redrives != 2 || !e.StartedAt.Equal(started) || !named.Is(e.Error, named.TaskFailed) {
		t.Errorf("%+v", e)
	}
	for status, want := range map[string]Status{"ABORTED": Aborted, "TIMED_OUT": TimedOut, "SUCCEEDED": Succeeded, "RUNNING": Running} {
		if e := New(executionARN, status, "", "", 0, started); e.Status != want || (e.Error != nil) != want.Unsuccessful() {
			t.Errorf("%s: %+v", status, e)
		}
	}
}

func TestCalls(t *testing.T) {
	const token = "AQCE-local/token+=="
	calls := map[string]struct {
		action string
		do     func(m Machine) error
		body   map[string]any
		names  string
		known  map[string]error // what its refusals mean
	}{
		"start": {"StartExecution", func(m Machine) error { return m.Start(t.Context(), "run-1", `{"a":1}`) },
			map[string]any{"stateMachineArn": machineARN, "name": "run-1", "input": `{"a":1}`}, "run-1", map[string]error{"ExecutionAlreadyExists": ErrExists}},
		"stop": {"StopExecution", func(m Machine) error {
			return m.Stop(t.Context(), executionARN, named.Errorf(named.RunCancelled, "by hand"))
		},
			map[string]any{"executionArn": executionARN, "error": named.RunCancelled, "cause": "by hand"}, executionARN, map[string]error{"ExecutionDoesNotExist": nil}},
		"redrive": {"RedriveExecution", func(m Machine) error { return m.Redrive(t.Context(), executionARN) },
			nil, executionARN, map[string]error{"ExecutionNotRedrivable": ErrNotRedrivable, "ExecutionDoesNotExist": ErrNotRedrivable}},
		"resume": {"SendTaskSuccess", func(m Machine) error { return m.Resume(t.Context(), token) },
			map[string]any{"taskToken": token, "output": "{}"}, "webhook", map[string]error{"TaskTimedOut": nil, "TaskDoesNotExist": nil, "InvalidToken": nil}},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			m, asked := service(t, always(200, `{"startDate":1,"executionArn":"x","stopDate":1,"redriveDate":1}`))
			if err := call.do(m); err != nil {
				t.Error(err)
			}
			sent := asked()[0]
			for field, want := range call.body {
				if sent.body[field] != want {
					t.Errorf("%s is %v", field, sent.body[field])
				}
			}
			if sent.action != call.action {
				t.Errorf("asked %s", sent.action)
			}
			answers := map[string]error{"AccessDeniedException": errAway, "ThrottlingException": errAway}
			for kind, err := range call.known {
				answers[kind] = err
			}
			for kind, want := range answers {
				m, _ := service(t, always(400, refused(kind)))
				err := call.do(m)
				if !failsAs(err, want, call.names) {
					t.Errorf("%s: %v", kind, err)
				}
				if err != nil && strings.Contains(err.Error(), token) {
					t.Errorf("the token stands in %v", err)
				}
			}
			m, _ = service(t, always(503, "<html>"))
			if err := call.do(m); !failsAs(err, errAway, call.names) {
				t.Errorf("while it is away: %v", err)
			}
		})
	}
}

// listed is an execution in a list: when it started and ended, in hours before now.
type listed struct {
	name           string
	started, ended float64
	redrives       int
}

// pages answers ListExecutions with what ended, sorted, some at a time.
func pages(t *testing.T, now time.Time, all map[string][]listed, byStart bool, size int) (Machine, func() []request) {
	return service(t, func(in request) (int, string) {
		status, _ := in.body["statusFilter"].(string)
		list := slices.Clone(all[status])
		slices.SortFunc(list, func(a, b listed) int {
			if byStart {
				return int(1e6 * (a.started - b.started))
			}
			return int(1e6 * (a.ended - b.ended))
		})
		from := 0
		if token, ok := in.body["nextToken"].(string); ok {
			if _, err := fmt.Sscan(token, &from); err != nil {
				t.Error(err)
			}
		}
		type item struct {
			ExecutionArn    string  `json:"executionArn"`
			StateMachineArn string  `json:"stateMachineArn"`
			Name            string  `json:"name"`
			Status          string  `json:"status"`
			StartDate       float64 `json:"startDate"`
			StopDate        float64 `json:"stopDate"`
			RedriveCount    int     `json:"redriveCount"`
		}
		answer := struct {
			Executions []item `json:"executions"`
			NextToken  string `json:"nextToken,omitempty"`
		}{Executions: []item{}}
		at := func(hours float64) float64 { return float64(now.Unix()) - 3600*hours }
		for _, e := range list[from:min(len(list), from+size)] {
			answer.Executions = append(answer.Executions, item{executionARN, machineARN, e.name, status, at(e.started), at(e.ended), e.redrives})
		}
		if from+size < len(list) {
			answer.NextToken = fmt.Sprint(from + size)
		}
		body, err := json.Marshal(answer)
		if err != nil {
			t.Error(err)
		}
		return 200, string(body)
	})
}

// TestEndedSince under both orders that AWS's texts may mean: what ended since is
// listed, what ended before is not, and the pages end.
func TestEndedSince(t *testing.T) {
	now := time.Unix(1795435200, 0)
	var failed []listed
	want := map[string]bool{"timed out": true, "aborted": true}
	for hour := range 900 { // one an hour, each of some hours: they overlap
		for _, took := range []float64{0.1, 5.3, 50} {
			ended := float64(hour) - took
			if ended < 0 {
				continue
			}
			name := fmt.Sprintf("h%d-%v", hour, took)
			failed = append(failed, listed{name: name, started: float64(hour), ended: ended})
			if ended <= 30 && hour <= 23*24 {
				want[name] = true
			}
		}
	}
	failed = append(failed, listed{name: "redriven", started: 22 * 24, ended: 1.5, redrives: 4})
	want["redriven"] = true
	all := map[string][]listed{
		"FAILED": failed, "TIMED_OUT": {{name: "timed out", started: 8 * 24, ended: 0.5}}, "ABORTED": {{name: "aborted", started: 2, ended: 1}, {name: "long ago", started: 900, ended: 899}},
		"SUCCEEDED": {{name: "succeeded", started: 1, ended: 0.2}}, "RUNNING": {{name: "running", started: 1, ended: 0.2}},
	}
	for _, byStart := range []bool{false, true} {
		for _, size := range []int{7, 100, 1000} {
			m, asked := pages(t, now, all, byStart, size)
			got, paced := map[string]bool{}, 0
			err := m.UnsuccessfulSince(t.Context(), now.Add(-30*time.Hour), now.Add(-23*24*time.Hour), func(context.Context) error { paced++; return nil }, func(e Execution) bool {
				if got[e.Name] || !e.Status.Unsuccessful() || e.StartedAt.IsZero() || e.ARN != executionARN || (e.Redrives == 4) != (e.Name == "redriven") {
					t.Errorf("%+v, seen before: %v", e, got[e.Name])
				}
				got[e.Name] = true
				return true
			})
			calls := map[string]bool{} // without those that the SDK tried again
			for _, r := range asked() {
				calls[fmt.Sprint(r.body["statusFilter"], r.body["nextToken"])] = true
			}
			if err != nil || paced != len(calls) {
				t.Errorf("%v; %d calls, paced %d", err, len(calls), paced)
			}
			for name := range want {
				if !got[name] {
					t.Errorf("by start %v, pages of %d: %s is missing", byStart, size, name)
				}
			}
			for name := range got {
				if !want[name] {
					t.Errorf("by start %v, pages of %d: %s ended before", byStart, size, name)
				}
			}
			if whole := len(failed)/size + 3; size < 1000 && len(calls) >= whole {
				t.Errorf("by start %v: %d calls of %d read it all", byStart, len(calls), whole)
			}
			if first := asked()[0].body; first["stateMachineArn"] != machineARN || first["maxResults"] != 1000. || first["includedRedriveStatus"] != nil {
				t.Errorf("asked %v", first)
			}
		}
	}
}

func TestEndedSinceEnds(t *testing.T) {
	now := time.Unix(1795435200, 0)
	all := map[string][]listed{"FAILED": {{name: "a", started: 1}, {name: "b", started: 2}, {name: "c", started: 3}}, "ABORTED": {{name: "d", started: 1}}}
	m, _ := pages(t, now, all, false, 1)
	var got []string
	each := func(e Execution) bool { got = append(got, e.Name); return e.Name != "b" }
	fine := func(context.Context) error { return nil }
	if err := m.UnsuccessfulSince(t.Context(), now.Add(-time.Hour), now.Add(-time.Hour), fine, each); err != nil || fmt.Sprint(got) != "[a b d]" {
		t.Errorf("what its caller had enough of: %v, %v", got, err)
	}
	over := errors.New("the time is over")
	if err := m.UnsuccessfulSince(t.Context(), now, now, func(context.Context) error { return over }, each); err != over {
		t.Errorf("got %v", err)
	}
	m, _ = service(t, always(400, refused("ThrottlingException")))
	if err := m.UnsuccessfulSince(t.Context(), now, now, fine, each); !named.Is(err, named.Unavailable) {
		t.Errorf("got %v", err)
	}
}
