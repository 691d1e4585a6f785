package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"golang.org/x/sync/errgroup"
)

// TestRedriveAfterRevokedKey: the key is revoked while the task runs; once it is
// right again a redrive delivers what was paid.
func TestRedriveAfterRevokedKey(t *testing.T) {
	s := open(t)
	t.Cleanup(func() { s.setKeys(t, s.key) })
	word := uniqueWord(t)
	runID, _ := s.waiting(t, word, 60)
	s.setKeys(t, "sk-local-another")
	v := s.end(t, runID)
	s.checkFailure(t, v, "Unauthorized")
	s.setKeys(t, s.key)
	s.checkRedrive(t, runID, word)
}

// checkRedrive redrives a run that failed, and holds that it delivers and that one
// task was paid for in all.
func (s *stack) checkRedrive(t *testing.T, runID, word string) {
	t.Helper()
	s.redrive(t, aws.ToString(s.execution(t, runID).ExecutionArn))
	v := s.succeeds(t, runID)
	s.delivered(t, v)
	s.paidOnce(t, word)
	if s.object(t, s.outputs, "runs/"+runID+"/error.json") != nil {
		t.Error("error.json stands beside the manifest")
	}
}

const away = `{"type":"status","status":503,"body":"<html>away</html>"}`

// TestRedriveAfterOutage: Cyberun is away for longer than a step is tried again, an
// hour that the test makes three tries; once it is back a redrive delivers, and
// nothing is paid twice.
func TestRedriveAfterOutage(t *testing.T) {
	s := open(t)
	s.fewTries(t, "Unavailable", 2)
	t.Run("before anything is submitted", func(t *testing.T) {
		word, runID := uniqueWord(t), runName(t)
		fired, end := s.outage(t, word, `{"method":"GET","path_regexp":"/r/workflows/slug/text-to-image$"}`, away)
		s.execute(t, runID, prompted(t, word, 10)) // the API would not take it
		s.checkFailure(t, s.end(t, runID), "Unavailable")
		if paid := s.paid(t, word); fired() != 3 || len(paid) != 0 {
			t.Errorf("it failed after %d tries, and paid for %+v", fired(), paid)
		}
		end()
		s.checkRedrive(t, runID, word)
	})
	t.Run("at the result", func(t *testing.T) {
		word := uniqueWord(t)
		runID, taskID := s.waiting(t, word, 30)
		fired, end := s.outage(t, word, fmt.Sprintf(`{"path_regexp":"/r/tasks/%s/result$"}`, taskID), away)
		s.checkFailure(t, s.end(t, runID), "Unavailable")
		if fired() != 3 {
			t.Errorf("it failed after %d tries", fired())
		}
		s.paidOnce(t, word)
		end()
		s.checkRedrive(t, runID, word)
	})
}

// TestRedriveAfterDeadline: Cyberun is away until the run's own time is over, and
// cannot be told to cancel the task, which completes meanwhile.
func TestRedriveAfterDeadline(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := uniqueWord(t)
	runID := s.start(t, mustJSON(t, map[string]any{
		"workflow": "text-to-image", "parameters": map[string]any{"prompt": word, "seconds": 100}, "max_seconds": 30, // time enough for a busy machine to submit
	}))
	_, end := s.outage(t, word, fmt.Sprintf(`{"path_regexp":"/r/tasks/%s(/.*)?$"}`, s.taskOf(t, runID)), away)
	eventually(t, "the run's time is over", func() (bool, any) { e := s.execution(t, runID); return e.Status == "FAILED", e.Status })
	end()
	s.checkFailure(t, s.end(t, runID), "RunTimedOut")
	s.checkRedrive(t, runID, word)
}

