package handler

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

func at(d time.Duration) func(*world) { return func(w *world) { w.now = began.Add(d) } }

// TestStoppedWhileItLooks: the cancelled task that a person's stop left is that
// stop, and no cancel of Cyberun's own.
func TestStoppedWhileItLooks(t *testing.T) {
	var w *world
	w = newWorld(t, look{status: cyberun.StatusCancelled, change: func(*cyberun.Task) {
		if _, err := w.records().Update(t.Context(), "r1", func(r *run.Record) error {
			r.StopRequestedAt = began
			return nil
		}); err != nil {
			t.Error(err)
		}
	}}).record(nil)
	_, err := w.handle()
	wantName(t, err, named.RunCancelled, "t1 was cancelled")
}

// TestDecides: what one look leads to, without holding and well after the start.
func TestDecides(t *testing.T) {
	running := look{status: cyberun.StatusRunning}
	tests := []struct {
		name    string
		look    look
		prepare func(*world)
		out     Output
		want    string // error
		text    string
	}{
		{"running", running, nil, Output{Status: "running", WaitSeconds: 15}, "", ""},
		{"pending", look{status: cyberun.StatusPending}, nil, Output{Status: "pending", WaitSeconds: 15}, "", ""},
		{"a state of tomorrow", look{status: "warming_up"}, nil, Output{Status: "warming_up", WaitSeconds: 15}, "", ""},
		{"young", running, at(7 * time.Second), Output{Status: "running", WaitSeconds: 3}, "", ""},
		{"old", running, at(50 * time.Minute), Output{Status: "running", WaitSeconds: 60}, "", ""},
		{"near its deadline", running, at(time.Hour - 1500*time.Millisecond), Output{Status: "running", WaitSeconds: 2}, "", ""},
		{"completed", look{status: cyberun.StatusCompleted}, nil, Output{Status: "completed", Done: true}, "", ""},
		{"completed after the deadline", look{status: cyberun.StatusCompleted}, at(2 * time.Hour), Output{Status: "completed", Done: true}, "", ""},
		{"failed", look{status: cyberun.StatusFailed, change: func(t *cyberun.Task) { t.Error = "CUDA out of memory" }}, nil, Output{}, named.TaskFailed, "CUDA out of memory"},
		{"failed without a word", look{status: cyberun.StatusFailed}, nil, Output{}, named.TaskFailed, "it gave no reason"},
		{"cancelled", look{status: cyberun.StatusCancelled}, nil, Output{}, named.TaskCancelled, "t1"},
		{"cancelled by a call that died", look{status: cyberun.StatusCancelled}, at(time.Hour), Output{}, named.RunTimedOut, "3600"},
		{"502", look{err: answered(http.StatusBadGateway)}, nil, Output{Status: "unknown", WaitSeconds: 15}, "", ""},
		{"no answer", look{err: &cyberun.NetworkError{Err: errNetwork}}, nil, Output{Status: "unknown", WaitSeconds: 15}, "", ""},
		{"an answer that cannot be read", look{err: &cyberun.AnswerError{Status: 200}}, nil, Output{Status: "unknown", WaitSeconds: 15}, "", ""},
		{"400", look{err: answered(http.StatusBadRequest)}, nil, Output{Status: "unknown", WaitSeconds: 15}, "", ""},
		{"429 with Retry-After", look{err: &cyberun.APIError{Status: 429, RetryAfter: 42 * time.Second}}, nil, Output{Status: "unknown", WaitSeconds: 42}, "", ""},
		{"503 with a day", look{err: &cyberun.APIError{Status: 503, RetryAfter: 24 * time.Hour}}, nil, Output{Status: "unknown", WaitSeconds: 60}, "", ""},
		{"Retry-After beyond the deadline", look{err: &cyberun.APIError{Status: 429, RetryAfter: 42 * time.Second}}, at(time.Hour - 5*time.Second), Output{Status: "unknown", WaitSeconds: 5}, "", ""},
		{"Secrets Manager away", look{err: named.Errorf(named.Unavailable, "x")}, nil, Output{Status: "unknown", WaitSeconds: 15}, "", ""},
		{"401", look{err: answered(http.StatusUnauthorized)}, nil, Output{}, named.Unauthorized, "ApiKeySecretArn"},
		{"no key", look{err: named.Errorf(named.Unauthorized, "the secret holds no value yet")}, nil, Output{}, named.Unauthorized, "no value"},
		{"403", look{err: answered(http.StatusForbidden)}, nil, Output{}, named.FeatureNotLicensed, ""},
		{"404 of a new task", look{err: answered(http.StatusNotFound)}, at(59 * time.Second), Output{Status: "unknown", WaitSeconds: 8}, "", ""},
		{"404 of an old task", look{err: answered(http.StatusNotFound)}, nil, Output{}, named.TaskFailed, "no longer knows the task t1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.look).record(nil)
			w.now = began.Add(100 * time.Second)
			if test.prepare != nil {
				test.prepare(w)
			}
			out, err := w.handle()
			if test.want != "" {
				wantName(t, err, test.want, test.text)
			} else if err != nil || out != test.out {
				t.Errorf("%+v, %v", out, err)
			}
			if w.did("cancel") != nil {
				t.Errorf("cancelled: %v", w.log)
			}
			record, _ := w.records().Get(t.Context(), "r1")
			if test.look.status.Terminal() && (record.TaskStatus != string(test.look.status) || !record.CompletedAt.Equal(w.now)) {
				t.Errorf("recorded %q at %s", record.TaskStatus, record.CompletedAt)
			}
			if p := w.progress(); p.Polls != 1 || p.RunID != "r1" || p.TaskStatus != string(test.look.status) {
				t.Errorf("%+v", p)
			}
		})
	}
}

