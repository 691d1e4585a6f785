package e2e

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/smithy-go"
)

// smallRuns are more than the ten calls of a small account can carry at once, and few
// enough for two cores.
const smallRuns = 60

// TestSmallAccount: with ten Lambda calls at once, throttles are waited out, and
// nothing that was paid is lost.
func TestSmallAccount(t *testing.T) {
	if os.Getenv("RELAY_SMALL_ACCOUNT") == "" {
		t.Skip("this stack has no small account's quotas: `make small` brings up one that has")
	}
	s := open(t)
	word := mark(t)
	var group sync.WaitGroup
	ids := make([]string, smallRuns)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s-%d", runName(t), i)
		group.Go(func() {
			input := mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word}})
			if _, err := s.sfn.StartExecution(t.Context(), &sfn.StartExecutionInput{StateMachineArn: &s.stateMachineARN, Name: &ids[i], Input: &input}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	throttled := 0
	for _, id := range ids {
		// Not through the API, whose calls are throttled as well.
		arn := strings.Replace(s.stateMachineARN, ":stateMachine:", ":execution:", 1) + ":" + id
		eventually(t, "the execution "+id+" ends well", func() (bool, any) {
			e, err := s.sfn.DescribeExecution(t.Context(), &sfn.DescribeExecutionInput{ExecutionArn: &arn})
			if err != nil {
				return false, err // it may be throttled
			}
			if e.Status != sfntypes.ExecutionStatusRunning && e.Status != sfntypes.ExecutionStatusSucceeded {
				t.Fatalf("the execution %s is %s: %s: %s", id, e.Status, aws.ToString(e.Error), aws.ToString(e.Cause))
			}
			return e.Status == sfntypes.ExecutionStatusSucceeded, e.Status
		})
		for _, e := range s.history(t, id) {
			if d := e.LambdaFunctionFailedEventDetails; d != nil && aws.ToString(d.Error) == "Lambda.TooManyRequestsException" {
				throttled++
			}
			if d := e.TaskFailedEventDetails; d != nil && aws.ToString(d.Error) == "Lambda.TooManyRequestsException" {
				throttled++
			}
		}
	}
	if throttled == 0 {
		t.Error("no call was throttled: the stack is not as small as it should be")
	}
	if paid := s.paid(t, word); len(paid) != smallRuns {
		t.Errorf("paid for %d tasks of %d runs", len(paid), smallRuns)
	}
	t.Logf("%d calls were throttled", throttled)
}

// TestSmallAccountDescribes: what a small account may ask Step Functions is bounded
// here as well, or the test above would prove less than it says.
func TestSmallAccountDescribes(t *testing.T) {
	if os.Getenv("RELAY_SMALL_ACCOUNT") == "" {
		t.Skip("this stack has no small account's quotas: `make small` brings up one that has")
	}
	s := open(t)
	once := sfn.NewFromConfig(s.aws, func(o *sfn.Options) { o.Retryer = aws.NopRetryer{} })
	arn := strings.Replace(s.stateMachineARN, ":stateMachine:", ":execution:", 1) + ":none"
	const asked = 600 // twice the bucket
	throttled := 0
	for range asked {
		_, err := once.DescribeExecution(t.Context(), &sfn.DescribeExecutionInput{ExecutionArn: &arn})
		var refused smithy.APIError
		if errors.As(err, &refused) && refused.ErrorCode() == "ThrottlingException" {
			throttled++
		}
	}
	if throttled == 0 || throttled == asked {
		t.Errorf("%d of %d calls in a row were throttled", throttled, asked)
	}
}
