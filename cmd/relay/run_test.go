package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/google/go-cmp/cmp"
)

// upscale declares a parameter of each kind.
const upscale = `{"id":"3f0c","workflow_slug":"upscale","display_name":"Upscale a picture","version":3,"workflow_status":"active",
"description":"Makes a picture larger, tile by tile.","parameters":[
{"key":"image","type":"file","label":"Image","required":true,"accept":["image/png",".jpg"]},
{"key":"factor","type":"select","required":true,"options":[{"value":2,"label":"2x"},{"value":4,"label":"4x"}]},
{"key":"mode","type":"select","required":false,"default":"photo","options":[{"value":"photo","label":"Photo"},{"value":"anime","label":"Anime"}]},
{"key":"strength","type":"number","required":false,"default":0.5,"min":0,"max":1,"description":"How much detail is invented."},
{"key":"seed","type":"integer","required":false,"min":0},
{"key":"steps","type":"number","required":false,"max":50},
{"key":"tiled","type":"boolean","required":false,"default":true},
{"key":"prompt","type":"string","label":"prompt","required":false,"default":"a very long default that would push all of the columns of the table apart"},
{"key":"palette","type":"colour","required":false}],
"task_timeout":600,"max_retries":1,"tool_type":"comfyui","created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z"}`

const accepted = `{"run_id":"key-1","status":"submitting"}`

func startRoutes() map[string][]answer {
	return map[string][]answer{
		"GET /workflows/upscale": {ok(upscale)},
		"POST /runs":             {{status: 202, body: accepted}},
	}
}

