package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// smokeSteps are what `make smoke` says of each step on this stack: what a real
// account would also have, and what the stand-in cannot play.
func (s *stack) smokeSteps(t *testing.T) []string {
	t.Helper()
	webhook := "skip  a webhook: signed 204, forged 401: webhooks are off"
	if s.setting(t, "OnWebhookFunction", "WEBHOOKS_ENABLED") == "true" {
		webhook = "ok    a webhook: signed 204, forged 401: HTTP 204"
	}
	return []string{
		"ok    the API turns strangers away: HTTP 403",
		"ok    a run: its output lands, whole, and is fetched: run ",
		"ok    an upload named my photo+1 ä.png becomes a run: run my-photo-1-",
		webhook,
		"ok    a run that is stopped: run ",
		" a run that failed, redriven: ", // ok, or skipped where the stand-in has no RedriveExecution
	}
}

// smoke runs the program that `make smoke` runs, and returns what it said.
func (s *stack) smoke(t *testing.T) string {
	t.Helper()
	relay, err := filepath.Abs("../bin/relay")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(relay); err != nil {
		t.Skipf("the command line is not built: %v; `make relay` builds it", err)
	}
	binary := filepath.Join(t.TempDir(), "smoke")
	if said, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../local/smoke").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	said, err := exec.CommandContext(t.Context(), binary, "-stack", os.Getenv("RELAY_STACK"), "-relay", relay, "-patience", patience.String()).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, said)
	}
	return string(said)
}

func (s *stack) checkSmoke(t *testing.T) {
	t.Helper()
	said := s.smoke(t)
	for _, step := range s.smokeSteps(t) {
		if !strings.Contains(said, step) {
			t.Errorf("it does not say %q", step)
		}
	}
	// A step that fails begins with "FAIL" and two blanks; an execution that the
	// stand-in stopped may be named FAILED in a step that went through.
	for _, word := range []string{"FAIL  ", s.key, s.webhookSecret} {
		if strings.Contains(said, word) {
			t.Errorf("it says %q", word)
		}
	}
	if !strings.Contains(said, "of AWS without the free tier") {
		t.Error("it does not say what it cost")
	}
	t.Log(said)
}

// TestSmoke: what is meant for a real account goes through on the local stack as well.
func TestSmoke(t *testing.T) {
	s := open(t)
	t.Parallel()
	s.checkSmoke(t)
}

// TestSmokeWithWebhooks is the same on the stack that has them on.
func TestSmokeWithWebhooks(t *testing.T) {
	s := open(t)
	s.withWebhooks(t)
	s.checkSmoke(t)
}

// TestSmokeFailsWhereTheStackDoes: a step that does not go through is told, the
// others are done all the same, and the program fails.
func TestSmokeFailsWhereTheStackDoes(t *testing.T) {
	s := open(t)
	t.Setenv("RELAY_WEBHOOK_URL", s.apiURL+"/workflows") // where the gateway has no route for a POST
	relay, err := filepath.Abs("../bin/relay")
	if err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), "go", "run", "../local/smoke", "-stack", os.Getenv("RELAY_STACK"), "-relay", relay, "-file-workflow", "").CombinedOutput()
	text := string(said)
	if err == nil || !strings.Contains(text, "FAIL  a webhook: signed 204, forged 401: a forged one got HTTP 40") ||
		!strings.Contains(text, "skip  an upload") || !strings.Contains(text, "ok    a run that is stopped") || !strings.Contains(text, "1 of 6 steps failed") {
		t.Errorf("%v\n%s", err, said)
	}
}
