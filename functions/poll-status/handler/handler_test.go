package handler

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

func at(d time.Duration) func(*world) { return func(w *world) { w.Now = began.Add(d) } }

// TestStoppedWhileItLooks: the cancelled task that a person's stop left is that
// stop, and no cancel of Cyberun's own.
func TestStoppedWhileItLooks(t *testing.T) {
	var w *world
	w = newWorld(t, look{status: cyberun.StatusCancelled, change: func(*cyberun.Task) {
		w.Change("r1", func(r *run.Record) { r.StopRequestedAt = began })
	}}).record(nil)
	_, err := w.handle()
	namedtest.Want(t, err, named.RunCancelled, "its task t1")
}

// TestDecides: what one look leads to, without holding and well after the start.
func TestDecides(t *testing.T) {
	running := look{status: cyberun.StatusRunning}
	tests := []struct {
		name    string
		look    look
		prepare func(*world)
		out     Response
		want    string // error
		text    string
	}{
		{"running", running, nil, Response{Status: "running", WaitSeconds: 15}, "", ""},
		{"pending", look{status: cyberun.StatusPending}, nil, Response{Status: "pending", WaitSeconds: 15}, "", ""},
		{"an unknown status", look{status: "warming_up"}, nil, Response{Status: "warming_up", WaitSeconds: 15}, "", ""},
		{"young", running, at(7 * time.Second), Response{Status: "running", WaitSeconds: 3}, "", ""},
		{"old", running, at(50 * time.Minute), Response{Status: "running", WaitSeconds: 60}, "", ""},
		{"near its deadline", running, at(time.Hour - 1500*time.Millisecond), Response{Status: "running", WaitSeconds: 2}, "", ""},
		{"completed", look{status: cyberun.StatusCompleted}, nil, Response{Status: "completed", Done: true}, "", ""},
		{"completed after the deadline", look{status: cyberun.StatusCompleted}, at(2 * time.Hour), Response{Status: "completed", Done: true}, "", ""},
		{"failed", look{status: cyberun.StatusFailed, change: func(t *cyberun.Task) { t.Error = "CUDA out of memory" }}, nil, Response{}, named.TaskFailed, "CUDA out of memory"},
		{"failed without a word", look{status: cyberun.StatusFailed}, nil, Response{}, named.TaskFailed, "it gave no reason"},
		{"cancelled", look{status: cyberun.StatusCancelled}, nil, Response{}, named.TaskCancelled, "t1"},
		{"cancelled by a call that died", look{status: cyberun.StatusCancelled}, at(time.Hour), Response{}, named.RunTimedOut, "3600"},
		{"cancelled in an earlier life", look{status: cyberun.StatusCancelled}, func(w *world) {
			w.Change("r1", func(r *run.Record) { r.Cancel = &run.Cancel{AskedAt: began, AcceptedAt: began} })
		}, Response{}, named.TaskCancelled, "before the run was redriven"},
		{"502", look{err: answered(http.StatusBadGateway)}, nil, Response{Status: "unknown", WaitSeconds: 15}, "", ""},
		{"no answer", look{err: &cyberun.NetworkError{Err: errNetwork}}, nil, Response{Status: "unknown", WaitSeconds: 15}, "", ""},
		{"an answer that cannot be read", look{err: &cyberun.AnswerError{Status: 200}}, nil, Response{Status: "unknown", WaitSeconds: 15}, "", ""},
		{"400", look{err: answered(http.StatusBadRequest)}, nil, Response{Status: "unknown", WaitSeconds: 15}, "", ""},
		{"429 with Retry-After", look{err: &cyberun.APIError{Status: 429, RetryAfter: 42 * time.Second}}, nil, Response{Status: "unknown", WaitSeconds: 42}, "", ""},
		{"503 with a day", look{err: &cyberun.APIError{Status: 503, RetryAfter: 24 * time.Hour}}, nil, Response{Status: "unknown", WaitSeconds: 60}, "", ""},
		{"Retry-After beyond the deadline", look{err: &cyberun.APIError{Status: 429, RetryAfter: 42 * time.Second}}, at(time.Hour - 5*time.Second), Response{Status: "unknown", WaitSeconds: 5}, "", ""},
		{"Secrets Manager away", look{err: named.Errorf(named.Unavailable, "x")}, nil, Response{Status: "unknown", WaitSeconds: 15}, "", ""},
		{"401", look{err: answered(http.StatusUnauthorized)}, nil, Response{}, named.Unauthorized, "ApiKeySecretArn"},
		{"401 by a page", look{err: page(http.StatusUnauthorized)}, nil, Response{Status: "unknown", WaitSeconds: 15}, "", ""},
		{"no key", look{err: named.Errorf(named.Unauthorized, "the secret holds no value yet")}, nil, Response{}, named.Unauthorized, "no value"},
		{"403", look{err: answered(http.StatusForbidden)}, nil, Response{Status: "unknown", WaitSeconds: 15}, "", ""},
		{"404 of a new task", look{err: answered(http.StatusNotFound)}, at(59 * time.Second), Response{Status: "unknown", WaitSeconds: 8}, "", ""},
		{"404 of an old task", look{err: answered(http.StatusNotFound)}, nil, Response{Status: "unknown", WaitSeconds: 15}, "", ""},
		{"410", look{err: answered(http.StatusGone)}, nil, Response{Status: "unknown", WaitSeconds: 15}, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.look).record(nil)
			w.Now = began.Add(100 * time.Second)
			if test.prepare != nil {
				test.prepare(w)
			}
			out, err := w.handle()
			if test.want != "" {
				namedtest.Want(t, err, test.want, test.text)
			} else if err != nil || out != test.out {
				t.Errorf("%+v, %v", out, err)
			}
			if w.did("cancel") != nil {
				t.Errorf("cancelled: %v", w.log)
			}
			record := w.get()
			if test.look.status.Terminal() && (record.TaskStatus != string(test.look.status) || !record.CompletedAt.Equal(w.Now)) {
				t.Errorf("recorded %q at %s", record.TaskStatus, record.CompletedAt)
			}
			if p := w.progress(); p.Polls != 1 || p.RunID != "r1" || p.TaskStatus != string(test.look.status) {
				t.Errorf("%+v", p)
			}
		})
	}
}

