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
		{"ours", named.TaskFailed, lambda(named.TaskFailed, failed.Message()), named.TaskFailed, failed.Cause, failed.Hint},
		{"ours, with a hint of its own", named.RunRejected, lambda(named.RunRejected, (&named.Error{Cause: "c", Hint: "h"}).Message()), named.RunRejected, "c", "h"},
		{"ours, without a hint", named.Unauthorized, lambda(named.Unauthorized, "refused"), named.Unauthorized, "refused", named.HintFor(named.Unauthorized)},
		{"ours, given by a person with StopExecution", named.RunCancelled, "stopped by hand", named.RunCancelled, "stopped by hand", named.HintFor(named.RunCancelled)},
		{"ours, and cut off", named.TaskFailed, `{"errorMessage":"the task t fai`, named.TaskFailed, `{"errorMessage":"the task t fai`, named.HintFor(named.TaskFailed)},
		{"a function that ran out of time", "Sandbox.Timedout", lambda("Sandbox.Timedout", "RequestId: 5b7f7c1e-0000-4000-8000-000000000000 Error: Task timed out after 60.00 seconds"),
			named.Unavailable, "Sandbox.Timedout: RequestId: 5b7f7c1e-0000-4000-8000-000000000000 Error: Task timed out after 60.00 seconds", named.HintFor(named.Unavailable)},
		{"a function that died", "Runtime.ExitError", lambda("Runtime.ExitError", "RequestId: 5b7f7c1e Error: Runtime exited with error: signal: killed"),
			named.Unavailable, "Runtime.ExitError: RequestId: 5b7f7c1e Error: Runtime exited with error: signal: killed", named.HintFor(named.Unavailable)},
		{"a state that ran out of time", "States.Timeout", "", named.Unavailable, "States.Timeout: no cause was given", named.HintFor(named.Unavailable)},
		{"Lambda itself", "Lambda.TooManyRequestsException", "Rate Exceeded. (Service: Lambda, Status Code: 429, Request ID: 5b7f7c1e)", named.Unavailable, "Lambda.TooManyRequestsException: Rate Exceeded. (Service: Lambda, Status Code: 429, Request ID: 5b7f7c1e)", named.HintFor(named.Unavailable)},
		{"a request that has no room for its ids", "States.DataLimitExceeded", "The state/task 'Submit' returned a result with a size exceeding the maximum number of bytes service limit.",
			named.InvalidRequest, "request: with the run's ids beside it, it is more than the 262144 bytes that Step Functions passes on; put large inputs into S3 and pass s3://…", named.HintFor(named.InvalidRequest)},
		{"an expression", "States.Runtime", "An error occurred while executing the state 'PollStatus' (entered at the event id #12). Invalid path '$.task_id'", named.Unavailable, "States.Runtime: An error occurred while executing the state 'PollStatus' (entered at the event id #12). Invalid path '$.task_id'", named.HintFor(named.Unavailable)},
		{"a panic", "boundsError", `{"errorMessage":"index out of range [3]","errorType":"boundsError","stackTrace":[{"path":"main.go","line":1,"label":"main"}]}`, named.Unavailable, "boundsError: index out of range [3]", named.HintFor(named.Unavailable)},
		{"a name that is not ours, and JSON that is not Lambda's", "Custom", `{"a":1}`, named.Unavailable, `Custom: {"a":1}`, named.HintFor(named.Unavailable)},
		{"a long stack", "Runtime.Unknown", strings.Repeat("ä", 20000), named.Unavailable, "Runtime.Unknown: " + strings.Repeat("ä", maxCause/2) + "…", named.HintFor(named.Unavailable)},
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
