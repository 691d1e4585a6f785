package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// ledger is what the stand-in says was paid for.
type ledger struct {
	Tasks   []ledgerTask   `json:"tasks"`
	Uploads []ledgerUpload `json:"uploads"`
}

// ledgerUpload is a file that was given to the stand-in.
type ledgerUpload struct {
	FileKey string `json:"file_key"`
	Name    string `json:"file_name"`
	SHA256  string `json:"sha256"`
}

type ledgerTask struct {
	ID              string         `json:"id"`
	Workflow        string         `json:"workflow"`
	Parameters      map[string]any `json:"parameters"`
	Status          string         `json:"status"`
	CancelRequested bool           `json:"cancel_requested"`
}

// ledger are the paid tasks that fit.
func (s *stack) ledger(t *testing.T, fits func(ledgerTask) bool) []ledgerTask {
	t.Helper()
	var fit []ledgerTask
	for _, task := range s.whole(t).Tasks {
		if fits(task) {
			fit = append(fit, task)
		}
	}
	return fit
}

// whole is the stand-in's ledger.
func (s *stack) whole(t *testing.T) (all ledger) {
	t.Helper()
	s.atStandIn(t, http.MethodGet, "/ledger", "").into(t, &all)
	return all
}

// paid are the tasks of one test: those whose prompt holds its mark.
func (s *stack) paid(t *testing.T, mark string) []ledgerTask {
	t.Helper()
	return s.ledger(t, func(task ledgerTask) bool {
		prompt, _ := task.Parameters["prompt"].(string)
		return strings.Contains(prompt, mark)
	})
}

// paidOnce holds that a test's requests have paid for one task, which goes on.
func (s *stack) paidOnce(t *testing.T, mark string) {
	t.Helper()
	if paid := s.paid(t, mark); len(paid) != 1 || paid[0].CancelRequested {
		t.Errorf("paid for %+v", paid)
	}
}

// paidAndCancelled holds that they have paid for one task, and that it was cancelled.
func (s *stack) paidAndCancelled(t *testing.T, mark string) {
	t.Helper()
	if paid := s.paid(t, mark); len(paid) != 1 || !paid[0].CancelRequested {
		t.Errorf("paid for %+v, and not cancelled", paid)
	}
}

// sizes makes each test's big file tell it from the others'.
var sizes atomic.Int64

func uniqueSize() int {
	return 1_000_000 + int(sizes.Add(1))*7 + int(time.Now().UnixMilli()%100_000)*100
}

func (s *stack) ofSize(t *testing.T, size int) []ledgerTask {
	t.Helper()
	return s.ledger(t, func(task ledgerTask) bool { return task.Parameters["bytes"] == float64(size) })
}

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

// addFault adds one of the stand-in's faults. Its match names this test's own
// requests, so that tests beside it do not meet it, and it needs no clearing.
func (s *stack) addFault(t *testing.T, rule string) {
	t.Helper()
	s.atStandIn(t, http.MethodPost, "/faults", rule)
}

// atStandIn calls one of the stand-in's own routes, which must succeed.
func (s *stack) atStandIn(t *testing.T, method, path, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(background(t), method, s.control+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	a := send(t, req)
	if a.status/100 != 2 {
		t.Fatalf("%s %s at the stand-in: HTTP %d: %s", method, path, a.status, a.body)
	}
	return a
}

// outage adds a fault for whatever fits a match, under a name by which it is ended
// again; fired tells how often it was met.
func (s *stack) outage(t *testing.T, name, match, action string) (fired func() int, end func()) {
	t.Helper()
	s.addFault(t, fmt.Sprintf(`{"name":%q,"match":%s,"action":%s}`, name, match, action))
	end = func() { s.endOutage(t, name) }
	t.Cleanup(end)
	return func() (n int) {
		for _, fault := range s.faults(t) {
			if fault.Name == name {
				n += fault.Fired
			}
		}
		return n
	}, end
}

func (s *stack) endOutage(t *testing.T, name string) {
	t.Helper()
	s.atStandIn(t, http.MethodDelete, "/faults?name="+url.QueryEscape(name), "")
}

type faultView struct {
	Name  string
	Fired int
}

func (s *stack) faults(t *testing.T) []faultView {
	t.Helper()
	var all struct{ Faults []faultView }
	s.atStandIn(t, http.MethodGet, "/faults", "").into(t, &all)
	return all.Faults
}

// unmet are the faults whose names begin so and that no call has met.
func (s *stack) unmet(t *testing.T, name string) (names []string) {
	t.Helper()
	for _, fault := range s.faults(t) {
		if strings.HasPrefix(fault.Name, name) && fault.Fired == 0 {
			names = append(names, fault.Name)
		}
	}
	return names
}

func (s *stack) clearFaults(t *testing.T) { s.atStandIn(t, http.MethodDelete, "/faults", "") }

// setKeys says which keys Cyberun lets in.
func (s *stack) setKeys(t *testing.T, keys ...string) {
	s.atStandIn(t, http.MethodPost, "/keys", mustJSON(t, map[string]any{"keys": keys}))
}
