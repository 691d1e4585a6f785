package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestOutputBucketRefused: a bucket that is there and takes no object of the run is
// told before anything is paid; that it takes no error.json either does not keep the
// run open. A warm Submit remembers for ten minutes that the bucket could be written:
// each try has a new function, and a run of another test may prove the bucket there
// before this one comes.
func TestOutputBucketRefused(t *testing.T) {
	s := open(t)
	s.refuseWrites(t, "refused/")
	const tries = 5
	for try := range int32(tries) {
		s.timeOut(t, "SubmitFunction", 899-try)
		word := uniqueWord(t)
		v := s.end(t, s.start(t, mustJSON(t, map[string]any{
			"workflow": "text-to-image", "parameters": map[string]any{"prompt": word}, "destination": map[string]any{"prefix": "refused/{run_id}/"},
		})))
		if v.Status != "failed" || v.Error == nil || v.Error.Name != "OutputBucketRefused" || !strings.Contains(v.Error.Cause, "error.json was not written") {
			t.Errorf("%s, %+v", v.Status, v.Error)
		}
		if len(s.paid(t, word)) == 0 {
			return
		}
		t.Logf("try %d: the function was warm", try+1)
	}
	t.Errorf("paid each of %d times", tries)
}

// TestOutputBucketRefusedLater: the bucket takes nothing any more once the task was
// paid. The run ends by that name at the first write that is refused, and a redrive
// delivers the same task when the bucket is right again.
func TestOutputBucketRefusedLater(t *testing.T) {
	s := open(t)
	word := uniqueWord(t)
	runID := s.start(t, mustJSON(t, map[string]any{
		"workflow": "text-to-image", "parameters": map[string]any{"prompt": word, "seconds": 30}, "destination": map[string]any{"prefix": "later/{run_id}/"},
	}))
	s.taskOf(t, runID)
	lift := s.refuseWrites(t, "later/")
	v := s.end(t, runID)
	if v.Status != "failed" || v.Error == nil || v.Error.Name != "OutputBucketRefused" {
		t.Fatalf("%s, %+v", v.Status, v.Error)
	}
	failures := 0
	for _, e := range s.history(t, runID) {
		if e.TaskFailedEventDetails != nil || e.LambdaFunctionFailedEventDetails != nil {
			failures++
		}
	}
	if failures != 1 {
		t.Errorf("%d calls failed: it was tried again", failures)
	}
	lift()
	s.redrive(t, aws.ToString(s.execution(t, runID).ExecutionArn))
	s.succeeds(t, runID)
	if paid := s.paid(t, word); len(paid) != 1 || paid[0].CancelRequested {
		t.Errorf("paid for %+v", paid)
	}
}

// refuseWrites lets nobody write below a prefix of the output bucket, until the
// test ends or lift is called.
func (s *stack) refuseWrites(t *testing.T, prefix string) (lift func()) {
	t.Helper()
	policy := mustJSON(t, map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
		"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::" + s.outputs + "/" + prefix + "*",
	}}})
	if _, err := s.s3.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: &s.outputs, Policy: &policy}); err != nil {
		t.Fatal(err)
	}
	lift = func() { _, _ = s.s3.DeleteBucketPolicy(background(t), &s3.DeleteBucketPolicyInput{Bucket: &s.outputs}) }
	t.Cleanup(lift)
	return lift
}

// TestSweepFindsLost: a run whose record is not there, whatever took it away, is
// closed by the sweep.
func TestSweepFindsLost(t *testing.T) {
	s := open(t)
	runID := runName(t)
	s.execute(t, runID, `{"workflow":"text-to-imagine"}`)
	s.checkFailure(t, s.end(t, runID), "WorkflowNotFound")
	eventually(t, "the execution has failed", func() (bool, any) { e := s.execution(t, runID); return e.Status == "FAILED", e.Status })
	key := "runs/" + runID + ".json"
	if _, err := s.s3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &s.state, Key: &key}); err != nil {
		t.Fatal(err)
	}
	s.invoke(t, "CloseRunFunction", `{"sweep":true}`)
	var record struct {
		Status string `json:"status"`
	}
	if err := json.Unmarshal(s.object(t, s.state, key), &record); err != nil || record.Status != "failed" {
		t.Errorf("%v, %+v", err, record)
	}
}
