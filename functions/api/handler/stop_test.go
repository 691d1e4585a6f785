package handler

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

func (w *world) get(id string) run.Record {
	w.t.Helper()
	w.s3.Around = nil
	r, err := w.records().Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// TestStops marks, cancels and stops; what a run did not start it does not cancel.
func TestStops(t *testing.T) {
	tests := []struct {
		name      string
		record    run.Record
		cancelled string
	}{
		{"submitting", run.Record{Status: run.Submitting}, "[]"},
		{"waiting", run.Record{Status: run.Waiting, TaskID: "t1"}, "[t1]"},
		{"copying", run.Record{Status: run.Copying, TaskID: "t1"}, "[t1]"},
		{"adopted", run.Record{Status: run.Waiting, TaskID: "t1", Adopted: true}, "[]"},
		{"rescued", run.Record{Status: run.Waiting, TaskID: "t1", Rescued: true}, "[]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			test.record.RunID = "r1"
			w.record(test.record)
			w.start("r1", body, types.ExecutionStatusRunning)
			for range 2 { // a second DELETE is answered as the first
				if a := w.call("DELETE", "/runs/r1", ""); a.status != 202 || a.body["status"] != "cancelled" || a.body["run_id"] != "r1" {
					t.Fatalf("%+v", a)
				}
				w.now = w.now.Add(time.Minute)
			}
			if fmt.Sprint(w.cancelled[:min(1, len(w.cancelled))]) != test.cancelled || w.machine.stopped[0] != "r1" {
				t.Errorf("cancelled %v, stopped %v", w.cancelled, w.machine.stopped)
			}
			if r := w.get("r1"); !r.StopRequestedAt.Equal(began) || r.Status != test.record.Status {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestStopsWhatEnded changes nothing.
func TestStopsWhatEnded(t *testing.T) {
	for _, status := range []run.Status{run.Succeeded, run.Failed, run.Cancelled} {
		w := newWorld(t)
		w.record(run.Record{RunID: "r1", Status: status, TaskID: "t1", Rescued: true})
		nonce := w.get("r1").Nonce
		a := w.call("DELETE", "/runs/r1", "")
		if a.status != 202 || a.body["status"] != string(status) || w.cancelled != nil || w.machine.stopped != nil {
			t.Errorf("%s: %+v, %v, %v", status, a, w.cancelled, w.machine.stopped)
		}
		if r := w.get("r1"); !r.StopRequestedAt.IsZero() {
			t.Errorf("%s: %+v, written anew: %v", status, r, r.Nonce != nonce)
		}
	}
}

// TestStopsPayingForAFailedRun: its task was left running for a redrive, and is not
// wanted any more. A task that was rescued since is another run's.
func TestStopsPayingForAFailedRun(t *testing.T) {
	for owner, want := range map[string]string{"r1": "[t1]", "r9": "[]", "": "[t1]"} {
		w := newWorld(t)
		w.record(run.Record{RunID: "r1", Status: run.Failed, TaskID: "t1"})
		if owner != "" {
			if _, err := w.records().Claim(t.Context(), "t1", store.Claim{RunID: owner}); err != nil {
				t.Fatal(err)
			}
		}
		if a := w.call("DELETE", "/runs/r1", ""); a.status != 202 || a.body["status"] != "failed" || fmt.Sprint(w.cancelled) != want {
			t.Errorf("%q's: %+v, cancelled %v", owner, a, w.cancelled)
		}
	}
	w := newWorld(t)
	w.record(run.Record{RunID: "r1", Status: run.Failed, TaskID: "t1"})
	if _, err := w.records().Claim(t.Context(), "t1", store.Claim{RunID: "r1"}); err != nil {
		t.Fatal(err)
	}
	w.cyberun.cancel = func(context.Context, string) error { return answered(503) }
	if a := w.call("DELETE", "/runs/r1", ""); a.status != 503 {
		t.Errorf("%+v", a)
	}
}

// TestStopsBeforeTheRecord leaves a tombstone that Submit honours.
func TestStopsBeforeTheRecord(t *testing.T) {
	w := newWorld(t)
	id := w.post(`{"workflow":"text-to-image@2","parameters":{"prompt":"x"},"destination":{"prefix":"p/{run_id}/"},"max_seconds":60}`).body["run_id"].(string)
	if a := w.call("DELETE", "/runs/"+id, ""); a.status != 202 || a.body["status"] != "cancelled" {
		t.Fatalf("%+v", a)
	}
	r := w.get(id)
	if !r.Stopping() || !r.Status.Open() || r.ExecutionARN != arnPrefix+id || r.Prefix != "p/{run_id}/" || r.MaxSeconds != 60 || r.Workflow != "text-to-image@2" || !r.StartedAt.Equal(began) {
		t.Errorf("%+v", r)
	}
	if len(w.s3.Keys(stateBucket, "open/"+id)) != 1 {
		t.Error("no sweep would close it")
	}
	if fmt.Sprint(w.machine.stopped) != "["+id+"]" {
		t.Error(w.machine.stopped)
	}
}

// TestStopsAMomentAfterTheStart: Step Functions does not describe the run yet.
func TestStopsAMomentAfterTheStart(t *testing.T) {
	for misses, want := range map[int]int{describeAgain: 202, describeAgain + 1: 404} {
		w := newWorld(t)
		w.start("r1", body, types.ExecutionStatusRunning)
		looks := 0
		w.machine.fail = func(op string) error {
			if op == "Describe" {
				if looks++; looks <= misses {
					return &types.ExecutionDoesNotExist{}
				}
			}
			return nil
		}
		if a := w.call("DELETE", "/runs/r1", ""); a.status != want || (want == 202) != (w.machine.stopped != nil) {
			t.Errorf("%d misses: %d %s", misses, a.status, a.raw)
		}
	}
}

// TestStopMeetsSubmit: the record comes while the tombstone is written.
func TestStopMeetsSubmit(t *testing.T) {
	w := newWorld(t)
	w.start("r1", body, types.ExecutionStatusRunning)
	w.s3.Around = func(c storetest.Call, do func() error) error {
		if c.Op == "PutObject" && strings.HasPrefix(c.Key, "runs/") {
			w.s3.Around = nil
			w.record(run.Record{RunID: "r1", Status: run.Waiting, TaskID: "t1"})
		}
		return do()
	}
	if a := w.call("DELETE", "/runs/r1", ""); a.status != 202 {
		t.Fatalf("%+v", a)
	}
	if r := w.get("r1"); !r.Stopping() || r.TaskID != "t1" || fmt.Sprint(w.cancelled) != "[t1]" {
		t.Errorf("%+v, cancelled %v", r, w.cancelled)
	}
}

func TestStopsUnrecordedThatEnded(t *testing.T) {
	for status, want := range map[types.ExecutionStatus]string{types.ExecutionStatusFailed: "failed", types.ExecutionStatusAborted: "cancelled"} {
		w := newWorld(t)
		w.start("r1", body, status)
		if a := w.call("DELETE", "/runs/r1", ""); a.status != 202 || a.body["status"] != want || len(w.s3.Keys(stateBucket, "")) > 0 {
			t.Errorf("%s: %+v", status, a)
		}
	}
}

// TestStopsThroughOutages: the mark is what counts, every step honours it.
func TestStopsThroughOutages(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{RunID: "r1", Status: run.Waiting, TaskID: "t1"})
	w.start("r1", body, types.ExecutionStatusRunning)
	w.cyberun.cancel = func(context.Context, string) error { return answered(503) }
	if a := w.call("DELETE", "/runs/r1", ""); a.status != 202 || fmt.Sprint(w.machine.stopped) != "[r1]" {
		t.Errorf("Cyberun away: %+v, %v", a, w.machine.stopped)
	}

	w = newWorld(t)
	w.record(run.Record{RunID: "r1", Status: run.Waiting, TaskID: "t1"})
	w.start("r1", body, types.ExecutionStatusRunning)
	w.machine.fail = func(op string) error {
		if op == "Stop" {
			return errNetwork
		}
		return nil
	}
	if a := w.call("DELETE", "/runs/r1", ""); a.status != 503 || fmt.Sprint(w.cancelled) != "[t1]" || !w.get("r1").Stopping() {
		t.Errorf("Step Functions away: %+v", a)
	}
	w.machine.runs["r1"].Status = types.ExecutionStatusFailed // it ended of the stop meanwhile
	if a := w.call("DELETE", "/runs/r1", ""); a.status != 202 {
		t.Errorf("%+v", a)
	}

	w = newWorld(t)
	w.s3.Around = func(storetest.Call, func() error) error { return errNetwork }
	if a := w.call("DELETE", "/runs/r1", ""); a.status != 503 || w.cancelled != nil {
		t.Errorf("S3 away: %+v", a)
	}
}

// TestStopLeavesWhatWasRescued: the record is still open, but its execution has
// ended and another run delivers the task.
func TestStopLeavesWhatWasRescued(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{RunID: "r1", Status: run.Waiting, TaskID: "t1"})
	w.start("r1", body, types.ExecutionStatusFailed)
	if _, err := w.records().Claim(t.Context(), "t1", store.Claim{RunID: "r9"}); err != nil {
		t.Fatal(err)
	}
	if a := w.call("DELETE", "/runs/r1", ""); len(w.cancelled) > 0 {
		t.Errorf("%d %v: cancelled r9's %v", a.status, a.body, w.cancelled)
	}
}

// TestStopAgain cancels a task that could not be cancelled at the first stop.
func TestStopAgain(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{RunID: "r1", Status: run.Cancelled, TaskID: "t1", StopRequestedAt: began, EndedAt: began.Add(time.Second),
		Error: named.Errorf(named.RunCancelled, "the run was stopped; its task t1 could not be cancelled (401)")})
	if a := w.call("DELETE", "/runs/r1", ""); fmt.Sprint(w.cancelled) != "[t1]" {
		t.Errorf("%d %v cancelled %v", a.status, a.body, w.cancelled)
	}
}

// TestStopsRedriven: a redrive set the failed run going again, and its step has not
// come yet. Whatever the step is, it meets the stop and pays nothing.
func TestStopsRedriven(t *testing.T) {
	for _, status := range []types.ExecutionStatus{types.ExecutionStatusRunning, types.ExecutionStatusPendingRedrive} {
		for task, cancelled := range map[string]string{"": "[]", "t1": "[t1]"} {
			w := newWorld(t)
			w.record(run.Record{RunID: "r1", Status: run.Failed, TaskID: task, EndedAt: began, Error: named.Errorf(named.Unavailable, "x")})
			w.start("r1", body, status)
			for range 2 {
				if a := w.call("DELETE", "/runs/r1", ""); a.status != 202 || a.body["status"] != "cancelled" {
					t.Fatalf("%s: %+v", status, a)
				}
			}
			if r := w.get("r1"); !r.StopRequestedAt.Equal(began) || !r.Status.Open() || fmt.Sprint(w.cancelled[:min(1, len(w.cancelled))]) != cancelled || w.machine.stopped == nil {
				t.Errorf("%s, task %q: %+v, cancelled %v, stopped %v", status, task, r, w.cancelled, w.machine.stopped)
			}
			if len(w.s3.Keys(stateBucket, "open/r1")) != 1 {
				t.Error("no sweep would close it")
			}
			if _, err := w.records().Continue(t.Context(), "r1"); !named.Is(err, named.RunCancelled) {
				t.Errorf("the redriven step goes on: %v", err)
			}
		}
	}
	w := newWorld(t)
	w.record(run.Record{RunID: "r1", Status: run.Failed, TaskID: "t1"})
	w.start("r1", body, types.ExecutionStatusFailed)
	if a := w.call("DELETE", "/runs/r1", ""); a.status != 202 || a.body["status"] != "failed" || w.get("r1").Stopping() {
		t.Errorf("not redriven: %+v", a)
	}
}
