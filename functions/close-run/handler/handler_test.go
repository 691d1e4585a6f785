package handler

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

const lambdaCause = `{"errorMessage":"CUDA out of memory\nHint: use a smaller image","errorType":"TaskFailed"}`

func TestCloses(t *testing.T) {
	waiting := run.Record{Status: run.Waiting, TaskID: "t1", WorkflowID: "wf-1", TaskKnownAt: began}
	with := func(r run.Record, change func(*run.Record)) run.Record { change(&r); return r }
	doubtful := run.Record{Status: run.Submitting, WorkflowID: "wf-1", Submission: &submission}
	named2 := with(doubtful, func(r *run.Record) {
		r.Candidates, r.CandidatesAt = []run.Candidate{{TaskID: "t7", CreatedAt: began}, {TaskID: "t8", CreatedAt: began}}, began
	})
	stopped := with(waiting, func(r *run.Record) { r.StopRequestedAt = began })
	tests := []struct {
		name        string
		record      run.Record
		ended       string
		error       string
		cause       string
		status      run.Status
		want        string // the error's name
		text        string
		cancelled   bool
		markersStay bool
	}{
		{name: "aborted", record: waiting, ended: "ABORTED", status: run.Cancelled, want: named.RunCancelled, text: "its task t1 was cancelled", cancelled: true},
		{name: "stopped through the API", record: stopped, ended: "ABORTED", error: named.RunCancelled, cause: "x", status: run.Cancelled, want: named.RunCancelled, text: "its task t1 was cancelled", cancelled: true},
		{name: "a step met the stop first", record: stopped, ended: "FAILED", error: named.TaskCancelled, cause: "x", status: run.Cancelled, want: named.RunCancelled, text: "its task t1 was cancelled", cancelled: true},
		{name: "a step failed of the stop", record: waiting, ended: "FAILED", error: named.RunCancelled, cause: "x", status: run.Cancelled, want: named.RunCancelled, cancelled: true},
		{name: "timed out", record: waiting, ended: "TIMED_OUT", status: run.Failed, want: named.RunTimedOut, text: "its task t1 was cancelled", cancelled: true},
		{name: "its own deadline", record: waiting, ended: "FAILED", error: named.RunTimedOut, cause: "max_seconds passed", status: run.Failed, want: named.RunTimedOut, text: "max_seconds passed", cancelled: true},
		{name: "task failed", record: waiting, ended: "FAILED", error: named.TaskFailed, cause: lambdaCause, status: run.Failed, want: named.TaskFailed, text: "CUDA out of memory"},
		{name: "outage", record: waiting, ended: "FAILED", error: named.Unavailable, cause: "x", status: run.Failed, want: named.Unavailable, text: "x"},
		{name: "history full", record: waiting, ended: "FAILED", error: named.HistoryFull, cause: "x", status: run.Failed, want: named.HistoryFull, text: "x"},
		{name: "function died", record: waiting, ended: "FAILED", error: "Lambda.Unknown", cause: strings.Repeat("x", 5000), status: run.Failed, want: named.Unavailable, text: "Lambda.Unknown: xx"},
		{name: "no error told", record: waiting, ended: "FAILED", status: run.Failed, want: named.Unavailable},
		{name: "while copying", record: with(waiting, func(r *run.Record) { r.Status = run.Copying }), ended: "FAILED", error: named.OutputExpired, cause: "x", status: run.Failed, want: named.OutputExpired, text: "x"},
		{name: "adopted, aborted", record: with(waiting, func(r *run.Record) { r.Evidence, r.Adopted = run.ByExclusion, true }), ended: "ABORTED", status: run.Cancelled, want: named.RunCancelled, text: "the task t1 was left alone"},
		{name: "rescued, aborted", record: with(waiting, func(r *run.Record) { r.Evidence = run.ByRescue }), ended: "ABORTED", status: run.Cancelled, want: named.RunCancelled, text: "the task t1 was left alone"},
		{name: "rescued, timed out", record: with(waiting, func(r *run.Record) { r.Evidence = run.ByRescue }), ended: "TIMED_OUT", status: run.Failed, want: named.RunTimedOut, text: "left alone"},
		{name: "nothing submitted, aborted", record: run.Record{Status: run.Submitting}, ended: "ABORTED", status: run.Cancelled, want: named.RunCancelled, text: "nothing had been submitted"},
		{name: "in doubt, aborted", record: doubtful, ended: "ABORTED", status: run.Cancelled, want: named.RunCancelled, text: "from 2026-11-23T12:00:01Z to 2026-11-23T12:00:26Z", markersStay: true},
		{name: "in doubt, failed otherwise", record: doubtful, ended: "FAILED", error: named.Unavailable, cause: "S3 is away", status: run.Failed, want: named.SubmitOutcomeUnknown, text: "Unavailable: S3 is away", markersStay: true},
		{name: "outcome unknown", record: named2, ended: "FAILED", error: named.SubmitOutcomeUnknown, cause: "candidates: t7, t8", status: run.Failed, want: named.SubmitOutcomeUnknown, text: "t7, t8", markersStay: true},
		{name: "outcome unknown, then stopped", record: named2, ended: "ABORTED", status: run.Cancelled, want: named.RunCancelled, text: "candidates: t7, t8", markersStay: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.record(test.record)
			w.execution("r1", test.ended, test.error, test.cause)
			out, err := w.close("r1")
			if err != nil || out.Closed != 1 {
				t.Fatalf("%+v, %v", out, err)
			}
			record, failure := w.closed("r1")
			if record.Status != test.status || record.Error.Name != test.want || record.EndedAt.IsZero() || failure == nil || failure.Error.Cause != record.Error.Cause || failure.Error.Name != record.Error.Name {
				t.Fatalf("%+v, %+v", record, failure)
			}
			if !strings.Contains(record.Error.Cause, test.text) || len(record.Error.Cause) > 2000 {
				t.Errorf("cause %q", record.Error.Cause)
			}
			if test.cancelled != (fmt.Sprint(w.Cyberun.Cancelled) == "[t1]") {
				t.Errorf("cancelled %v", w.Cyberun.Cancelled)
			}
			if got := len(w.S3.Keys(stateBucket, "submitting/")) > 0; got != test.markersStay {
				t.Errorf("markers stay: %v", got)
			}

			again, err := w.close("r1")
			if err != nil || again.Closed != 0 {
				t.Fatalf("the event came twice: %+v, %v", again, err)
			}
			twice, _ := w.closed("r1")
			if twice.WriteID != record.WriteID {
				t.Error("a closed record was written again")
			}
		})
	}
}

