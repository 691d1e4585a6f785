package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/doubt"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

const (
	stateBucket  = "state"
	outputBucket = "outputs"
	arnPrefix    = "arn:aws:states:eu-central-1:123456789012:execution:relay-run:"
	request      = `{"workflow":"text-to-image@2","parameters":{"prompt":"x"}}`
)

var began = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// fakeExecutions and fakeCyberun are structs of funcs.
type fakeExecutions struct {
	describe func(arn string) (executions.Execution, error)
	ended    func(stopped time.Time, each func(executions.Execution) bool) error
}

func (f fakeExecutions) Describe(_ context.Context, arn string) (executions.Execution, error) {
	return f.describe(arn)
}

func (f fakeExecutions) EndedSince(ctx context.Context, stopped, _ time.Time, pace func(context.Context) error, each func(executions.Execution) bool) error {
	if err := pace(ctx); err != nil {
		return err
	}
	return f.ended(stopped, each)
}

type fakeCyberun struct {
	task   func(ctx context.Context, id string) (cyberun.Task, error)
	tasks  func(ctx context.Context, page cyberun.Page) (cyberun.TaskList, error)
	cancel func(ctx context.Context, id string) error
}

func (f fakeCyberun) Task(ctx context.Context, id string) (cyberun.Task, error) {
	return f.task(ctx, id)
}
func (f fakeCyberun) Tasks(ctx context.Context, page cyberun.Page) (cyberun.TaskList, error) {
	return f.tasks(ctx, page)
}
func (f fakeCyberun) Cancel(ctx context.Context, id string) error { return f.cancel(ctx, id) }

// world is what close-run works in: all calls go over around.
type world struct {
	t          *testing.T
	s3         *storetest.S3
	runs       *lifecycle.Runs
	executions map[string]executions.Execution // by run id
	around     func(call string, do func() error) error

	mu        sync.Mutex // a sweep closes several runs at once
	now       time.Time
	cancels   []time.Duration // when each cancel came, since the world began
	cancelled []string
	ended     map[string]cyberun.Status // the tasks that have
	cancelErr func(id string) error
	list      []cyberun.Task
	ids       int
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: began.Add(time.Hour), executions: map[string]executions.Execution{}, ended: map[string]cyberun.Status{}}
	w.cancelErr = func(string) error { return nil }
	w.s3 = &storetest.S3{Now: w.clock}
	w.s3.Around = func(c storetest.Call, do func() error) error { return w.call(c.String(), do) }
	w.runs = &lifecycle.Runs{
		Store: &store.Store{S3: w.s3, Bucket: stateBucket, NoPause: true}, Outputs: w.s3, Cyberun: w.cyberun(), Executions: w.stepFunctions(),
		Now: w.clock, Sleep: w.sleep, NewID: func() string {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.ids++
			return fmt.Sprint("w", w.ids)
		},
	}
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) sleep(ctx context.Context, d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
	return ctx.Err()
}

func (w *world) call(name string, do func() error) error {
	if w.around == nil {
		return do()
	}
	return w.around(name, do)
}

func (w *world) cyberun() fakeCyberun {
	timed := func(ctx context.Context) {
		if _, ok := ctx.Deadline(); !ok {
			w.t.Error("the call to Cyberun has no time of its own")
		}
	}
	return fakeCyberun{
		cancel: func(ctx context.Context, id string) error {
			timed(ctx)
			return w.call("Cancel", func() error {
				w.mu.Lock()
				w.cancels = append(w.cancels, w.now.Sub(began.Add(time.Hour)))
				w.mu.Unlock()
				if err := w.cancelErr(id); err != nil {
					return err
				}
				w.mu.Lock()
				defer w.mu.Unlock()
				w.cancelled = append(w.cancelled, id)
				if w.ended[id] == "" {
					w.ended[id] = cyberun.StatusCancelled
				}
				return nil
			})
		},
		task: func(ctx context.Context, id string) (task cyberun.Task, err error) {
			timed(ctx)
			w.mu.Lock()
			defer w.mu.Unlock()
			task = cyberun.Task{ID: id, Status: cyberun.StatusRunning}
			if status := w.ended[id]; status != "" {
				task.Status = status
			}
			return task, nil
		},
		tasks: func(ctx context.Context, _ cyberun.Page) (list cyberun.TaskList, err error) {
			timed(ctx)
			err = w.call("Tasks", func() error {
				list = cyberun.TaskList{Tasks: w.list, Page: cyberun.PageMeta{TotalCount: len(w.list)}, Date: w.clock()}
				return nil
			})
			return list, err
		},
	}
}

