package handler

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

var away = named.Errorf(named.Unavailable, "Step Functions is away")

// TestStops notes the stop, cancels and stops; what a run did not start it does not cancel,
// and the answer says what became of the task.
func TestStops(t *testing.T) {
	submission := &run.Submission{AttemptID: "a1"}
	never := slices.Repeat([]error{functiontest.Answered(500)}, 99)
	tests := []struct {
		name      string
		record    run.Record
		answers   []error
		ended     cyberun.Status // of the task, before the stop
		task      string
		cancelled string
	}{
		{name: "submitting", record: run.Record{Status: run.Submitting}, task: "none", cancelled: "[]"},
		{name: "in doubt", record: run.Record{Status: run.Submitting, Submission: submission}, task: "cancelling", cancelled: "[]"},
		{name: "waiting", record: run.Record{Status: run.Waiting, TaskID: "t1", Evidence: run.ByReceipt}, task: "cancelled", cancelled: "[t1]"},
		{name: "copying", record: run.Record{Status: run.Copying, TaskID: "t1", Evidence: run.ByReceipt}, task: "cancelled", cancelled: "[t1]"},
		{name: "adopted", record: run.Record{Status: run.Waiting, TaskID: "t1", Evidence: run.ByExclusion, Adopted: true}, task: "left", cancelled: "[]"},
		{name: "rescued", record: run.Record{Status: run.Waiting, TaskID: "t1", Evidence: run.ByRescue}, task: "left", cancelled: "[]"},
		{name: "two 500 first", record: run.Record{Status: run.Waiting, TaskID: "t1", Evidence: run.ByReceipt}, answers: never[:2], task: "cancelled", cancelled: "[t1]"},
		{name: "denied and a page first", record: run.Record{Status: run.Waiting, TaskID: "t1", Evidence: run.ByReceipt}, answers: []error{&cyberun.AnswerError{Status: 200}, functiontest.HTMLPage(404)}, task: "cancelled", cancelled: "[t1]"},
		{name: "never accepted", record: run.Record{Status: run.Waiting, TaskID: "t1", Evidence: run.ByReceipt}, answers: never, task: "cancelling", cancelled: "[]"},
		{name: "denied, since it has completed", record: run.Record{Status: run.Waiting, TaskID: "t1", Evidence: run.ByReceipt}, answers: []error{&cyberun.AnswerError{Status: 200}}, ended: "completed", task: "cancelled", cancelled: "[]"},
	}
	for _, test := range tests {
		for atOnce := 1; atOnce <= 2; atOnce++ {
			t.Run(fmt.Sprintf("%s, %d at once", test.name, atOnce), func(t *testing.T) {
				w := newWorld(t)
				w.h.Concurrency = atOnce
				if test.ended != "" {
					w.Cyberun.PutTask("t1", test.ended)
				}
				test.record.RunID = "r1"
				w.Record(test.record)
				w.start("r1", body, executions.Running)
				w.Cyberun.Cancels = test.answers
				for range 2 { // a second DELETE is answered as the first
					from := w.Now
					a := w.call("DELETE", "/runs/r1", "")
					if a.status != 202 || a.body["status"] != "cancelled" || a.body["run_id"] != "r1" || a.body["task"] != test.task || len(a.body) != 3 {
						t.Fatalf("%+v", a)
					}
					if took := w.Now.Sub(from); took > 15*time.Second {
						t.Errorf("it took %s", took)
					}
					w.Now = w.Now.Add(time.Minute)
				}
				if fmt.Sprint(w.Cyberun.Cancelled) != test.cancelled || w.Executions.Stopped[0] != "r1" {
					t.Errorf("cancelled %v, stopped %v", w.Cyberun.Cancelled, w.Executions.Stopped)
				}
				if len(test.answers) > 5 && fmt.Sprint(w.Cyberun.CancelTimes(began)[:5]) != "[0s 500ms 1.5s 3.5s 7.5s]" {
					t.Errorf("tried at %v", w.Cyberun.CancelTimes(began))
				}
				if r := w.Run("r1"); !r.StopRequestedAt.Equal(began) || r.Status != test.record.Status {
					t.Errorf("%+v", r)
				}
			})
		}
	}
}

