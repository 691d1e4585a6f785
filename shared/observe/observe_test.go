package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

const signed = "https://bucket.s3.amazonaws.com/out/a.png?X-Amz-Credential=local&X-Amz-Signature=0123abcd"

func TestLambdaError(t *testing.T) {
	e := named.Errorf(named.TaskFailed, "the task t failed: out of memory")
	tests := []struct {
		name string
		err  error
		want string
		says string
	}{
		{name: "named", err: e, want: named.TaskFailed, says: e.Message()},
		{name: "named, and wrapped", err: fmt.Errorf("finish: %w", e), want: named.TaskFailed, says: e.Message()},
		{name: "named, and wrapped twice", err: fmt.Errorf("a: %w", fmt.Errorf("b: %w", e)), want: named.TaskFailed, says: e.Message()},
		{name: "named, and joined", err: errors.Join(e, errors.New("and the marker stays")), want: named.TaskFailed, says: e.Message()},
		{name: "named twice: the outer one", err: named.Errorf(named.SubmitInDoubt, "submit: %w", e), want: named.SubmitInDoubt, says: "submit: TaskFailed"},
		{name: "without a name", err: errors.New("boom"), want: named.Unavailable, says: "boom"},
		{name: "a context's end", err: fmt.Errorf("read: %w", context.DeadlineExceeded), want: named.Unavailable, says: "read: context deadline exceeded"},
		{name: "an error of Cyberun's", err: cyberun.RemoteError("look at the task t", &cyberun.APIError{Method: "GET", Path: "/r/tasks/t", Status: 401, JSON: true}), want: named.Unauthorized, says: "Cyberun refused the key"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, ok := LambdaError(test.err).(messages.InvokeResponse_Error)
			if !ok || got.Type != test.want || !strings.Contains(got.Message, test.says) {
				t.Errorf("got %#v", got)
			}
			// What close-run reads back from the execution has a name and a hint again.
			if e := executions.New("arn:x:r1", "FAILED", got.Type, `{"errorMessage":`+quote(got.Message)+`,"errorType":"x"}`, 0, time.Time{}).Error; e.Name != test.want || e.Hint == "" || !strings.Contains(e.Message(), test.says) {
				t.Errorf("read back: %+v", e)
			}
		})
	}
	if err := LambdaError(nil); err != nil {
		t.Errorf("no error became %v", err)
	}
}

func quote(s string) string {
	raw, _ := json.Marshal(s)
	return string(raw)
}

func TestAddressesLoseTheirQuery(t *testing.T) {
	for name, err := range map[string]error{
		"an error that nobody foresaw": &url.Error{Op: "Get", URL: signed, Err: errors.New("reset")},
		"wrapped":                      fmt.Errorf("copy: %w", &url.Error{Op: "Get", URL: signed, Err: errors.New("reset")}),
		"in a named one":               named.Errorf(named.Unavailable, "fetch %s, then '%s': %w", signed, signed, errors.New("reset")),
		"in a text":                    errors.New("see <" + signed + ">, " + signed),
	} {
		t.Run(name, func(t *testing.T) {
			message := LambdaError(err).(messages.InvokeResponse_Error).Message
			if strings.Contains(message, "X-Amz") || strings.Contains(message, "0123abcd") || !strings.Contains(message, "https://bucket.s3.amazonaws.com/out/a.png?[redacted]") {
				t.Errorf("got %s", message)
			}
		})
	}
	if plain := "look at https://status.example/ . Is it up?"; redact.Text(plain) != plain {
		t.Errorf("%q became %q", plain, redact.Text(plain))
	}
}

type input struct {
	RunID  string `json:"run_id"`
	Prompt string `json:"prompt"`
}

func (in input) ID() string { return in.RunID }

type output struct {
	URL string `json:"url"`
}

// step wraps a handler that answers so, with a clock that runs 1.5 s a look.
func step(log *bytes.Buffer, out output, err error) func(context.Context, input) (output, error) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time {
		now = now.Add(1500 * time.Millisecond)
		return now
	}
	return Invocation(Logger(log, "poll-status"), clock, func(context.Context, input) (output, error) { return out, err })
}

// lines are what was logged; time is checked and taken away.
func lines(t *testing.T, log *bytes.Buffer) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(log.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if _, err := time.Parse(time.RFC3339Nano, fields["time"].(string)); err != nil {
			t.Error(err)
		}
		all = append(all, fields)
	}
	return all
}

