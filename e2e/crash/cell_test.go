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
	// sweepTime is what a sweep gets: it begins nothing in its last 72 s.
	sweepTime = 2 * time.Minute
	// asyncTries is how often Lambda calls a function for an event.
	asyncTries = 3
	// outputPrefix confines the stack within its output bucket.
	outputPrefix = "team-a/"
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
	api      *function

	copyResult *function
	armed      int // how many faults are played before the target

	calling sync.Mutex     // one event or sweep at a time
	closing sync.WaitGroup // events of stops, which outlast the call that they came in

	mu        sync.Mutex
	execution execution
	redriven  answer // of the step after a redrive
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
	if s.witness {
		for key, body := range w.witness.objects {
			if _, err := w.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(c.buckets + "-state"), Key: &key, Body: bytes.NewReader(body)}); err != nil {
				return nil, err
			}
		}
	}
	c.execution = execution{arn: executionARNs + c.runID, input: c.request, status: "RUNNING", started: time.Now().UTC().Truncate(time.Millisecond)}
	c.submit, c.closeRun, c.api = c.function(w.submit, c.stop), c.function(w.closeRun, c.redriveNow), c.function(w.api, nil)
	c.copyResult = c.function(w.copyResult, c.stop)
	return c, nil
}

// close ends the functions and tells what they had logged.
func (c *cell) close() string {
	return c.submit.close() + c.copyResult.close() + c.closeRun.close() + c.api.close()
}

// photo is a PNG of one pixel.
func photo() []byte {
	raw, err := base64.StdEncoding.DecodeString("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
	if err != nil {
		panic(err)
	}
	return raw
}

// function starts nothing yet: its process comes with its first call. other is
// what happens in the middle of a call at a fault that says so.
func (c *cell) function(binary string, other func()) *function {
	g := newGate()
	g.named = c.name
	g.other = other
	cyberun := g.open("cyberun", proxied(c.world.transport, c.world.cyberun))
	env := append([]string{
		"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"AWS_ENDPOINT_URL_S3=" + g.open("s3", c.world.s3Upstream),
		"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + g.open("secrets", served(http.HandlerFunc(secretsManager))),
		"AWS_ENDPOINT_URL_SFN=" + g.open("sfn", served(http.HandlerFunc(c.stepFunctions))),
		"CYBERUN_BASE_URL=" + cyberun + "/api/v1", "API_KEY_SECRET_ARN=" + secretARN,
		"STATE_BUCKET=" + c.buckets + "-state", "OUTPUT_BUCKET=" + c.buckets + "-output", "OUTPUT_PREFIX=" + outputPrefix,
		"STATE_MACHINE_ARN=" + machineARN, "ALLOW_INSECURE_ORIGINS=true", "IN_DOUBT=" + cmp.Or(c.scenario.inDoubt, "verify"), "HOLD_SECONDS=10",
	}, settings...)
	if c.scenario.post != "" {
		env = append(env, c.scenario.post)
	}
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
		c.execution.status, c.execution.name, c.execution.cause, c.execution.stopped = status, name, cause, time.Now()
	}
}

// redrive continues an execution that failed, as Step Functions does.
func (c *cell) redrive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.execution.status != "FAILED" {
		return false
	}
	c.execution.status, c.execution.name, c.execution.cause, c.execution.stopped = "RUNNING", "", "", time.Time{}
	c.execution.redrives++
	return true
}

// arm makes the target the next fault after those given: what was called until
// now counts no more.
func (c *cell) arm(before ...fault) {
	c.armed = len(before)
	plan := slices.Clone(before)
	if c.target.kind != none {
		plan = append(plan, c.target)
	}
	c.scenario.about(c).gate.arm(plan...)
}

// play runs the cell to its end and looks at what it left.
func (c *cell) play(ctx context.Context) (r result) {
	armed := c.scenario.about(c)
	c.arm(c.scenario.before...)
	last, err := c.scenario.life(ctx, c)
	c.closing.Wait()
	if err == nil && !armed.gate.played() {
		err = fmt.Errorf("the call %q (%d) never came", c.target.name, c.target.n)
	}
	c.submit.gate.pending.Wait()
	r.calls, r.recorded = armed.calls, armed.gate.recorded(c.armed)
	switch {
	case err != nil:
	case c.scenario.end != nil:
		err = c.scenario.end(ctx, c, &r)
	default:
		err = c.check(ctx, last, &r)
	}
	if err != nil {
		r.problems = append(r.problems, err.Error())
	}
	ends := c.scenario.ends
	if c.target.kind == none {
		ends = ends[:min(1, len(ends))]
	}
	if came := fmt.Sprintf("%d %s", r.paid, r.end); len(ends) > 0 && !slices.Contains(ends, came) {
		r.problems = append(r.problems, fmt.Sprintf("it came to %q, want one of %q", came, ends))
	}
	r.log = c.close()
	return r
}