// TestTimesOut: cancel, look once more, deliver or RunTimedOut.
func TestTimesOut(t *testing.T) {
	running, down := look{status: cyberun.StatusRunning}, look{err: errNetwork}
	completed, cancelled := look{status: cyberun.StatusCompleted}, look{status: cyberun.StatusCancelled}
	tests := []struct {
		name      string
		change    func(*run.Record)
		cancelErr error
		looks     []look
		done      bool
		text      string
		cancels   int
	}{
		{"cancelled", nil, nil, []look{running, cancelled}, false, "it was cancelled", 1},
		{"still cancelling", nil, nil, []look{running, running}, false, "it was cancelled", 1},
		{"completed in the last moment", nil, nil, []look{running, completed}, true, "", 1},
		{"failed in the last moment", nil, nil, []look{running, {status: cyberun.StatusFailed}}, false, "max_seconds (3600)", 1},
		{"outage", nil, answered(503), []look{down, down}, false, "could not be cancelled yet", 1},
		{"outage that ends", nil, nil, []look{down, completed}, true, "", 1},
		{"adopted", func(r *run.Record) { r.Adopted = true }, nil, []look{running, running}, false, "was left running", 0},
		{"rescued", func(r *run.Record) { r.Rescued = true }, nil, []look{running, running}, false, "was left running", 0},
		{"rescued and completed", func(r *run.Record) { r.Rescued = true }, nil, []look{running, completed}, true, "", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.looks...).record(test.change)
			w.now = began.Add(time.Hour)
			fake := w.h.Cyberun.(fakeCyberun)
			fake.cancel = func(_ context.Context, id string) error { w.log = append(w.log, "cancel "+id); return test.cancelErr }
			w.h.Cyberun = fake
			out, err := w.handle()
			if test.done {
				if err != nil || !out.Done {
					t.Errorf("%+v, %v", out, err)
				}
			} else {
				wantName(t, err, named.RunTimedOut, test.text)
			}
			if len(w.did("cancel")) != test.cancels {
				t.Error(w.log)
			}
			if looked := strings.Join(w.log, " "); test.cancels > 0 && !strings.Contains(looked, "cancel t1 look") {
				t.Errorf("no look after the cancel: %s", looked)
			}
		})
	}
}

// TestRefuses runs that a person has stopped, and tasks that are another's now.
func TestRefuses(t *testing.T) {
	tests := map[string]struct {
		change func(*run.Record)
		want   string
	}{
		"stop marked": {func(r *run.Record) { r.StopRequestedAt = began }, named.RunCancelled},
		"closed":      {func(r *run.Record) { r.Status = run.Cancelled }, named.RunCancelled},
	}
	for name, test := range tests {
		w := newWorld(t).record(test.change)
		_, err := w.handle()
		wantName(t, err, test.want, "")
		if w.log != nil {
			t.Errorf("%s: %v", name, w.log)
		}
	}
	for _, status := range []run.Status{run.Failed, run.Waiting} { // close-run has heard of it, or not yet
		w := newWorld(t, look{status: cyberun.StatusRunning}).record(func(r *run.Record) { r.Status = status })
		w.rescuedBy("r9")
		w.now = began.Add(2 * time.Hour) // past its deadline: the rescuer's task must live
		w.log = nil
		_, err := w.handle()
		wantName(t, err, named.TaskTaken, "r9")
		if w.log != nil {
			t.Errorf("%s: %v", status, w.log)
		}
	}
}

func (w *world) rescuedBy(runID string) {
	w.t.Helper()
	if err := w.records().TakeOver(w.t.Context(), "t1", store.Claim{RunID: "r1"}, store.Claim{RunID: runID}); err != nil {
		w.t.Fatal(err)
	}
}

