package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestContainerLog: a line for each call, and nothing that was said in it.
func TestContainerLog(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := fmt.Sprintf("geheim%d", time.Now().UnixNano())
	s.echo(t, containerCall{method: "POST", path: "/" + word, query: word, header: http.Header{"X-Word": {word}}, body: []byte(word)})
	marked := strings.Repeat("x", 4321) // the line is found by how many bytes went in
	s.echo(t, containerCall{method: "POST", path: "/" + word, header: http.Header{"Content-Type": {"a/b"}}, body: []byte(marked)})
	var logged string
	eventually(t, "the call is logged", func() (bool, any) {
		logged = s.functionLog(t, "call-container")
		return strings.Contains(logged, `"bytes_in":4321`), len(logged)
	})
	for line := range strings.Lines(logged) {
		if strings.Contains(line, `"bytes_in":4321`) {
			var told map[string]any
			if err := json.Unmarshal([]byte(line), &told); err != nil || told["container"] != "echo" || told["method"] != "POST" || told["status"] != 200. || told["who"] == "" || told["ms"] == nil || told["bytes_out"] == 0. {
				t.Errorf("%v: %s", err, line)
			}
			t.Log(strings.TrimSpace(line))
		}
	}
	for _, secret := range []string{word, s.key, "AWS4-HMAC"} {
		if strings.Contains(logged, secret) {
			t.Errorf("%q stands in the log", secret)
		}
	}
}

// showsNoKey demands that the function has logged such a line, and the stack's key
// nowhere.
func (s *stack) showsNoKey(t *testing.T, line string) {
	t.Helper()
	var logged string
	eventually(t, "the call is logged", func() (bool, any) {
		logged = s.functionLog(t, "call-container")
		return strings.Contains(logged, line), len(logged)
	})
	for _, secret := range s.secrets() {
		if strings.Contains(logged, secret) {
			t.Errorf("%q stands in the log", secret)
		}
	}
}

// functionLog are the lines that a function has logged.
func (s *stack) functionLog(t *testing.T, function string) string {
	t.Helper()
	var lines strings.Builder
	for token := ""; ; {
		body := mustJSON(t, map[string]any{"logGroupName": "/aws/lambda/" + os.Getenv("RELAY_STACK") + "/" + function})
		if token != "" {
			body = mustJSON(t, map[string]any{"logGroupName": "/aws/lambda/" + os.Getenv("RELAY_STACK") + "/" + function, "nextToken": token})
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, os.Getenv("AWS_ENDPOINT_URL"), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-amz-json-1.1")
		req.Header.Set("X-Amz-Target", "Logs_20140328.FilterLogEvents")
		s.signAs(t, req, s.aws.Credentials, "logs", []byte(body))
		var page struct {
			Events    []struct{ Message string }
			NextToken string
		}
		send(t, req).into(t, &page)
		for _, event := range page.Events {
			lines.WriteString(strings.TrimSpace(event.Message) + "\n")
		}
		if page.NextToken == "" || page.NextToken == token {
			return lines.String()
		}
		token = page.NextToken
	}
}