// fewTries makes the state machine give up an error after so few retries, until
// the test is over. Executions that run keep the definition that they began with.
func (s *stack) fewTries(t *testing.T, name string, tries int) {
	t.Helper()
	machine, err := s.sfn.DescribeStateMachine(t.Context(), &sfn.DescribeStateMachineInput{StateMachineArn: &s.stateMachineARN})
	if err != nil {
		t.Fatal(err)
	}
	var definition map[string]any
	if err := json.Unmarshal([]byte(*machine.Definition), &definition); err != nil {
		t.Fatal(err)
	}
	changed := 0
	for _, state := range definition["States"].(map[string]any) {
		retries, _ := state.(map[string]any)["Retry"].([]any)
		for _, retry := range retries {
			retry := retry.(map[string]any)
			if slices.Contains(retry["ErrorEquals"].([]any), any(name)) {
				retry["MaxAttempts"] = tries
				changed++
			}
		}
	}
	if changed == 0 {
		t.Fatalf("no state retries %s", name)
	}
	set := func(ctx context.Context, definition string) {
		if _, err := s.sfn.UpdateStateMachine(ctx, &sfn.UpdateStateMachineInput{StateMachineArn: &s.stateMachineARN, Definition: &definition}); err != nil {
			t.Error(err)
		}
	}
	set(t.Context(), mustJSON(t, definition))
	t.Cleanup(func() { set(background(t), *machine.Definition) })
}

// TestStoppedRunRedriven: a stopped run that is redriven stays cancelled, and its
// task too.
func TestStoppedRunRedriven(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := uniqueWord(t)
	runID, _ := s.waiting(t, word, 600)
	s.call(t, http.MethodDelete, "/runs/"+runID, "")
	if v := s.end(t, runID); v.Status != "cancelled" {
		t.Fatalf("%+v", v)
	}
	arn := aws.ToString(s.execution(t, runID).ExecutionArn)
	eventually(t, "it has ended", func() (bool, any) { e := s.execution(t, runID); return e.Status != "RUNNING", e.Status })
	s.redrive(t, arn)
	eventually(t, "the redriven execution's end", func() (bool, any) { e := s.execution(t, runID); return e.Status != "RUNNING", e.Status })
	if v := s.view(t, runID, ""); v.Status != "cancelled" {
		t.Errorf("it is %s", v.Status)
	}
	s.paidAndCancelled(t, word)
}

// TestRedriveBesideClose: a redrive that comes in the moment in which the run's
// last life is closed, fifty times: none is lost, none pays twice.
func TestRedriveBesideClose(t *testing.T) {
	s := open(t)
	const runs, atOnce = 50, 10
	var group errgroup.Group
	group.SetLimit(atOnce)
	word := uniqueWord(t)
	for i := range runs {
		group.Go(func() error {
			prompt := fmt.Sprintf("%s-%d.", word, i)
			runID, taskID := s.waiting(t, prompt, 30)
			s.addFault(t, fmt.Sprintf(`{"match":{"method":"GET","path_regexp":"/r/tasks/%s/result$"},"times":1,"action":{"type":"status","status":401,"body":"{\"message\":\"revoked\"}"}}`, taskID))
			arn := aws.ToString(s.execution(t, runID).ExecutionArn)
			for until := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
				if _, err := s.sfn.RedriveExecution(t.Context(), &sfn.RedriveExecutionInput{ExecutionArn: &arn}); err == nil {
					break
				}
				if time.Now().After(until) {
					return fmt.Errorf("%s never failed", runID)
				}
			}
			s.succeeds(t, runID)
			s.paidOnce(t, prompt)
			eventually(t, "error.json is gone", func() (bool, any) {
				_, err := s.s3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &s.outputs, Key: aws.String("runs/" + runID + "/error.json")})
				return err != nil, runID
			})
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// TestRescue: an existing task is waited for, copied and closed by a run that
// did not start it; while its own run lives it is refused.
func TestRescue(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := uniqueWord(t)
	owner, taskID := s.waiting(t, word, 60)
	refused := s.end(t, s.start(t, mustJSON(t, map[string]any{"task_id": taskID})))
	s.checkFailure(t, refused, "TaskTaken")
	s.delivered(t, s.end(t, owner))
	rescuer := s.end(t, s.start(t, mustJSON(t, map[string]any{"task_id": taskID, "destination": map[string]any{"prefix": "{workflow}/{task_id}/{run_id}/"}})))
	m := s.delivered(t, rescuer)
	if want := "rescue/" + taskID + "/" + rescuer.RunID + "/manifest.json"; rescuer.ManifestKey != want || m.Workflow != "text-to-image" {
		t.Errorf("manifest %s of %s, want %s", rescuer.ManifestKey, m.Workflow, want)
	}
	s.paidOnce(t, word)
}
