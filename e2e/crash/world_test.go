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
	submit, closeRun, standin string
	s3                        *s3.Client
	s3Upstream                upstream
	machine                   machine
	serial                    atomic.Int64
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
	b := &bench{submit: filepath.Join(dir, "submit"), closeRun: filepath.Join(dir, "close-run"), standin: filepath.Join(dir, "standin")}
	for binary, source := range map[string]string{b.submit: "../../functions/submit", b.closeRun: "../../functions/close-run", b.standin: "../../local/standin"} {
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, source).CombinedOutput(); err != nil {
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
}

func (b *bench) newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{bench: b, transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(w.transport.CloseIdleConnections)
	background(t, "standin", exec.Command(b.standin, "-key", key), func(line string) { w.cyberun = strings.TrimSuffix(line, "/api/v1") })
	return w
}

func (w *world) reset() error { return control(http.MethodPost, w.cyberun+"/_/reset", nil) }

// ledger is what was paid for.
type ledger struct {
	Tasks []struct {
		ID              string         `json:"id"`
		Status          string         `json:"status"`
		CancelRequested bool           `json:"cancel_requested"`
		Parameters      map[string]any `json:"parameters"`
	} `json:"tasks"`
	Uploads []struct {
		FileKey string `json:"file_key"`
		Bytes   int64  `json:"bytes"`
		SHA256  string `json:"sha256"`
	} `json:"uploads"`
}

func (w *world) ledger() (ledger, error) {
	var l ledger
	return l, control(http.MethodGet, w.cyberun+"/_/ledger", &l)
}

func control(method, url string, into any) error {
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
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
	started                 time.Time
}

// stepFunctions answers DescribeExecution.
func stepFunctions(now func() execution) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		e := now()
		answer := map[string]any{"executionArn": e.arn, "name": e.arn[strings.LastIndex(e.arn, ":")+1:], "status": e.status,
			"startDate": float64(e.started.UnixMilli()) / 1000, "input": e.input}
		if e.name != "" {
			cause, _ := json.Marshal(map[string]string{"errorMessage": e.cause, "errorType": e.name})
			answer["error"], answer["cause"] = e.name, string(cause)
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_ = json.NewEncoder(w).Encode(answer)
	}
}

// secretsManager answers GetSecretValue.
func secretsManager(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(map[string]any{"ARN": secretARN, "Name": "key", "VersionId": "1", "SecretString": key})
}
