package e2e

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// failsOnce notes the redrive count in its first state and fails in its second,
// until it is redriven.
const failsOnce = `{"StartAt": "Prepare", "States": {
	"Prepare": {"Type": "Pass", "Parameters": {"redrives.$": "$$.Execution.RedriveCount"}, "ResultPath": "$.prepared", "Next": "Decide"},
	"Decide": {"Type": "Choice", "Choices": [{"Variable": "$$.Execution.RedriveCount", "NumericGreaterThan": 0, "Next": "Tell"}]},
	"Tell": {"Type": "Pass", "End": true, "Parameters": {
		"name.$": "$.name", "prepared.$": "$.prepared.redrives", "redrives.$": "$$.Execution.RedriveCount", "input.$": "$$.Execution.Input.name"}}}}`

func TestRedriveGoesOnWhereItFailed(t *testing.T) {
	s := open(t)
	t.Parallel()
	machine := s.machine(t, failsOnce)
	told := s.statusEvents(t, machine)
	arn := s.begin(t, machine, "one", `{"name": "one"}`)

	failed := s.ended(t, arn)
	checkExecution(t, failed, types.ExecutionStatusFailed, 0, types.ExecutionRedriveStatusRedrivable)
	if aws.ToString(failed.Error) != "States.NoChoiceMatched" || failed.RedriveDate != nil {
		t.Errorf("failed with %q, redriven %v", aws.ToString(failed.Error), failed.RedriveDate)
	}
	before := s.events(t, arn)

	token := aws.String("token-" + failed.StartDate.String())
	redriven, err := s.sfn.RedriveExecution(t.Context(), &sfn.RedriveExecutionInput{ExecutionArn: &arn, ClientToken: token})
	if err != nil {
		t.Fatal(err)
	}
	running, err := s.sfn.DescribeExecution(t.Context(), &sfn.DescribeExecutionInput{ExecutionArn: &arn})
	if err != nil {
		t.Fatal(err)
	}
	if running.Status == types.ExecutionStatusRunning { // it may have ended meanwhile
		checkExecution(t, running, types.ExecutionStatusRunning, 1, types.ExecutionRedriveStatusNotRedrivable)
		if running.StopDate != nil || running.Error != nil || running.Cause != nil {
			t.Errorf("while it runs again it stopped at %v with %q, %q", running.StopDate, aws.ToString(running.Error), aws.ToString(running.Cause))
		}
	}

	done := s.ended(t, arn)
	checkExecution(t, done, types.ExecutionStatusSucceeded, 1, types.ExecutionRedriveStatusNotRedrivable)
	if !done.StartDate.Equal(*failed.StartDate) || !done.RedriveDate.Equal(*redriven.RedriveDate) || done.RedriveDate.Before(*failed.StopDate) {
		t.Errorf("started %v, then %v; redriven %v, said %v", failed.StartDate, done.StartDate, redriven.RedriveDate, done.RedriveDate)
	}
	checkJSON(t, aws.ToString(done.Output), `{"name": "one", "prepared": 0, "redrives": 1, "input": "one"}`)

	again, err := s.sfn.RedriveExecution(t.Context(), &sfn.RedriveExecutionInput{ExecutionArn: &arn, ClientToken: token})
	if err != nil || !again.RedriveDate.Equal(*redriven.RedriveDate) {
		t.Errorf("the same client token: %v, %v", again, err)
	}
	var not *types.ExecutionNotRedrivable
	if _, err := s.sfn.RedriveExecution(t.Context(), &sfn.RedriveExecutionInput{ExecutionArn: &arn}); !errors.As(err, &not) {
		t.Errorf("a succeeded execution: %v", err)
	}
	var unknown *types.ExecutionDoesNotExist
	if _, err := s.sfn.RedriveExecution(t.Context(), &sfn.RedriveExecutionInput{ExecutionArn: aws.String(arn + "x")}); !errors.As(err, &unknown) {
		t.Errorf("an unknown execution: %v", err)
	}

	after := s.events(t, arn)
	rest := after[len(before):]
	if got := kinds(rest); !slices.Equal(got[:1], []string{"ExecutionRedriven"}) || slices.Contains(got, "ExecutionStarted") ||
		strings.Count(strings.Join(kinds(after), " "), "PassStateEntered") != 2 || got[len(got)-1] != "ExecutionSucceeded" {
		t.Errorf("history %v, then %v", kinds(before), got)
	}
	if details := rest[0].ExecutionRedrivenEventDetails; details == nil || aws.ToInt32(details.RedriveCount) != 1 {
		t.Errorf("ExecutionRedriven says %+v", details)
	}
	for i, event := range after {
		if event.Id != int64(i+1) {
			t.Fatalf("event %d has the id %d", i+1, event.Id)
		}
	}

	type life struct {
		Status       string
		RedriveCount int
	}
	var lives []life
	eventually(t, "the four status events", func() (bool, any) {
		lives = nil
		for _, e := range told() {
			lives = append(lives, life{e.Status, e.RedriveCount})
		}
		return len(lives) >= 4, lives
	})
	if want := []life{{"RUNNING", 0}, {"FAILED", 0}, {"RUNNING", 1}, {"SUCCEEDED", 1}}; !slices.Equal(lives, want) {
		t.Errorf("status events %v, want %v", lives, want)
	}
	for _, e := range told() {
		ms := func(at *time.Time) int64 { return at.UnixMilli() }
		want := map[string]string{"RUNNING": "NOT_REDRIVABLE", "FAILED": "REDRIVABLE", "SUCCEEDED": "NOT_REDRIVABLE"}[e.Status]
		if e.ExecutionArn != arn || e.StateMachineArn != machine || e.Name != "one" || e.Input != `{"name": "one"}` ||
			e.StartDate != ms(done.StartDate) || e.RedriveStatus != want ||
			(e.RedriveStatusReason == "") != (want == "REDRIVABLE") ||
			(e.StopDate == 0) != (e.Status == "RUNNING") || (e.Error == "States.NoChoiceMatched") != (e.Status == "FAILED") ||
			(e.RedriveDate == ms(done.RedriveDate)) != (e.RedriveCount == 1) || (e.Output != "") != (e.Status == "SUCCEEDED") {
			t.Errorf("status event %+v", e)
		}
	}
}

