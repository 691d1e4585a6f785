package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// The tests in ministack_*_test.go hold local/ministack to what AWS documents of
// executions: what the relay's own tests then see of redrives, stops and time-outs
// rests on it. Their state machines need no function.

func unique(what string) string { return fmt.Sprintf("%s-%d", what, time.Now().UnixNano()) }

// machine creates a state machine for one test, with the role of the relay's.
func (s *stack) machine(t *testing.T, definition string) string {
	t.Helper()
	relay, err := s.sfn.DescribeStateMachine(t.Context(), &sfn.DescribeStateMachineInput{StateMachineArn: &s.stateMachineARN})
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.sfn.CreateStateMachine(t.Context(), &sfn.CreateStateMachineInput{
		Name: aws.String(unique("lives")), Definition: &definition, RoleArn: relay.RoleArn})
	if err != nil {
		t.Fatal(err)
	}
	return *out.StateMachineArn
}

func (s *stack) begin(t *testing.T, machine, name, input string) (arn string) {
	t.Helper()
	out, err := s.sfn.StartExecution(t.Context(), &sfn.StartExecutionInput{StateMachineArn: &machine, Name: &name, Input: &input})
	if err != nil {
		t.Fatal(err)
	}
	return *out.ExecutionArn
}

func (s *stack) redrive(t *testing.T, arn string) {
	t.Helper()
	if _, err := s.sfn.RedriveExecution(t.Context(), &sfn.RedriveExecutionInput{ExecutionArn: &arn}); err != nil {
		t.Fatal(err)
	}
}

func (s *stack) ended(t *testing.T, arn string) *sfn.DescribeExecutionOutput {
	t.Helper()
	var out *sfn.DescribeExecutionOutput
	eventually(t, "the execution's end", func() (bool, any) {
		var err error
		if out, err = s.sfn.DescribeExecution(t.Context(), &sfn.DescribeExecutionInput{ExecutionArn: &arn}); err != nil {
			t.Fatal(err)
		}
		return out.Status != types.ExecutionStatusRunning, out.Status
	})
	return out
}

func (s *stack) events(t *testing.T, arn string) []types.HistoryEvent {
	t.Helper()
	out, err := s.sfn.GetExecutionHistory(t.Context(), &sfn.GetExecutionHistoryInput{ExecutionArn: &arn, MaxResults: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return out.Events
}

func kinds(events []types.HistoryEvent) []string {
	var list []string
	for _, event := range events {
		list = append(list, string(event.Type))
	}
	return list
}

func checkExecution(t *testing.T, got *sfn.DescribeExecutionOutput, status types.ExecutionStatus, count int32, redrive types.ExecutionRedriveStatus) {
	t.Helper()
	if got.Status != status || aws.ToInt32(got.RedriveCount) != count || got.RedriveStatus != redrive ||
		(got.RedriveStatusReason == nil) != (redrive == types.ExecutionRedriveStatusRedrivable) || (got.RedriveDate == nil) != (count == 0) {
		t.Errorf("the execution is %s (%s: %s), redriven %d times, %v; %s, %q", got.Status, aws.ToString(got.Error), aws.ToString(got.Cause),
			aws.ToInt32(got.RedriveCount), got.RedriveDate, got.RedriveStatus, aws.ToString(got.RedriveStatusReason))
	}
}

func checkJSON(t *testing.T, got, want string) {
	t.Helper()
	var a, b any
	if err := errors.Join(json.Unmarshal([]byte(got), &a), json.Unmarshal([]byte(want), &b)); err != nil || mustJSON(t, a) != mustJSON(t, b) {
		t.Errorf("%s, want %s; %v", got, want, err)
	}
}

// statusEvent is an event's detail, as AWS documents it.
type statusEvent struct {
	ExecutionArn, StateMachineArn, Name, Status, Input, Output, Error, Cause string
	StartDate, StopDate, RedriveDate                                         int64
	RedriveCount                                                             int
	RedriveStatus, RedriveStatusReason                                       string
}

// statusEvents are those of a state machine's executions, in the order of their coming.
func (s *stack) statusEvents(t *testing.T, machine string) func() []statusEvent {
	t.Helper()
	events := s.subscribe(t, `{"source": ["aws.states"], "detail-type": ["Step Functions Execution Status Change"], "detail": {"stateMachineArn": ["`+machine+`"]}}`)
	return func() []statusEvent {
		t.Helper()
		var list []statusEvent
		for _, detail := range events() {
			var e statusEvent
			if err := json.Unmarshal(detail, &e); err != nil {
				t.Fatal(err)
			}
			list = append(list, e)
		}
		return list
	}
}

// subscribe collects the details of the events that fit a pattern.
func (s *stack) subscribe(t *testing.T, pattern string) func() []json.RawMessage {
	t.Helper()
	name := unique("events")
	_, receive := s.queue(t, name)
	s.target(t, "events", "AWSEvents.PutRule", map[string]any{"Name": name, "EventPattern": pattern}, nil)
	s.target(t, "events", "AWSEvents.PutTargets", map[string]any{"Rule": name, "Targets": []map[string]string{{"Id": "queue", "Arn": s.queueARN(name)}}}, nil)
	return func() []json.RawMessage {
		t.Helper()
		var details []json.RawMessage
		for _, body := range receive() {
			var event struct{ Detail json.RawMessage }
			if err := json.Unmarshal([]byte(body), &event); err != nil {
				t.Fatal(err)
			}
			details = append(details, event.Detail)
		}
		return details
	}
}

func (s *stack) queueARN(name string) string {
	return "arn:aws:sqs:" + s.aws.Region + ":000000000000:" + name
}

// queue creates one; receive tells all that it ever held. The relay itself needs
// neither SQS nor EventBridge, so their clients are not here.
func (s *stack) queue(t *testing.T, name string) (url string, receive func() []string) {
	t.Helper()
	policy := `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": "` + s.queueARN(name) + `"}]}`
	var made struct{ QueueURL string }
	s.target(t, "sqs", "AmazonSQS.CreateQueue", map[string]any{"QueueName": name, "Attributes": map[string]string{"Policy": policy}}, &made)
	var all []string
	return made.QueueURL, func() []string {
		t.Helper()
		for {
			var got struct {
				Messages []struct{ Body, ReceiptHandle string }
			}
			s.target(t, "sqs", "AmazonSQS.ReceiveMessage", map[string]any{"QueueUrl": made.QueueURL, "MaxNumberOfMessages": 1}, &got)
			if len(got.Messages) == 0 {
				return all
			}
			all = append(all, got.Messages[0].Body)
			s.target(t, "sqs", "AmazonSQS.DeleteMessage", map[string]any{"QueueUrl": made.QueueURL, "ReceiptHandle": got.Messages[0].ReceiptHandle}, nil)
		}
	}
}

// target calls an AWS service that takes JSON.
func (s *stack) target(t *testing.T, service, target string, in, out any) {
	t.Helper()
	body := []byte(mustJSON(t, in))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, aws.ToString(s.aws.BaseEndpoint)+"/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amz-Target", target)
	s.signAs(t, req, s.aws.Credentials, service, body)
	a := send(t, req)
	if a.status != http.StatusOK {
		t.Fatalf("%s: HTTP %d: %s", target, a.status, a.body)
	}
	if out != nil {
		a.into(t, out)
	}
}