// TestTimesOut: cancel, look once more, deliver or RunTimedOut; the error says what
// became of the task.
func TestTimesOut(t *testing.T) {
	running, down := look{status: cyberun.StatusRunning}, look{err: errNetwork}
	completed, cancelled := look{status: cyberun.StatusCompleted}, look{status: cyberun.StatusCancelled}
	adopted := func(r *run.Record) { r.Evidence, r.Adopted = run.ByExclusion, true }
	rescued := func(r *run.Record) { r.Evidence = run.ByRescue }
	tests := []struct {
		name      string
		change    func(*run.Record)
		cancelErr error
		looks     []look
		done      bool
		text      string
		cancels   int
	}{
		{name: "cancelled", looks: []look{running, cancelled}, text: "its task t1 was cancelled", cancels: 1},
		{name: "still cancelling", looks: []look{running}, text: "Cyberun accepted the cancel of its task t1", cancels: 1},
		{name: "completed in the last moment", looks: []look{running, completed}, done: true, cancels: 1},
		{name: "completed after the cancel", looks: []look{running, running, completed}, done: true, cancels: 1},
		{name: "failed in the last moment", looks: []look{running, {status: cyberun.StatusFailed}}, text: "max_seconds (3600)", cancels: 1},
		{name: "outage", cancelErr: answered(503), looks: []look{down}, text: "could not be cancelled yet", cancels: 5},
		{name: "refused, since it has completed", cancelErr: &cyberun.AnswerError{Status: 200}, looks: []look{running, completed}, done: true, cancels: 1},
		{name: "outage that ends", looks: []look{down, completed}, done: true, cancels: 1},
		{name: "adopted", change: adopted, looks: []look{running}, text: "was left running"},
		{name: "rescued", change: rescued, looks: []look{running}, text: "was left running"},
		{name: "rescued and completed", change: rescued, looks: []look{running, completed}, done: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.looks...).record(test.change)
			w.Now = began.Add(time.Hour)
			w.Cyberun.Cancels = slices.Repeat([]error{test.cancelErr}, 10) // of every try
			out, err := w.handle()
			if test.done {
				if err != nil || !out.Done {
					t.Errorf("%+v, %v", out, err)
				}
			} else {
				namedtest.Want(t, err, named.RunTimedOut, test.text)
			}
			if len(w.did("cancel")) != test.cancels || w.Now.Sub(began.Add(time.Hour)) > timeOutBudget {
				t.Errorf("after %s: %v", w.Now.Sub(began.Add(time.Hour)), w.log)
			}
			if looked := strings.Join(w.log, " "); test.cancels > 0 && !strings.Contains(looked, "cancel t1 look") {
				t.Errorf("no look after the cancel: %s", looked)
			}
		})
	}
}

