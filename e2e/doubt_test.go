package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

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
	s.succeeds(t, v.RunID)
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
// way of the proof, and a person's decision lets the run submit again, once.
func TestPersonSaysNotStarted(t *testing.T) {
	s := open(t)
	v, size, _ := s.doubtful(t, "reset", 2) // a lone one would be adopted: the stack trusts that it alone uses the key
	if paid := s.ofSize(t, size); len(paid) != 0 {
		t.Fatalf("paid for %+v", paid)
	}
	if a := s.call(t, http.MethodPost, "/runs/"+v.RunID+"/outcome", `{"not_started":true}`); a.status != http.StatusAccepted {
		t.Fatalf("HTTP %d: %s", a.status, a.body)
	}
	s.succeeds(t, v.RunID)
	if paid := s.ofSize(t, size); len(paid) != 1 {
		t.Errorf("paid for %+v", paid)
	}
}

// TestLostReply: the reply to the POST is lost, and the run ends with its own task.
func TestLostReply(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := uniqueWord(t)
	// A workflow that no other test submits to meanwhile: rivals are another test's matter.
	request := map[string]any{"workflow": "nerf-train", "parameters": map[string]any{"scene": word, "seconds": 2}}
	s.addFault(t, fmt.Sprintf(`{"match":{"method":"POST","path_regexp":"/run$","body_contains":%q},"times":1,"action":{"type":"accept_then_reset"}}`, word))
	v := s.end(t, s.start(t, mustJSON(t, request)))
	s.delivered(t, v)
	if got := s.ledger(t, func(task ledgerTask) bool { return task.Parameters["scene"] == word }); len(got) != 1 || got[0].ID != v.TaskID {
		t.Errorf("paid for %+v, the run has %s", got, v.TaskID)
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
	s.stopExecution(t, runID)
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
