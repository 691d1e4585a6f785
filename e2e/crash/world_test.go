package crash

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	key       = "sk-local-crash"
	accessKey = "local"
	secretKey = "locallocal"
	secretARN = "arn:aws:secretsmanager:us-east-1:000000000000:secret:key"
)

// bench is what all cells share: the binaries, a real S3, the state machine.
type bench struct {
	submit, pollStatus, copyResult, closeRun, api string

	standin    string
	s3         *s3.Client
	s3Upstream upstream
	machine    machine
	serial     atomic.Int64
}

func newBench(t *testing.T) *bench {
	t.Helper()
	gateway := os.Getenv("VERSITYGW")
	if gateway == "" {
		gateway, _ = filepath.Abs("../../.tools/bin/versitygw")
	}
	if _, err := os.Stat(gateway); err != nil {
		t.Fatal("no S3 to run against: `make crash` installs versitygw into .tools/bin, or set VERSITYGW")
	}
	// A socket's path must be short, which the test's own directory is not.
	dir, err := os.MkdirTemp("", "crash-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := &bench{}
	for source, binary := range map[string]*string{
		"functions/submit": &b.submit, "functions/poll-status": &b.pollStatus, "functions/copy-result": &b.copyResult,
		"functions/close-run": &b.closeRun, "functions/api": &b.api,
		"local/standin": &b.standin,
	} {
		*binary = filepath.Join(dir, filepath.Base(source))
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", *binary, "../../"+source).CombinedOutput(); err != nil {
			t.Fatalf("go build %s: %v\n%s", source, err, out)
		}
	}
	if b.machine, err = readMachine("../../statemachine/run.asl.json"); err != nil {
		t.Fatal(err)
	}
	b.gateway(t, gateway, dir)
	return b
}

// gateway starts versitygw on a socket. ETags lie in the files' own attributes:
// in a directory beside them (--sidecar) two conditional writes at once can both
// be granted, and the second caller is what this suite is about.
func (b *bench) gateway(t *testing.T, binary, dir string) {
	t.Helper()
	socket, data := filepath.Join(dir, "s3"), filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	background(t, "versitygw", exec.Command(binary, "--port", socket, "--access", accessKey, "--secret", secretKey, "--quiet", "--keep-alive",
		"posix", data), nil)
	transport := &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	endpoint := "http://127.0.0.1"
	b.s3Upstream = proxied(transport, endpoint)
	b.s3 = s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &endpoint, UsePathStyle: true, HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
	})
	for tries := 0; ; tries++ {
		_, err := b.s3.ListBuckets(t.Context(), &s3.ListBucketsInput{})
		if err == nil {
			return
		}
		if tries == 100 {
			t.Fatal("versitygw does not answer: ", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// background runs a program until the test ends; ready sees its first line.
func background(t *testing.T, name string, cmd *exec.Cmd, ready func(line string)) {
	t.Helper()
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	lines := bufio.NewReader(out)
	if ready != nil {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("%s said nothing: %v\n%s", name, err, said.String())
		}
		ready(strings.TrimSpace(line))
	}
	drained := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		close(drained)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-drained
		_ = cmd.Wait()
	})
}

// world is a worker's own Cyberun: one cell at a time lives in it, so that no
// run is another's rival.
type world struct {
	*bench
	cyberun   string // base URL, without /api/v1
	transport *http.Transport
	witness   witness
}

// witness is a run that this world has completed: its task, and what it left in
// the state bucket. By it a later run knows that a task which is not in the list
// was never started.
type witness struct {
	taskID  string
	objects map[string][]byte
}

// witnessAge is how old a task must be, and a second, before the relay takes the
// list's word by it.
const witnessAge = 61 * time.Second

func (b *bench) newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{bench: b, transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(w.transport.CloseIdleConnections)
	background(t, "standin", exec.Command(b.standin, "-key", key), func(line string) { w.cyberun = strings.TrimSuffix(line, "/api/v1") })
	return w
}

// reset forgets all tasks but the witness, and lets the first key in again.
func (w *world) reset() error {
	return control(http.MethodPost, w.cyberun+"/_/reset?keep="+w.witness.taskID, nil, nil)
}

// letIn makes the keys given the only ones that Cyberun knows.
func (w *world) letIn(keys ...string) error {
	return control(http.MethodPost, w.cyberun+"/_/keys", map[string]any{"keys": append([]string{}, keys...)}, nil)
}

