package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

const (
	stateBucket  = "state"
	outputBucket = "outputs"
	arnPrefix    = "arn:aws:states:eu-central-1:123456789012:execution:relay-run:"
	requestBody  = `{"workflow":"text-to-image@2","parameters":{"prompt":"x"}}`
)

var (
	began    = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	errReset = errors.New("connection reset by peer")
)

type fakeCyberun struct {
	task   func(ctx context.Context, id string) (cyberun.Task, error)
	cancel func(ctx context.Context, id string) error
}

func (f fakeCyberun) Task(ctx context.Context, id string) (cyberun.Task, error) {
	return f.task(ctx, id)
}
func (f fakeCyberun) Cancel(ctx context.Context, id string) error { return f.cancel(ctx, id) }

type fakeExecutions struct {
	describe func(arn string) (executions.Execution, error)
	ended    func(stopped, started time.Time, each func(executions.Execution) bool) error
}

func (f fakeExecutions) Describe(_ context.Context, arn string) (executions.Execution, error) {
	return f.describe(arn)
}

func (f fakeExecutions) UnsuccessfulSince(ctx context.Context, stopped, started time.Time, pace func(context.Context) error, each func(executions.Execution) bool) error {
	if err := pace(ctx); err != nil {
		return err
	}
	return f.ended(stopped, started, each)
}

// world is what runs live in: two buckets, Cyberun's tasks and Step Functions'
// executions. Every call to S3 goes through around.
type world struct {
	t     *testing.T
	s3    *storetest.S3
	runs  *Runs
	close Closer

	mu         sync.Mutex
	now        time.Time
	slept      time.Duration
	ids        int
	tasks      map[string]cyberun.Status
	executions map[string]executions.Execution // by run
	// answers are those of the next cancels, by task; a task without any is
	// cancelled. cancels is when each cancel came, since began.
	answers map[string][]error
	cancels []time.Duration
	asked   []string // the tasks that were to be cancelled
	around  func(call string, do func() error) error
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, now: began, tasks: map[string]cyberun.Status{}, executions: map[string]executions.Execution{}, answers: map[string][]error{},
	}
	w.s3 = &storetest.S3{Now: w.clock}
	w.s3.Around = func(c storetest.Call, do func() error) error {
		if w.around == nil {
			return do()
		}
		return w.around(c.String(), do)
	}
	w.runs = &Runs{
		Store: &store.Store{S3: w.s3, Bucket: stateBucket, NoPause: true}, OutputS3: w.s3,
		Cyberun: fakeCyberun{w.task, w.cancel}, Executions: fakeExecutions{describe: w.describe},
		Now: w.clock,
		Sleep: func(_ context.Context, d time.Duration) error {
			w.advance(d)
			return nil
		},
		NewID: func() string {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.ids++
			return fmt.Sprint("w", w.ids)
		},
	}
	w.close = Closer{Runs: w.runs, Bucket: outputBucket}
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now, w.slept = w.now.Add(d), w.slept+d
}

func (w *world) timed(ctx context.Context) {
	if _, ok := ctx.Deadline(); !ok {
		w.t.Error("a call to Cyberun has no time of its own")
	}
}

