package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// withWebhooks skips on a stack that does not wait for them.
func (s *stack) withWebhooks(t *testing.T) {
	t.Helper()
	if s.setting(t, "PollStatusFunction", "WEBHOOKS_ENABLED") != "true" {
		t.Skip("webhooks are off in this stack; `make e2e` runs this test on one that has them on")
	}
}

// post sends a webhook as anyone on the internet could.
func (s *stack) post(t *testing.T, body, signature string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.webhookURL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if signature != "" {
		req.Header.Set("X-Webhook-Signature-256", signature)
	}
	return send(t, req).status
}

func sign(secret, body string) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(m.Sum(nil))
}

// entered counts how often an execution entered a state.
func (s *stack) entered(t *testing.T, runID, state string) (n int) {
	t.Helper()
	for _, e := range s.history(t, runID) {
		if d := e.StateEnteredEventDetails; d != nil && aws.ToString(d.Name) == state {
			n++
		}
	}
	return n
}

// TestWebhookWakes: a parked run goes on when Cyberun says that its task ended,
// however often it says so.
func TestWebhookWakes(t *testing.T) {
	s := open(t)
	s.withWebhooks(t)
	s.atStandIn(t, http.MethodPost, "/webhook", mustJSON(t, map[string]any{"url": s.webhookURL, "secret": s.webhookSecret, "copies": 3}))
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			runID := s.start(t, mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": uniqueWord(t), "seconds": 6}}))
			s.delivered(t, s.end(t, runID))
			if n := s.entered(t, runID, "AwaitWebhook"); n != 1 {
				t.Errorf("parked %d times, want once", n)
			}
			if n := s.entered(t, runID, "PollStatus"); n != 2 {
				t.Errorf("polled %d times, want twice: before the park and after it", n)
			}
		})
	}
	all.Wait()
}

// TestWebhookOfAFailedTask ends the run under the task's own error.
func TestWebhookOfAFailedTask(t *testing.T) {
	s := open(t)
	s.withWebhooks(t)
	s.atStandIn(t, http.MethodPost, "/webhook", mustJSON(t, map[string]any{"url": s.webhookURL, "secret": s.webhookSecret}))
	word := uniqueWord(t)
	s.addFault(t, fmt.Sprintf(`{"match":{"method":"POST","path_regexp":"/run$","body_contains":%q},"action":{"type":"task_fail"}}`, word))
	v := s.end(t, s.start(t, mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word, "seconds": 6}})))
	s.checkFailure(t, v, "TaskFailed")
}

// TestWebhookLost: a webhook never comes, and the run is delivered all the same.
func TestWebhookLost(t *testing.T) {
	s := open(t)
	s.withWebhooks(t)
	s.atStandIn(t, http.MethodPost, "/webhook", `{"url":""}`)
	runID := s.start(t, mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": uniqueWord(t), "seconds": 6}}))
	s.delivered(t, s.end(t, runID))
}

// TestWebhookRefusals: what is not from Cyberun does nothing; what is, and
// concerns nobody here, is taken.
func TestWebhookRefusals(t *testing.T) {
	s := open(t)
	s.withWebhooks(t)
	known := `{"event_type":"task.completed","task_id":"00000000-0000-4000-8000-000000000000","task_status":"completed"}`
	for name, c := range map[string]struct {
		body, signature string
		want            int
	}{
		"unsigned":      {known, "", 401},
		"forged":        {known, sign("whsec_of_another", known), 401},
		"cut signature": {known, sign(s.webhookSecret, known)[:20], 401},
		"other body":    {known + " ", sign(s.webhookSecret, known), 401},
		"unknown task":  {known, sign(s.webhookSecret, known), 204},
		"no task":       {`{}`, sign(s.webhookSecret, `{}`), 400},
	} {
		if got := s.post(t, c.body, c.signature); got != c.want {
			t.Errorf("%s: HTTP %d, want %d", name, got, c.want)
		}
	}
}

// TestOffWebhooks: the route is not there while webhooks are off.
func TestOffWebhooks(t *testing.T) {
	s := open(t)
	if s.setting(t, "OnWebhookFunction", "WEBHOOKS_ENABLED") == "true" {
		t.Skip("webhooks are on in this stack")
	}
	if got := s.post(t, `{}`, sign("whsec_x", `{}`)); got != http.StatusNotFound {
		t.Errorf("HTTP %d, want 404", got)
	}
}