// TestRedriveCountsRetriesAnew: the child succeeds at a second attempt of a redriven life only.
func TestRedriveCountsRetriesAnew(t *testing.T) {
	s := open(t)
	t.Parallel()
	child := s.machine(t, `{"StartAt": "Decide", "States": {
		"Decide": {"Type": "Choice", "Default": "Refuse", "Choices": [{"Next": "Done", "And": [
			{"Variable": "$.redrives", "NumericEquals": 2}, {"Variable": "$.attempts", "NumericEquals": 1}]}]},
		"Refuse": {"Type": "Fail", "Error": "NotYet", "Cause": "too early"},
		"Done": {"Type": "Succeed"}}}`)
	arn := s.begin(t, s.machine(t, `{"StartAt": "Work", "States": {"Work": {"Type": "Task",
		"Resource": "arn:aws:states:::states:startExecution.sync:2",
		"Parameters": {"StateMachineArn": "`+child+`", "Input": {
			"redrives.$": "$$.Execution.RedriveCount", "attempts.$": "$$.State.RetryCount"}},
		"OutputPath": "$.Output",
		"Retry": [{"ErrorEquals": ["NotYet"], "IntervalSeconds": 1, "BackoffRate": 1, "MaxAttempts": 1}], "End": true}}}`), "one", `{}`)
	for count := range int32(2) {
		checkExecution(t, s.ended(t, arn), types.ExecutionStatusFailed, count, types.ExecutionRedriveStatusRedrivable)
		s.redrive(t, arn)
	}
	done := s.ended(t, arn)
	checkExecution(t, done, types.ExecutionStatusSucceeded, 2, types.ExecutionRedriveStatusNotRedrivable)
	checkJSON(t, aws.ToString(done.Output), `{"redrives": 2, "attempts": 1}`)
	if got := strings.Count(strings.Join(kinds(s.events(t, arn)), " "), "TaskScheduled"); got != 6 {
		t.Errorf("%d attempts in three lives, want 6", got)
	}
}