func (w *world) stepFunctions() fakeExecutions {
	return fakeExecutions{
		describe: func(arn string) (e executions.Execution, err error) {
			err = w.call("DescribeExecution", func() error {
				var known bool
				if e, known = w.executions[strings.TrimPrefix(arn, arnPrefix)]; !known {
					return executions.ErrNotFound
				}
				return nil
			})
			if err != nil && !errors.Is(err, executions.ErrNotFound) {
				err = named.Errorf(named.Unavailable, "Step Functions: %w", err)
			}
			return e, err
		},
		ended: func(_ time.Time, each func(executions.Execution) bool) error {
			return w.call("ListExecutions", func() error {
				for _, id := range slices.Sorted(maps.Keys(w.executions)) {
					if e := w.executions[id]; e.State.Ended() {
						e.Error, e.Input = nil, "" // a list does not say them
						each(e)
					}
				}
				return nil
			})
		},
	}
}

func (w *world) handler() *Handler {
	return &Handler{
		Closer:     lifecycle.Closer{Runs: w.runs, Bucket: outputBucket},
		Doubts:     doubt.Investigator{Cyberun: w.cyberun(), Runs: w.runs, Now: w.clock},
		Executions: w.stepFunctions(), Sweepers: DefaultSweepers, Now: w.clock, Sleep: w.sleep,
	}
}

// execution makes one that stands so. status is Step Functions' word.
func (w *world) execution(runID, status, name, cause string) executions.Execution {
	e := executions.FromEvent(arnPrefix+runID, status, name, cause, 0, began)
	e.Input = request
	w.executions[runID] = e
	return e
}

// record puts a run's record there, as Submit leaves it.
func (w *world) record(r run.Record) {
	w.t.Helper()
	if r.RunID == "" {
		r.RunID = "r1"
	}
	r.ExecutionARN, r.Bucket = arnPrefix+r.RunID, outputBucket
	if r.StartedAt.IsZero() {
		r.StartedAt = began
	}
	r.LifeStartedAt, r.Workflow, r.MaxSeconds = r.StartedAt, "text-to-image@2", run.DefaultMaxSeconds
	if r.Prefix == "" {
		r.Prefix = "runs/" + r.RunID + "/"
	}
	if r.TaskID != "" && r.How == "" {
		r.How = run.Receipt
	}
	w.set("runs/"+r.RunID+".json", r)
	w.set("index/"+lifecycle.CursorOf(r), nil)
	if r.TaskID != "" {
		w.set("tasks/"+r.TaskID, run.Ownership{StartedBy: r.RunID, How: r.How, DeliveredBy: r.RunID})
	}
	if r.WorkflowID != "" {
		w.set("submitting/"+r.WorkflowID+"/"+r.RunID+"/a1", submission.Marker(r.RunID))
	}
}

// set puts an object into the state bucket, as another function does.
func (w *world) set(key string, v any) {
	w.t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	w.s3.Set(stateBucket, key, storetest.Object{Body: body})
}

func (w *world) get(runID string) run.Record {
	w.t.Helper()
	around := w.around
	w.around = nil
	defer func() { w.around = around }()
	r, err := w.runs.Get(w.t.Context(), runID)
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Record
}

// change has another function change the record of r1.
func (w *world) change(how func(*run.Record)) {
	r := w.get("r1")
	how(&r)
	r.WriteID += "+"
	w.set("runs/r1.json", r)
}

var submission = run.Submission{Attempt: "a1", MarkedAt: began.Add(time.Second), PostUntil: began.Add(26 * time.Second), LocalAt: began.Add(time.Second)}

// event is what EventBridge says of the run's execution as it stands.
func (w *world) event(runID string) Input {
	e := w.executions[runID]
	status := map[executions.State]string{
		executions.Failed: "FAILED", executions.Aborted: "ABORTED", executions.TimedOut: "TIMED_OUT", executions.Succeeded: "SUCCEEDED",
	}[e.State]
	return Input{Detail: Detail{ExecutionARN: arnPrefix + runID, Name: runID, Status: status, RedriveCount: e.Redrives}}
}

func (w *world) close(runID string) (Output, error) {
	return w.handler().Handle(w.t.Context(), w.event(runID))
}

// closed is the record, and error.json if it is there, held against each other.
func (w *world) closed(runID string) (run.Record, *run.Failure) {
	w.t.Helper()
	w.around = nil
	record := w.get(runID)
	o, ok := w.s3.Object(outputBucket, record.OutputPrefix()+run.ErrorName)
	if !ok {
		return record, nil
	}
	var failure run.Failure
	if err := json.Unmarshal(o.Body, &failure); err != nil {
		w.t.Fatal(err)
	}
	if o.ContentType != "application/json" || failure.RunID != runID || failure.TaskID != record.TaskID {
		w.t.Errorf("error.json: %s %+v", o.ContentType, failure)
	}
	if failure.Error.Name == "" || failure.Error.Cause == "" || failure.Error.Hint == "" {
		w.t.Errorf("error.json does not say how to go on: %+v", failure.Error)
	}
	return record, &failure
}

func answered(status int) error {
	return &cyberun.APIError{Status: status, Message: http.StatusText(status), JSON: true}
}
