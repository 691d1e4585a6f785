package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestOneKeyOneRun: twenty callers with one Idempotency-Key start one run.
func TestOneKeyOneRun(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := uniqueWord(t)
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
	word := uniqueWord(t)
	s.execute(t, runID, prompted(t, word, 30))
	s.taskOf(t, runID)
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
