package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRoutesOfAProcessedTemplate(t *testing.T) {
	template, err := os.ReadFile("testdata/processed.json")
	if err != nil {
		t.Fatal(err)
	}
	api, got, err := routes(template)
	if err != nil {
		t.Fatal(err)
	}
	want := []route{
		{"$default", "ApiFunction", true},
		{"ANY /containers/{slug}/{path+}", "CallContainerFunction", true},
		{"DELETE /runs/{id}", "ApiFunction", true},
		{"GET /containers", "CallContainerFunction", true},
		{"GET /containers/{slug}", "CallContainerFunction", true},
		{"GET /runs", "ApiFunction", true},
		{"GET /runs/{id}", "ApiFunction", true},
		{"GET /workflows", "ApiFunction", true},
		{"GET /workflows/{slug}", "ApiFunction", true},
		{"POST /runs", "ApiFunction", true},
		{"POST /webhooks/cyberun", "OnWebhookFunction", false},
	}
	if diff := cmp.Diff(want, got); diff != "" || api != "Api" {
		t.Errorf("API %q, routes (-want +got):\n%s", api, diff)
	}
}

func TestRoutesThatCannotBeRead(t *testing.T) {
	for name, template := range map[string]string{
		"no JSON":     "Resources:",
		"no API":      `{"Resources": {"Bucket": {"Type": "AWS::S3::Bucket"}}}`,
		"no function": `{"Resources": {"Api": {"Type": "AWS::ApiGatewayV2::Api", "Properties": {"Body": {"paths": {"/runs": {"get": {}}}}}}}}`,
	} {
		if _, got, err := routes([]byte(template)); err == nil {
			t.Errorf("%s: routes %v and no error", name, got)
		}
	}
}

// TestLockTellsTheLiving: a process id alone may be a stranger's, a held lock may not.
func TestLockTellsTheLiving(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := takeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := takeLock(path); !errors.Is(err, errUp) {
		t.Errorf("a second lock: %v, want errUp", err)
	}
	if pid, err := holder(path); err != nil || pid != os.Getpid() {
		t.Errorf("holder %d, %v, want %d", pid, err, os.Getpid())
	}
	first.release()
	second, err := takeLock(path)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	second.release()
}

