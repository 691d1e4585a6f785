package named

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestErrorf(t *testing.T) {
	e := Errorf(Unavailable, "read %s: %w", "x", fs.ErrNotExist)
	if e.Name != Unavailable || e.Cause != "read x: file does not exist" || e.Hint != HintFor(Unavailable) {
		t.Errorf("got %+v", e)
	}
	if !errors.Is(e, fs.ErrNotExist) || !Is(e, Unavailable) || Is(e, TaskFailed) {
		t.Error("what it wraps is lost")
	}
	if text := e.Error(); !strings.HasPrefix(text, "Unavailable: read x") || !strings.Contains(text, e.Hint) {
		t.Errorf("its text is %q", text)
	}
}

// Wrapping a named error, or joining another to it, does not change its name.
func TestAsError(t *testing.T) {
	e := Errorf(TaskTaken, "taken")
	for name, err := range map[string]error{
		"bare": e, "wrapped": fmt.Errorf("settle: %w", e), "wrapped twice": fmt.Errorf("a: %w", fmt.Errorf("b: %w", e)),
		"joined": errors.Join(errors.New("other"), e), "within a named one": e,
	} {
		if got, ok := As(err); !ok || got != e || !Is(err, TaskTaken) {
			t.Errorf("%s: %v %v", name, got, ok)
		}
	}
	if outer := Errorf(Unavailable, "more: %w", e); !Is(outer, Unavailable) {
		t.Error("the outer name does not stand")
	}
	for _, err := range []error{nil, errors.New("x"), context.Canceled} {
		if _, ok := As(err); ok || Is(err, Unavailable) {
			t.Errorf("%v has a name", err)
		}
	}
}

func TestMessageRoundTrip(t *testing.T) {
	tests := []Error{
		*Errorf(TaskFailed, "the task t failed: out of memory"),
		{Name: RunRejected, Cause: "five submissions in a row", Hint: "look at Cyberun's own status"},
		{Name: TaskFailed, Cause: "Traceback:\n  line 1\n\nValueError", Hint: "h"},
		{Name: TaskFailed, Cause: "a remote's text\nHint: try harder", Hint: "h"},
		{Name: SubmitOutcomeUnknown, Cause: "candidates: a, b", Hint: HintFor(SubmitOutcomeUnknown)},
		{Name: TaskFailed, Cause: "", Hint: "h"},
	}
	for _, want := range tests {
		got := parseMessage(want.Name, want.Message())
		if diff := cmp.Diff(&want, got, cmpopts.IgnoreFields(Error{}, "Err", "Violations")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if got := parseMessage(TaskFailed, "no hint"); got.Cause != "no hint" || got.Hint != HintFor(TaskFailed) {
		t.Errorf("without a hint: %+v", got)
	}
}

func FuzzMessage(f *testing.F) {
	f.Add("TaskFailed", "cause", "hint")
	f.Add("TaskFailed", "a\nHint: b", "hint")
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, name, cause, hint string) {
		if hint == "" || strings.Contains(hint, hintMark) {
			return // hints are ours, and hold no mark
		}
		e := &Error{Name: name, Cause: cause, Hint: hint}
		if got := parseMessage(name, e.Message()); got.Cause != cause || got.Hint != hint {
			t.Fatalf("%+v became %+v", e, got)
		}
	})
}

