package function

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
)

// echo is a handler that answers with the bucket of its settings and the end of its time.
type echo struct{ bucket string }

// timeout is when Lambda would end every call.
var timeout = time.Date(2100, time.January, 1, 12, 0, 0, 0, time.UTC)

type input struct{ RunID string }

func (in input) ID() string { return in.RunID }

func (e echo) Handle(ctx context.Context, in input) (string, error) {
	ends, _ := ctx.Deadline()
	return in.RunID + " in " + e.bucket + " until " + ends.UTC().Format(time.TimeOnly), ctx.Err()
}

// TestMain is the function itself when a test runs this program again.
func TestMain(m *testing.M) {
	build := func(s config.StateStore, cfg aws.Config, log *slog.Logger) (echo, error) {
		if s.StateBucket == "refused" || cfg.Region == "" || log == nil {
			return echo{}, errors.New("the bucket is refused")
		}
		return echo{s.StateBucket}, nil
	}
	switch os.Getenv("TEST_FUNCTION") {
	case "http":
		Start("echo", build)
	case "step":
		StartRetried("echo", build)
	}
	os.Exit(m.Run())
}

// start runs the function in a process of its own, and ends it after its answer to
// one event. exit is the process's status if it ended by itself.
func start(t *testing.T, kind string, environment ...string) (answer, log string, exit int) {
	t.Helper()
	answered := make(chan string, 1)
	events := make(chan string, 1)
	events <- `{"RunID":"r-1"}`
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			answered <- string(body)
			w.WriteHeader(http.StatusAccepted)
			return
		}
		select {
		case event := <-events:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "request-1")
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(timeout.UnixMilli(), 10))
			io.WriteString(w, event)
		case <-r.Context().Done():
		}
	}))
	defer api.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	function := exec.CommandContext(ctx, os.Args[0])
	function.Env = append([]string{"TEST_FUNCTION=" + kind, "AWS_REGION=eu-central-1", "AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(api.URL, "http://")}, environment...)
	function.Stdout, function.Stderr = &out, &out
	if err := function.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- function.Wait() }()
	select {
	case answer = <-answered:
		cancel()
		<-ended
	case <-ended:
		exit = function.ProcessState.ExitCode()
	}
	return answer, out.String(), exit
}

func TestStart(t *testing.T) {
	tests := []struct {
		name, kind  string
		environment []string
		answer      string
		line        map[string]any // what the log's one line has; nil: there is none
	}{
		{name: "a step", kind: "step", environment: []string{"STATE_BUCKET=state"}, answer: `"r-1 in state until 12:00:00"`,
			line: map[string]any{"level": "INFO", "msg": "done", "function": "echo", "run_id": "r-1", "request_id": "request-1"}},
		{name: "an HTTP function logs for itself, and answers before its time-out", kind: "http", environment: []string{"STATE_BUCKET=state"}, answer: `"r-1 in state until 11:59:59"`},
		{name: "a setting is missing", kind: "step",
			line: map[string]any{"level": "ERROR", "msg": "cannot start", "function": "echo", "cause": "the function's environment: STATE_BUCKET is not set"}},
		{name: "the SDK's configuration is wrong", kind: "http", environment: []string{"STATE_BUCKET=state", "AWS_RETRY_MODE=for ever"},
			line: map[string]any{"level": "ERROR", "msg": "cannot start", "function": "echo"}},
		{name: "the handler cannot be built", kind: "http", environment: []string{"STATE_BUCKET=refused"},
			line: map[string]any{"level": "ERROR", "msg": "cannot start", "function": "echo", "cause": "the bucket is refused"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			answer, log, exit := start(t, test.kind, test.environment...)
			if answer != test.answer || (exit == 1) != (answer == "") {
				t.Errorf("answered %s, exit status %d", answer, exit)
			}
			var line map[string]any
			if log != "" {
				if err := json.Unmarshal([]byte(log), &line); err != nil {
					t.Fatalf("%v: %s", err, log)
				}
			}
			for key, want := range test.line {
				if line[key] != want {
					t.Errorf("%s is %v, want %v", key, line[key], want)
				}
			}
			if test.line == nil && line != nil {
				t.Errorf("logged %s", log)
			}
		})
	}
}
