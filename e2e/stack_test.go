package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// stack is the deployed stack as a user sees it.
type stack struct {
	aws       aws.Config
	s3        *s3.Client
	sfn       *sfn.Client
	lambda    *lambda.Client
	resources map[string]string // logical id → physical id

	apiURL          string
	stateMachineARN string
	inbox           string
	outputs         string
	state           string
	webhookURL      string
	control         string // the stand-in's own routes
	key             string
	keySecret       string
	webhookSecret   string
}

// patience bounds each wait of a test for something that the stack does by
// itself. It is no measure of speed: a slow machine only waits longer.
const patience = 3 * time.Minute

func open(t *testing.T) *stack {
	t.Helper()
	file := os.Getenv("RELAY_STACK_FILE")
	if file == "" {
		t.Skip("no stack: RELAY_STACK_FILE is not set; `make e2e` brings one up")
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var told struct {
		APIURL     string            `json:"api_url"`
		Outputs    map[string]string `json:"outputs"`
		Resources  map[string]string `json:"resources"`
		ControlURL string            `json:"control_url"`
		CyberunKey string            `json:"cyberun_key"`
		Webhook    string            `json:"webhook_secret"`
	}
	if err := json.Unmarshal(raw, &told); err != nil {
		t.Fatal(err)
	}
	if told.ControlURL == "" {
		t.Skip("the stack speaks to the real service: these tests count what is paid, and need the stand-in's ledger")
	}
	cfg, err := awsconfig.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &stack{
		aws: cfg, s3: s3.NewFromConfig(cfg), sfn: sfn.NewFromConfig(cfg), lambda: lambda.NewFromConfig(cfg), resources: told.Resources,
		apiURL: told.APIURL, stateMachineARN: told.Outputs["StateMachineArn"], inbox: told.Outputs["InboxBucket"],
		outputs: told.Outputs["OutputBucket"], state: told.Outputs["StateBucket"], webhookURL: told.Outputs["WebhookUrl"],
		control: told.ControlURL, key: told.CyberunKey, keySecret: told.Outputs["ApiKeySecretArn"], webhookSecret: told.Webhook,
	}
}

// answer is what an HTTP call came back with.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// stalled reports whether a function or MiniStack answered so because MiniStack had not
// answered in time.
func (a answer) stalled() bool {
	return a.status == http.StatusServiceUnavailable && bytes.Contains(a.body, []byte("S3 could not")) ||
		a.status == http.StatusBadGateway && bytes.Contains(a.body, []byte("Sandbox.Timedout"))
}

func (a answer) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("HTTP %d with a body that is not JSON: %v\n%s", a.status, err, a.body)
	}
}

// call signs as the command line does.
func (s *stack) call(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.apiURL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	s.signAs(t, req, s.aws.Credentials, "execute-api", []byte(body))
	return send(t, req)
}

func (s *stack) signAs(t *testing.T, req *http.Request, identity aws.CredentialsProvider, service string, body []byte) {
	t.Helper()
	who, err := identity.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(t.Context(), who, req, hex.EncodeToString(sum[:]), service, s.aws.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// send sends a request and follows redirects.
func send(t *testing.T, req *http.Request) answer {
	t.Helper()
	return sendBy(t, http.DefaultClient, req)
}

func sendBy(t *testing.T, client *http.Client, req *http.Request) answer {
	t.Helper()
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, got}
}

// runView is what GET /runs/{id} tells, as a stranger would read it.
type runView struct {
	RunID      string `json:"run_id"`
	Status     string `json:"status"`
	TaskID     string `json:"task_id"`
	TaskStatus string `json:"task_status"`
	Outputs    []struct {
		ID    string `json:"id"`
		Key   string `json:"key"`
		Bytes int64  `json:"bytes"`
		CRC32 string `json:"crc32"`
		S3URI string `json:"s3_uri"`
		URL   string `json:"url"`
	} `json:"outputs"`
	Bucket      string `json:"bucket"`
	ManifestKey string `json:"manifest_key"`
	Error       *struct {
		Name  string `json:"name"`
		Cause string `json:"cause"`
		Hint  string `json:"hint"`
	} `json:"error"`
}

func (v runView) ended() bool {
	return v.Status == "succeeded" || v.Status == "failed" || v.Status == "cancelled"
}

// start posts a request that must be accepted, and returns the run's id.
func (s *stack) start(t *testing.T, request string, headers ...string) string {
	t.Helper()
	a := s.call(t, http.MethodPost, "/runs", request, headers...)
	if a.status != http.StatusAccepted {
		t.Fatalf("POST /runs: HTTP %d: %s", a.status, a.body)
	}
	var v runView
	a.into(t, &v)
	if v.RunID == "" || a.header.Get("Location") != "/runs/"+v.RunID {
		t.Fatalf("POST /runs: run_id %q, Location %q", v.RunID, a.header.Get("Location"))
	}
	return v.RunID
}

// view reads a run. It asks again, at most maxStalls times, after a 503 whose cause is S3,
// and after a call that MiniStack ended at the function's time-out: on a busy machine
// MiniStack has been seen to answer nothing for 16 s. Any other error fails the test.
func (s *stack) view(t *testing.T, runID, query string) runView {
	t.Helper()
	const maxStalls = 3
	a := s.call(t, http.MethodGet, "/runs/"+runID+query, "")
	for again := 0; again < maxStalls && a.stalled(); again++ {
		t.Logf("GET /runs/%s: HTTP %d, asked again: %s", runID, a.status, a.body)
		time.Sleep(time.Second)
		a = s.call(t, http.MethodGet, "/runs/"+runID+query, "")
	}
	if a.status != http.StatusOK {
		t.Fatalf("GET /runs/%s: HTTP %d: %s", runID, a.status, a.body)
	}
	var v runView
	a.into(t, &v)
	return v
}

// end waits for a run's end, as the record tells it.
func (s *stack) end(t *testing.T, runID string) runView {
	t.Helper()
	for until := time.Now().Add(patience); ; {
		v := s.view(t, runID, "?wait=20")
		if v.ended() {
			return v
		}
		if time.Now().After(until) {
			t.Fatalf("the run %s is still %s after %v", runID, v.Status, patience)
		}
	}
}

// eventually tries until check says that all is well.
func eventually(t *testing.T, what string, check func() (done bool, seen any)) {
	t.Helper()
	for until := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		done, seen := check()
		if done {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%s: not within %v; last seen: %v", what, patience, seen)
		}
	}
}

