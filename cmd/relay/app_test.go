package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/cenkalti/backoff/v5"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// testdata is absolute: some tests work in a folder of their own.
var testdata, _ = filepath.Abs("testdata")

// golden compares with testdata/NAME; -update writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join(testdata, name)
	if *update {
		if err := os.MkdirAll(testdata, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test ./cmd/relay -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", file, diff)
	}
}

// noon is when all tests happen.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// harness is an app whose world is memory and servers on loopback.
type harness struct {
	*app
	out, err *safeBuffer
}

// safeBuffer is written by the command and read by a test at the same time.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newHarness(t *testing.T, api http.Handler) *harness {
	t.Helper()
	for _, name := range []string{"RELAY_STACK", "RELAY_INBOX_BUCKET", "RELAY_STATE_MACHINE_ARN", "RELAY_WEBHOOK_SECRET_ARN", "RELAY_API_URL"} {
		t.Setenv(name, "") // so that it is put back
		os.Unsetenv(name)
	}
	t.Setenv("COLUMNS", "100")
	if api != nil {
		server := httptest.NewServer(api)
		t.Cleanup(server.Close)
		t.Setenv("RELAY_API_URL", server.URL)
	}
	out, errs := &safeBuffer{}, &safeBuffer{}
	return &harness{out: out, err: errs, app: &app{
		stdin: strings.NewReader(""), stdout: out, stderr: errs,
		width:   func() int { return 100 },
		now:     func() time.Time { return noon },
		ticks:   func(time.Duration) (<-chan time.Time, func()) { return nil, func() {} },
		sleep:   func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		newKey:  func() string { return "key-of-the-test" },
		api:     apiHTTP(),
		files:   filesHTTP(),
		backoff: func() backoff.BackOff { return &backoff.ZeroBackOff{} },
		loadAWS: func(context.Context, string, string) (aws.Config, error) { return testAWS(""), nil },
	}}
}

// apiOf is the address of the harness's API.
func apiOf(t *testing.T) string {
	t.Helper()
	return os.Getenv("RELAY_API_URL")
}

func testAWS(endpoint string) aws.Config {
	cfg := aws.Config{Region: "eu-west-1", Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""), RetryMaxAttempts: 1}
	if endpoint != "" {
		cfg.BaseEndpoint = &endpoint
	}
	return cfg
}

func (h *harness) run(t *testing.T, want int, args ...string) {
	t.Helper()
	if got := h.execute(t.Context(), args); got != want {
		t.Fatalf("relay %s: exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", strings.Join(args, " "), got, want, h.out, h.err)
	}
}

// both is what a person saw, stream by stream.
func (h *harness) both() string { return "stdout:\n" + h.out.String() + "\nstderr:\n" + h.err.String() }

// answers replays one answer after the other on a route, the last one for ever.
type answers struct {
	t     *testing.T
	mu    sync.Mutex
	left  map[string][]answer
	calls []*http.Request
	body  []string
}

type answer struct {
	status int
	body   string
	kind   string // application/json if empty
	header http.Header
	do     func()
}

func replay(t *testing.T, routes map[string][]answer) *answers {
	return &answers{t: t, left: maps.Clone(routes)}
}

func ok(body string) answer { return answer{status: http.StatusOK, body: body} }

func problemAnswer(status int, title, detail string) answer {
	return answer{status: status, kind: "application/problem+json", body: fmt.Sprintf(`{"type":"urn:cyberun-relay:error:%s","title":%[1]q,"status":%d,"detail":%q}`, title, status, detail)}
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	a.calls = append(a.calls, r)
	a.body = append(a.body, string(body))
	route := r.Method + " " + r.URL.Path
	left := a.left[route]
	if len(left) == 0 {
		a.mu.Unlock()
		a.t.Errorf("nothing to answer to %s", route)
		w.WriteHeader(http.StatusTeapot)
		return
	}
	next := left[0]
	if len(left) > 1 {
		a.left[route] = left[1:]
	}
	a.mu.Unlock()
	if next.do != nil {
		next.do()
	}
	for name, values := range next.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", next.kind)
	if next.kind == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	if next.status == hangUp {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(next.status)
	_, _ = io.WriteString(w, next.body)
}

// hangUp is a connection that ends without an answer.
const hangUp = -1

func (a *answers) count(method, path string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, r := range a.calls {
		if r.Method == method && r.URL.Path == path {
			n++
		}
	}
	return n
}

// sent is the body of the last call.
func (a *answers) sent() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.body[len(a.body)-1]
}

func TestHelp(t *testing.T) {
	for _, command := range []string{"", "run", "status", "list", "workflows", "containers", "call", "cancel", "redrive", "rescue", "webhook", "version"} {
		t.Run("help "+command, func(t *testing.T) {
			h := newHarness(t, nil)
			h.run(t, codeOK, append(strings.Fields(command), "--help")...)
			if h.err.String() != "" {
				t.Errorf("stderr: %s", h.err)
			}
			golden(t, strings.TrimSuffix("help-"+command, "-")+".txt", h.out.String())
		})
	}
}

func TestNoArguments(t *testing.T) {
	h := newHarness(t, nil)
	h.run(t, codeUsage)
	if h.out.String() != "" || !strings.Contains(h.err.String(), "Exit codes:") {
		t.Errorf("the help belongs on stderr:\n%s", h.both())
	}
}

func TestWrongCommandLines(t *testing.T) {
	h := newHarness(t, replay(t, nil)) // any call is an error
	var all strings.Builder
	for _, args := range []string{
		"frob", "run", "run x --frob", "run x -p steps", "run x -p =3", "run x -p a=1 -p a=2", "run x --max-seconds 0",
		"run x --max-seconds 604801", "run x --max-seconds many", "run x --idempotency-key=", "run x --prefix=", "run x --timeout 10m", "run x --timeout=-1s --watch",
		"run x --parameters-file testdata/no-such-file", "status", "cancel", "rescue", "rescue t --timeout 3s", "status r --timeout 3s", "redrive r --timeout 3s",
		"redrive r --state-machine-arn arn:aws:states:x", "list --limit 0", "list --limit 10001", "workflows a b",
		"containers a b", "containers A", "call", "call echo", "call Echo /x", "call echo /x -H nonsense", "call echo /x -d @testdata/no-such-file",
	} {
		h := &harness{app: h.app, out: &safeBuffer{}, err: &safeBuffer{}}
		h.stdout, h.stderr = h.out, h.err
		h.run(t, codeUsage, strings.Fields(args)...)
		if h.out.String() != "" {
			t.Errorf("relay %s: stdout has %q", args, h.out)
		}
		fmt.Fprintf(&all, "$ relay %s\n%s\n", args, h.err)
	}
	golden(t, "wrong-command-lines.txt", all.String())
}

func TestVersion(t *testing.T) {
	h := newHarness(t, nil)
	h.run(t, codeOK, "version")
	if !strings.HasPrefix(h.out.String(), "relay ") {
		t.Errorf("got %s", h.out)
	}
	h = newHarness(t, nil)
	h.run(t, codeOK, "version", "--json")
	if !strings.Contains(h.out.String(), `"go":"go1.`) {
		t.Errorf("got %s", h.out)
	}
}

// The package's doc and --help tell the same codes.
func TestExitCodesAreTold(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, codes, _ := strings.Cut(helpTail, "Exit codes:\n")
	for line := range strings.Lines(codes) {
		if line = strings.TrimSpace(line); !strings.Contains(string(doc), "//\t"+line) {
			t.Errorf("doc.go lacks %q", line)
		}
	}
}