// TestFailsInDoubt of another cause: the window and the candidates are named, once,
// and that a redrive finds out.
func TestFailsInDoubt(t *testing.T) {
	for name, status := range map[string]string{named.Unauthorized: "FAILED", named.RunTimedOut: "TIMED_OUT"} {
		w := newWorld(t)
		w.record(run.Record{Status: run.Submitting, WorkflowID: "wf-1", Submission: &submission, Candidates: []run.Candidate{{TaskID: "t7"}, {TaskID: "t8"}}, CandidatesAt: began})
		w.execution("r1", status, name, "the key was refused")
		if _, err := w.close("r1"); err != nil {
			t.Fatal(err)
		}
		_, failure := w.closed("r1")
		for _, part := range []string{name + ": the ", "from 2026-11-23T12:00:01Z to 2026-11-23T12:00:26Z", "text-to-image@2", "candidates: t7, t8"} {
			if strings.Count(failure.Error.Cause, part) != 1 {
				t.Errorf("%q is not once in %q", part, failure.Error.Cause)
			}
		}
		if failure.Error.Name != named.SubmitOutcomeUnknown || !strings.Contains(failure.Error.Hint, "redrive the run once the cause is gone") || !strings.Contains(failure.Error.Hint, "relay decide") {
			t.Errorf("%+v", failure.Error)
		}
	}
}