func (w *world) task(ctx context.Context, id string) (cyberun.Task, error) {
	w.timed(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	status, known := w.tasks[id]
	if !known {
		return cyberun.Task{}, answered(http.StatusNotFound)
	}
	return cyberun.Task{ID: id, Status: status}, nil
}

// cancel gives the scripted answers, then does what it is asked for: a running
// task ends at once.
func (w *world) cancel(ctx context.Context, id string) error {
	w.timed(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.cancels = append(w.asked, id), append(w.cancels, w.now.Sub(began))
	if script := w.answers[id]; len(script) > 0 {
		w.answers[id] = script[1:]
		if script[0] != nil {
			return script[0]
		}
	}
	if status := w.tasks[id]; status != "" && !status.Terminal() {
		w.tasks[id] = cyberun.StatusCancelled
	}
	return nil
}

func (w *world) describe(arn string) (executions.Execution, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, known := w.executions[strings.TrimPrefix(arn, arnPrefix)]
	if !known {
		return executions.Execution{}, executions.ErrNotFound
	}
	return e, nil
}

// execution makes the run's execution stand so.
func (w *world) execution(id string, state executions.Status, redrives int, name, cause string) executions.Execution {
	e := executions.New(arnPrefix+id, map[executions.Status]string{
		executions.Running: "RUNNING", executions.Succeeded: "SUCCEEDED", executions.Failed: "FAILED", executions.TimedOut: "TIMED_OUT", executions.Aborted: "ABORTED",
	}[state], name, cause, redrives, began)
	e.Input = requestBody
	w.mu.Lock()
	defer w.mu.Unlock()
	w.executions[id] = e
	return e
}

func call(id string, life int) Call {
	return Call{RunID: id, ExecutionARN: arnPrefix + id, StartedAt: began, Redrives: &life}
}

func (w *world) request() run.Request {
	request, faults := run.ParseRequest([]byte(requestBody))
	if len(faults) > 0 {
		w.t.Fatal(faults)
	}
	return request
}

// begin is Submit's first step.
func (w *world) begin(id string, life int) Run {
	w.t.Helper()
	r, err := w.runs.Begin(w.t.Context(), call(id, life), w.request(), outputBucket, "")
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// submission of the run's n-th POST, a second after the world's own time.
func (w *world) submission(attempt string) run.Submission {
	now := w.clock()
	return run.Submission{AttemptID: attempt, MarkedAt: now, PostUntil: now.Add(25 * time.Second), LocalAt: now}
}

func (w *world) mark(r Run, attempt string) Run {
	w.t.Helper()
	r, err := w.runs.Mark(w.t.Context(), r, "wf-1", w.submission(attempt))
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// submit begins a run and gets it the task, which runs.
func (w *world) submit(id, taskID string) Run {
	w.t.Helper()
	w.execution(id, executions.Running, 0, "", "")
	w.mu.Lock()
	w.tasks[taskID] = cyberun.StatusRunning
	w.mu.Unlock()
	r, err := w.runs.Accept(w.t.Context(), w.mark(w.begin(id, 0), "a1"), taskID)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// doubt begins a run whose POST got no reply.
func (w *world) doubt(id string) Run {
	w.t.Helper()
	w.execution(id, executions.Running, 0, "", "")
	r := w.mark(w.begin(id, 0), "a1")
	if err := w.runs.AnnounceDoubt(w.t.Context(), r.Record); err != nil {
		w.t.Fatal(err)
	}
	return r
}

// copied brings a run to where its manifest can be delivered.
func (w *world) copied(id, taskID string) Run {
	w.t.Helper()
	r, err := w.runs.StartCopy(w.t.Context(), w.submit(id, taskID))
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) get(id string) Run {
	w.t.Helper()
	around := w.around
	w.around = nil
	defer func() { w.around = around }()
	r, err := w.runs.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// change has another writer change the record.
func (w *world) change(id string, how func(*run.Record)) {
	w.t.Helper()
	r := w.get(id).Record
	how(&r)
	r.WriteID += "+"
	if err := w.runs.put(w.t.Context(), recordKey(id), r); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) ownership(taskID string) run.Ownership {
	w.t.Helper()
	o, _, err := w.runs.OwnershipOf(w.t.Context(), taskID)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

func (w *world) keys(prefix string) []string { return w.s3.Keys(stateBucket, prefix) }

// closes has close-run do what it does for an event, and holds the record
// against error.json.
func (w *world) closes(e executions.Execution) (closed bool, r Run, failure *run.Failure) {
	w.t.Helper()
	ended, sure, ok, err := w.close.Ended(w.t.Context(), e)
	if err != nil {
		w.t.Fatal(err)
	}
	if ok {
		if closed, err = w.close.Close(w.t.Context(), ended, sure); err != nil {
			w.t.Fatal(err)
		}
	}
	r = w.get(e.Name)
	return closed, r, w.failure(r)
}

func (w *world) failure(r Run) *run.Failure {
	w.t.Helper()
	o, there := w.s3.Object(outputBucket, r.KeyPrefix()+run.ErrorName)
	if !there {
		return nil
	}
	var failure run.Failure
	if err := json.Unmarshal(o.Body, &failure); err != nil {
		w.t.Fatal(err)
	}
	if failure.Error == nil || failure.Error.Name == "" || failure.Error.Cause == "" || failure.Error.Hint == "" || o.ContentType != "application/json" {
		w.t.Errorf("error.json does not say how to go on: %s", o.Body)
	}
	return &failure
}

func answered(status int) error {
	return &cyberun.APIError{Status: status, Message: http.StatusText(status)}
}

// refuses answers S3's calls that begin so with a status, and S3's code for it.
func refuses(prefix string, status int) func(string, func() error) error {
	codes := map[int]string{
		301: "PermanentRedirect", 400: "KMS.DisabledException", 403: "AccessDenied", 404: "NoSuchBucket", 405: "MethodNotAllowed", 503: "SlowDown",
	}
	return func(call string, do func() error) error {
		if strings.HasPrefix(call, prefix) {
			return storetest.Error(status, codes[status])
		}
		return do()
	}
}

// dies fails the n-th call to S3 and each one after it, as for a process that is gone;
// with done the n-th is done and its reply lost. met says whether it came to that.
func (w *world) dies(n int, done bool) (met *bool) {
	count, came := 0, false
	w.around = func(_ string, do func() error) error {
		if count++; count < n {
			return do()
		}
		if came = true; count == n && done {
			_ = do()
		}
		return errReset
	}
	return &came
}

// at lets others in before the n-th call to S3; met says whether it came to that.
func (w *world) at(n int, before func(call string)) (met *bool) {
	count, came := 0, false
	w.around = func(call string, do func() error) error {
		if count++; count == n {
			came = true
			around := w.around
			w.around = nil
			before(call)
			w.around = around
		}
		return do()
	}
	return &came
}
