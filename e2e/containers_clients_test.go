package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestOpenAIClient: PyPI's openai gets a completion, signed, with no key of
// Cyberun's in its process.
func TestOpenAIClient(t *testing.T) {
	s := open(t)
	t.Parallel()
	python, err := filepath.Abs("../.tools/openai/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(python); err != nil {
		t.Skip("the OpenAI client is not installed: `make .tools/openai/.done` does that, inside the project")
	}
	run := func(container string) (told struct {
		Keys, Models      []string
		Content, Streamed string
		Tokens, Status    int
		RelayError        string `json:"relay_error"`
	}) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), python, "testdata/openai_client.py", container, "local-7b", "good morning, Grüße")
		cmd.Stderr = os.Stderr
		cmd.Env = slices.DeleteFunc(os.Environ(), func(pair string) bool { return strings.Contains(pair, s.key) })
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := json.Unmarshal(out, &told); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Logf("%s", bytes.TrimSpace(out))
		return told
	}
	const said = "You said: good morning, Grüße"
	if told := run("vllm"); told.Content != said || told.Streamed != said || len(told.Models) != 1 || told.Tokens == 0 || len(told.Keys) > 0 {
		t.Errorf("%+v", told)
	}
	if told := run("stopped"); told.Status != 409 || told.RelayError != "ContainerNotRunning" {
		t.Errorf("%+v", told)
	}
}

// TestCurl makes the call that docs/containers.md shows with curl.
func TestCurl(t *testing.T) {
	s := open(t)
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("there is no curl on this machine")
	}
	if help, err := exec.CommandContext(t.Context(), curl, "--help", "all").Output(); err != nil || !bytes.Contains(help, []byte("--aws-sigv4")) || !bytes.Contains(help, []byte("--json")) {
		t.Skip("this curl knows no --aws-sigv4 or no --json (7.82)")
	}
	who, err := s.aws.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), curl, "-sS", "--aws-sigv4", "aws:amz:"+s.aws.Region+":execute-api", "--user", who.AccessKeyID+":"+who.SecretAccessKey,
		"--json", `{"model":"local-7b","messages":[{"role":"user","content":"good morning"}]}`, s.apiURL+"/containers/vllm/v1/chat/completions").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("You said: good morning")) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestRelayCall: the command line lists, calls, and tells by its exit code.
func TestRelayCall(t *testing.T) {
	s := open(t)
	t.Parallel()
	needRelay(t)
	relay := func(want int, stdin string, args ...string) string {
		t.Helper()
		return relay(t, want, stdin, args...)
	}
	if list := relay(0, "", "containers"); !strings.Contains(list, "vllm") {
		t.Error(list)
	}
	relay(0, "", "containers", "vllm")
	if models := relay(0, "", "call", "vllm", "/v1/models"); !strings.Contains(models, "local-7b") {
		t.Error(models)
	}
	var seen echoed
	if err := json.Unmarshal([]byte(relay(0, "\x00\xff", "call", "echo", "/a%2Fb%20c?x=%20", "-d", "@-", "-H", "X-A: 1")), &seen); err != nil || seen.Path != "/a%2Fb%20c" || seen.Query != "x=%20" || base64.StdEncoding.EncodeToString(seen.BodyBase64) != "AP8=" || seen.Method != "POST" {
		t.Errorf("%v %+v", err, seen)
	}
	relay(6, "", "call", "failing", "/404")
	relay(7, "", "call", "failing", "/503")
	relay(2, "", "call", "stopped", "/")
	relay(2, "", "call", "echo", "/../x")
	relay(3, "", "call", "large", "/x", "--api-url", s.apiURL+"/nowhere")
}
