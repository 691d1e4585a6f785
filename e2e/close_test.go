package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// TestOutputBucketRefused: a bucket that takes nothing of the run is told before
// anything is paid; that it takes no error.json either does not keep the run open.
func TestOutputBucketRefused(t *testing.T) {
	s := open(t)
	policy := mustJSON(t, map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
		"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::" + s.outputs + "/refused/*",
	}}})
	if _, err := s.s3.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: &s.outputs, Policy: &policy}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = s.s3.DeleteBucketPolicy(background(t), &s3.DeleteBucketPolicyInput{Bucket: &s.outputs})
	})
	word := mark(t)
	// No warm function remembers a proof for this prefix alone: the bucket is what is remembered.
	v := s.end(t, s.start(t, mustJSON(t, map[string]any{
		"workflow": "text-to-image", "parameters": map[string]any{"prompt": word}, "destination": map[string]any{"prefix": "refused/{run_id}/"},
	})))
	if v.Status != "failed" || v.Error == nil || v.Error.Name != "OutputBucketRefused" || !strings.Contains(v.Error.Cause, "error.json was not written") {
		t.Errorf("%s, %+v", v.Status, v.Error)
	}
	t.Logf("paid for %d tasks (none, unless a warm function remembered the bucket)", len(s.paid(t, word)))
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
