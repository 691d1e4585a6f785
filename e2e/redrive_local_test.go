package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// The tests here hold local/ministack to what AWS documents of executions: what
// the relay's own tests then see of redrives, stops and time-outs rests on it.
// Their state machines need no function.

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

// TestExecutionTimesOut, and each redrive gives it its whole time again.
func TestExecutionTimesOut(t *testing.T) {
	s := open(t)
	t.Parallel()
	const limit = 2 * time.Second
	machine := s.machine(t, `{"TimeoutSeconds": 2, "StartAt": "Doze", "States": {"Doze": {"Type": "Wait", "Seconds": 3600, "End": true}}}`)
	told := s.statusEvents(t, machine)
	arn := s.begin(t, machine, "one", `{}`)
	var began *time.Time
	for count := range int32(2) {
		out := s.ended(t, arn)
		checkExecution(t, out, types.ExecutionStatusTimedOut, count, types.ExecutionRedriveStatusRedrivable)
		if began = out.StartDate; count > 0 {
			began = out.RedriveDate
		}
		if took := out.StopDate.Sub(*began); took < limit || took > patience {
			t.Errorf("life %d timed out after %v", count, took)
		}
		if count == 0 {
			s.redrive(t, arn)
		}
	}
	got := kinds(s.events(t, arn))
	if strings.Count(strings.Join(got, " "), "ExecutionTimedOut") != 2 || slices.Contains(got, "WaitStateExited") {
		t.Errorf("history %v", got)
	}
	eventually(t, "the event of the second time-out", func() (bool, any) {
		events := told()
		last := events[max(0, len(events)-1):]
		return len(events) == 4 && last[0].Status == "TIMED_OUT" && last[0].RedriveCount == 1 && last[0].RedriveStatus == "REDRIVABLE", events
	})
}

