// Command room runs each function once within the limits that Lambda sets, and prints
// what it took: how long until it was ready, how long the call, how much memory at
// most.
//
// usage: stack exec -- room
//
// The binaries are those that SAM built, and AWS and Cyberun are the local stack's.
// Like Lambda, it gives a function a read-only root with nothing of this machine in it
// but certificates and names (no /etc/mime.types, no shell), /tmp alone to write to,
// another user, the memory of the function's MemorySize, and the share of a core that
// comes with that. A limit that the machine has no means for is left out, and the
// output says so.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == confineCommand {
		fmt.Fprintln(os.Stderr, "room:", confined(os.Args[2:])) // returns only if it failed
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := measure(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "room:", err)
		os.Exit(1)
	}
}

// fullShare of its memory is what no function may come near: Lambda ends one that
// needs more than all of it, and a larger output or event needs more than a sample.
const fullShare = 0.8

// measure runs every function and prints the table. It fails when one fails, or
// comes near its memory.
func measure(ctx context.Context, out io.Writer) error {
	w, err := open(ctx)
	if err != nil {
		return err
	}
	jail, missing := limits()
	fmt.Fprintf(out, "%s\n", jail.describe())
	for _, m := range missing {
		fmt.Fprintf(out, "not confined: %s\n", m)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FUNCTION\tMEMORY\tREADY\tCALL\tPEAK\tOF ITS MEMORY\tBINARY\tANSWER")
	calls := w.calls()
	var faults []error
	for _, name := range w.uncalled(calls) {
		faults = append(faults, fmt.Errorf("%s: no call is made of it: add one to calls", name))
	}
	for _, c := range calls {
		r, err := w.run(ctx, jail, c)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", c.function, err))
			fmt.Fprintf(t, "%s\t%d MB\t\t\t\t\t\tfailed\n", c.function, r.memory)
			continue
		}
		share := float64(r.peak) / float64(r.memory*mib)
		if share > fullShare {
			faults = append(faults, fmt.Errorf("%s: it took %.0f %% of its memory", c.function, 100*share))
		}
		fmt.Fprintf(t, "%s\t%d MB\t%d ms\t%d ms\t%.1f MiB\t%.0f %%\t%.1f MiB\t%s\n", c.function, r.memory, r.ready.Milliseconds(), r.call.Milliseconds(),
			float64(r.peak)/mib, 100*share, float64(r.binary)/mib, r.answer)
	}
	_ = t.Flush()
	return errors.Join(faults...)
}

const mib = 1 << 20

// world is the local stack that the functions are run against.
type world struct {
	root    string // the project
	builds  string // where SAM put the functions
	told    stackFile
	aws     aws.Config
	lambda  *lambda.Client
	workdir string
}

type stackFile struct {
	Resources     map[string]string
	Outputs       map[string]string
	Sources       string
	WebhookSecret string `json:"webhook_secret"`
	Logs          string
}