// TestNamesCandidates of a run that was stopped in doubt, as soon as its task would
// be listed: never adopted, never cancelled, and no other run's to adopt.
func TestNamesCandidates(t *testing.T) {
	row := func(w *world, id string, after time.Duration) {
		w.Cyberun.PutTask(id, cyberun.StatusRunning).CreatedAt.Time = began.Add(after)
	}
	for _, status := range []string{"ABORTED", "FAILED"} {
		w := newWorld(t)
		w.Now = began.Add(2 * time.Second) // a second after the POST
		w.record(run.Record{Status: run.Submitting, WorkflowID: "wf-1", Submission: &submission})
		w.execution("r1", status, named.Unauthorized, "x")
		w.Set("tasks/t3", run.Ownership{StartedBy: "r3", Evidence: run.ByReceipt, DeliveredBy: "r3"})
		looked := time.Duration(0)
		w.Cyberun.Started = nil
		w.Around = func(call string, do func() error) error {
			if call == "Tasks" {
				looked = w.Time().Sub(began)
				row(w, "early", -time.Hour)
				row(w, "t1", 2*time.Second)
				row(w, "t3", 3*time.Second)
				row(w, "late", time.Hour)
			}
			return do()
		}
		if out, err := w.close("r1"); err != nil || out.Closed != 1 {
			t.Fatal(out, err)
		}
		record, failure := w.closed("r1")
		if looked != 36*time.Second {
			t.Errorf("looked %s after the start: a POST until 26 s is listed 10 s later", looked)
		}
		if len(failure.Candidates) != 1 || failure.Candidates[0].TaskID != "t1" || failure.Candidates[0].TaskStatus != "running" || len(record.Candidates) != 1 || !strings.HasSuffix(record.Error.Cause, "candidates: t1") || failure.Error.Cause != record.Error.Cause {
			t.Errorf("%s: %+v, %+v", status, failure, record)
		}
		if w.Cyberun.Cancelled != nil || record.TaskID != "" || record.WorkLeft(w.Now) {
			t.Errorf("cancelled %v, %+v", w.Cyberun.Cancelled, record)
		}
	}
	// The list is away: the run is closed at once, and the sweep names them.
	w := newWorld(t)
	w.record(run.Record{Status: run.Submitting, WorkflowID: "wf-1", Submission: &submission})
	w.execution("r1", "ABORTED", "", "")
	w.Fails("Tasks", functiontest.Answered(503))
	if _, err := w.close("r1"); !named.Is(err, named.Unavailable) {
		t.Error(err)
	}
	if record, failure := w.closed("r1"); record.Status != run.Cancelled || failure == nil || !record.WorkLeft(w.Now) {
		t.Errorf("%+v, %+v", record, failure)
	}
	row(w, "t1", 2*time.Second)
	if out := w.sweep(); out != (Response{}) {
		t.Errorf("%+v", out)
	}
	if record, failure := w.closed("r1"); len(record.Candidates) != 1 || len(failure.Candidates) != 1 || record.WorkLeft(w.Now) {
		t.Errorf("%+v, %+v", record, failure)
	}
}

func TestHintSurvives(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{Status: run.Waiting, TaskID: "t1"})
	w.execution("r1", "FAILED", named.TaskFailed, lambdaCause)
	if _, err := w.close("r1"); err != nil {
		t.Fatal(err)
	}
	if _, failure := w.closed("r1"); failure.Error.Hint != "use a smaller image" || failure.Error.Cause != "CUDA out of memory" {
		t.Errorf("%+v", failure.Error)
	}
}

