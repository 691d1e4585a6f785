package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
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
			word := mark(t)
			runID := s.start(t, mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word, "seconds": 600}}))
			// Half of them within the submission, half while it waits.
			span := []int{400, 4000}[i%2]
			time.Sleep(time.Duration(rand.IntN(span)) * time.Millisecond)
			if i%4 < 2 {
				if a := s.call(t, http.MethodDelete, "/runs/"+runID, ""); a.status != http.StatusAccepted {
					t.Fatalf("DELETE: HTTP %d: %s", a.status, a.body)
				}
			} else {
				arn := s.execution(t, runID).ExecutionArn
				if _, err := s.sfn.StopExecution(t.Context(), &sfn.StopExecutionInput{ExecutionArn: arn}); err != nil {
					t.Fatal(err)
				}
			}
			v := s.end(t, runID)
			if v.Status != "cancelled" || v.Error == nil || v.Error.Name != "RunCancelled" {
				t.Errorf("the run is %s, %+v", v.Status, v.Error)
			}
			// A step may meet the mark of a DELETE before the stop itself.
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

// TestOneKeyOneRun: twenty callers with one Idempotency-Key start one run.
func TestOneKeyOneRun(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := mark(t)
	// Two spellings of one JSON value.
	requests := []string{
		fmt.Sprintf(`{"workflow":"text-to-image","parameters":{"prompt":%q,"steps":30}}`, word),
		fmt.Sprintf(`{ "parameters": {"steps": 30.0, "prompt": %q}, "workflow": "text-to-image" }`, word),
	}
	var mu sync.Mutex
	ids := map[string]int{}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			a := s.call(t, http.MethodPost, "/runs", requests[i%2], "Idempotency-Key", word)
			var v runView
			a.into(t, &v)
			mu.Lock()
			defer mu.Unlock()
			if a.status != http.StatusAccepted {
				t.Errorf("HTTP %d: %s", a.status, a.body)
			}
			ids[v.RunID]++
		})
	}
	all.Wait()
	if len(ids) != 1 {
		t.Fatalf("%d runs were started: %v", len(ids), ids)
	}
	for runID := range ids {
		s.delivered(t, s.end(t, runID))
		if again := s.start(t, requests[0], "Idempotency-Key", word); again != runID {
			t.Errorf("after its end the same key started %s", again)
		}
	}
	if paid := s.paid(t, word); len(paid) != 1 {
		t.Errorf("paid for %d tasks", len(paid))
	}
	a := s.call(t, http.MethodPost, "/runs", `{"workflow":"text-to-image","parameters":{"prompt":"another"}}`, "Idempotency-Key", word)
	if a.status != http.StatusConflict {
		t.Errorf("another request under the same key: HTTP %d: %s", a.status, a.body)
	}
}

// TestRescue: an existing task is waited for, copied and closed by a run that
// did not start it; while its own run lives it is refused.
func TestRescue(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := mark(t)
	owner := s.start(t, mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word, "seconds": 60}}))
	var taskID string
	eventually(t, "the run has its task", func() (bool, any) {
		taskID = s.view(t, owner, "").TaskID
		return taskID != "", owner
	})
	refused := s.end(t, s.start(t, mustJSON(t, map[string]any{"task_id": taskID})))
	s.checkFailure(t, refused, "TaskTaken")
	s.delivered(t, s.end(t, owner))
	rescuer := s.end(t, s.start(t, mustJSON(t, map[string]any{"task_id": taskID, "destination": map[string]any{"prefix": "{workflow}/{task_id}/{run_id}/"}})))
	m := s.delivered(t, rescuer)
	if want := "rescue/" + taskID + "/" + rescuer.RunID + "/manifest.json"; rescuer.ManifestKey != want || m.Workflow != "text-to-image" {
		t.Errorf("manifest %s of %s, want %s", rescuer.ManifestKey, m.Workflow, want)
	}
	if paid := s.paid(t, word); len(paid) != 1 || paid[0].CancelRequested {
		t.Errorf("paid for %+v", paid)
	}
}

// TestLostReply: the reply to the POST is lost, and the run ends with its own task.
func TestLostReply(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := mark(t)
	// A workflow that no other test submits to meanwhile: rivals are another test's matter.
	request := map[string]any{"workflow": "nerf-train", "parameters": map[string]any{"scene": word, "seconds": 2}}
	s.addFault(t, fmt.Sprintf(`{"match":{"method":"POST","path_regexp":"/run$","body_contains":%q},"times":1,"action":{"type":"accept_then_reset"}}`, word))
	v := s.end(t, s.start(t, mustJSON(t, request)))
	s.delivered(t, v)
	if got := s.ledger(t, func(task ledgerTask) bool { return task.Parameters["scene"] == word }); len(got) != 1 || got[0].ID != v.TaskID {
		t.Errorf("paid for %+v, the run has %s", got, v.TaskID)
	}
}
