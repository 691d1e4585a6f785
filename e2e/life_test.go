package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"golang.org/x/sync/errgroup"
)

// stranger starts a task of a workflow beside the relay, as a colleague's script
// with the same key does.
func (s *stack) stranger(t *testing.T, workflow, body string) (taskID string) {
	t.Helper()
	base := strings.TrimSuffix(s.control, "/_") + "/api/v1"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/r/workflows/slug/"+workflow+"/run", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	var receipt struct {
		TaskID string `json:"task_id"`
	}
	send(t, req).into(t, &receipt)
	return receipt.TaskID
}

type candidateView struct {
	Candidates []struct {
		TaskID     string `json:"task_id"`
		TaskStatus string `json:"task_status"`
	} `json:"candidates"`
}

// doubtful is a run that ends in doubt: its POST met a fault, and strangers started
// tasks of the workflow in the same seconds.
func (s *stack) doubtful(t *testing.T, fault string, many int) (v runView, size int, strangers string) {
	t.Helper()
	size = uniqueSize()
	request := mustJSON(t, map[string]any{"workflow": "big-file", "parameters": map[string]any{"bytes": size, "seconds": 1}})
	s.addFault(t, fmt.Sprintf(`{"match":{"method":"POST","path_regexp":"/run$","body_contains":"%d"},"times":1,"action":{"type":%q}}`, size, fault))
	runID := s.start(t, request)
	for range many {
		strangers = s.stranger(t, "big-file", `{"parameters":{"bytes":1000,"seconds":1}}`)
	}
	v = s.end(t, runID)
	s.checkFailure(t, v, "SubmitOutcomeUnknown")
	return v, size, strangers
}

func (s *stack) ofSize(t *testing.T, size int) []ledgerTask {
	t.Helper()
	return s.ledger(t, func(task ledgerTask) bool { return task.Parameters["bytes"] == float64(size) })
}

// TestPersonNamesTheTask: a run in doubt names its candidates; a person says which
// is its own, and the run delivers that one without paying again.
func TestPersonNamesTheTask(t *testing.T) {
	s := open(t)
	v, size, strangers := s.doubtful(t, "accept_then_reset", 1)
	paid := s.ofSize(t, size)
	if len(paid) != 1 {
		t.Fatalf("paid for %+v", paid)
	}
	var seen candidateView
	a := s.call(t, http.MethodGet, "/runs/"+v.RunID, "")
	a.into(t, &seen)
	for _, id := range []string{paid[0].ID, strangers} {
		if !strings.Contains(string(a.body), id) || !strings.Contains(string(s.object(t, s.outputs, "runs/"+v.RunID+"/error.json")), id) {
			t.Errorf("the candidate %s is not named: %s", id, a.body)
		}
	}
	word := mustJSON(t, map[string]any{"task_id": paid[0].ID})
	for range 2 { // said twice, it does no harm
		if a := s.call(t, http.MethodPost, "/runs/"+v.RunID+"/outcome", word); a.status != http.StatusAccepted {
			t.Fatalf("HTTP %d: %s", a.status, a.body)
		}
	}
	eventually(t, "the run goes on", func() (bool, any) {
		status := s.view(t, v.RunID, "").Status
		return status == "succeeded", status
	})
	got := s.view(t, v.RunID, "")
	s.delivered(t, got)
	if got.TaskID != paid[0].ID || len(s.ofSize(t, size)) != 1 {
		t.Errorf("it has the task %s; paid %+v", got.TaskID, s.ofSize(t, size))
	}
	if a := s.call(t, http.MethodPost, "/runs/"+v.RunID+"/outcome", `{"not_started":true}`); a.status != http.StatusConflict || !strings.Contains(string(a.body), "NotInDoubt") {
		t.Errorf("another word: HTTP %d: %s", a.status, a.body)
	}
}