// TestNothingToClose: the event came late, after a redrive, or of a good end.
func TestNothingToClose(t *testing.T) {
	tests := map[string]func(w *world) Input{
		"it succeeded": func(w *world) Input { w.execution("r1", "SUCCEEDED", "", ""); return w.event("r1") },
		"it was redriven": func(w *world) Input {
			w.execution("r1", "FAILED", named.Unavailable, "x")
			event := w.event("r1")
			w.Executions.BeginAgain("r1")
			return event
		},
		"it is not known, and young": func(w *world) Input {
			w.execution("r1", "ABORTED", "", "")
			event := w.event("r1")
			w.Executions.Forget("r1")
			return event
		},
		"it ended by a call of an earlier life": func(w *world) Input { w.execution("r1", "FAILED", named.Superseded, "x"); return w.event("r1") },
	}
	for name, prepare := range tests {
		w := newWorld(t)
		w.record(run.Record{Status: run.Waiting, TaskID: "t1"})
		event := prepare(w)
		if out, err := w.handler().Handle(t.Context(), event); err != nil || out.Closed != 0 {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
		if record, failure := w.closed("r1"); !record.Status.Open() || failure != nil || w.Cyberun.Cancelled != nil {
			t.Errorf("%s: %+v", name, record)
		}
	}
}

// TestReadsAreLate: DescribeExecution does not show the end yet. A failed run is
// closed by the event's word; what cannot be undone waits for Step Functions' own.
func TestReadsAreLate(t *testing.T) {
	for status, closes := range map[string]bool{"FAILED": true, "ABORTED": false, "TIMED_OUT": false} {
		w := newWorld(t)
		w.record(run.Record{Status: run.Waiting, TaskID: "t1"})
		w.execution("r1", status, named.Unavailable, "x")
		event := w.event("r1")
		w.execution("r1", "RUNNING", "", "")
		out, err := w.handler().Handle(t.Context(), event)
		if record, _ := w.closed("r1"); closes != (err == nil && out.Closed == 1) || closes == record.Status.Open() || len(w.Cyberun.Cancelled) > 0 || !closes && !named.Is(err, named.Unavailable) {
			t.Errorf("%s: %+v, %v, %+v", status, out, err, record)
		}
		ended := w.execution("r1", status, named.Unavailable, "x")
		if out, err := w.handler().Handle(t.Context(), event); err != nil || !closes && out.Closed != 1 {
			t.Errorf("%s, once it shows as %s: %+v, %v", status, ended.Status, out, err)
		}
	}
}

// TestShowsTheLifeBefore: the event tells of the end of a redrive, of which
// DescribeExecution shows nothing yet, or is away. The event comes again until it does.
func TestShowsTheLifeBefore(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{Status: run.Waiting, TaskID: "t1", Life: 1})
	stopped := w.execution("r1", "ABORTED", "", "")
	stopped.Redrives = 1
	event := w.event("r1")
	w.execution("r1", "FAILED", named.Unavailable, "x")
	for _, prefix := range []string{"none", "DescribeExecution"} {
		w.Fails(prefix, functiontest.ErrNetwork)
		_, err := w.handler().Handle(t.Context(), event)
		if record, failure := w.closed("r1"); !named.Is(err, named.Unavailable) || !record.Status.Open() || failure != nil || w.Cyberun.Cancelled != nil {
			t.Errorf("%s fails: %v, %+v, cancelled %v", prefix, err, record, w.Cyberun.Cancelled)
		}
	}
	w.Executions.Put(*stopped)
	if out, err := w.handler().Handle(t.Context(), event); err != nil || out.Closed != 1 || fmt.Sprint(w.Cyberun.Cancelled) != "[t1]" {
		t.Errorf("%+v, %v, cancelled %v", out, err, w.Cyberun.Cancelled)
	}
}

func TestBadEvent(t *testing.T) {
	_, err := newWorld(t).handler().Handle(t.Context(), Input{})
	if !named.Is(err, named.InvalidRequest) {
		t.Error(err)
	}
}

// TestTombstone: the run ended before it had a record.
func TestTombstone(t *testing.T) {
	for status, want := range map[string]run.Status{"ABORTED": run.Cancelled, "FAILED": run.Failed} {
		w := newWorld(t)
		w.execution("r1", status, named.Unavailable, "x")
		out, err := w.close("r1")
		if err != nil || out.Closed != 1 {
			t.Fatal(out, err)
		}
		record, failure := w.closed("r1")
		if record.Status != want || failure == nil || record.Workflow != "text-to-image@2" || record.MaxSeconds == 0 || !record.StartedAt.Equal(began) || record.ExecutionARN != functiontest.ARN("r1") {
			t.Errorf("%+v", record)
		}
		if len(w.S3.Keys(stateBucket, "index/")) != 1 {
			t.Error("GET /runs would not show it")
		}
	}
}

