package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// TestStopAtAnyMoment: whenever a person stops a run, its task is cancelled or
// was never started, and the record says so.
func TestStopAtAnyMoment(t *testing.T) {
	s := open(t)
	const moments = 20
	for i := range moments {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			word := uniqueWord(t)
			runID := s.start(t, prompted(t, word, 600))
			// Half of them within the submission, half while it waits.
			span := []int{400, 4000}[i%2]
			time.Sleep(time.Duration(rand.IntN(span)) * time.Millisecond)
			if i%4 < 2 {
				if a := s.call(t, http.MethodDelete, "/runs/"+runID, ""); a.status != http.StatusAccepted {
					t.Fatalf("DELETE: HTTP %d: %s", a.status, a.body)
				}
			} else {
				s.stopExecution(t, runID)
			}
			v := s.end(t, runID)
			if v.Status != "cancelled" || v.Error == nil || v.Error.Name != "RunCancelled" {
				t.Errorf("the run is %s, %+v", v.Status, v.Error)
			}
			// A step may meet the note of a DELETE before the stop itself.
			if e := s.execution(t, runID); e.Status != types.ExecutionStatusAborted && (i%4 >= 2 || aws.ToString(e.Error) != "RunCancelled") {
				t.Errorf("Step Functions says %s, %s", e.Status, aws.ToString(e.Error))
			}
			if told := string(s.object(t, s.outputs, "runs/"+runID+"/error.json")); !strings.Contains(told, "RunCancelled") {
				t.Errorf("error.json says %q", told)
			}
			eventually(t, "the task is cancelled, or never started", func() (bool, any) {
				paid := s.paid(t, word)
				return len(paid) == 0 || len(paid) == 1 && paid[0].CancelRequested, paid
			})
		})
	}
}

// TestCancelAnswers: whatever Cyberun answers to the first two cancels, the task of
// a stopped run is cancelled soon after, and DELETE answers when it is.
func TestCancelAnswers(t *testing.T) {
	s := open(t)
	if s.setting(t, "PollStatusFunction", "HOLD_SECONDS") == "0" {
		t.Skip("this stack holds no stream")
	}
	t.Parallel()
	s.checkCancelAnswers(t, "PollStatus")
}

// TestPolledCancelAnswers is the same for a run that waits to poll.
func TestPolledCancelAnswers(t *testing.T) {
	s := open(t)
	s.withPolling(t)
	t.Parallel()
	s.checkCancelAnswers(t, "WaitToPoll")
}

// TestWebhookCancelAnswers is the same for a run that awaits a webhook.
func TestWebhookCancelAnswers(t *testing.T) {
	s := open(t)
	s.withWebhooks(t)
	t.Parallel()
	s.checkCancelAnswers(t, "AwaitWebhook")
}

// checkCancelAnswers stops runs that have entered a state, by both ways there are.
func (s *stack) checkCancelAnswers(t *testing.T, state string) {
	const refused = 2 // cancels, before one is taken
	for name, action := range map[string]string{
		"500":    `{"type":"status","status":500,"body":"{\"message\":\"oops\"}"}`,
		"no":     `{"type":"status","status":200,"body":"{\"success\":false}"}`,
		"a page": `{"type":"status","status":200,"body":"<html>hello</html>"}`,
	} {
		for _, by := range []string{"DELETE", "StopExecution"} {
			t.Run(by+" "+name, func(t *testing.T) {
				t.Parallel()
				word := uniqueWord(t)
				runID, taskID := s.waiting(t, word, 600)
				eventually(t, "it has entered "+state, func() (bool, any) { n := s.entered(t, runID, state); return n > 0, n })
				s.addFault(t, fmt.Sprintf(`{"match":{"method":"POST","path_regexp":"/r/tasks/%s/cancel$"},"times":%d,"action":%s}`, taskID, refused, action))
				stopped := time.Now()
				if by == "DELETE" {
					a := s.call(t, http.MethodDelete, "/runs/"+runID, "")
					var said struct{ Status, Task string }
					a.into(t, &said)
					if a.status != http.StatusAccepted || said.Status != "cancelled" || said.Task != "cancelled" {
						t.Errorf("HTTP %d: %s", a.status, a.body)
					}
					s.paidAndCancelled(t, word)
				} else {
					s.stopExecution(t, runID)
				}
				v := s.end(t, runID)
				if v.Status != "cancelled" || v.Error == nil || !strings.Contains(v.Error.Cause, taskID) {
					t.Errorf("%+v", v)
				}
				s.paidAndCancelled(t, word)
				var record struct {
					Cancel struct {
						AcceptedAt time.Time `json:"accepted_at"`
					}
				}
				if err := json.Unmarshal(s.object(t, s.state, "runs/"+runID+".json"), &record); err != nil || record.Cancel.AcceptedAt.IsZero() {
					t.Errorf("the record says of the cancel: %+v, %v", record.Cancel, err)
				}
				t.Logf("cancelled %.1f s after the stop (the design says 20 at most)", record.Cancel.AcceptedAt.Sub(stopped).Seconds())
			})
		}
	}
}

// TestStopAfterDeaths: submit died before it could own its task and take its marker
// back, copy-result left a multipart upload; the close of the stopped run does
// what they left.
func TestStopAfterDeaths(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := uniqueWord(t)
	runID, taskID := s.waiting(t, word, 600)
	eventually(t, "the task is owned", func() (bool, any) { return s.object(t, s.state, "tasks/"+taskID) != nil, taskID })
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
	s.stopExecution(t, runID)
	if v := s.end(t, runID); v.Status != "cancelled" {
		t.Errorf("it is %s: %+v", v.Status, v.Error)
	}
	eventually(t, "the marker and the checkpoint are gone, the task is owned", func() (bool, any) {
		return s.object(t, s.state, marker) == nil && s.object(t, s.state, "copies/"+runID+"/1.json") == nil && s.object(t, s.state, "tasks/"+taskID) != nil, runID
	})
	if _, err := s.s3.ListParts(t.Context(), &s3.ListPartsInput{Bucket: &s.outputs, Key: &key, UploadId: upload.UploadId}); err == nil {
		t.Error("the multipart upload still takes up room")
	}
	s.paidAndCancelled(t, word)
}

// TestDeathPastNoReturn: a copy-result dies after it has written that the run is
// delivering. Whoever comes next finishes it: a stop by the API, or the close of
// the stopped execution.
func TestDeathPastNoReturn(t *testing.T) {
	s := open(t)
	t.Parallel()
	for name, stop := range map[string]func(t *testing.T, runID string){
		"DELETE":        func(t *testing.T, runID string) { s.call(t, http.MethodDelete, "/runs/"+runID, "") },
		"StopExecution": s.stopExecution,
	} {
		t.Run(name, func(t *testing.T) {
			word := uniqueWord(t)
			runID, _ := s.waiting(t, word, 600)
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