func TestInvocation(t *testing.T) {
	in := input{RunID: "run-1", Prompt: "a secret wish"}
	out := output{URL: signed}
	tests := []struct {
		name string
		err  error
		want map[string]any
	}{
		{"done", nil, map[string]any{"level": "INFO", "msg": "done"}},
		{"a named error", fmt.Errorf("x: %w", named.Errorf(named.RunTimedOut, "max_seconds (5) passed")), map[string]any{"level": "ERROR", "msg": "failed", "error": named.RunTimedOut, "cause": "max_seconds (5) passed"}},
		{"an unnamed error", &url.Error{Op: "Get", URL: signed, Err: errors.New("reset")}, map[string]any{"level": "ERROR", "msg": "failed", "error": named.Unavailable, "cause": `Get "https://bucket.s3.amazonaws.com/out/a.png?[redacted]": reset`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var log bytes.Buffer
			ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "req-1"})
			got, err := step(&log, out, test.err)(ctx, in)
			if got != out || (err == nil) != (test.err == nil) {
				t.Errorf("got %v, %v", got, err)
			}
			all := lines(t, &log)
			if len(all) != 1 {
				t.Fatalf("logged %v", all)
			}
			line := all[0]
			want := map[string]any{"function": "poll-status", "run_id": "run-1", "request_id": "req-1", "ms": 1500.0}
			for name, value := range test.want {
				want[name] = value
			}
			for name, value := range want {
				if line[name] != value {
					t.Errorf("%s is %v, want %v", name, line[name], value)
				}
			}
			for _, secret := range []string{in.Prompt, "X-Amz", "0123abcd"} {
				if strings.Contains(log.String(), secret) {
					t.Errorf("%q stands in the log: %s", secret, log.String())
				}
			}
		})
	}
}

// TestStepGivesItsLog: what a handler logs through its context stands under the
// run's id, and a call without a log writes nothing.
func TestStepGivesItsLog(t *testing.T) {
	var log bytes.Buffer
	handle := Invocation(Logger(&log, "submit"), time.Now, func(ctx context.Context, _ input) (output, error) {
		Log(ctx).WarnContext(ctx, "not cancelled yet", "task_id", "t-1")
		return output{}, nil
	})
	if _, err := handle(t.Context(), input{RunID: "run-1"}); err != nil {
		t.Fatal(err)
	}
	all := lines(t, &log)
	if len(all) != 2 || all[0]["run_id"] != "run-1" || all[0]["task_id"] != "t-1" || all[0]["function"] != "submit" || all[0]["level"] != "WARN" {
		t.Errorf("logged %v", all)
	}
	Log(t.Context()).Error("to nobody")
	if again := lines(t, &log); len(again) != 2 {
		t.Errorf("logged %v", again)
	}
}

// TestPanicIsLogged, with its run and its stack, and goes on to the runtime.
func TestPanicIsLogged(t *testing.T) {
	var log bytes.Buffer
	handle := Invocation(Logger(&log, "submit"), time.Now, func(context.Context, input) (output, error) {
		panic("cannot read " + signed)
	})
	func() {
		defer func() {
			if r := recover(); r != "cannot read "+signed {
				t.Errorf("the runtime sees %v", r)
			}
		}()
		_, _ = handle(t.Context(), input{RunID: "run-1"})
	}()
	all := lines(t, &log)
	if len(all) != 1 || all[0]["msg"] != "panic" || all[0]["run_id"] != "run-1" || all[0]["level"] != "ERROR" {
		t.Fatalf("logged %v", all)
	}
	if stack, _ := all[0]["stack"].(string); !strings.Contains(stack, "observe_test.go") {
		t.Errorf("the stack is %q", stack)
	}
	if strings.Contains(log.String(), "X-Amz") {
		t.Errorf("a signed address stands in the log: %s", log.String())
	}
}

// On Lambda's own runtime the error keeps its name and message: this is what
// Step Functions retries by.
func TestStepInLambdasRuntime(t *testing.T) {
	var log bytes.Buffer
	e := named.Errorf(named.SubmitInDoubt, "the reply was lost")
	handler := lambda.NewHandler(step(&log, output{}, fmt.Errorf("submit: %w", e)))
	_, err := handler.Invoke(t.Context(), []byte(`{"run_id":"run-1"}`))
	var answer messages.InvokeResponse_Error
	if !errors.As(err, &answer) {
		t.Fatalf("got %#v", err)
	}
	raw, marshalErr := json.Marshal(answer)
	if marshalErr != nil {
		t.Fatal(marshalErr)
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil || fields["errorType"] != named.SubmitInDoubt || fields["errorMessage"] != e.Message() {
		t.Errorf("Step Functions sees %s", raw)
	}
	if all := lines(t, &log); len(all) != 1 || all[0]["request_id"] != nil {
		t.Errorf("logged %v", all)
	}
}

// TestRuntimeLog: what the Lambda runtime says before it ends the process is
// logged, without a signature; what others say through the standard logger is not.
func TestRuntimeLog(t *testing.T) {
	var buffer bytes.Buffer
	Logger(&buffer, "api")
	log.Printf("unexpected error occurred when sending the function functionResponse to the API: %s", signed)
	log.Printf("failed to GET http://127.0.0.1/2018-06-01/runtime/invocation/next: got unexpected status code: 413")
	log.Printf("Unsolicited response received on idle HTTP channel starting with %q", signed)
	log.Printf(`{"errorMessage":"the task failed","errorType":"TaskFailed"}`)
	all := lines(t, &buffer)
	if len(all) != 2 || all[0]["function"] != "api" || all[0]["level"] != "ERROR" || strings.Contains(fmt.Sprint(all), "Signature") {
		t.Errorf("logged %v", all)
	}
}