// complete makes the world's witness: one run, submitted and seen to its end.
func (w *world) complete(ctx context.Context) error {
	c, err := (scenario{request: shortRun}).cell(ctx, w, fault{})
	if err != nil {
		return err
	}
	defer c.close()
	if a, err := c.step(); err != nil || a.name != "" {
		return fmt.Errorf("submit: %s %s %w", a.name, a.message, err)
	}
	poll := c.function(w.pollStatus, nil)
	defer poll.close()
	payload := fmt.Appendf(nil, `{"run_id":%q,"redrive_count":0,"attempts":0}`, c.runID)
	var state struct {
		Done bool `json:"done"`
	}
	for tries := 0; !state.Done; tries++ {
		a, err := poll.invoke(payload, functionTime)
		if err == nil && a.name == "" {
			err = json.Unmarshal(a.body, &state)
		}
		if err != nil || a.name != "" || tries == 10 {
			return fmt.Errorf("poll-status, %d times: %s %s %w", tries+1, a.name, a.message, err)
		}
	}
	objects, err := c.bucket(ctx, "state")
	if err != nil {
		return err
	}
	var rec record
	if err := json.Unmarshal(objects["runs/"+c.runID+".json"], &rec); err != nil {
		return err
	}
	if len(below(objects, "ended/")) != 1 {
		return fmt.Errorf("the end of the first run left %v", below(objects, "ended/"))
	}
	w.witness = witness{taskID: rec.TaskID, objects: objects}
	return nil
}

// ledger is what was paid for, but for the witness.
type ledger struct {
	Tasks   []task `json:"tasks"`
	Uploads []struct {
		FileKey string `json:"file_key"`
		Bytes   int64  `json:"bytes"`
		SHA256  string `json:"sha256"`
	} `json:"uploads"`
}

type task struct {
	ID              string         `json:"id"`
	Status          string         `json:"status"`
	CancelRequested bool           `json:"cancel_requested"`
	Parameters      map[string]any `json:"parameters"`
}

func (w *world) ledger() (ledger, error) {
	var l ledger
	err := control(http.MethodGet, w.cyberun+"/_/ledger", nil, &l)
	l.Tasks = slices.DeleteFunc(l.Tasks, func(t task) bool { return t.ID == w.witness.taskID })
	return l, err
}

// control asks the stand-in itself. body, if there is one, goes as JSON; into
// takes the answer.
func control(method, url string, body, into any) error {
	var content io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, url, content)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: HTTP %d", method, url, res.StatusCode)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// execution is all that Step Functions knows of the cell's run.
type execution struct {
	arn, input, name, cause string
	status                  string
	started, stopped        time.Time
	redrives                int
}

const (
	machineARN    = "arn:aws:states:us-east-1:000000000000:stateMachine:relay-run"
	executionARNs = "arn:aws:states:us-east-1:000000000000:execution:relay-run:"
)

func (e execution) runID() string { return strings.TrimPrefix(e.arn, executionARNs) }

// wrapped is a cause as Step Functions has it of a Lambda function's error.
func (e execution) wrapped() string {
	cause, _ := json.Marshal(map[string]string{"errorMessage": e.cause, "errorType": e.name})
	return string(cause)
}

// event is what EventBridge says of the execution.
func (e execution) event() []byte {
	detail := map[string]any{"executionArn": e.arn, "stateMachineArn": machineARN, "name": e.runID(), "status": e.status,
		"startDate": e.started.UnixMilli(), "stopDate": e.stopped.UnixMilli(), "redriveCount": e.redrives, "error": nil, "cause": nil}
	if e.name != "" {
		detail["error"], detail["cause"] = e.name, e.wrapped()
	}
	event, _ := json.Marshal(map[string]any{"source": "aws.states", "detail-type": "Step Functions Execution Status Change", "detail": detail})
	return event
}

// stepFunctions answers for the one execution of a cell.
func (c *cell) stepFunctions(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		StatusFilter string `json:"statusFilter"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	e := c.now()
	said := map[string]any{"executionArn": e.arn, "stateMachineArn": machineARN, "name": e.runID(), "status": e.status,
		"startDate": seconds(e.started), "redriveCount": e.redrives}
	if !e.stopped.IsZero() {
		said["stopDate"] = seconds(e.stopped)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	switch _, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "."); action {
	case "DescribeExecution":
		said["input"] = e.input
		if e.name != "" {
			said["error"], said["cause"] = e.name, e.wrapped()
		}
	case "ListExecutions":
		list := []any{}
		if asked.StatusFilter == e.status {
			list = append(list, said)
		}
		said = map[string]any{"executions": list}
	case "RedriveExecution":
		if !c.redrive() {
			w.WriteHeader(http.StatusBadRequest)
			said = map[string]any{"__type": "ExecutionNotRedrivable", "message": "it is " + e.status}
			break
		}
		said = map[string]any{"redriveDate": seconds(time.Now())}
	default:
		w.WriteHeader(http.StatusBadRequest)
		said = map[string]any{"__type": "ValidationException", "message": action + " is not played"}
	}
	_ = json.NewEncoder(w).Encode(said)
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// secretsManager answers GetSecretValue.
func secretsManager(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(map[string]any{"ARN": secretARN, "Name": "key", "VersionId": "1", "SecretString": key})
}