// prompted is a request for a picture that is told by its prompt, whose task takes
// so many seconds of the stand-in's time.
func prompted(t *testing.T, word string, seconds int) string {
	t.Helper()
	return mustJSON(t, map[string]any{"workflow": "text-to-image", "parameters": map[string]any{"prompt": word, "seconds": seconds}})
}

// waiting starts a run of such a request, and waits until it has its task.
func (s *stack) waiting(t *testing.T, word string, seconds int) (runID, taskID string) {
	t.Helper()
	runID = s.start(t, prompted(t, word, seconds))
	return runID, s.taskOf(t, runID)
}

// taskOf waits until a run has its task.
func (s *stack) taskOf(t *testing.T, runID string) (taskID string) {
	t.Helper()
	eventually(t, "the run "+runID+" has its task", func() (bool, any) {
		v := s.view(t, runID, "")
		taskID = v.TaskID
		return taskID != "", v
	})
	return taskID
}

// succeeds waits until a run that was closed and goes on has succeeded.
func (s *stack) succeeds(t *testing.T, runID string) (v runView) {
	t.Helper()
	eventually(t, "the run "+runID+" goes on, and succeeds", func() (bool, any) {
		v = s.view(t, runID, "")
		return v.Status == "succeeded", v
	})
	return v
}

// stopExecution is a person's, past the relay's API.
func (s *stack) stopExecution(t *testing.T, runID string) {
	t.Helper()
	if _, err := s.sfn.StopExecution(t.Context(), &sfn.StopExecutionInput{ExecutionArn: s.execution(t, runID).ExecutionArn}); err != nil {
		t.Fatal(err)
	}
}

// object reads a whole object; nil if it is not there.
func (s *stack) object(t *testing.T, bucket, key string) []byte {
	t.Helper()
	out, err := s.s3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	var missing *s3types.NoSuchKey
	if errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		t.Fatalf("s3://%s/%s: %v", bucket, key, err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func (s *stack) put(t *testing.T, bucket, key string, body []byte, metadata map[string]string) {
	t.Helper()
	if _, err := s.s3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body), Metadata: metadata}); err != nil {
		t.Fatal(err)
	}
}

func (s *stack) execution(t *testing.T, runID string) *sfn.DescribeExecutionOutput {
	t.Helper()
	arn := strings.Replace(s.stateMachineARN, ":stateMachine:", ":execution:", 1) + ":" + runID
	out, err := s.sfn.DescribeExecution(t.Context(), &sfn.DescribeExecutionInput{ExecutionArn: &arn})
	if err != nil {
		t.Fatalf("DescribeExecution %s: %v", runID, err)
	}
	return out
}

// history is every event of an execution.
func (s *stack) history(t *testing.T, runID string) []sfntypes.HistoryEvent {
	t.Helper()
	return s.historyOf(t, *s.execution(t, runID).ExecutionArn)
}

func (s *stack) historyOf(t *testing.T, arn string) []sfntypes.HistoryEvent {
	t.Helper()
	in := &sfn.GetExecutionHistoryInput{ExecutionArn: &arn}
	var events []sfntypes.HistoryEvent
	for {
		out, err := s.sfn.GetExecutionHistory(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, out.Events...)
		if out.NextToken == nil {
			return events
		}
		in.NextToken = out.NextToken
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// uniqueWord is a word that no other test's prompt has.
func uniqueWord(t *testing.T) string {
	return strings.ReplaceAll(t.Name(), "/", " ") + " " + time.Now().Format("150405.000000")
}

// background outlives the test's own context: for what a cleanup puts back.
func background(t *testing.T) context.Context { return context.WithoutCancel(t.Context()) }

// setSecret puts a key where the functions read it.
func (s *stack) setSecret(t *testing.T, key string) {
	t.Helper()
	client := secretsmanager.NewFromConfig(s.aws)
	if _, err := client.PutSecretValue(background(t), &secretsmanager.PutSecretValueInput{SecretId: &s.keySecret, SecretString: &key}); err != nil {
		t.Fatal(err)
	}
}

// needRelay skips a test of the command line where it is not built.
func needRelay(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("../bin/relay"); err != nil {
		t.Skip("bin/relay is not built: `make relay`")
	}
}

// relay runs the command line as a user does, holds it to an exit code, and
// returns what it printed.
func relay(t *testing.T, want int, stdin string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "../bin/relay", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatalf("relay %s: %v", strings.Join(args, " "), err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		t.Errorf("relay %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, want, out.String(), errs.String())
	}
	return out.String()
}