// TestDeadlineOfALife: a redrive gives the task max_seconds again.
func TestDeadlineOfALife(t *testing.T) {
	w := newWorld(t, look{status: "running"}).record(func(r *run.Record) {
		r.Status, r.Error, r.EndedAt = run.Failed, named.Errorf(named.RunTimedOut, "x"), began
	})
	w.Now = began.Add(48 * time.Hour)
	in := w.input()
	*in.Redrives = 1
	if out, err := w.h.Handle(t.Context(), in); err != nil || out.WaitSeconds != 90 || w.did("cancel") != nil {
		t.Errorf("%+v, %v, %v", out, err, w.log)
	}
	w.Now = w.Now.Add(time.Hour)
	_, err := w.h.Handle(t.Context(), in)
	namedtest.Want(t, err, named.RunTimedOut, "")
}

// TestRefuses runs that a person has stopped, that have ended, and calls of an
// earlier life.
func TestRefuses(t *testing.T) {
	tests := map[string]struct {
		change func(*run.Record)
		want   string
	}{
		"stop requested":          {func(r *run.Record) { r.StopRequestedAt = began }, named.RunCancelled},
		"cancelled":               {func(r *run.Record) { r.Status = run.Cancelled }, named.Superseded},
		"failed":                  {func(r *run.Record) { r.Status = run.Failed }, named.Superseded},
		"of an earlier life":      {func(r *run.Record) { r.Life = 1 }, named.Superseded},
		"stopped, in a later one": {func(r *run.Record) { r.StopRequestedAt, r.Life = began, 1 }, named.Superseded},
	}
	for name, test := range tests {
		w := newWorld(t).record(test.change)
		_, err := w.handle()
		namedtest.Want(t, err, test.want, "")
		if w.log != nil {
			t.Errorf("%s: %v", name, w.log)
		}
	}
	_, err := newWorld(t).handle()
	namedtest.Want(t, err, named.RunNotFound, "r1")
}

// TestRescuedByAnother: two runs that deliver one task do no harm, but the rescuer's
// task is not this run's to cancel, also when it is rescued while this one looks.
func TestRescuedByAnother(t *testing.T) {
	rescued := run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: "r9"}
	var w *world
	w = newWorld(t, look{status: "running", change: func(*cyberun.Task) { w.Set("tasks/t1", rescued) }}).record(nil)
	if out, err := w.handle(); err != nil || out.Done {
		t.Errorf("%+v, %v", out, err)
	}
	w.Now = began.Add(2 * time.Hour)
	_, err := w.handle()
	namedtest.Want(t, err, named.RunTimedOut, "another run delivers it")
	if w.did("cancel") != nil {
		t.Errorf("cancelled r9's: %v", w.log)
	}
}

// TestDeliveredAlready: copy-result answers for a run that is delivered, or is past
// its point of no return; nobody is asked.
func TestDeliveredAlready(t *testing.T) {
	for _, status := range []run.Status{run.Succeeded, run.Delivering} {
		w := newWorld(t).record(func(r *run.Record) { r.Status = status })
		if out, err := w.handle(); err != nil || !out.Done || w.log != nil {
			t.Errorf("%s: %+v, %v, %v", status, out, err, w.log)
		}
	}
}

// TestRedrive opens the record again, in the redrive's life.
func TestRedrive(t *testing.T) {
	w := newWorld(t, look{status: cyberun.StatusRunning}).record(func(r *run.Record) {
		r.Status, r.EndedAt, r.Error, r.CleanUpDue = run.Failed, began, named.Errorf(named.Unauthorized, "x"), true
	})
	w.Now = began.Add(time.Minute)
	in := w.input()
	*in.Redrives = 1
	if out, err := w.h.Handle(t.Context(), in); err != nil || out.Done || out.WaitSeconds != 9 {
		t.Fatalf("%+v, %v", out, err)
	}
	if r := w.get(); r.Status != run.Waiting || r.Life != 1 || r.Error != nil || r.CleanUpDue || !r.EndedAt.IsZero() {
		t.Errorf("%+v", r)
	}
}