// TestCancelOutcomes: tries at 0, 0.5, 1.5, 3.5, 7.5 s and on to 90 s, whatever the
// answer is that does not say yes; the run is closed then, and the sweep goes on.
func TestCancelOutcomes(t *testing.T) {
	refusals := map[string]error{
		"500": functiontest.Answered(500), "401": functiontest.Answered(401), "404": functiontest.Answered(404), "429": functiontest.Answered(429), `{"success": false}`: &cyberun.AnswerError{Status: 200}, "a page": functiontest.HTMLPage(502),
		"a page with 200": &cyberun.AnswerError{Status: 200}, "no answer": &cyberun.NetworkError{Err: errors.New("x")},
	}
	for name, refusal := range refusals {
		for _, times := range []int{2, 1000} {
			t.Run(fmt.Sprintf("%s, %d times", name, times), func(t *testing.T) {
				w := newWorld(t)
				w.record(run.Record{Status: run.Waiting, TaskID: "t1"})
				w.execution("r1", "ABORTED", "", "")
				w.Cyberun.Cancels = slices.Repeat([]error{refusal}, times)
				out, err := w.close("r1")
				record, failure := w.closed("r1")
				if err != nil || out.Closed != 1 || record.Status != run.Cancelled || failure == nil {
					t.Fatalf("%+v, %v, %+v", out, err, record)
				}
				cancels := w.Cyberun.CancelTimes(began.Add(time.Hour))
				tries := fmt.Sprint(cancels[:min(5, len(cancels))])
				if times == 2 {
					if tries != "[0s 500ms 1.5s]" || record.WorkLeft(w.Now) || !strings.Contains(failure.Error.Cause, "its task t1 was cancelled") || record.Cancel.EndedAs != "cancelled" {
						t.Errorf("tried at %s, %+v", tries, record)
					}
					return
				}
				if tries != "[0s 500ms 1.5s 3.5s 7.5s]" || w.Now.Sub(began.Add(time.Hour)) > lifecycle.CloseBudget || !record.WorkLeft(w.Now) || !strings.Contains(failure.Error.Cause, "could not be cancelled yet") {
					t.Errorf("tried at %s, until %s, %+v", tries, w.Now, record)
				}
				w.Cyberun.Cancels = nil
				if out := w.sweep(); out != (Response{}) || w.Cyberun.Of("t1").Status != cyberun.StatusCancelled {
					t.Errorf("the sweep: %+v, the task is %s", out, w.Cyberun.Of("t1").Status)
				}
				if record, _ := w.closed("r1"); record.WorkLeft(w.Now) || record.Cancel.AcceptedAt.IsZero() || record.Cancel.EndedAs != "cancelled" {
					t.Errorf("%+v", record.Cancel)
				}
			})
		}
	}
	// A task that had completed is named with its rescue.
	w := newWorld(t)
	w.record(run.Record{Status: run.Waiting, TaskID: "t1"})
	w.execution("r1", "ABORTED", "", "")
	w.Cyberun.PutTask("t1", cyberun.StatusCompleted)
	w.Cyberun.Cancels = []error{&cyberun.AnswerError{Status: 200}}
	if _, err := w.close("r1"); err != nil {
		t.Fatal(err)
	}
	if record, failure := w.closed("r1"); record.Cancel.EndedAs != "completed" || !strings.Contains(failure.Error.Cause, "`relay rescue t1`") || len(w.Cyberun.CancelTimes(began)) != 1 {
		t.Errorf("%+v, %+v", record.Cancel, failure.Error)
	}
}

// TestAbortsUploads of a run that nothing goes on with; a failed one keeps its
// parts for a redrive.
func TestAbortsUploads(t *testing.T) {
	for status, want := range map[string]string{"ABORTED": "[up1]", "FAILED": "[]"} {
		w := newWorld(t)
		w.record(run.Record{Status: run.Copying, TaskID: "t1"})
		for id, c := range map[string]lifecycle.CopyState{
			"a": {Checkpoint: &transfer.Checkpoint{Key: "runs/r1/a.png", UploadID: "up1", PartSize: 1}}, "b": {Output: &run.Output{ID: "b"}},
		} {
			if err := w.runs.PutCopyState(t.Context(), "r1", id, c); err != nil {
				t.Fatal(err)
			}
		}
		w.execution("r1", status, named.OutputTruncated, "x")
		if _, err := w.close("r1"); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(w.S3.Aborted()) != want {
			t.Errorf("%s: aborted %v", status, w.S3.Aborted())
		}
		if left := len(w.S3.Keys(stateBucket, "copies/")); left != map[string]int{"FAILED": 2}[status] {
			t.Errorf("%s: %d states left", status, left)
		}
	}
}

func TestErrorInItsOwnPlace(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{Status: run.Submitting, Prefix: "by-task/{task_id}/text-to-image/2026-11-23/"})
	w.execution("r1", "FAILED", named.Unauthorized, "x")
	if _, err := w.close("r1"); err != nil {
		t.Fatal(err)
	}
	if keys := w.S3.Keys(outputBucket, ""); fmt.Sprint(keys) != "[by-task/r1/text-to-image/2026-11-23/error.json]" {
		t.Error(keys)
	}
}

func TestStateBucketAway(t *testing.T) {
	w := newWorld(t)
	w.execution("r1", "ABORTED", "", "")
	w.Around = func(string, func() error) error { return storetest.Error(503, "SlowDown") }
	if _, err := w.close("r1"); !named.Is(err, named.Unavailable) {
		t.Error(err)
	}
}