// TestStopEndsTheWholeGroup: also what is deaf to SIGTERM, and what outlives its leader.
func TestStopEndsTheWholeGroup(t *testing.T) {
	for name, script := range map[string]string{
		"polite":              `sleep 600 & echo $! >child; wait`,
		"deaf":                `trap '' TERM; sleep 600 & echo $! >child; wait; wait`,
		"leader ends at once": `(trap '' TERM; sleep 600) & echo $! >child; exit 0`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.Command("sh", "-c", script)
			cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Setpgid: true}
			p, err := launch(name, "", cmd)
			if err != nil {
				t.Fatal(err)
			}
			var child int
			err = eventually(t.Context(), time.Minute, "the child", func(context.Context) error {
				body, err := os.ReadFile(filepath.Join(dir, "child"))
				if err != nil {
					return err
				}
				child, err = strconv.Atoi(strings.TrimSpace(string(body)))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			p.stop(10 * time.Millisecond)
			if !p.ended() {
				t.Error("the leader lives")
			}
			err = eventually(t.Context(), time.Minute, "the child's end", func(context.Context) error {
				if living(child) {
					return errors.New("it lives")
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// living is false for a process that is gone or only waits to be buried.
func living(pid int) bool {
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && !strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
}

func TestExportsSurviveAShell(t *testing.T) {
	st := State{Endpoint: "http://127.0.0.1:1", Outputs: map[string]string{"InboxBucket": `it's $HOME "quoted"`}}
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte(st.exports("stack.json")), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "-c", `. "$0"; printf %s "$RELAY_INBOX_BUCKET"`, file).Output()
	if err != nil || string(out) != st.Outputs["InboxBucket"] {
		t.Errorf("a shell reads %q, %v", out, err)
	}
}

func TestForeignAWSSettingsAreLeftOut(t *testing.T) {
	got := foreign([]string{"AWS_PROFILE=work", "PATH=/bin", "AWS_REGION=eu-west-1", "RELAY_OTHER=1"})
	if diff := cmp.Diff([]string{"PATH=/bin", "RELAY_OTHER=1"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestParametersGivenWinOverThisMachines(t *testing.T) {
	o := Options{Params: map[string]string{"HoldSeconds": "0", "AllowInsecureOrigins": "false"}}
	got := o.parameters("http://127.0.0.1:9/api/v1", true)
	want := []string{"AllowInsecureOrigins=false", "Architecture=" + architecture(), "CyberunBaseUrl=http://127.0.0.1:9/api/v1", "HoldSeconds=0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestSourcesChangeWithWhatIsDeployed: a stale binary must never be deployed,
// and an edited test must not cost a build.
func TestSourcesChangeWithWhatIsDeployed(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := errors.Join(ensureDir(path), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"template.yaml", "go.mod", "go.sum", "functions/api/main.go", "shared/run/run.go"} {
		write(name, name)
	}
	s := &Stack{Opt: Options{Root: root}}
	hash := func() string {
		t.Helper()
		key, err := s.sources()
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	first := hash()
	write("shared/run/run_test.go", "a test")
	write("README.md", "words")
	if hash() != first {
		t.Error("a test and a README changed what is built")
	}
	write("shared/run/run.go", "another")
	if hash() == first {
		t.Error("an edit in shared/ did not change what is built")
	}
}

func TestTimeOutsAreShortenedAsAsked(t *testing.T) {
	const machine = `{"TimeoutSeconds":691200,"States":{"AwaitWebhook":{"TimeoutSeconds":300}}}`
	for _, c := range []struct {
		asked   Options
		machine string
		want    string // empty: refused
	}{
		{Options{Machine: 5}, machine, `{"States":{"AwaitWebhook":{"TimeoutSeconds":300}},"TimeoutSeconds":5}`},
		{Options{Await: 10}, machine, `{"States":{"AwaitWebhook":{"TimeoutSeconds":10}},"TimeoutSeconds":691200}`},
		{Options{Machine: 5, Await: 10}, machine, `{"States":{"AwaitWebhook":{"TimeoutSeconds":10}},"TimeoutSeconds":5}`},
		{Options{Await: 10}, `{"States":{}}`, ""},
		{Options{Machine: 5}, `no JSON`, ""},
	} {
		if got, err := c.asked.shortened(c.machine); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("-machine-timeout %d -await %d: %s, %v, want %s", c.asked.Machine, c.asked.Await, got, err, c.want)
		}
	}
}

// TestAnotherMiniStackIsRefused: what local/ministack replaces must be what it
// was written for, or tests would pass on a Step Functions that does not exist.
func TestAnotherMiniStackIsRefused(t *testing.T) {
	o := Options{Root: "../.."}
	python := o.tool("ministack", "python")
	if _, err := os.Stat(python); err != nil {
		t.Skip("MiniStack is not installed; `make tools` does that")
	}
	other := t.TempDir()
	for name, text := range map[string]string{
		"__init__.py":               "",
		"services/__init__.py":      "",
		"services/s3.py":            "",
		"services/eventbridge.py":   "def _put_events(data, allow_aws_source=False):\n    return data\n",
		"services/stepfunctions.py": "def now_iso(zone):\n    return zone\n",
	} {
		path := filepath.Join(other, "ministack", name)
		if err := errors.Join(ensureDir(path), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(python, "-B", o.miniStack())
	cmd.Env = append(os.Environ(), "PYTHONPATH="+other)
	told, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("it was started")
	}
	for _, want := range []string{
		"eventbridge._put_events has changed", "stepfunctions._run_execution is not there",
		"stepfunctions.now_iso takes (zone), not ()", "s3._fire_s3_event is not there",
	} {
		if !strings.Contains(string(told), want) {
			t.Errorf("nothing says %q:\n%s", want, told)
		}
	}
}

// TestLimits holds what stands in for Lambda's and Step Functions' limits to AWS's
// figures; that MiniStack meets it is e2e's to show.
func TestLimits(t *testing.T) {
	o := Options{Root: "../.."}
	python := o.tool("ministack", "python")
	if _, err := os.Stat(python); err != nil {
		t.Skip("MiniStack is not installed; `make tools` does that")
	}
	if told, err := exec.Command(python, "-B", "testdata/limits.py", filepath.Dir(o.miniStack())).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, told)
	}
}

func TestFailedToolShowsTheEndOfItsLog(t *testing.T) {
	s := &Stack{Opt: Options{Root: t.TempDir(), Dir: t.TempDir()}}
	err := s.tool(t.Context(), "compiler", os.Environ(), "sh", "-c", "seq 100; echo what went wrong; exit 3")
	if err == nil || !strings.Contains(err.Error(), "what went wrong") || strings.Contains(err.Error(), "\n50\n") {
		t.Errorf("the error is %v", err)
	}
}

func TestCancelledToolEnds(t *testing.T) {
	s := &Stack{Opt: Options{Root: t.TempDir(), Dir: t.TempDir()}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.tool(ctx, "slow", os.Environ(), "sleep", "600"); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