// TestOldLifeCannotEndTheNext: a step that was under way when its execution was
// stopped fails while the redriven execution runs.
func TestOldLifeCannotEndTheNext(t *testing.T) {
	s := open(t)
	t.Parallel()
	child := s.machine(t, `{"StartAt": "Decide", "States": {
		"Decide": {"Type": "Choice", "Default": "Doze", "Choices": [{"Variable": "$.redrives", "NumericGreaterThan": 0, "Next": "Work"}]},
		"Doze": {"Type": "Wait", "Seconds": 10, "Next": "Refuse"}, "Refuse": {"Type": "Fail", "Error": "NotYet", "Cause": "of the first life"},
		"Work": {"Type": "Wait", "Seconds": 20, "Next": "Done"}, "Done": {"Type": "Succeed"}}}`)
	arn := s.begin(t, s.machine(t, `{"StartAt": "Work", "States": {"Work": {"Type": "Task",
		"Resource": "arn:aws:states:::states:startExecution.sync:2",
		"Parameters": {"StateMachineArn": "`+child+`", "Input": {"redrives.$": "$$.Execution.RedriveCount"}},
		"OutputPath": "$.Output", "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Wrong"}], "End": true},
		"Wrong": {"Type": "Fail", "Error": "Wrong", "Cause": "a state of the first life ran on"}}}`), "one", `{}`)
	eventually(t, "the task is scheduled", func() (bool, any) {
		got := kinds(s.events(t, arn))
		return slices.Contains(got, "TaskScheduled"), got
	})
	if _, err := s.sfn.StopExecution(t.Context(), &sfn.StopExecutionInput{ExecutionArn: &arn}); err != nil {
		t.Fatal(err)
	}
	s.redrive(t, arn)
	done := s.ended(t, arn)
	checkExecution(t, done, types.ExecutionStatusSucceeded, 1, types.ExecutionRedriveStatusNotRedrivable)
	checkJSON(t, aws.ToString(done.Output), `{"redrives": 1}`)
	if got := kinds(s.events(t, arn)); slices.Contains(got, "TaskFailed") {
		t.Errorf("history %v", got)
	}
}

// TestOldTokenWakesNothing: neither the stopped life that it was made for, nor the next.
func TestOldTokenWakesNothing(t *testing.T) {
	s := open(t)
	t.Parallel()
	url, tokens := s.queue(t, unique("tokens"))
	arn := s.begin(t, s.machine(t, `{"StartAt": "Await", "States": {"Await": {"Type": "Task",
		"Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
		"Parameters": {"QueueUrl": "`+url+`", "MessageBody.$": "$$.Task.Token"}, "End": true}}}`), "one", `{}`)
	token := func(life int) *string {
		t.Helper()
		var told []string
		eventually(t, "the token", func() (bool, any) {
			told = tokens()
			return len(told) > life, told
		})
		return &told[life]
	}
	answer := func(token *string, words string) error {
		_, err := s.sfn.SendTaskSuccess(t.Context(), &sfn.SendTaskSuccessInput{TaskToken: token, Output: &words})
		return err
	}
	old := token(0)
	if _, err := s.sfn.StopExecution(t.Context(), &sfn.StopExecutionInput{ExecutionArn: &arn}); err != nil {
		t.Fatal(err)
	}
	var unknown *types.TaskDoesNotExist
	if err := answer(old, `"of a stopped life"`); !errors.As(err, &unknown) {
		t.Errorf("after the stop the token answers %v", err)
	}
	s.redrive(t, arn)
	fresh := token(1)
	if err := answer(old, `"of the first life"`); !errors.As(err, &unknown) {
		t.Errorf("after the redrive the old token answers %v", err)
	}
	if err := answer(fresh, `"of the second life"`); err != nil {
		t.Fatal(err)
	}
	done := s.ended(t, arn)
	checkExecution(t, done, types.ExecutionStatusSucceeded, 1, types.ExecutionRedriveStatusNotRedrivable)
	checkJSON(t, aws.ToString(done.Output), `"of the second life"`)
}