// payload is what the state Submit sends.
func (c *cell) payload() []byte {
	e := c.now()
	payload, _ := json.Marshal(map[string]any{"run_id": c.runID, "execution_arn": e.arn, "started_at": e.started,
		"redrive_count": e.redrives, "request": json.RawMessage(c.request)})
	return payload
}

// step calls Submit as the state machine does, until it succeeded, failed for
// good, or the execution was stopped.
func (c *cell) step() (answer, error) {
	payload, budget := c.payload(), tries{machine: c.world.machine, used: map[int]float64{}}
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

// event tells close-run that the execution ended.
func (c *cell) event() error { return c.send(c.now().event()) }

// send gives close-run an event as often as Lambda would; what is not closed then
// waits for the sweep.
func (c *cell) send(event []byte) error {
	c.calling.Lock()
	defer c.calling.Unlock()
	for range asyncTries {
		a, err := c.closeRun.invoke(event, c.time(c.closeRun))
		if err != nil || a.name == "" {
			return err
		}
	}
	return c.sweeps()
}

func (c *cell) sweep() error {
	c.calling.Lock()
	defer c.calling.Unlock()
	return c.sweeps()
}

// sweeps plays the hourly sweep until one has done all that it found to do.
func (c *cell) sweeps() error {
	for range asyncTries {
		a, err := c.closeRun.invoke([]byte(`{"sweep":true}`), sweepTime)
		if err != nil {
			return err
		}
		var out struct {
			Failed int `json:"failed"`
		}
		if a.name == "" && json.Unmarshal(a.body, &out) == nil && out.Failed == 0 {
			return nil
		}
	}
	return errNoSweep
}

// stop is a person's, in the middle of a call of submit. It returns when
// close-run is done, or has closed a run in doubt: then it waits for the time at
// which a task would be listed, and the call that it came in goes on.
func (c *cell) stop() {
	c.ended("ABORTED", "", "")
	done := make(chan struct{})
	c.closing.Go(func() {
		defer close(done)
		if err := c.event(); err != nil {
			c.closeRun.said.WriteString("\nclose-run: " + err.Error() + "\n")
		}
	})
	const pause = 20 * time.Millisecond
	for {
		select {
		case <-done:
			return
		case <-time.After(pause):
			if c.closedInDoubt() {
				return
			}
		}
	}
}

func (c *cell) closedInDoubt() bool {
	out, err := c.world.s3.GetObject(context.Background(), &s3.GetObjectInput{Bucket: aws.String(c.buckets + "-state"), Key: aws.String("runs/" + c.runID + ".json")})
	if err != nil {
		return false
	}
	defer out.Body.Close()
	var rec record
	return json.NewDecoder(out.Body).Decode(&rec) == nil && rec.Status == "cancelled" && rec.inDoubt()
}

// redriveNow is a person's redrive, the cause of the failure mended, and Submit's
// next step. Only the first one does anything.
func (c *cell) redriveNow() {
	if !c.redrive() {
		return
	}
	a := answer{name: "the stand-in's control"}
	err := c.world.letIn(key)
	if err == nil {
		a, err = c.step()
	}
	if err != nil {
		a.message = err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.redriven = a
}

// decide is a person's decision on the run, given to the API.
func (c *cell) decide(decision string) error {
	payload, err := json.Marshal(map[string]any{
		"version": "2.0", "routeKey": "POST /runs/{id}/outcome", "rawPath": "/runs/" + c.runID + "/outcome", "body": decision,
		"pathParameters": map[string]any{"id": c.runID},
		"headers":        map[string]string{"content-type": "application/json"},
		"requestContext": map[string]any{
			"authorizer": map[string]any{"iam": map[string]any{"userArn": "arn:aws:iam::000000000000:user/someone"}},
			"http":       map[string]any{"method": "POST", "path": "/runs/" + c.runID + "/outcome"},
		},
	})
	if err != nil {
		return err
	}
	a, err := c.api.invoke(payload, functionTime)
	if err != nil || a.name != "" {
		return fmt.Errorf("the decision %s: %s %s %w", decision, a.name, a.message, err)
	}
	var said struct {
		StatusCode int    `json:"statusCode"`
		Body       string `json:"body"`
	}
	if err := json.Unmarshal(a.body, &said); err != nil || said.StatusCode != http.StatusAccepted {
		return fmt.Errorf("the decision %s: %s", decision, a.body)
	}
	return nil
}
