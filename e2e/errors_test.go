package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
)

// execute starts an execution directly, as a calling state machine would: no
// door has checked its input.
func (s *stack) execute(t *testing.T, name, input string) {
	t.Helper()
	if _, err := s.sfn.StartExecution(t.Context(), &sfn.StartExecutionInput{StateMachineArn: &s.stateMachineARN, Name: &name, Input: &input}); err != nil {
		t.Fatal(err)
	}
}

// runName is a name that no other execution has.
func runName(t *testing.T) string {
	return strings.NewReplacer(" ", "-", ".", "-", "/", "-").Replace(strings.ToLower(uniqueWord(t)))
}

// TestNamedErrors: each way a run can fail has one name, everywhere: in Step
// Functions, in the record, in error.json.
func TestNamedErrors(t *testing.T) {
	s := open(t)
	prompt := func(word string) map[string]any { return map[string]any{"prompt": word} }
	cases := []struct {
		name    string
		rule    string // one fault, its match but for the task's own mark
		action  string
		request map[string]any
		paid    int
	}{
		{name: "InvalidRequest", request: map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"steps": "many"}}},
		{name: "InvalidRequest", request: map[string]any{"task_id": "no-such-task"}},
		{name: "WorkflowNotFound", request: map[string]any{"workflow": "text-to-imagine"}},
		{name: "WorkflowDisabled", request: map[string]any{"workflow": "legacy-sketch", "parameters": prompt("x")}},
		{name: "FeatureNotLicensed", action: `{"type":"status","status":403,"body":"{\"error\":\"feature api_runs is not licensed\"}"}`},
		{name: "RunRejected", action: `{"type":"status","status":422,"body":"{\"message\":\"the queue is closed\"}"}`},
		{name: "TaskFailed", action: `{"type":"task_fail","message":"CUDA out of memory"}`, paid: 1},
		{name: "TaskCancelled", action: `{"type":"task_cancel"}`, paid: 1},
		{name: "NoOutputs", action: `{"type":"no_outputs"}`, paid: 1},
		{name: "OutputExpired", action: `{"type":"old_output","status":403}`, paid: 1},
		{name: "RunTimedOut", action: `{"type":"stay_waiting"}`, request: map[string]any{"max_seconds": 30}, paid: 1}, // time enough for a busy machine to submit
	}
	for i, c := range cases {
		t.Run(fmt.Sprintf("%s-%d", c.name, i), func(t *testing.T) {
			t.Parallel()
			word := uniqueWord(t)
			if c.request == nil || c.request["max_seconds"] != nil {
				request := map[string]any{"workflow": "text-to-image", "parameters": prompt(word)}
				for k, v := range c.request {
					request[k] = v
				}
				c.request = request
			}
			if c.action != "" {
				s.addFault(t, fmt.Sprintf(`{"match":{"method":"POST","path_regexp":"/run$","body_contains":%q},"action":%s}`, word, c.action))
			}
			name := runName(t)
			s.execute(t, name, mustJSON(t, c.request))
			v := s.end(t, name)
			s.checkFailure(t, v, c.name)
			if paid := s.paid(t, word); len(paid) != c.paid {
				t.Errorf("paid for %d tasks, want %d", len(paid), c.paid)
			} else if c.name == "RunTimedOut" && !paid[0].CancelRequested {
				t.Error("the task was not cancelled at the run's deadline")
			}
		})
	}
}

// checkFailure compares what the three tell.
func (s *stack) checkFailure(t *testing.T, v runView, want string) {
	t.Helper()
	if v.Status != "failed" || v.Error == nil || v.Error.Name != want || v.Error.Cause == "" || v.Error.Hint == "" {
		t.Errorf("the record says %s, %+v; want %s", v.Status, v.Error, want)
	}
	execution := s.execution(t, v.RunID)
	if got := aws.ToString(execution.Error); got != want {
		t.Errorf("DescribeExecution says %q: %s; want %s", got, aws.ToString(execution.Cause), want)
	}
	raw := s.object(t, s.outputs, "runs/"+v.RunID+"/error.json")
	var failure struct {
		RunID  string `json:"run_id"`
		TaskID string `json:"task_id"`
		Error  struct{ Name, Cause, Hint string }
	}
	if err := json.Unmarshal(raw, &failure); err != nil {
		t.Fatalf("error.json: %v: %s", err, raw)
	}
	if failure.RunID != v.RunID || failure.TaskID != v.TaskID || failure.Error.Name != want || failure.Error.Hint == "" {
		t.Errorf("error.json says %s", raw)
	}
	for _, secret := range s.secrets() {
		if strings.Contains(string(raw), secret) || strings.Contains(aws.ToString(execution.Cause), secret) {
			t.Errorf("%q is told to the world", secret)
		}
	}
}

// TestBadPrefixLeavesNothing: where the outputs may not go, error.json may not.
func TestBadPrefixLeavesNothing(t *testing.T) {
	s := open(t)
	t.Parallel()
	name := runName(t)
	s.execute(t, name, `{"workflow":"text-to-image","parameters":{"prompt":"x"},"destination":{"prefix":"../{run_id}/"}}`)
	v := s.end(t, name)
	if v.Status != "failed" || v.Error == nil || v.Error.Name != "InvalidRequest" {
		t.Errorf("%+v %+v", v, v.Error)
	}
	for _, key := range []string{"runs/" + name + "/error.json", "../" + name + "/error.json"} {
		if s.object(t, s.outputs, key) != nil {
			t.Errorf("there is an s3://%s/%s", s.outputs, key)
		}
	}
}