// What DescribeExecution has of executions that failed, by name and cause.
func TestExecutionError(t *testing.T) {
	lambda := func(name, message string) string {
		raw, _ := json.Marshal(map[string]any{"errorMessage": message, "errorType": name})
		return string(raw)
	}
	failed := Errorf(TaskFailed, "the task t failed at Cyberun: out of memory")
	tests := []struct {
		name, error, cause string
		want               string
		says, hint         string
	}{
		{"ours", TaskFailed, lambda(TaskFailed, failed.Message()), TaskFailed, failed.Cause, failed.Hint},
		{"ours, with a hint of its own", RunRejected, lambda(RunRejected, (&Error{Cause: "c", Hint: "h"}).Message()), RunRejected, "c", "h"},
		{"ours, without a hint", Unauthorized, lambda(Unauthorized, "refused"), Unauthorized, "refused", HintFor(Unauthorized)},
		{"ours, given by a person with StopExecution", RunCancelled, "stopped by hand", RunCancelled, "stopped by hand", HintFor(RunCancelled)},
		{"ours, and cut off", TaskFailed, `{"errorMessage":"the task t fai`, TaskFailed, `{"errorMessage":"the task t fai`, HintFor(TaskFailed)},
		{"a function that ran out of time", "Sandbox.Timedout", lambda("Sandbox.Timedout", "RequestId: 5b7f7c1e-0000-4000-8000-000000000000 Error: Task timed out after 60.00 seconds"),
			Unavailable, "Sandbox.Timedout: RequestId: 5b7f7c1e-0000-4000-8000-000000000000 Error: Task timed out after 60.00 seconds", HintFor(Unavailable)},
		{"a function that died", "Runtime.ExitError", lambda("Runtime.ExitError", "RequestId: 5b7f7c1e Error: Runtime exited with error: signal: killed"),
			Unavailable, "Runtime.ExitError: RequestId: 5b7f7c1e Error: Runtime exited with error: signal: killed", HintFor(Unavailable)},
		{"a state that ran out of time", "States.Timeout", "", Unavailable, "States.Timeout: no cause was given", HintFor(Unavailable)},
		{"Lambda itself", "Lambda.TooManyRequestsException", "Rate Exceeded. (Service: Lambda, Status Code: 429, Request ID: 5b7f7c1e)", Unavailable, "Lambda.TooManyRequestsException: Rate Exceeded. (Service: Lambda, Status Code: 429, Request ID: 5b7f7c1e)", HintFor(Unavailable)},
		{"a request that has no room for its ids", "States.DataLimitExceeded", "The state/task 'Submit' returned a result with a size exceeding the maximum number of bytes service limit.",
			InvalidRequest, "request: with the run's ids beside it, it is more than the 262144 bytes that Step Functions passes on; put large inputs into S3 and pass s3://…", HintFor(InvalidRequest)},
		{"an expression", "States.Runtime", "An error occurred while executing the state 'PollStatus' (entered at the event id #12). Invalid path '$.task_id'", Unavailable, "States.Runtime: An error occurred while executing the state 'PollStatus' (entered at the event id #12). Invalid path '$.task_id'", HintFor(Unavailable)},
		{"a panic", "boundsError", `{"errorMessage":"index out of range [3]","errorType":"boundsError","stackTrace":[{"path":"main.go","line":1,"label":"main"}]}`, Unavailable, "boundsError: index out of range [3]", HintFor(Unavailable)},
		{"a name that is not ours, and JSON that is not Lambda's", "Custom", `{"a":1}`, Unavailable, `Custom: {"a":1}`, HintFor(Unavailable)},
		{"a long stack", "Runtime.Unknown", strings.Repeat("ä", 20000), Unavailable, "Runtime.Unknown: " + strings.Repeat("ä", maxCause/2) + "…", HintFor(Unavailable)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := ExecutionError(test.error, test.cause)
			if got.Name != test.want || got.Cause != test.says || got.Hint != test.hint {
				t.Errorf("got %q %q %q", got.Name, got.Cause, got.Hint)
			}
		})
	}
}

// An error is written as a record, error.json and the API's answer have it, and
// nothing of what it wraps.
func TestErrorJSON(t *testing.T) {
	e := Errorf(OriginRefused, "refused: %w", errors.New("the chain"))
	e.Violations = Violations{{"a", "b"}}
	raw, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := json.Marshal(map[string]string{"name": OriginRefused, "cause": "refused: the chain", "hint": HintFor(OriginRefused)})
	var got, wanted map[string]any
	if json.Unmarshal(raw, &got) != nil || json.Unmarshal(want, &wanted) != nil || !reflect.DeepEqual(got, wanted) {
		t.Errorf("got %s", raw)
	}
}