// TestPersonSaysNotStarted: the POST never arrived, strangers' tasks stand in the
// way of the proof, and a person's word lets the run submit again, once.
func TestPersonSaysNotStarted(t *testing.T) {
	s := open(t)
	v, size, _ := s.doubtful(t, "reset", 2) // a lone one would be adopted: the stack trusts that it alone uses the key
	if paid := s.ofSize(t, size); len(paid) != 0 {
		t.Fatalf("paid for %+v", paid)
	}
	if a := s.call(t, http.MethodPost, "/runs/"+v.RunID+"/outcome", `{"not_started":true}`); a.status != http.StatusAccepted {
		t.Fatalf("HTTP %d: %s", a.status, a.body)
	}
	eventually(t, "the run goes on", func() (bool, any) {
		status := s.view(t, v.RunID, "").Status
		return status == "succeeded", status
	})
	if paid := s.ofSize(t, size); len(paid) != 1 {
		t.Errorf("paid for %+v", paid)
	}
}

// TestRedriveAfterRevokedKey: the key is revoked while the task runs; once it is
// right again a redrive delivers what was paid.
func TestRedriveAfterRevokedKey(t *testing.T) {
	s := open(t)
	t.Cleanup(func() { s.setKeys(t, s.key) })
	word := mark(t)
	runID := s.start(t, mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word, "seconds": 60}}))
	eventually(t, "the run has its task", func() (bool, any) {
		taskID := s.view(t, runID, "").TaskID
		return taskID != "", taskID
	})
	s.setKeys(t, "sk-local-another")
	v := s.end(t, runID)
	s.checkFailure(t, v, "Unauthorized")
	s.setKeys(t, s.key)
	arn := aws.ToString(s.execution(t, runID).ExecutionArn)
	s.redrive(t, arn)
	eventually(t, "the redriven run's end", func() (bool, any) {
		status := s.view(t, runID, "").Status
		return status == "succeeded", status
	})
	s.delivered(t, s.view(t, runID, ""))
	if paid := s.paid(t, word); len(paid) != 1 || paid[0].CancelRequested {
		t.Errorf("paid for %+v", paid)
	}
	if _, err := s.s3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &s.outputs, Key: aws.String("runs/" + runID + "/error.json")}); err == nil {
		t.Error("error.json stands beside the manifest")
	}
}

// TestStoppedRunRedriven: a stopped run that is redriven stays cancelled, and its
// task too.
func TestStoppedRunRedriven(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := mark(t)
	runID := s.start(t, mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word, "seconds": 600}}))
	eventually(t, "the run has its task", func() (bool, any) {
		taskID := s.view(t, runID, "").TaskID
		return taskID != "", taskID
	})
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
	if paid := s.paid(t, word); len(paid) != 1 || !paid[0].CancelRequested {
		t.Errorf("paid for %+v", paid)
	}
}

// TestCancelAnswers: whatever Cyberun answers to the first two cancels, the task is
// cancelled within 20 s of the stop, and DELETE answers within 15 s.
func TestCancelAnswers(t *testing.T) {
	s := open(t)
	for name, action := range map[string]string{
		"500":    `{"type":"status","status":500,"body":"{\"message\":\"oops\"}"}`,
		"no":     `{"type":"status","status":200,"body":"{\"success\":false}"}`,
		"a page": `{"type":"status","status":200,"body":"<html>hello</html>"}`,
	} {
		t.Run(name, func(t *testing.T) {
			word := mark(t)
			runID := s.start(t, mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word, "seconds": 600}}))
			var taskID string
			eventually(t, "the run has its task", func() (bool, any) {
				taskID = s.view(t, runID, "").TaskID
				return taskID != "", taskID
			})
			s.addFault(t, fmt.Sprintf(`{"match":{"method":"POST","path_regexp":"/r/tasks/%s/cancel$"},"times":2,"action":%s}`, taskID, action))
			a := s.call(t, http.MethodDelete, "/runs/"+runID, "")
			var said struct{ Status, Task string }
			a.into(t, &said)
			if a.status != http.StatusAccepted || said.Status != "cancelled" || said.Task != "cancelled" {
				t.Errorf("HTTP %d: %s", a.status, a.body)
			}
			if paid := s.paid(t, word); len(paid) != 1 || !paid[0].CancelRequested {
				t.Errorf("after the answer: %+v", paid)
			}
			if v := s.end(t, runID); v.Status != "cancelled" || v.Error == nil || !strings.Contains(v.Error.Cause, taskID) {
				t.Errorf("%+v", v)
			}
		})
	}
}

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

