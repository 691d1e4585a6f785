package handler

import (
	"cmp"
	"encoding/json"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/doubt"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

const (
	stateBucket  = functiontest.StateBucket
	outputBucket = functiontest.OutputBucket
	request      = `{"workflow":"text-to-image@2","parameters":{"prompt":"x"}}`
)

// began is when the runs begin; close-run is called an hour later.
var began = functiontest.Began

// world is what close-run works in; its clock stands still between sleeps.
type world struct {
	*functiontest.World
	runs *lifecycle.Runs
}

// newWorld returns the world of a stack without runs. Cyberun runs a task t1.
func newWorld(t *testing.T) *world {
	w := &world{World: functiontest.New(t)}
	w.Now, w.TimePerCall, w.Cyberun.MaxTime = began.Add(time.Hour), 0, lifecycle.CloseBudget
	w.Cyberun.PutTask("t1", cyberun.StatusRunning)
	w.runs = w.Runs()
	return w
}

func (w *world) handler() *Handler {
	return &Handler{
		Closer:     lifecycle.Closer{Runs: w.runs, Bucket: outputBucket},
		Doubts:     doubt.Investigator{Cyberun: w.Cyberun, Runs: w.runs, Now: w.Time},
		Executions: w.Executions, Concurrency: DefaultConcurrency, Now: w.Time, Sleep: w.Sleep,
	}
}

// execution makes one that stands so. status is Step Functions' word.
func (w *world) execution(runID, status, name, cause string) *executions.Execution {
	e := executions.New(functiontest.ARN(runID), status, name, cause, 0, began)
	e.Input = request
	return w.Executions.Put(e)
}

// record puts a run's record there, as Submit leaves it, of a task that runs.
func (w *world) record(r run.Record) {
	w.T.Helper()
	r.RunID, r.StartedAt = cmp.Or(r.RunID, "r1"), cmp.Or(r.StartedAt, began)
	r.LifeStartedAt, r.Workflow, r.MaxSeconds = r.StartedAt, functiontest.WorkflowRef, run.DefaultMaxSeconds
	if r.TaskID != "" {
		r.Evidence = cmp.Or(r.Evidence, run.ByReceipt)
		if w.Cyberun.Of(r.TaskID) == nil {
			w.Cyberun.PutTask(r.TaskID, cyberun.StatusRunning)
		}
	}
	if r.WorkflowID != "" {
		w.Set("submitting/"+r.WorkflowID+"/"+r.RunID+"/a1", submission.Marker(r.RunID))
	}
	w.Record(r)
}

var submission = run.Submission{AttemptID: "a1", MarkedAt: began.Add(time.Second), PostUntil: began.Add(26 * time.Second), LocalAt: began.Add(time.Second)}

// event is what EventBridge says of the run's execution as it stands.
func (w *world) event(runID string) Input {
	e := w.Executions.Of(runID)
	status := map[executions.Status]string{
		executions.Failed: "FAILED", executions.Aborted: "ABORTED", executions.TimedOut: "TIMED_OUT", executions.Succeeded: "SUCCEEDED",
	}[e.Status]
	return Input{Detail: Detail{ExecutionARN: e.ARN, Name: runID, Status: status, RedriveCount: e.Redrives}}
}

func (w *world) close(runID string) (Response, error) {
	return w.handler().Handle(w.T.Context(), w.event(runID))
}

// closed is the record, and error.json if it is there, held against each other.
func (w *world) closed(runID string) (run.Record, *run.Failure) {
	w.T.Helper()
	w.Around = nil
	record := w.Run(runID).Record
	o, ok := w.S3.Object(outputBucket, record.KeyPrefix()+run.ErrorName)
	if !ok {
		return record, nil
	}
	var failure run.Failure
	if err := json.Unmarshal(o.Body, &failure); err != nil {
		w.T.Fatal(err)
	}
	if o.ContentType != "application/json" || failure.RunID != runID || failure.TaskID != record.TaskID {
		w.T.Errorf("error.json: %s %+v", o.ContentType, failure)
	}
	if failure.Error.Name == "" || failure.Error.Cause == "" || failure.Error.Hint == "" {
		w.T.Errorf("error.json does not say how to go on: %+v", failure.Error)
	}
	return record, &failure
}
