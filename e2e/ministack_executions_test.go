package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

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
