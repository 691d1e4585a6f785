package crash

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	// functionTime is what a call gets; slowTime where its reply is held, which
	// is above a POST's own.
	functionTime = 40 * time.Second
	slowTime     = 3 * time.Second
	// asyncTries is how often Lambda calls a function for an event.
	asyncTries = 3
)

// cell is one run with one fault, in a world of its own.
type cell struct {
	scenario scenario
	target   fault // none: a dry run

	world    *world
	runID    string
	buckets  string // the beginning of their names
	request  string
	submit   *function
	closeRun *function

	mu        sync.Mutex
	execution execution
}

// result is what a cell came to.
type result struct {
	paid, uploads int
	calls         int // of the function that the scenario is about
	end           string
	problems      []string
	log           string
	recorded      []call
}

func (s scenario) cell(ctx context.Context, w *world, target fault) (*cell, error) {
	n := w.serial.Add(1)
	c := &cell{scenario: s, target: target, world: w, runID: fmt.Sprintf("run-%04d", n), buckets: fmt.Sprintf("cell-%04d", n)}
	if err := w.reset(); err != nil {
		return nil, err
	}
	c.request = s.request
	for _, bucket := range []string{"state", "output", "inbox"} {
		if _, err := w.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(c.buckets + "-" + bucket)}); err != nil {
			return nil, err
		}
	}
	if s.file {
		uri := "s3://" + c.buckets + "-inbox/photo.png"
		c.request = fmt.Sprintf(`{"workflow":"upscale","parameters":{"image":%q,"seconds":600}}`, uri)
		if _, err := w.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(c.buckets + "-inbox"), Key: aws.String("photo.png"),
			Body: bytes.NewReader(photo()), ContentType: aws.String("image/png")}); err != nil {
			return nil, err
		}
	}
	c.execution = execution{arn: "arn:aws:states:us-east-1:000000000000:execution:relay-run:" + c.runID, input: c.request,
		status: "RUNNING", started: time.Now().UTC().Truncate(time.Millisecond)}
	c.submit, c.closeRun = c.function(w.submit), c.function(w.closeRun)
	return c, nil
}

// photo is a PNG of one pixel.
func photo() []byte {
	raw, err := base64.StdEncoding.DecodeString("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
	if err != nil {
		panic(err)
	}
	return raw
}

// function starts nothing yet: its process comes with its first call.
func (c *cell) function(binary string) *function {
	g := newGate()
	g.named = c.name
	g.stop = c.stop
	cyberun := g.open("cyberun", proxied(c.world.transport, c.world.cyberun))
	env := append([]string{
		"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"AWS_ENDPOINT_URL_S3=" + g.open("s3", c.world.s3Upstream),
		"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + g.open("secrets", served(http.HandlerFunc(secretsManager))),
		"AWS_ENDPOINT_URL_SFN=" + g.open("sfn", served(stepFunctions(c.now))),
		"CYBERUN_BASE_URL=" + cyberun + "/api/v1", "API_KEY_SECRET_ARN=" + secretARN,
		"STATE_BUCKET=" + c.buckets + "-state", "OUTPUT_BUCKET=" + c.buckets + "-output", "ALLOW_INSECURE_ORIGINS=true",
		"IN_DOUBT=" + cmp.Or(c.scenario.inDoubt, "verify"),
	}, settings...)
	return newFunction(binary, env, g)
}

func (c *cell) now() execution {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.execution
}

func (c *cell) ended(status, name, cause string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.execution.status == "RUNNING" { // an execution ends once
		c.execution.status, c.execution.name, c.execution.cause = status, name, cause
	}
}

// play runs the cell to its end and looks at what it left.
func (c *cell) play(ctx context.Context) (r result) {
	plan := slices.Clone(c.scenario.before)
	if c.target.kind != none {
		plan = append(plan, c.target)
	}
	armed := c.scenario.about(c)
	armed.gate.arm(plan...)
	last, err := c.scenario.life(ctx, c)
	if err == nil && !armed.gate.played() {
		err = fmt.Errorf("the call %q (%d) never came", c.target.name, c.target.n)
	}
	c.submit.gate.pending.Wait()
	r.calls, r.recorded = armed.calls, armed.gate.recorded(len(c.scenario.before))
	if err == nil {
		err = c.check(ctx, last, &r)
	}
	if err != nil {
		r.problems = append(r.problems, err.Error())
	}
	r.log = c.submit.close() + c.closeRun.close()
	return r
}

// step calls Submit as the state machine does, until it succeeded, failed for
// good, or the execution was stopped.
func (c *cell) step() (answer, error) {
	payload, err := json.Marshal(map[string]any{"run_id": c.runID, "execution_arn": c.execution.arn, "started_at": c.execution.started,
		"request": json.RawMessage(c.request)})
	if err != nil {
		return answer{}, err
	}
	budget := tries{machine: c.world.machine, used: map[int]float64{}}
	for {
		a, err := c.submit.invoke(payload, c.time(c.submit))
		if err != nil || a.name == "" || c.now().status != "RUNNING" {
			return a, err
		}
		pause, again := budget.again(a.name)
		if !again {
			c.ended("FAILED", a.name, a.message)
			return a, nil
		}
		if !c.submit.gate.played() || c.target.kind == none {
			pause = max(pause, c.scenario.pause)
		}
		time.Sleep(pause)
	}
}

func (c *cell) time(f *function) time.Duration {
	if c.target.kind == slow && !f.gate.played() {
		return slowTime
	}
	return functionTime
}

// event tells close-run that the execution ended, as often as Lambda would; what
// is not closed then waits for the sweep.
func (c *cell) event() error {
	payload := fmt.Appendf(nil, `{"detail":{"executionArn":%q,"name":%q}}`, c.execution.arn, c.runID)
	for range asyncTries {
		a, err := c.closeRun.invoke(payload, c.time(c.closeRun))
		if err != nil || a.name == "" {
			return err
		}
	}
	return c.sweep()
}

func (c *cell) sweep() error {
	for range asyncTries {
		a, err := c.closeRun.invoke([]byte(`{"sweep":true}`), c.time(c.closeRun))
		if err != nil || a.name == "" {
			return err
		}
	}
	return errNoSweep
}

// stop is a person's, in the middle of a call of submit.
func (c *cell) stop() {
	c.ended("ABORTED", "", "")
	if err := c.event(); err != nil {
		c.closeRun.said.WriteString("\nclose-run: " + err.Error() + "\n")
	}
}
