package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRecorder: what passes is not changed, and what is written down says whose it
// was and what it was about, and no secret.
func TestRecorder(t *testing.T) {
	var got []string
	aws := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, r.Method+" "+r.Host+" "+r.RequestURI+" "+string(body))
		if strings.Contains(r.URL.Path, "none") {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, "answer")
	}))
	defer aws.Close()
	folder := t.TempDir()
	r, address, err := newRecorder(folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.forwardTo(aws.URL); err != nil {
		t.Fatal(err)
	}
	const scope = "/20261126/us-east-1/"
	send := func(method, path, body string, headers ...string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, address+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "state.example:4566"
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if answer, err := io.ReadAll(resp.Body); err != nil || string(answer) != "answer" {
			t.Errorf("%s %s: %q, %v", method, path, answer, err)
		}
	}
	signed := func(key, service string) string {
		return "AWS4-HMAC-SHA256 Credential=" + key + scope + service + "/aws4_request, SignedHeaders=host, Signature=secret"
	}
	const agent = "aws-sdk-go-v2/1.48.0 os/linux app/SubmitFunction api/s3#1"
	send("PUT", "/state/runs/a%2Bb%20c.json?x-id=PutObject", "{}", "Authorization", signed("ASIA1", "s3"), "User-Agent", agent, "If-Match", `"e"`)
	send("GET", "/state/none?x-id=GetObject", "", "Authorization", signed("ASIA1", "s3"), "User-Agent", agent)
	send("POST", "/", `{"taskToken":"secret","stateMachineArn":"arn:m","input":"secret"}`, "Authorization", signed("ASIA1", "states"),
		"User-Agent", agent, "X-Amz-Target", "AWSStepFunctions.StartExecution")
	send("GET", "/output/x.png?X-Amz-Credential=ASIA1"+strings.ReplaceAll(scope, "/", "%2F")+"s3%2Faws4_request&X-Amz-Signature=secret", "", "User-Agent", "curl/8")
	send("GET", "/output/y.png", "", "User-Agent", "curl/8")
	r.close()

	want := []string{
		"PUT state.example:4566 /state/runs/a%2Bb%20c.json?x-id=PutObject {}",
		"GET state.example:4566 /state/none?x-id=GetObject ",
		`POST state.example:4566 / {"taskToken":"secret","stateMachineArn":"arn:m","input":"secret"}`,
		"GET state.example:4566 /output/x.png?X-Amz-Credential=ASIA1%2F20261126%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=secret ",
		"GET state.example:4566 /output/y.png ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what arrived (-want +got):\n%s", diff)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*", "calls.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), "secret") {
		t.Errorf("a secret is written down:\n%s", raw)
	}
	var calls []Call
	for line := range strings.Lines(string(raw)) {
		var c Call
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		calls = append(calls, c)
	}
	const submit = "SubmitFunction"
	recorded := []Call{
		{Function: submit, Service: "s3", Method: "PUT", Path: "/state/runs/a+b c.json", Query: []string{"x-id"}, IfMatch: true, Status: 200},
		{Function: submit, Service: "s3", Method: "GET", Path: "/state/none", Query: []string{"x-id"}, Status: 404},
		{Function: submit, Service: "states", Method: "POST", Target: "AWSStepFunctions.StartExecution", Names: map[string]string{"stateMachineArn": "arn:m"}, Status: 200},
		{Function: submit, Service: "s3", Method: "GET", Path: "/output/x.png", Status: 200}, // who signed the address
		{Service: "s3", Method: "GET", Path: "/output/y.png", Status: 200},
	}
	if diff := cmp.Diff(recorded, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// Where all functions sign with one key, an address that was signed is nobody's.
func TestRecorderKnowsNoSharedKey(t *testing.T) {
	r := &recorder{keys: map[string]string{}, out: json.NewEncoder(io.Discard)}
	request := func(agent string) *http.Request {
		req := httptest.NewRequest(http.MethodGet, "/b/k?X-Amz-Credential=key%2F20261126%2Fr%2Fs3%2Faws4_request", nil)
		req.Header.Set("User-Agent", agent)
		return req
	}
	for _, agent := range []string{"x app/A y", "x app/B y", "x app/A y"} {
		r.write(request(agent), Call{})
	}
	if got := r.keys["key"]; got != "" {
		t.Errorf("the key is %s's", got)
	}
}