// TestRedrivenAfterItsDeadline: what completed meanwhile is delivered.
func TestRedrivenAfterItsDeadline(t *testing.T) {
	w := newWorld(t, look{status: cyberun.StatusCompleted}).record(func(r *run.Record) {
		r.Status, r.EndedAt, r.Error = run.Failed, began, named.Errorf(named.RunTimedOut, "x")
	})
	w.Now = began.Add(8 * 24 * time.Hour)
	in := w.input()
	*in.Redrives = 1
	if out, err := w.h.Handle(t.Context(), in); err != nil || !out.Done {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestCountsTheHistory: nine events a poll and three an attempt; from 20,000 the
// waits grow so that the rest fits, at 23,000 the run ends, to be redriven, and
// nothing is cancelled.
func TestCountsTheHistory(t *testing.T) {
	w := newWorld(t, look{status: "running"}).record(func(r *run.Record) { r.MaxSeconds = 86400 })
	w.Now = began.Add(time.Hour)
	in := w.input()
	in.Retries = 4
	for _, call := range []Input{w.input(), in} {
		if _, err := w.h.Handle(t.Context(), call); err != nil {
			t.Fatal(err)
		}
	}
	if p := w.progress(); p.HistoryEvents != 2*run.PollEvents+4*run.RetryEvents || p.Polls != 2 {
		t.Errorf("%+v", p)
	}
	for _, test := range []struct {
		events int // before the poll
		wait   int
	}{{19_990, 60}, {20_000, 248}, {22_900, 8280}} {
		w.Set("progress/r1.json", run.Progress{RunID: "r1", Polls: 7, HistoryEvents: test.events})
		out, err := w.handle()
		if err != nil || out.WaitSeconds < test.wait || out.WaitSeconds > test.wait+test.wait/10 {
			t.Errorf("after %d events: %+v, %v; want a wait of some %d s", test.events, out, err, test.wait)
		}
	}
	w.Set("progress/r1.json", run.Progress{RunID: "r1", Polls: 7, HistoryEvents: run.FullHistory - run.PollEvents})
	_, err := w.handle()
	namedtest.Want(t, err, named.HistoryFull, "t1")
	if w.did("cancel") != nil || !w.get().Status.Open() {
		t.Errorf("%v, %+v", w.log, w.get())
	}
	w.Set("progress/r1.json", run.Progress{RunID: "r1", HistoryEvents: run.FullHistory})
	w.looks = []look{{status: "completed"}}
	if out, err := w.handle(); err != nil || !out.Done {
		t.Errorf("what has completed is delivered: %+v, %v", out, err)
	}
}

// TestNotesTheTasksEnd how the task ended: they expect theirs by it, and know their
// list by it.
func TestNotesTheTasksEnd(t *testing.T) {
	for _, status := range []cyberun.Status{"completed", "failed", "cancelled", "running"} {
		w := newWorld(t, look{status: status, change: func(t *cyberun.Task) {
			t.CreatedAt.Time, t.StartedAt.Time = began.Add(2*time.Second), began.Add(5*time.Second)
		}}).record(func(r *run.Record) {
			r.Workflow, r.Submission = "a/b@2", &run.Submission{MarkedAt: began, PostUntil: began.Add(25 * time.Second)}
		})
		w.Now = began.Add(20 * time.Second)
		_, _ = w.handle()
		keys := w.S3.Keys(stateBucket, "ended/a%2Fb@2/")
		if told := len(keys) == 1 && strings.HasSuffix(keys[0], "-3000-15000-t1"); told != status.Terminal() {
			t.Errorf("%s: %v", status, w.S3.Keys(stateBucket, "ended/"))
		}
	}
}

// TestPollsInline: with HoldSeconds=0 a young task is looked at again within the call.
func TestPollsInline(t *testing.T) {
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
			w.Now = began.Add(test.after)
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
	w := newWorld(t, look{status: "running"}).record(nil)
	w.Now = began.Add(time.Second)
	in := w.input()
	in.Retries = 1 // which may have been throttled
	if _, err := w.h.Handle(t.Context(), in); err != nil || w.did("sleep") != nil {
		t.Errorf("%v, %v", err, w.log)
	}
	w = newWorld(t, look{status: "running"}).record(func(r *run.Record) { r.MaxSeconds = 3 })
	w.Now = began.Add(time.Second)
	_, err := w.handle() // never past its deadline
	namedtest.Want(t, err, named.RunTimedOut, "")
	if len(w.did("sleep")) != 1 {
		t.Error(w.log)
	}
}