// TestPageInsteadOfCyberun: what a proxy says while it is away, to the task and to
// its result, ends nothing.
func TestPageInsteadOfCyberun(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := mark(t)
	runID := s.start(t, mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word, "seconds": 30}}))
	var taskID string
	eventually(t, "the run has its task", func() (bool, any) {
		taskID = s.view(t, runID, "").TaskID
		return taskID != "", taskID
	})
	for _, status := range []int{401, 403, 404, 410, 502} {
		s.addFault(t, fmt.Sprintf(`{"match":{"method":"GET","path_regexp":"/r/tasks/%s(/result)?$"},"times":2,"action":{"type":"status","status":%d,"body":"<html>away</html>"}}`, taskID, status))
	}
	s.delivered(t, s.end(t, runID))
	if paid := s.paid(t, word); len(paid) != 1 || paid[0].CancelRequested {
		t.Errorf("paid for %+v", paid)
	}
}

// sizes makes each test's big file tell it from the others'.
var sizes atomic.Int64

func uniqueSize() int {
	return 1_000_000 + int(sizes.Add(1))*7 + int(time.Now().UnixMilli()%100_000)*100
}

// TestRedriveBesideClose: a redrive that comes in the moment in which the run's
// last life is closed, fifty times: none is lost, none pays twice.
func TestRedriveBesideClose(t *testing.T) {
	s := open(t)
	const runs, atOnce = 50, 10
	var group errgroup.Group
	group.SetLimit(atOnce)
	word := mark(t)
	for i := range runs {
		group.Go(func() error {
			prompt := fmt.Sprintf("%s-%d.", word, i)
			runID := s.start(t, mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": prompt, "seconds": 30}}))
			var taskID string
			eventually(t, "the run has its task", func() (bool, any) {
				taskID = s.view(t, runID, "").TaskID
				return taskID != "", taskID
			})
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
			eventually(t, "the redriven run's end", func() (bool, any) {
				v := s.view(t, runID, "")
				return v.Status == "succeeded", v
			})
			if paid := s.paid(t, prompt); len(paid) != 1 || paid[0].CancelRequested {
				t.Errorf("%s paid for %+v", runID, paid)
			}
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

// TestDeathPastNoReturn: a copy-result dies after it has written that the run is
// delivering. Whoever comes next finishes it: a stop by the API, or the close of
// the stopped execution.
func TestDeathPastNoReturn(t *testing.T) {
	s := open(t)
	t.Parallel()
	for name, stop := range map[string]func(t *testing.T, runID string){
		"DELETE": func(t *testing.T, runID string) { s.call(t, http.MethodDelete, "/runs/"+runID, "") },
		"StopExecution": func(t *testing.T, runID string) {
			if _, err := s.sfn.StopExecution(t.Context(), &sfn.StopExecutionInput{ExecutionArn: s.execution(t, runID).ExecutionArn}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			word := mark(t)
			runID := s.start(t, mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word, "seconds": 600}}))
			eventually(t, "the run has its task", func() (bool, any) {
				taskID := s.view(t, runID, "").TaskID
				return taskID != "", taskID
			})
			prefix, key := "runs/"+runID+"/", "runs/"+runID+".json"
			s.put(t, s.outputs, prefix+"error.json", []byte("{}"), nil) // of a life before
			s.put(t, s.state, "manifests/"+runID+"/1.json", []byte(`{"manifest":1}`), nil)
			s.put(t, s.state, "copies/"+runID+"/1.json", []byte("{}"), nil)
			var record map[string]any
			if err := json.Unmarshal(s.object(t, s.state, key), &record); err != nil {
				t.Fatal(err)
			}
			record["status"], record["manifest_key"], record["manifest_body"] = "delivering", prefix+"manifest.json", "manifests/"+runID+"/1.json"
			s.put(t, s.state, key, []byte(mustJSON(t, record)), nil)
			stop(t, runID)
			if v := s.end(t, runID); v.Status != "succeeded" {
				t.Errorf("it is %s: %+v", v.Status, v.Error)
			}
			if got := s.object(t, s.outputs, prefix+"manifest.json"); string(got) != `{"manifest":1}` {
				t.Errorf("manifest.json is %q", got)
			}
			for bucket, key := range map[string]string{s.outputs: prefix + "error.json", s.state: "manifests/" + runID + "/1.json"} {
				eventually(t, key+" is gone", func() (bool, any) { return s.object(t, bucket, key) == nil, key })
			}
			eventually(t, "the checkpoint is gone", func() (bool, any) { return s.object(t, s.state, "copies/"+runID+"/1.json") == nil, runID })
		})
	}
}

// TestStopAfterDeaths: submit died before it could own its task and take its marker
// back, copy-result left a multipart upload; the close of the stopped run does
// what they left.
func TestStopAfterDeaths(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := mark(t)
	runID := s.start(t, mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word, "seconds": 600}}))
	var taskID string
	eventually(t, "the run has its task", func() (bool, any) {
		taskID = s.view(t, runID, "").TaskID
		return taskID != "" && s.object(t, s.state, "tasks/"+taskID) != nil, taskID
	})
	var record struct {
		WorkflowID string `json:"workflow_id"`
	}
	if err := json.Unmarshal(s.object(t, s.state, "runs/"+runID+".json"), &record); err != nil {
		t.Fatal(err)
	}
	marker := "submitting/" + record.WorkflowID + "/" + runID + "/1"
	s.put(t, s.state, marker, []byte("{}"), nil)
	if _, err := s.s3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &s.state, Key: aws.String("tasks/" + taskID)}); err != nil {
		t.Fatal(err)
	}
	key := "runs/" + runID + "/half.png"
	upload, err := s.s3.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &s.outputs, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	s.put(t, s.state, "copies/"+runID+"/1.json", []byte(mustJSON(t, map[string]any{"checkpoint": map[string]any{"key": key, "upload_id": upload.UploadId}})), nil)
	if _, err := s.sfn.StopExecution(t.Context(), &sfn.StopExecutionInput{ExecutionArn: s.execution(t, runID).ExecutionArn}); err != nil {
		t.Fatal(err)
	}
	if v := s.end(t, runID); v.Status != "cancelled" {
		t.Errorf("it is %s: %+v", v.Status, v.Error)
	}
	eventually(t, "the marker and the checkpoint are gone, the task is owned", func() (bool, any) {
		return s.object(t, s.state, marker) == nil && s.object(t, s.state, "copies/"+runID+"/1.json") == nil && s.object(t, s.state, "tasks/"+taskID) != nil, runID
	})
	if _, err := s.s3.ListParts(t.Context(), &s3.ListPartsInput{Bucket: &s.outputs, Key: &key, UploadId: upload.UploadId}); err == nil {
		t.Error("the multipart upload still takes up room")
	}
	if paid := s.paid(t, word); len(paid) != 1 || !paid[0].CancelRequested {
		t.Errorf("paid for %+v", paid)
	}
}

