package executions

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// What DescribeExecution has of executions that failed, by name and cause.
func TestReadError(t *testing.T) {
	lambda := func(name, message string) string {
		raw, _ := json.Marshal(map[string]any{"errorMessage": message, "errorType": name})
		return string(raw)
	}
	failed := named.Errorf(named.TaskFailed, "the task t failed at Cyberun: out of memory")
	tests := []struct {
		name, error, cause string
		want               string
		says, hint         string
	}{
		{name: "ours", error: named.TaskFailed, cause: lambda(named.TaskFailed, failed.Message()), want: named.TaskFailed, says: failed.Cause, hint: failed.Hint},
		{name: "ours, with a hint of its own", error: named.RunRejected, cause: lambda(named.RunRejected, (&named.Error{Cause: "c", Hint: "h"}).Message()), want: named.RunRejected, says: "c", hint: "h"},
		{name: "ours, without a hint", error: named.Unauthorized, cause: lambda(named.Unauthorized, "refused"), want: named.Unauthorized, says: "refused", hint: named.HintFor(named.Unauthorized)},
		{name: "ours, given by a person with StopExecution", error: named.RunCancelled, cause: "stopped by hand", want: named.RunCancelled, says: "stopped by hand", hint: named.HintFor(named.RunCancelled)},
		{name: "ours, and cut off", error: named.TaskFailed, cause: `{"errorMessage":"the task t fai`, want: named.TaskFailed, says: `{"errorMessage":"the task t fai`, hint: named.HintFor(named.TaskFailed)},
		{name: "a function that ran out of time", error: "Sandbox.Timedout", cause: lambda("Sandbox.Timedout", "RequestId: 5b7f7c1e-0000-4000-8000-000000000000 Error: Task timed out after 60.00 seconds"),
			want: named.Unavailable, says: "Sandbox.Timedout: RequestId: 5b7f7c1e-0000-4000-8000-000000000000 Error: Task timed out after 60.00 seconds", hint: named.HintFor(named.Unavailable)},
		{name: "a function that died", error: "Runtime.ExitError", cause: lambda("Runtime.ExitError", "RequestId: 5b7f7c1e Error: Runtime exited with error: signal: killed"),
			want: named.Unavailable, says: "Runtime.ExitError: RequestId: 5b7f7c1e Error: Runtime exited with error: signal: killed", hint: named.HintFor(named.Unavailable)},
		{name: "a state that ran out of time", error: "States.Timeout", want: named.Unavailable, says: "States.Timeout: no cause was given", hint: named.HintFor(named.Unavailable)},
		{name: "Lambda itself", error: "Lambda.TooManyRequestsException", cause: "Rate Exceeded. (Service: Lambda, Status Code: 429, Request ID: 5b7f7c1e)", want: named.Unavailable, says: "Lambda.TooManyRequestsException: Rate Exceeded. (Service: Lambda, Status Code: 429, Request ID: 5b7f7c1e)", hint: named.HintFor(named.Unavailable)},
		{name: "a request that has no room for its ids", error: "States.DataLimitExceeded", cause: "The state/task 'Submit' returned a result with a size exceeding the maximum number of bytes service limit.",
			want: named.InvalidRequest, says: "request: with the run's ids beside it, it is more than the 262144 bytes that Step Functions passes on; put large inputs into S3 and pass s3://…", hint: named.HintFor(named.InvalidRequest)},
		{name: "an expression", error: "States.Runtime", cause: "An error occurred while executing the state 'PollStatus' (entered at the event id #12). Invalid path '$.task_id'", want: named.Unavailable, says: "States.Runtime: An error occurred while executing the state 'PollStatus' (entered at the event id #12). Invalid path '$.task_id'", hint: named.HintFor(named.Unavailable)},
		{name: "a panic", error: "boundsError", cause: `{"errorMessage":"index out of range [3]","errorType":"boundsError","stackTrace":[{"path":"main.go","line":1,"label":"main"}]}`, want: named.Unavailable, says: "boundsError: index out of range [3]", hint: named.HintFor(named.Unavailable)},
		{name: "a name that is not ours, and JSON that is not Lambda's", error: "Custom", cause: `{"a":1}`, want: named.Unavailable, says: `Custom: {"a":1}`, hint: named.HintFor(named.Unavailable)},
		{name: "a long stack", error: "Runtime.Unknown", cause: strings.Repeat("ä", 20000), want: named.Unavailable, says: "Runtime.Unknown: " + strings.Repeat("ä", maxCause/2) + "…", hint: named.HintFor(named.Unavailable)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := readError(test.error, test.cause)
			if got.Name != test.want || got.Cause != test.says || got.Hint != test.hint {
				t.Errorf("got %q %q %q", got.Name, got.Cause, got.Hint)
			}
		})
	}
}