// TestStopsWhatEnded changes nothing.
func TestStopsWhatEnded(t *testing.T) {
	for _, status := range []run.Status{run.Succeeded, run.Failed, run.Cancelled} {
		for taskID, task := range map[string]string{"": "none", "t1": "left"} {
			w := newWorld(t)
			w.Record(run.Record{RunID: "r1", Status: status, TaskID: taskID, Evidence: run.ByRescue, EndedAt: began})
			w.start("r1", body, executions.Failed)
			before := w.Run("r1").WriteID
			a := w.call("DELETE", "/runs/r1", "")
			if a.status != 202 || a.body["status"] != string(status) || a.body["task"] != task || w.Cyberun.Cancelled != nil || status != run.Cancelled && w.Executions.Stopped != nil {
				t.Errorf("%s, task %q: %+v, %v, %v", status, taskID, a, w.Cyberun.Cancelled, w.Executions.Stopped)
			}
			if r := w.Run("r1"); !r.StopRequestedAt.IsZero() || r.WriteID != before {
				t.Errorf("%s: written anew: %+v", status, r)
			}
		}
	}
}

// TestStopsOnePastItsPointOfNoReturn: it is delivered instead, and says so.
func TestStopsOnePastItsPointOfNoReturn(t *testing.T) {
	w := newWorld(t)
	w.Record(run.Record{RunID: "r1", Status: run.Delivering, TaskID: "t1", Evidence: run.ByReceipt, ManifestKey: "runs/r1/manifest.json", ManifestBodyKey: "manifests/r1/fixed.json"})
	w.S3.Set(stateBucket, "manifests/r1/fixed.json", storetest.Object{Body: []byte("{}")})
	w.start("r1", body, executions.Running)
	if a := w.call("DELETE", "/runs/r1", ""); a.status != 202 || a.body["status"] != "succeeded" || a.body["task"] != "left" || w.Executions.Stopped != nil || w.Cyberun.Cancelled != nil {
		t.Errorf("%+v, stopped %v, cancelled %v", a, w.Executions.Stopped, w.Cyberun.Cancelled)
	}
	if r := w.Run("r1"); r.Status != run.Succeeded || len(w.S3.Keys(outputBucket, "runs/r1/manifest.json")) != 1 {
		t.Errorf("%+v", r)
	}
}

// TestStopsPayingForAFailedRun: its task was left running for a redrive, and is not
// wanted any more. A task that was rescued since is another run's.
func TestStopsPayingForAFailedRun(t *testing.T) {
	for deliverer, want := range map[string][2]string{"r1": {"[t1]", "cancelled"}, "r9": {"[]", "left"}, "": {"[t1]", "cancelled"}} {
		w := newWorld(t)
		w.Record(run.Record{RunID: "r1", Status: run.Failed, TaskID: "t1", Evidence: run.ByReceipt, EndedAt: began})
		w.start("r1", body, executions.Failed)
		if w.Set("tasks/t1", run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: deliverer}); deliverer == "" { // Submit died before it wrote it
			w.S3.Remove(stateBucket, "tasks/t1")
		}
		if a := w.call("DELETE", "/runs/r1", ""); a.status != 202 || a.body["status"] != "failed" || fmt.Sprint(w.Cyberun.Cancelled) != want[0] || a.body["task"] != want[1] {
			t.Errorf("%q's: %+v, cancelled %v", deliverer, a, w.Cyberun.Cancelled)
		}
	}
	w := newWorld(t)
	w.Record(run.Record{RunID: "r1", Status: run.Failed, TaskID: "t1", Evidence: run.ByReceipt, EndedAt: began})
	w.Cyberun.Cancels = slices.Repeat([]error{functiontest.Answered(503)}, 9)
	if a := w.call("DELETE", "/runs/r1", ""); a.status != 202 || a.body["task"] != "cancelling" {
		t.Errorf("%+v", a)
	}
	if r := w.Run("r1"); r.Cancel == nil || !r.WorkLeft(w.Now) {
		t.Errorf("no sweep goes on with the cancel: %+v", r)
	}
}