// TestNameOfLongAgo: Step Functions forgets a name 90 days after its execution
// ended; a run that takes it again begins anew, with nothing of the one before.
func TestNameOfLongAgo(t *testing.T) {
	s := open(t)
	t.Parallel()
	runID := runName(t)
	left := []string{"progress/" + runID + ".json", "wake/" + runID + ".json", "copies/" + runID + "/1.json", "manifests/" + runID + "/1.json"}
	for _, key := range left {
		s.put(t, s.state, key, []byte("{}"), nil)
	}
	s.put(t, s.state, "runs/"+runID+".json", []byte(mustJSON(t, map[string]any{
		"run_id": runID, "status": "succeeded", "started_at": time.Now().AddDate(0, 0, -91).UTC(),
		"execution_arn": strings.Replace(s.stateMachineARN, ":stateMachine:", ":execution:", 1) + ":" + runID,
	})), nil)
	word := mark(t)
	s.execute(t, runID, mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word, "seconds": 30}}))
	eventually(t, "the run has its task", func() (bool, any) { v := s.view(t, runID, ""); return v.TaskID != "", v })
	for _, key := range left[1:] {
		if s.object(t, s.state, key) != nil {
			t.Errorf("%s is left", key)
		}
	}
	s.delivered(t, s.end(t, runID))
	if paid := s.paid(t, word); len(paid) != 1 {
		t.Errorf("paid for %+v", paid)
	}
}