// TestStoppedStaysStopped: whatever its step answers afterwards, and no retry goes on.
func TestStoppedStaysStopped(t *testing.T) {
	s := open(t)
	slow := s.machine(t, `{"StartAt": "Doze", "States": {
		"Doze": {"Type": "Wait", "Seconds": 10, "Next": "Refuse"}, "Refuse": {"Type": "Fail", "Error": "NotYet", "Cause": "late"}}}`)
	for name, state := range map[string]string{
		"in a retry's delay": `{"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": {"FunctionName": "no-such-function"},
			"Retry": [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 10, "BackoffRate": 1, "MaxAttempts": 3}], "Next": "After"}`,
		"in a task that then fails": `{"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync", "Parameters": {"StateMachineArn": "` + slow + `"},
			"Retry": [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "BackoffRate": 1, "MaxAttempts": 3}], "Next": "After"}`,
		"in a wait": `{"Type": "Wait", "Seconds": 10, "Next": "After"}`,
		"in a branch": `{"Type": "Parallel", "Next": "After", "Branches": [
			{"StartAt": "Doze", "States": {"Doze": {"Type": "Wait", "Seconds": 10, "Next": "Refuse"}, "Refuse": {"Type": "Fail", "Error": "NotYet"}}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arn := s.begin(t, s.machine(t, `{"StartAt": "Work", "States": {"Work": `+state+`, "After": {"Type": "Pass", "End": true}}}`), "one", `{}`)
			eventually(t, "the state is entered", func() (bool, any) {
				got := kinds(s.events(t, arn))
				return len(got) > 1, got
			})
			time.Sleep(300 * time.Millisecond) // well into its wait
			if _, err := s.sfn.StopExecution(t.Context(), &sfn.StopExecutionInput{ExecutionArn: &arn, Error: aws.String("Stopped"), Cause: aws.String("a person")}); err != nil {
				t.Fatal(err)
			}
			stopped := kinds(s.events(t, arn))
			if stopped[len(stopped)-1] != "ExecutionAborted" {
				t.Fatalf("history %v", stopped)
			}
			time.Sleep(3 * time.Second) // longer than the state needs where a second lasts a fifth
			out := s.ended(t, arn)
			checkExecution(t, out, types.ExecutionStatusAborted, 0, types.ExecutionRedriveStatusRedrivable)
			if aws.ToString(out.Error) != "Stopped" || aws.ToString(out.Cause) != "a person" {
				t.Errorf("stopped with %q, %q", aws.ToString(out.Error), aws.ToString(out.Cause))
			}
			if got := kinds(s.events(t, arn)); !slices.Equal(got, stopped) {
				t.Errorf("history %v, then %v", stopped, got[len(stopped):])
			}
		})
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

// TestListsExecutions as a sweep reads them.
func TestListsExecutions(t *testing.T) {
	s := open(t)
	t.Parallel()
	machine := s.machine(t, `{"StartAt": "Decide", "States": {
		"Decide": {"Type": "Choice", "Choices": [
			{"Variable": "$.name", "StringEquals": "doze", "Next": "Doze"},
			{"Variable": "$$.Execution.RedriveCount", "NumericGreaterThan": 0, "Next": "Done"}]},
		"Doze": {"Type": "Wait", "Seconds": 3600, "End": true},
		"Done": {"Type": "Succeed"}}}`)
	arns := map[string]string{}
	for _, name := range []string{"redriven", "failed", "doze"} {
		arns[name] = s.begin(t, machine, name, `{"name": "`+name+`"}`)
		if name != "doze" {
			s.ended(t, arns[name])
		}
	}
	list := func(in sfn.ListExecutionsInput) []string {
		t.Helper()
		in.StateMachineArn = &machine
		var names []string
		for range 10 {
			out, err := s.sfn.ListExecutions(t.Context(), &in)
			if err != nil {
				t.Fatal(err)
			}
			for _, item := range out.Executions {
				names = append(names, *item.Name)
				if count := aws.ToInt32(item.RedriveCount); (count == 1) != (*item.Name == "redriven" && item.RedriveDate != nil) ||
					(item.StopDate == nil) != (item.Status == types.ExecutionStatusRunning) || *item.StateMachineArn != machine {
					t.Errorf("%s: redriven %d times, %v, stopped %v, %s", *item.Name, count, item.RedriveDate, item.StopDate, item.Status)
				}
			}
			if in.NextToken = out.NextToken; in.NextToken == nil {
				break
			}
		}
		return names
	}
	s.redrive(t, arns["redriven"])
	s.ended(t, arns["redriven"])
	for _, c := range []struct {
		what string
		in   sfn.ListExecutionsInput
		want []string
	}{
		{"all, newest first", sfn.ListExecutionsInput{}, []string{"redriven", "doze", "failed"}},
		{"one a page", sfn.ListExecutionsInput{MaxResults: 1}, []string{"redriven", "doze", "failed"}},
		{"failed", sfn.ListExecutionsInput{StatusFilter: types.ExecutionStatusFailed}, []string{"failed"}},
		{"redriven", sfn.ListExecutionsInput{RedriveFilter: types.ExecutionRedriveFilterRedriven}, []string{"redriven"}},
		{"not redriven", sfn.ListExecutionsInput{RedriveFilter: types.ExecutionRedriveFilterNotRedriven, MaxResults: 1}, []string{"doze", "failed"}},
		{"both filters", sfn.ListExecutionsInput{RedriveFilter: types.ExecutionRedriveFilterRedriven, StatusFilter: types.ExecutionStatusFailed}, nil},
	} {
		if got := list(c.in); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
	if _, err := s.sfn.StopExecution(t.Context(), &sfn.StopExecutionInput{ExecutionArn: aws.String(arns["doze"])}); err != nil {
		t.Fatal(err)
	}
	s.ended(t, arns["doze"])
	if got, want := list(sfn.ListExecutionsInput{}), []string{"doze", "redriven", "failed"}; !slices.Equal(got, want) {
		t.Errorf("after a stop %v, want %v", got, want)
	}
}

// TestUploadEventNamesItsVersion: only then can a run take the bytes that were uploaded, and not later ones.
func TestUploadEventNamesItsVersion(t *testing.T) {
	s := open(t)
	t.Parallel()
	bucket := aws.String(unique("versions"))
	if _, err := s.s3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.s3.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: bucket,
		VersioningConfiguration: &s3types.VersioningConfiguration{Status: s3types.BucketVersioningStatusEnabled}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.s3.PutBucketNotificationConfiguration(t.Context(), &s3.PutBucketNotificationConfigurationInput{Bucket: bucket,
		NotificationConfiguration: &s3types.NotificationConfiguration{EventBridgeConfiguration: &s3types.EventBridgeConfiguration{}}}); err != nil {
		t.Fatal(err)
	}
	events := s.subscribe(t, `{"source": ["aws.s3"], "detail": {"bucket": {"name": ["`+*bucket+`"]}}}`)
	want := map[string]bool{}
	for i := range 2 {
		out, err := s.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: aws.String("a b.png"), Body: strings.NewReader(fmt.Sprint(i))})
		if err != nil {
			t.Fatal(err)
		}
		want[aws.ToString(out.VersionId)] = true
	}
	eventually(t, "an event for each version", func() (bool, any) {
		got := events()
		for _, detail := range got {
			var told struct {
				Object struct {
					Key     string
					Version string `json:"version-id"`
				}
			}
			if err := json.Unmarshal(detail, &told); err != nil || !want[told.Object.Version] || told.Object.Key != "a b.png" {
				t.Fatalf("event %s, %v; versions %v", detail, err, want)
			}
		}
		return len(got) == len(want), len(got)
	})
}

// ---- what these tests need

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
	credentials, err := s.aws.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(t.Context(), credentials, req, hex.EncodeToString(sum[:]), service, s.aws.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	a := send(t, req)
	if a.status != http.StatusOK {
		t.Fatalf("%s: HTTP %d: %s", target, a.status, a.body)
	}
	if out != nil {
		a.into(t, out)
	}
}
