package config

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// stepFunctions answers every call with one status and body, as the service's
// JSON protocol has them.
func stepFunctions(t *testing.T, status int, body string) (StepFunctions, func() (target, body string)) {
	t.Helper()
	var target, asked string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		target, asked = r.Header.Get("X-Amz-Target"), string(raw)
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	cfg := aws.Config{
		Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
		Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	}
	return Executions(cfg), func() (string, string) { return target, asked }
}

func TestRunning(t *testing.T) {
	const execution = "arn:aws:states:us-east-1:123456789012:execution:run:run-1"
	tests := []struct {
		name   string
		status int
		body   string
		want   bool
		error  string
	}{
		{"running", 200, `{"status":"RUNNING"}`, true, ""},
		{"about to be redriven", 200, `{"status":"PENDING_REDRIVE"}`, true, ""},
		{"succeeded", 200, `{"status":"SUCCEEDED"}`, false, ""},
		{"failed", 200, `{"status":"FAILED"}`, false, ""},
		{"timed out", 200, `{"status":"TIMED_OUT"}`, false, ""},
		{"aborted", 200, `{"status":"ABORTED"}`, false, ""},
		{"gone, after 90 days", 400, `{"__type":"com.amazonaws.states#ExecutionDoesNotExist","message":"Execution Does Not Exist"}`, false, ""},
		{"not allowed", 400, `{"__type":"AccessDeniedException","message":"no"}`, false, named.Unavailable},
		{"away", 500, `{}`, false, named.Unavailable},
		{"not JSON", 502, `<html>`, false, named.Unavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, asked := stepFunctions(t, test.status, test.body)
			got, err := s.Running(t.Context(), execution)
			if got != test.want || (test.error == "") != (err == nil) || err != nil && (!named.Is(err, test.error) || !strings.Contains(err.Error(), execution)) {
				t.Errorf("got %v, %v", got, err)
			}
			if target, body := asked(); target != "AWSStepFunctions.DescribeExecution" || !strings.Contains(body, execution) {
				t.Errorf("asked %s %s", target, body)
			}
		})
	}
}

func TestWake(t *testing.T) {
	const token = "AQCE-local/token+=="
	tests := []struct {
		name   string
		status int
		body   string
		fails  bool
	}{
		{"waiting", 200, `{}`, false},
		{"it timed out and looks by itself", 400, `{"__type":"com.amazonaws.states#TaskTimedOut","message":"Task Timed Out"}`, false},
		{"woken already", 400, `{"__type":"com.amazonaws.states#TaskDoesNotExist","message":"Task does not exist"}`, false},
		{"not a token", 400, `{"__type":"com.amazonaws.states#InvalidToken","message":"Invalid Token"}`, true},
		{"away", 503, `{}`, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, asked := stepFunctions(t, test.status, test.body)
			err := s.Wake(t.Context(), token)
			if (err != nil) != test.fails || err != nil && !named.Is(err, named.Unavailable) {
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), token) {
				t.Errorf("the token stands in %v", err)
			}
			target, body := asked()
			var sent struct{ TaskToken, Output string }
			if err := json.Unmarshal([]byte(body), &sent); err != nil || target != "AWSStepFunctions.SendTaskSuccess" || sent.TaskToken != token || !json.Valid([]byte(sent.Output)) {
				t.Errorf("asked %s %s", target, body)
			}
		})
	}
}