func TestParametersAreTypedByTheWorkflow(t *testing.T) {
	api := replay(t, startRoutes())
	h := newHarness(t, api)
	h.run(t, codeOK, "run", "upscale",
		"-p", "image=s3://pictures/a b.png", "-p", "factor=4", "-p", "strength=0.25", "-p", "seed=18446744073709551615",
		"-p", "tiled=false", "-p", "prompt=30", "-p", "palette=7", "-p", "mode=anime",
		"--prefix", "nice/{run_id}/", "--max-seconds", "60")
	want := `{"workflow":"upscale","parameters":{"factor":4,"image":"s3://pictures/a b.png","mode":"anime","palette":"7","prompt":"30","seed":18446744073709551615,"strength":0.25,"tiled":false},"destination":{"prefix":"nice/{run_id}/"},"max_seconds":60}`
	if diff := cmp.Diff(want, api.sent()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	golden(t, "run-started.txt", h.both())
}

func TestParametersFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.json")
	write(t, file, `{"image":"s3://pictures/a.png","factor":2,"seed":18446744073709551615,"prompt":"from the file"}`)
	for name, test := range map[string]struct{ file, stdin string }{"file": {file: file}, "stdin": {"-", read(t, file)}, "a byte order mark": {"-", "\xef\xbb\xbf" + read(t, file)}} {
		t.Run(name, func(t *testing.T) {
			api := replay(t, startRoutes())
			h := newHarness(t, api)
			h.stdin = strings.NewReader(test.stdin)
			h.run(t, codeOK, "run", "upscale", "--parameters-file", test.file, "-p", "prompt=of the line")
			want := `{"workflow":"upscale","parameters":{"factor":2,"image":"s3://pictures/a.png","prompt":"of the line","seed":18446744073709551615}}`
			if diff := cmp.Diff(want, api.sent()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParametersFilesThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"":                "stdin: is empty",
		"[]":              "stdin: must be a JSON object, not an array",
		"null":            "stdin: must be a JSON object, not null",
		"{":               "stdin: is not JSON",
		`{"a":1} {"b":2}`: "stdin: has more after its JSON object",
		`{"a":1}x`:        "stdin: has more after its JSON object",
		`"` + strings.Repeat("x", run.MaxTextBytes):                       "stdin: is more than",
		`{"prompt":"` + strings.Repeat("ä", run.MaxRequestBytes/2) + `"}`: "stdin: is 261645 bytes as UTF-8 without blanks",
		"{\"prompt\":\"caf\xe9\"}":                                        "stdin: is not UTF-8: line 1 has the byte 0xE9, as Latin-1",
		"\xff\xfe{\x00}\x00":                                              "stdin: is not UTF-8 but UTF-16 text",
		`{"prompt":"\ud83d"}`:                                             "half of a surrogate pair",
		`{"prompt":"a","x":{"y":1,"y":2},"prompt":"b"}`:                   "stdin: x.y is given twice: which value is meant?; prompt is given twice",
	} {
		h := newHarness(t, replay(t, nil))
		h.stdin = strings.NewReader(text)
		h.run(t, codeUsage, "run", "upscale", "--parameters-file", "-")
		if !strings.Contains(h.err.String(), want) {
			t.Errorf("%.20q: %s, want %q", text, h.err, want)
		}
	}
}

// An argument's bytes reach the request as they are, or nothing is sent.
func TestArgumentsThatAreNoText(t *testing.T) {
	for _, args := range [][]string{{"run", "upscale", "-p", "prompt=caf\xe9"}, {"run", "caf\xe9"}, {"status", "\xff"}, {"run", "upscale", "-p", "image=@caf\xe9.png"}} {
		h := newHarness(t, replay(t, nil)) // any call is an error
		h.run(t, codeUsage, args...)
		if !strings.Contains(h.err.String(), "is not UTF-8") || !strings.Contains(h.err.String(), fmt.Sprintf("argument %d", len(args))) {
			t.Errorf("%q: %s", args, h.err)
		}
	}
	api := replay(t, startRoutes())
	h := newHarness(t, api)
	h.run(t, codeOK, "run", "upscale", "-p", "factor=2", "-p", "image=s3://pictures/a.png", "-p", "prompt=cafe\u0301 \ufffd 山")
	if !strings.Contains(api.sent(), "cafe\u0301 \ufffd 山") {
		t.Errorf("sent %s", api.sent())
	}
}

// All that is wrong is told at once, and nothing is uploaded or started.
func TestEveryFaultAtOnce(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "photo.png", "…")
	api := replay(t, map[string][]answer{"GET /workflows/upscale": {ok(upscale)}})
	h := newHarness(t, api)
	h.run(t, codeUsage, "run", "upscale", "-p", "image=@no-such.png", "-p", "factor=3", "-p", "strength=2", "-p", "steps=many", "-p", "frob=1")
	h2 := newHarness(t, api)
	h2.run(t, codeUsage, "run", "upscale", "-p", "image=photo.png", "-p", "factor=2")
	h3 := newHarness(t, api)
	h3.run(t, codeUsage, "run", "upscale", "-p", "image=@.", "-p", "factor=2")
	golden(t, "run-faults.txt", h.both()+h2.both()+h3.both())
}

func TestDisabledWorkflow(t *testing.T) {
	api := replay(t, map[string][]answer{"GET /workflows/upscale": {ok(strings.Replace(upscale, `"active"`, `"disabled"`, 1))}})
	h := newHarness(t, api)
	h.run(t, codeUsage, "run", "upscale", "-p", "factor=2")
	golden(t, "run-disabled.txt", h.both())
}

func TestUnknownWorkflow(t *testing.T) {
	api := replay(t, map[string][]answer{"GET /workflows/frob": {problemAnswer(404, "WorkflowNotFound", "Cyberun has no workflow \"frob\" for this key: 404")}})
	h := newHarness(t, api)
	h.run(t, codeUsage, "run", "frob", "-p", "factor=2")
	golden(t, "run-unknown.txt", h.both())
}

// A start that may have happened is told with the key that finds it.
func TestStartOfUnknownOutcome(t *testing.T) {
	api := replay(t, map[string][]answer{"POST /runs": {{status: 403, body: `{"message":"Forbidden"}`}}})
	h := newHarness(t, api)
	h.run(t, codeUnreachable, "run", "upscale", "--idempotency-key", "mine")
	if !strings.Contains(h.err.String(), "--idempotency-key mine finds it") {
		t.Errorf("got %s", h.err)
	}
	h = newHarness(t, replay(t, map[string][]answer{"POST /runs": {{status: 202, body: `{}`}}}))
	h.run(t, codeUnreachable, "run", "upscale")
	if !strings.Contains(h.err.String(), "key-of-the-test") {
		t.Errorf("got %s", h.err)
	}
}

func TestInterruptedStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	api := replay(t, map[string][]answer{"POST /runs": {{status: hangUp, do: cancel}}})
	h := newHarness(t, api)
	if got := h.execute(ctx, []string{"run", "upscale"}); got != codeInterrupted {
		t.Errorf("exit code %d\n%s", got, h.both())
	}
	if !strings.Contains(h.err.String(), "relay: interrupted\n") || !strings.Contains(h.err.String(), "--idempotency-key key-of-the-test") {
		t.Errorf("got %s", h.err)
	}
}

func TestSameKeyAgain(t *testing.T) {
	h := newHarness(t, replay(t, map[string][]answer{"POST /runs": {{status: 202, body: `{"run_id":"key-1","status":"succeeded"}`}}}))
	h.run(t, codeOK, "run", "upscale", "--idempotency-key", "mine")
	if got := h.out.String(); got != "run key-1 was started before: succeeded\n" {
		t.Errorf("got %s", got)
	}
}

func TestRunJSON(t *testing.T) {
	h := newHarness(t, replay(t, startRoutes()))
	h.run(t, codeOK, "run", "upscale", "--json")
	if got := h.out.String(); got != accepted+"\n" {
		t.Errorf("got %s", got)
	}
}

// fakeAWS is the part of AWS that the commands call.
type fakeAWS struct {
	mu      sync.Mutex
	puts    map[string]string // path: type, a blank, content
	outputs map[string]string // of the stack; nil: there is none
	sfn     http.HandlerFunc
}

func (f *fakeAWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	switch {
	case r.Header.Get("X-Amz-Target") != "":
		f.sfn(w, r)
	case r.Method == http.MethodPut:
		if _, there := f.puts[r.URL.Path]; there {
			w.WriteHeader(http.StatusPreconditionFailed)
			_, _ = io.WriteString(w, `<Error><Code>PreconditionFailed</Code><Message>it is there</Message></Error>`)
			return
		}
		f.puts[r.URL.Path] = r.Header.Get("Content-Type") + " " + string(body)
	case f.outputs == nil:
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>Stack with id x does not exist</Message></Error></ErrorResponse>`)
	default:
		var members strings.Builder
		for name, value := range f.outputs {
			members.WriteString(`<member><OutputKey>` + name + `</OutputKey><OutputValue>` + value + `</OutputValue></member>`)
		}
		_, _ = io.WriteString(w, `<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>x</StackName><Outputs>`+members.String()+`</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>`)
	}
}

func (f *fakeAWS) use(t *testing.T, h *harness) {
	t.Helper()
	if f.puts == nil {
		f.puts = map[string]string{}
	}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	h.loadAWS = func(context.Context, string, string) (aws.Config, error) { return testAWS(server.URL), nil }
}

func TestUpload(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "my photo.png", "not a picture")
	api := replay(t, startRoutes())
	h := newHarness(t, api)
	cloud := &fakeAWS{}
	cloud.use(t, h)
	command := []string{"run", "upscale", "-p", "image=@my photo.png", "-p", "factor=2", "--inbox-bucket", "inbox", "--idempotency-key", "mine"}
	h.run(t, codeOK, command...)
	first := api.sent()
	var request struct{ Parameters map[string]string }
	_ = json.Unmarshal([]byte(first), &request)
	uri := request.Parameters["image"]
	if !strings.HasPrefix(uri, "s3://inbox/cli/") || !strings.HasSuffix(uri, "/my photo.png") {
		t.Fatalf("image is %q", uri)
	}
	want := map[string]string{"/" + strings.TrimPrefix(uri, "s3://"): "image/png not a picture"}
	if diff := cmp.Diff(want, cloud.puts); diff != "" {
		t.Errorf("in the bucket (-want +got):\n%s", diff)
	}
	// The same again is the same request; another key or content is another object.
	h.run(t, codeOK, command...)
	if again := api.sent(); again != first {
		t.Errorf("the same command sent\n%s and then\n%s", first, again)
	}
	write(t, "my photo.png", "another one!!")
	h.run(t, codeOK, command...)
	if api.sent() == first || len(cloud.puts) != 2 {
		t.Errorf("another file was not uploaded: %v", cloud.puts)
	}
	command[len(command)-1] = "another key"
	h.run(t, codeOK, command...)
	if len(cloud.puts) != 3 {
		t.Errorf("two runs share an upload: %v", cloud.puts)
	}
}

func TestUploadRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "photo.png", "…")
	api := replay(t, startRoutes())
	h := newHarness(t, api)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`)
	}))
	defer server.Close()
	h.loadAWS = func(context.Context, string, string) (aws.Config, error) { return testAWS(server.URL), nil }
	h.run(t, codeUnreachable, "run", "upscale", "-p", "image=@photo.png", "-p", "factor=2", "--inbox-bucket", "inbox")
	if api.count("POST", "/runs") != 0 {
		t.Error("a run was started without its file")
	}
	if !strings.Contains(h.err.String(), "AccessDenied") || !strings.Contains(h.err.String(), "s3:PutObject") {
		t.Errorf("got %s", h.err)
	}
}

// The stack tells where everything is.
func TestFoundByStack(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "photo.png", "…")
	api := replay(t, startRoutes())
	server := httptest.NewServer(api)
	defer server.Close()
	h := newHarness(t, nil)
	cloud := &fakeAWS{outputs: map[string]string{"ApiUrl": server.URL, "InboxBucket": "the-inbox"}}
	cloud.use(t, h)
	h.run(t, codeOK, "run", "upscale", "-p", "image=@photo.png", "-p", "factor=2")
	if !strings.Contains(api.sent(), `"s3://the-inbox/cli/`) {
		t.Errorf("sent %s", api.sent())
	}
}

func TestNoStack(t *testing.T) {
	h := newHarness(t, nil)
	(&fakeAWS{}).use(t, h)
	h.run(t, codeUnreachable, "list", "--stack", "relay-2")
	h2 := newHarness(t, nil)
	(&fakeAWS{outputs: map[string]string{"Other": "x"}}).use(t, h2)
	h2.run(t, codeUnreachable, "list")
	golden(t, "no-stack.txt", h.both()+h2.both())
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
