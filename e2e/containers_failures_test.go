package e2e

import (
	"strings"
	"testing"
)

// TestContainerThatDoesNotRun: by the detail, not by a status.
func TestContainerThatDoesNotRun(t *testing.T) {
	s := open(t)
	t.Parallel()
	for _, slug := range []string{"stopped", "deploying"} {
		p := isProblem(t, s.callContainer(t, containerCall{method: "POST", container: slug, path: "/v1/x"}), 409, "ContainerNotRunning")
		if told, _ := p["container"].(map[string]any); told["status"] != slug || told["usage_prompt"] == "" {
			t.Errorf("%v", p)
		}
	}
	isProblem(t, s.callContainer(t, containerCall{method: "GET", container: "none", path: "/v1/x"}), 404, "ContainerNotFound")
	p := isProblem(t, s.callContainer(t, containerCall{method: "POST", container: "failing", path: "/reset"}), 503, "Unavailable")
	if !strings.Contains(p["detail"].(string), "may have been carried out") {
		t.Errorf("%v", p)
	}
	s.showsNoKey(t, `"error":"ContainerNotRunning"`)
	s.showsNoKey(t, `"error":"Unavailable"`)
	// Cyberun's own outage, seen in call and detail.
	s.addFault(t, `{"name":"away","match":{"path_regexp":"/r/containers/html"},"times":2,"action":{"type":"status","status":502,"body":"<html>bad gateway"}}`)
	isProblem(t, s.callContainer(t, containerCall{method: "GET", container: "html", path: "/index.html"}), 503, "Unavailable")
	if a := s.callContainer(t, containerCall{method: "GET", container: "html", path: "/index.html"}); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestSlowContainer: told after 25 s, and sent once.
func TestSlowContainer(t *testing.T) {
	s := open(t)
	t.Parallel()
	before := s.containerCalls(t, "slow")
	p := isProblem(t, s.callContainer(t, containerCall{method: "GET", container: "slow", path: "/wait"}), 504, "ContainerTimedOut")
	if !strings.Contains(p["detail"].(string), "the call may go on") {
		t.Errorf("%v", p)
	}
	if after := s.containerCalls(t, "slow"); after != before+1 {
		t.Errorf("%d calls", after-before)
	}
	s.showsNoKey(t, `"error":"ContainerTimedOut"`)
}

// TestContainerOutlastsFunction: a container takes longer than the function itself may. The
// function answers before Lambda ends it, and nothing is sent again. On a machine too busy
// to let the function run for a second, Lambda is first, and the gateway answers for it; then
// the call is made once more. Neither shows the key.
func TestContainerOutlastsFunction(t *testing.T) {
	s := open(t)
	s.timeOut(t, "CallContainerFunction", 3)
	s.callContainer(t, containerCall{method: "GET", container: "echo", path: "/x"}) // a new process, which reads the key
	const tries = 5
	for range tries {
		before := s.containerCalls(t, "slow")
		a := s.callContainer(t, containerCall{method: "GET", container: "slow", path: "/x", query: "seconds=8"})
		name := a.header.Get("Relay-Error")
		if name != "ContainerTimedOut" && (name != "" || !a.stalled()) || strings.Contains(string(a.body), s.key) {
			t.Fatalf("%d %v %s", a.status, a.header, a.body)
		}
		s.showsNoKey(t, "")
		if after := s.containerCalls(t, "slow"); after != before+1 {
			t.Fatalf("%d calls", after-before)
		}
		if name != "" {
			return
		}
		t.Logf("Lambda ended the function: HTTP %d: %s", a.status, a.body)
	}
	t.Errorf("Lambda ended the function %d times before it answered", tries)
}

// TestContainerKeyRefused: Cyberun's 401 is the stack's own trouble, and a
// container's 401 the caller's.
func TestContainerKeyRefused(t *testing.T) {
	s := open(t)
	t.Cleanup(func() { s.setKeys(t, s.key); s.setSecret(t, s.key) })
	s.setKeys(t, "sk-local-another")
	isProblem(t, s.callContainer(t, containerCall{method: "GET", container: "echo", path: "/x"}), 502, "Unauthorized")
	s.showsNoKey(t, `"error":"Unauthorized"`)
	s.setSecret(t, "sk-local-another")
	if a := s.callContainer(t, containerCall{method: "POST", container: "echo", path: "/x", body: []byte("x")}); a.status != 200 {
		t.Errorf("after the secret was mended: %d %s", a.status, a.body)
	}
}