// TestStopsBeforeTheRecord leaves a request to stop in its place that Submit honours.
func TestStopsBeforeTheRecord(t *testing.T) {
	w := newWorld(t)
	id := w.post(`{"workflow":"text-to-image@2","parameters":{"prompt":"x"},"destination":{"prefix":"p/{run_id}/"},"max_seconds":60}`).body["run_id"].(string)
	if a := w.call("DELETE", "/runs/"+id, ""); a.status != 202 || a.body["status"] != "cancelled" || a.body["task"] != "none" {
		t.Fatalf("%+v", a)
	}
	r := w.Run(id)
	if !r.WasStopped() || !r.Status.Open() || r.ExecutionARN != functiontest.ARN(id) || r.Prefix != "p/"+id+"/" || r.MaxSeconds != 60 || r.Workflow != "text-to-image@2" || !r.StartedAt.Equal(began) || r.Bucket != outputBucket {
		t.Errorf("%+v", r)
	}
	if fmt.Sprint(w.Executions.Stopped) != "["+id+"]" {
		t.Error(w.Executions.Stopped)
	}
}

// TestStopsAMomentAfterTheStart: Step Functions does not describe the run yet.
func TestStopsAMomentAfterTheStart(t *testing.T) {
	for misses, want := range map[int]int{describeAgain: 202, describeAgain + 1: 404} {
		w := newWorld(t)
		w.start("r1", body, executions.Running)
		w.describesLate(misses)
		if a := w.call("DELETE", "/runs/r1", ""); a.status != want || (want == 202) != (w.Executions.Stopped != nil) {
			t.Errorf("%d misses: %d %s", misses, a.status, a.raw)
		}
	}
}

// TestStopMeetsSubmit: the record comes while the request to stop is written in its place.
func TestStopMeetsSubmit(t *testing.T) {
	w := newWorld(t)
	w.start("r1", body, executions.Running)
	w.Around = func(call string, do func() error) error {
		if strings.HasPrefix(call, "PutObject state/runs/") {
			w.Around = nil
			w.Record(run.Record{RunID: "r1", Status: run.Waiting, TaskID: "t1", Evidence: run.ByReceipt})
		}
		return do()
	}
	if a := w.call("DELETE", "/runs/r1", ""); a.status != 202 || a.body["task"] != "cancelled" {
		t.Fatalf("%+v", a)
	}
	if r := w.Run("r1"); !r.WasStopped() || r.TaskID != "t1" || fmt.Sprint(w.Cyberun.Cancelled) != "[t1]" {
		t.Errorf("%+v, cancelled %v", r, w.Cyberun.Cancelled)
	}
}

func TestStopsUnrecordedThatEnded(t *testing.T) {
	for state, want := range map[executions.Status]string{executions.Failed: "failed", executions.Aborted: "cancelled"} {
		w := newWorld(t)
		w.start("r1", body, state)
		if a := w.call("DELETE", "/runs/r1", ""); a.status != 202 || a.body["status"] != want || a.body["task"] != "none" || len(w.S3.Keys(stateBucket, "")) > 0 {
			t.Errorf("%s: %+v", state, a)
		}
	}
}