func open(ctx context.Context) (*world, error) {
	file := os.Getenv("RELAY_STACK_FILE")
	if file == "" {
		return nil, errors.New("no stack: RELAY_STACK_FILE is not set; `make room` brings one up")
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	w := &world{}
	if err := json.Unmarshal(raw, &w.told); err != nil {
		return nil, err
	}
	if w.root, err = os.Getwd(); err != nil {
		return nil, err
	}
	w.builds = filepath.Join(w.root, ".local", "build", w.told.Sources)
	if _, err := os.Stat(w.builds); err != nil {
		return nil, fmt.Errorf("run this at the project's root: %w", err)
	}
	if w.aws, err = awsconfig.LoadDefaultConfig(ctx); err != nil {
		return nil, err
	}
	w.lambda = lambda.NewFromConfig(w.aws)
	w.workdir = w.told.Logs
	return w, nil
}

// call is one invocation, and what its answer must hold.
type call struct {
	function string
	event    func() ([]byte, error)
	want     string
	settings map[string]string // beside the function's own
	before   func(context.Context) error
}

// sampleRun is the run of the samples: submit pays for it, the next steps go on.
const (
	sampleRun   = "sample-run"
	sampleStart = "2026-11-23T20:18:39.123Z" // when it began: too long ago by now
)

// calls are one of each function, in the order in which a run needs them.
func (w *world) calls() []call {
	sample := func(name string, changes ...string) func() ([]byte, error) {
		return func() ([]byte, error) {
			raw, err := os.ReadFile(filepath.Join(w.root, "events", name+".json"))
			return []byte(strings.NewReplacer(changes...).Replace(string(raw))), err
		}
	}
	inbox := w.told.Outputs["InboxBucket"]
	return []call{
		{function: "SubmitFunction", event: sample("submit", sampleStart, time.Now().UTC().Format(time.RFC3339)), want: `"task_id":`},
		{function: "PollStatusFunction", event: sample("poll-status"), want: `"done":true`},
		{function: "CopyResultFunction", event: sample("copy-result"), want: `"manifest_key":"runs/` + sampleRun},
		{function: "ApiFunction", event: sample("api-get-run"), want: `"statusCode":200`},
		{
			function: "OnUploadFunction", event: sample("on-upload-job", "cyberun-relay-inboxbucket-example", inbox), want: `"started":["sunset-`,
			before: func(ctx context.Context) error {
				_, err := s3.NewFromConfig(w.aws, func(o *s3.Options) { o.UsePathStyle = true }).PutObject(ctx, &s3.PutObjectInput{
					Bucket: &inbox, Key: aws.String("jobs/sunset.json"), Body: strings.NewReader(`{"workflow": "text-to-image@2", "parameters": {"prompt": "a room"}}`),
				})
				return err
			},
		},
		{function: "OnWebhookFunction", event: w.signedWebhook, want: `"statusCode":204`, settings: map[string]string{"WEBHOOKS_ENABLED": "true"}},
		{function: "CloseRunFunction", event: sample("close-run-sweep"), want: ``},
		{function: "CallContainerFunction", event: sample("call-container-chat"), want: `"statusCode":200`},
	}
}

// uncalled are the functions of the stack that no call is for.
func (w *world) uncalled(calls []call) (names []string) {
	for id := range w.told.Resources {
		if strings.HasSuffix(id, "Function") && !slices.ContainsFunc(calls, func(c call) bool { return c.function == id }) {
			names = append(names, id)
		}
	}
	return names
}

// result is what a call took.
type result struct {
	memory      int64 // MB, the template's
	ready, call time.Duration
	peak        int64 // bytes
	binary      int64
	answer      string
}

// run starts a function as Lambda does, gives it one event and waits for its answer.
func (w *world) run(ctx context.Context, jail limit, c call) (result, error) {
	name := w.told.Resources[c.function]
	deployed, err := w.lambda.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &name})
	if err != nil {
		return result{}, err
	}
	r := result{memory: int64(aws.ToInt32(deployed.MemorySize))}
	if c.before != nil {
		if err := c.before(ctx); err != nil {
			return r, err
		}
	}
	event, err := c.event()
	if err != nil {
		return r, err
	}
	binary := filepath.Join(w.builds, c.function, "bootstrap")
	info, err := os.Stat(binary)
	if err != nil {
		return r, err
	}
	r.binary = info.Size()
	api, err := newRuntimeAPI(event)
	if err != nil {
		return r, err
	}
	defer api.close()
	env := []string{
		"AWS_LAMBDA_RUNTIME_API=" + api.address, "AWS_LAMBDA_FUNCTION_NAME=" + name, fmt.Sprintf("AWS_LAMBDA_FUNCTION_MEMORY_SIZE=%d", r.memory),
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "LAMBDA_TASK_ROOT=/var/task", "_HANDLER=bootstrap", "TZ=:UTC", "PATH=/usr/local/bin:/usr/bin:/bin:/opt/bin",
		"AWS_REGION=" + w.aws.Region, "AWS_DEFAULT_REGION=" + w.aws.Region, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
		"AWS_ENDPOINT_URL=" + os.Getenv("AWS_ENDPOINT_URL"),
	}
	settings := map[string]string{}
	if deployed.Environment != nil {
		settings = deployed.Environment.Variables
	}
	for key, value := range c.settings {
		settings[key] = value
	}
	for key, value := range settings {
		env = append(env, key+"="+value)
	}
	var said bytes.Buffer
	p, err := jail.start(w.workdir, r.memory, binary, env, &said)
	if err != nil {
		return r, err
	}
	defer p.stop()
	answer, err := api.wait(ctx, p.ended, time.Duration(aws.ToInt32(deployed.Timeout))*time.Second)
	if err != nil {
		return r, fmt.Errorf("%w\n%s", err, lastLines(said.String()))
	}
	r.ready, r.call = api.asked.Sub(p.begun), api.answered.Sub(api.given)
	if r.peak, err = p.peak(); err != nil {
		return r, err
	}
	if answer.failed || !strings.Contains(strings.ReplaceAll(answer.body, `": `, `":`), c.want) {
		return r, fmt.Errorf("it answered %.600s, and not %s\n%s", answer.body, c.want, lastLines(said.String()))
	}
	r.answer = "as it should"
	return r, nil
}

// lastLines are the end of what a function logged.
func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-shownLines):], "\n")
}

const shownLines = 10
