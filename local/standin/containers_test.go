package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestContainers(t *testing.T) {
	c := newClient(t, fast)
	list := c.json("GET", "/r/containers?per_page=2", "", 200)
	if rows := list["container_list"].([]any); len(rows) != 2 || rows[0].(map[string]any)["slug"] != "echo" {
		t.Error(list)
	}
	one := c.json("GET", "/r/containers/vllm", "", 200)
	if one["status"] != "running" || one["openapi_url"] == nil {
		t.Error(one)
	}
	for _, test := range []struct {
		method, path string
		status       int
		says         string
	}{
		{"GET", "/r/containers/none", 404, "container_not_found"},
		{"GET", "/r/containers/none/v1", 404, "container_not_found"},
		{"POST", "/r/containers/stopped/v1", 503, "container_not_running"},
		{"GET", "/r/containers/failing/404", 404, "the container's own"},
		{"GET", "/r/containers/failing/x", 500, "the container's own"},
		{"GET", "/r/containers/html/", 200, "<p>Grüße"},
		{"GET", "/r/containers/html/x", 404, "<title>Not found"},
		{"GET", "/r/containers/large/", 200, "\x00\x01\x02"},
		{"GET", "/r/containers/slow/?seconds=0", 200, "waited_seconds"},
		{"GET", "/r/containers/files/status/304", 304, ""},
		{"GET", "/r/containers/vllm/v1/models", 200, `"id":"local-7b"`},
		{"GET", "/r/containers/vllm/v2", 404, `"error":{`},
		{"PUT", "/r/containers/echo//a%2fb/../%00?x=%zz", 200, `"path":"//a%2fb/../%00","query":"x=%zz"`},
	} {
		answer, body, err := c.do(test.method, test.path, "")
		if err != nil || answer.StatusCode != test.status || !strings.Contains(string(body), test.says) {
			t.Errorf("%s %s: %v %v %.200s", test.method, test.path, answer, err, body)
		}
	}
	if answer, _, err := c.do("GET", "/r/containers/failing/reset", ""); err == nil {
		t.Errorf("a reset answered %v", answer)
	}
	if answer, _, _ := c.do("GET", "/r/containers/echo/x", "", "Authorization", "Bearer wrong"); answer.StatusCode != 401 {
		t.Error(answer)
	}
	var seen struct {
		Calls    map[string]int `json:"container_calls"`
		Requests map[string]int
	}
	_, ledger, _ := c.do("GET", "/_/ledger", "")
	if err := json.Unmarshal(ledger, &seen); err != nil || seen.Requests[containerRoute] != 14 {
		t.Errorf("%v %+v", err, seen)
	}
	if diff := cmp.Diff(map[string]int{"failing": 3, "html": 2, "large": 1, "slow": 1, "files": 1, "vllm": 2, "echo": 1}, seen.Calls); diff != "" {
		t.Error(diff)
	}
}

func TestEcho(t *testing.T) {
	c := newClient(t, fast)
	_, body, err := c.do("POST", "/r/containers/echo/v1/x?b=1&a=%20", "h\x00i", "X-One", "1")
	if err != nil {
		t.Fatal(err)
	}
	var got arrived
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	want := arrived{Method: "POST", Path: "/v1/x", Query: "b=1&a=%20", BodyBase64: "aABp", BodyBytes: 3, BodySHA256: hashOf("h\x00i")}
	if got.Headers["X-One"][0] != "1" || got.Headers["Authorization"] != nil {
		t.Errorf("%+v", got)
	}
	got.Headers = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestCompletions(t *testing.T) {
	c := newClient(t, fast)
	const path = "/r/containers/vllm/v1/chat/completions"
	whole := c.json("POST", path, `{"model":"local-7b","messages":[{"role":"user","content":"good morning"}]}`, 200)
	message := whole["choices"].([]any)[0].(map[string]any)["message"].(map[string]any)
	if message["content"] != "You said: good morning" {
		t.Error(whole)
	}
	answer, stream, err := c.do("POST", path, `{"model":"local-7b","stream":true,"messages":[{"role":"user","content":"good morning"}]}`)
	if err != nil || answer.Header.Get("Content-Type") != "text/event-stream" || strings.Count(string(stream), "data: {") != 6 || !strings.HasSuffix(string(stream), "data: [DONE]\n\n") {
		t.Errorf("%v %s", err, stream)
	}
	c.json("POST", path, `{"model":"other","messages":[{"role":"user","content":"x"}]}`, 404)
	c.json("POST", path, `{"model":"local-7b"}`, 400)
}

// A fault can meet a container call as any other.
func TestFaultAtAContainer(t *testing.T) {
	c := newClient(t, fast)
	c.json("POST", "/_/faults", `{"match":{"path_regexp":"/r/containers/echo"},"times":1,"action":{"type":"status","status":502}}`, 201)
	c.json("GET", "/r/containers/echo/x", "", 502)
	c.json("GET", "/r/containers/echo/x", "", 200)
}