// TestResultNotThere: a task's result that is said to be gone, while the list shows
// the task, is asked for again.
func TestResultNotThere(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := mark(t)
	runID := s.start(t, mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word, "seconds": 30}}))
	var taskID string
	eventually(t, "the run has its task", func() (bool, any) {
		taskID = s.view(t, runID, "").TaskID
		return taskID != "", taskID
	})
	s.addFault(t, fmt.Sprintf(`{"match":{"method":"GET","path_regexp":"/r/tasks/%s/result$"},"times":2,"action":{"type":"status","status":404,"body":"{\"message\":\"Task not found\"}"}}`, taskID))
	v := s.end(t, runID)
	s.delivered(t, v)
	// A manifest that its owner moved is no failure of the run.
	if _, err := s.s3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &s.outputs, Key: &v.ManifestKey}); err != nil {
		t.Fatal(err)
	}
	if v := s.view(t, runID, ""); v.Status != "succeeded" || len(v.Outputs) != 0 {
		t.Errorf("without its manifest it is %s with %d outputs", v.Status, len(v.Outputs))
	}
}

// TestStoppedInDoubt: a run is stopped after its POST's reply was lost. Its task is
// cancelled or, where it cannot be told from a stranger's, named.
func TestStoppedInDoubt(t *testing.T) {
	s := open(t)
	size := uniqueSize()
	s.addFault(t, fmt.Sprintf(`{"match":{"method":"POST","path_regexp":"/run$","body_contains":"%d"},"times":1,"action":{"type":"accept_then_reset"}}`, size))
	runID := s.start(t, mustJSON(t, map[string]any{"workflow": "big-file", "parameters": map[string]any{"bytes": size, "seconds": 600}}))
	eventually(t, "the task is paid for", func() (bool, any) { paid := s.ofSize(t, size); return len(paid) == 1, paid })
	s.stranger(t, "big-file", `{"parameters":{"bytes":1000,"seconds":600}}`)
	s.put(t, s.state, "ended/big-file/9999999999999-0-0-old", []byte("{}"), nil) // a note of the past, which is no witness
	if _, err := s.sfn.StopExecution(t.Context(), &sfn.StopExecutionInput{ExecutionArn: s.execution(t, runID).ExecutionArn}); err != nil {
		t.Fatal(err)
	}
	taskID := s.ofSize(t, size)[0].ID
	defer func() { // its doubt holds up every other run of the workflow for ten minutes
		var record struct {
			WorkflowID string `json:"workflow_id"`
		}
		if err := json.Unmarshal(s.object(t, s.state, "runs/"+runID+".json"), &record); err != nil {
			t.Error(err)
		}
		key := "doubt/" + record.WorkflowID + "/" + runID
		if _, err := s.s3.DeleteObject(background(t), &s3.DeleteObjectInput{Bucket: &s.state, Key: &key}); err != nil {
			t.Error(err)
		}
	}()
	if v := s.end(t, runID); v.Status != "cancelled" {
		t.Errorf("it is %s: %+v", v.Status, v.Error)
	}
	for until := time.Now().Add(patience); ; time.Sleep(2 * time.Second) {
		told := string(s.object(t, s.outputs, "runs/"+runID+"/error.json"))
		if paid := s.ofSize(t, size); strings.Contains(told, taskID) || paid[0].CancelRequested {
			t.Logf("cancelled: %t; error.json: %s", paid[0].CancelRequested, told)
			return
		}
		if time.Now().After(until) {
			t.Fatalf("the task %s is neither cancelled nor named: %s", taskID, told)
		}
		s.invoke(t, "CloseRunFunction", `{"sweep":true}`)
	}
}