// TestRescuedWhileItLooks: the claim is asked once more before the cancel.
func TestRescuedWhileItLooks(t *testing.T) {
	var w *world
	w = newWorld(t, look{status: cyberun.StatusRunning, change: func(*cyberun.Task) { w.rescuedBy("r9") }}).record(nil)
	w.now = began.Add(2 * time.Hour)
	_, err := w.handle()
	wantName(t, err, named.TaskTaken, "r9")
	if w.did("cancel") != nil {
		t.Errorf("cancelled r9's: %v", w.log)
	}
}

// TestRedrive opens the record again, and marks it open for the sweep.
func TestRedrive(t *testing.T) {
	w := newWorld(t, look{status: cyberun.StatusRunning}).record(func(r *run.Record) {
		r.Close(run.Failed, began, named.Errorf(named.Unauthorized, "x"))
	})
	w.now = began.Add(time.Minute)
	if out, err := w.handle(); err != nil || out.Done || out.WaitSeconds != 9 {
		t.Fatalf("%+v, %v", out, err)
	}
	record, _ := w.records().Get(t.Context(), "r1")
	if record.Status != run.Waiting || !record.Redriven || record.Error != nil || len(w.s3.Keys(stateBucket, "open/r1")) != 1 {
		t.Errorf("%+v", record)
	}
}

// TestRedrivenAfterItsDeadline: what completed meanwhile is delivered.
func TestRedrivenAfterItsDeadline(t *testing.T) {
	w := newWorld(t, look{status: cyberun.StatusCompleted}).record(func(r *run.Record) {
		r.Close(run.Failed, began, named.Errorf(named.RunTimedOut, "x"))
	})
	w.now = began.Add(48 * time.Hour)
	if out, err := w.handle(); err != nil || !out.Done {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestStateBucketAway: the record is needed, the progress is not.
func TestStateBucketAway(t *testing.T) {
	w := newWorld(t, look{status: cyberun.StatusCompleted}).record(nil)
	w.s3.Around = func(c storetest.Call, do func() error) error {
		if strings.HasPrefix(c.Key, "progress/") {
			return errNetwork
		}
		return do()
	}
	if out, err := w.handle(); err != nil || !out.Done {
		t.Errorf("%+v, %v", out, err)
	}
	w.s3.Around = func(storetest.Call, func() error) error { return errNetwork }
	_, err := w.handle()
	wantName(t, err, named.Unavailable, "")
}

// TestLostWrite: the task's end is recorded although the reply to the write is lost.
func TestLostWrite(t *testing.T) {
	w := newWorld(t, look{status: cyberun.StatusFailed}).record(nil)
	w.s3.Around = func(c storetest.Call, do func() error) error {
		err := do()
		if c.Op == "PutObject" && c.Key == "runs/r1.json" {
			w.s3.Around = nil
			return errNetwork
		}
		return err
	}
	_, err := w.handle()
	wantName(t, err, named.Unavailable, "")
	_, err = w.handle()
	wantName(t, err, named.TaskFailed, "")
}

// TestLingers: with HoldSeconds=0 a young task is looked at again within the call.
func TestLingers(t *testing.T) {
	tests := []struct {
		name  string
		looks []look
		after time.Duration
		want  string
		done  bool
	}{
		{"to its end", []look{{status: "running"}, {status: "completed"}}, time.Second, "[look sleep 3s look]", true},
		{"until it is no longer young", []look{{status: "running"}}, time.Second, "[look sleep 3s look sleep 3s look]", false},
		{"not when it is old", []look{{status: "running"}}, time.Minute, "[look]", false},
		{"not through an outage", []look{{status: "running"}, {err: errNetwork}}, time.Second, "[look sleep 3s look]", false},
		{"not when it has ended", []look{{status: "completed"}}, time.Second, "[look]", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.looks...).record(nil)
			w.now = began.Add(test.after)
			out, err := w.handle()
			if err != nil || out.Done != test.done {
				t.Errorf("%+v, %v", out, err)
			}
			var did []string
			for _, entry := range w.log {
				if !strings.HasPrefix(entry, "put") {
					did = append(did, entry)
				}
			}
			if fmt.Sprint(did) != test.want {
				t.Errorf("%v", did)
			}
		})
	}
	w := newWorld(t, look{status: "running"}).record(func(r *run.Record) { r.MaxSeconds = 3 })
	w.now = began.Add(time.Second)
	_, err := w.handle() // never past its deadline
	wantName(t, err, named.RunTimedOut, "")
	if len(w.did("sleep")) != 1 {
		t.Error(w.log)
	}
}