// TestStopsThroughOutages: the request to stop is what counts, every step honours it.
func TestStopsThroughOutages(t *testing.T) {
	waiting := run.Record{RunID: "r1", Status: run.Waiting, TaskID: "t1", Evidence: run.ByReceipt}
	w := newWorld(t)
	w.Record(waiting)
	w.start("r1", body, executions.Running)
	w.Fails("StopExecution", away)
	if a := w.call("DELETE", "/runs/r1", ""); a.status != 503 || fmt.Sprint(w.Cyberun.Cancelled) != "[t1]" || !w.Run("r1").WasStopped() {
		t.Errorf("Step Functions away: %+v", a)
	}
	w.Executions.Of("r1").Status = executions.Failed // it ended of the stop meanwhile
	if a := w.call("DELETE", "/runs/r1", ""); a.status != 202 {
		t.Errorf("%+v", a)
	}

	w = newWorld(t)
	w.s3Fails("")
	if a := w.call("DELETE", "/runs/r1", ""); a.status != 503 || w.Cyberun.Cancelled != nil {
		t.Errorf("S3 away: %+v", a)
	}

	// Whose the task is cannot be read: it is not cancelled, the request to stop stands.
	w = newWorld(t)
	w.Record(waiting)
	w.start("r1", body, executions.Running)
	w.s3Fails("/tasks/")
	if a := w.call("DELETE", "/runs/r1", ""); a.status != 202 || a.body["task"] != "cancelling" || w.Cyberun.Cancelled != nil || !w.Run("r1").WasStopped() || w.Executions.Stopped == nil {
		t.Errorf("ownership away: %+v, cancelled %v", a, w.Cyberun.Cancelled)
	}
}

// TestStopAgain cancels a task that could not be cancelled at the first stop.
func TestStopAgain(t *testing.T) {
	w := newWorld(t)
	w.Record(run.Record{RunID: "r1", Status: run.Cancelled, TaskID: "t1", Evidence: run.ByReceipt, StopRequestedAt: began, EndedAt: began.Add(time.Second),
		Cancel: &run.Cancel{AskedAt: began}, Error: named.Errorf(named.RunCancelled, "the run was stopped; its task t1 could not be cancelled yet")})
	a := w.call("DELETE", "/runs/r1", "")
	if fmt.Sprint(w.Cyberun.Cancelled) != "[t1]" || a.body["task"] != "cancelled" || a.body["status"] != "cancelled" {
		t.Errorf("%d %v cancelled %v", a.status, a.body, w.Cyberun.Cancelled)
	}
	if w.call("DELETE", "/runs/r1", ""); len(w.Cyberun.Cancelled) != 1 {
		t.Errorf("cancelled %v although its end was seen", w.Cyberun.Cancelled)
	}
}

// TestStopsRedriven: a redrive set the failed run going again, and its step has not
// come yet. Whatever the step is, it meets the stop and pays nothing.
func TestStopsRedriven(t *testing.T) {
	for task, cancelled := range map[string]string{"": "[]", "t1": "[t1]"} {
		w := newWorld(t)
		w.Record(run.Record{RunID: "r1", Status: run.Failed, TaskID: task, Evidence: run.ByReceipt, EndedAt: began, Error: named.Errorf(named.Unavailable, "x")})
		w.start("r1", body, executions.Running)
		w.Executions.Of("r1").Redrives = 1
		for range 2 {
			if a := w.call("DELETE", "/runs/r1", ""); a.status != 202 || a.body["status"] != "cancelled" {
				t.Fatalf("%+v", a)
			}
		}
		if r := w.Run("r1"); !r.StopRequestedAt.Equal(began) || r.Life != 1 || !r.Status.Open() || fmt.Sprint(w.Cyberun.Cancelled) != cancelled || w.Executions.Stopped == nil {
			t.Errorf("task %q: %+v, cancelled %v, stopped %v", task, r, w.Cyberun.Cancelled, w.Executions.Stopped)
		}
		life := 1
		if _, err := w.runs.Continue(t.Context(), lifecycle.Call{RunID: "r1", Redrives: &life}); !named.Is(err, named.RunCancelled) {
			t.Errorf("the redriven step goes on: %v", err)
		}
	}
	w := newWorld(t)
	w.Record(run.Record{RunID: "r1", Status: run.Failed, TaskID: "t1", Evidence: run.ByReceipt, EndedAt: began})
	w.start("r1", body, executions.Failed)
	if a := w.call("DELETE", "/runs/r1", ""); a.status != 202 || a.body["status"] != "failed" || w.Run("r1").WasStopped() {
		t.Errorf("not redriven: %+v", a)
	}
	w.Fails("DescribeExecution", errors.New("throttled"))
	if a := w.call("DELETE", "/runs/r1", ""); a.status != 503 {
		t.Errorf("whether it was redriven is not known: %+v", a)
	}
}
