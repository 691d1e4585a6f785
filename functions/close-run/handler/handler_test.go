package handler

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

const lambdaCause = `{"errorMessage":"CUDA out of memory\nHint: use a smaller image","errorType":"TaskFailed"}`

func TestCloses(t *testing.T) {
	waiting := run.Record{Status: run.Waiting, TaskID: "t1", WorkflowID: "wf-1", AcceptedAt: began}
	with := func(change func(*run.Record)) run.Record { r := waiting; change(&r); return r }
	doubt := run.Record{Status: run.Submitting, WorkflowID: "wf-1", Submission: &submission}
	tests := []struct {
		name          string
		record        run.Record
		ended         types.ExecutionStatus
		error, cause  string
		status        run.Status
		want          string // the error's name
		text          string
		cancelled     bool
		markersRemain bool
	}{
		{"aborted", waiting, types.ExecutionStatusAborted, "", "", run.Cancelled, named.RunCancelled, "its task t1 was cancelled", true, false},
		{"stopped through the API", with(func(r *run.Record) { r.StopRequestedAt = began }), types.ExecutionStatusAborted, named.RunCancelled, "x", run.Cancelled, named.RunCancelled, "its task t1 was cancelled", true, false},
		{"a step met the stop first", with(func(r *run.Record) { r.StopRequestedAt = began }), types.ExecutionStatusFailed, named.TaskCancelled, "x", run.Cancelled, named.RunCancelled, "its task t1 was cancelled", true, false},
		{"a step failed of the stop", waiting, types.ExecutionStatusFailed, named.RunCancelled, "x", run.Cancelled, named.RunCancelled, "", true, false},
		{"timed out", waiting, types.ExecutionStatusTimedOut, "", "", run.Failed, named.RunTimedOut, "its task t1 was cancelled", true, false},
		{"its own deadline", waiting, types.ExecutionStatusFailed, named.RunTimedOut, "max_seconds passed", run.Failed, named.RunTimedOut, "max_seconds passed", true, false},
		{"task failed", waiting, types.ExecutionStatusFailed, named.TaskFailed, lambdaCause, run.Failed, named.TaskFailed, "CUDA out of memory", false, false},
		{"outage", waiting, types.ExecutionStatusFailed, named.Unavailable, "x", run.Failed, named.Unavailable, "x", false, false},
		{"function died", waiting, types.ExecutionStatusFailed, "Lambda.Unknown", strings.Repeat("x", 5000), run.Failed, named.Unavailable, "Lambda.Unknown: xx", false, false},
		{"no error told", waiting, types.ExecutionStatusFailed, "", "", run.Failed, named.Unavailable, "", false, false},
		{"while copying", with(func(r *run.Record) { r.Status = run.Copying }), types.ExecutionStatusFailed, named.OutputExpired, "x", run.Failed, named.OutputExpired, "x", false, false},
		{"adopted, aborted", with(func(r *run.Record) { r.Adopted = true }), types.ExecutionStatusAborted, "", "", run.Cancelled, named.RunCancelled, "the task t1 was left alone", false, false},
		{"rescued, aborted", with(func(r *run.Record) { r.Rescued = true }), types.ExecutionStatusAborted, "", "", run.Cancelled, named.RunCancelled, "the task t1 was left alone", false, false},
		{"rescued, timed out", with(func(r *run.Record) { r.Rescued = true }), types.ExecutionStatusTimedOut, "", "", run.Failed, named.RunTimedOut, "left alone", false, false},
		{"nothing submitted, aborted", run.Record{Status: run.Submitting}, types.ExecutionStatusAborted, "", "", run.Cancelled, named.RunCancelled, "nothing had been submitted", false, false},
		{"in doubt, aborted", doubt, types.ExecutionStatusAborted, "", "", run.Cancelled, named.RunCancelled, "from 2026-11-23T12:00:01Z to 2026-11-23T12:00:26Z", false, true},
		{"in doubt, failed otherwise", doubt, types.ExecutionStatusFailed, named.Unavailable, "S3 is away", run.Failed, named.SubmitOutcomeUnknown, "Unavailable: S3 is away", false, true},
		{"outcome unknown", func() run.Record { r := doubt; r.Candidates = []string{"t7", "t8"}; return r }(), types.ExecutionStatusFailed, named.SubmitOutcomeUnknown, "candidates: t7, t8", run.Failed, named.SubmitOutcomeUnknown, "t7, t8", false, true},
		{"outcome unknown, then stopped", func() run.Record { r := doubt; r.Candidates = []string{"t7", "t8"}; return r }(), types.ExecutionStatusAborted, "", "", run.Cancelled, named.RunCancelled, "candidates: t7, t8", false, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.record(test.record)
			w.ended("r1", test.ended, test.error, test.cause)
			out, err := w.close("r1")
			if err != nil || out.Closed != 1 {
				t.Fatalf("%+v, %v", out, err)
			}
			record, failure := w.closed("r1")
			if record.Status != test.status || record.Error.Name != test.want || !record.EndedAt.Equal(w.now) || failure == nil || failure.Error.Cause != record.Error.Cause || failure.Error.Name != record.Error.Name {
				t.Fatalf("%+v, %+v", record, failure)
			}
			if !strings.Contains(record.Error.Cause, test.text) || len(record.Error.Cause) > 2000 {
				t.Errorf("cause %q", record.Error.Cause)
			}
			if test.cancelled != (fmt.Sprint(w.cancelled) == "[t1]") {
				t.Errorf("cancelled %v", w.cancelled)
			}
			if got := len(w.s3.Keys(stateBucket, "submitting/")) > 0; got != test.markersRemain {
				t.Errorf("markers remain: %v", got)
			}

			again, err := w.close("r1")
			if err != nil || again.Closed != 0 {
				t.Fatalf("the event came twice: %+v, %v", again, err)
			}
			twice, _ := w.closed("r1")
			if twice.Nonce != record.Nonce {
				t.Error("a closed record was written again")
			}
		})
	}
}

// TestFailsInDoubt of another cause: the window and the candidates are named, once,
// and that a redrive finds out.
func TestFailsInDoubt(t *testing.T) {
	for name, status := range map[string]types.ExecutionStatus{named.Unauthorized: types.ExecutionStatusFailed, named.RunTimedOut: types.ExecutionStatusTimedOut} {
		w := newWorld(t)
		w.record(run.Record{Status: run.Submitting, WorkflowID: "wf-1", Submission: &submission, Candidates: []string{"t7", "t8"}})
		w.ended("r1", status, name, "the key was refused")
		if _, err := w.close("r1"); err != nil {
			t.Fatal(err)
		}
		_, failure := w.closed("r1")
		for _, part := range []string{name + ": the ", "from 2026-11-23T12:00:01Z to 2026-11-23T12:00:26Z", "text-to-image@2", "candidates: t7, t8"} {
			if strings.Count(failure.Error.Cause, part) != 1 {
				t.Errorf("%q is not once in %q", part, failure.Error.Cause)
			}
		}
		if failure.Error.Name != named.SubmitOutcomeUnknown || !strings.Contains(failure.Error.Hint, "mend the cause and redrive") {
			t.Errorf("%+v", failure.Error)
		}
	}
}

func TestHintSurvives(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{Status: run.Waiting, TaskID: "t1"})
	w.ended("r1", types.ExecutionStatusFailed, named.TaskFailed, lambdaCause)
	if _, err := w.close("r1"); err != nil {
		t.Fatal(err)
	}
	if _, failure := w.closed("r1"); failure.Error.Hint != "use a smaller image" || failure.Error.Cause != "CUDA out of memory" {
		t.Errorf("%+v", failure.Error)
	}
}

// TestNothingToClose: the event came late, after a redrive, or of a good end.
func TestNothingToClose(t *testing.T) {
	for _, status := range []types.ExecutionStatus{types.ExecutionStatusRunning, types.ExecutionStatusSucceeded, types.ExecutionStatusPendingRedrive} {
		w := newWorld(t)
		w.record(run.Record{Status: run.Waiting, TaskID: "t1"})
		w.ended("r1", status, "", "")
		if out, err := w.close("r1"); err != nil || out.Closed != 0 {
			t.Errorf("%s: %+v, %v", status, out, err)
		}
		if record, failure := w.closed("r1"); !record.Status.Open() || failure != nil || w.cancelled != nil {
			t.Errorf("%s: %+v", status, record)
		}
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
	for status, want := range map[types.ExecutionStatus]run.Status{types.ExecutionStatusAborted: run.Cancelled, types.ExecutionStatusFailed: run.Failed} {
		w := newWorld(t)
		w.ended("r1", status, named.Unavailable, "x")
		out, err := w.close("r1")
		if err != nil || out.Closed != 1 {
			t.Fatal(out, err)
		}
		record, failure := w.closed("r1")
		if record.Status != want || failure == nil || record.Workflow != "text-to-image@2" || record.MaxSeconds == 0 || !record.StartedAt.Equal(began) || record.ExecutionARN != arnPrefix+"r1" {
			t.Errorf("%+v", record)
		}
		if len(w.s3.Keys(stateBucket, "index/")) != 1 {
			t.Error("GET /runs would not show it")
		}
	}
}

func TestTombstoneOfNonsense(t *testing.T) {
	tests := map[string]bool{ // input: leaves an error.json
		`[]`: true, `{"workflow":5}`: true, `{"workflow":"x","destination":{"prefix":"/../"}}`: false,
	}
	for input, leaves := range tests {
		w := newWorld(t)
		w.ended("r1", types.ExecutionStatusFailed, named.InvalidRequest, "x")
		w.executions["r1"].Input = &input
		if _, err := w.close("r1"); err != nil {
			t.Fatal(err)
		}
		if record, failure := w.closed("r1"); record.Status != run.Failed || (failure != nil) != leaves {
			t.Errorf("%s: %+v, %+v", input, record, failure)
		}
	}
}

// TestCancelOutcomes: an outage is tried again, a refusal is told, and a task that
// another run has rescued meanwhile is not this one's to cancel.
func TestCancelOutcomes(t *testing.T) {
	for _, status := range []int{429, 500, 503} {
		w := newWorld(t)
		w.record(run.Record{Status: run.Waiting, TaskID: "t1"})
		w.ended("r1", types.ExecutionStatusAborted, "", "")
		w.cancelErr = answered(status)
		if _, err := w.close("r1"); !named.Is(err, named.Unavailable) {
			t.Errorf("%d: %v", status, err)
		}
		if record, failure := w.closed("r1"); !record.Status.Open() || failure != nil {
			t.Errorf("%d: closed although the task may run on", status)
		}
		w.cancelErr = nil
		if out, err := w.close("r1"); err != nil || out.Closed != 1 || len(w.cancelled) != 1 {
			t.Errorf("%d: %v, %v", status, err, w.cancelled)
		}
	}
	for _, status := range []int{403, 404, 409} {
		w := newWorld(t)
		w.record(run.Record{Status: run.Waiting, TaskID: "t1"})
		w.ended("r1", types.ExecutionStatusAborted, "", "")
		w.cancelErr = answered(status)
		if _, err := w.close("r1"); err != nil {
			t.Errorf("%d: %v", status, err)
		}
		if _, failure := w.closed("r1"); !strings.Contains(failure.Error.Cause, fmt.Sprintf("could not be cancelled (Cyberun answered %d", status)) {
			t.Errorf("%d: %+v", status, failure.Error)
		}
	}
	w := newWorld(t)
	w.record(run.Record{Status: run.Waiting, TaskID: "t1"})
	w.ended("r1", types.ExecutionStatusAborted, "", "")
	w.cancelErr = &cyberun.NetworkError{Err: errors.New("x")}
	if _, err := w.close("r1"); !named.Is(err, named.Unavailable) {
		t.Error(err)
	}
}

// TestAbortsUploads of a run that nothing goes on with; a failed one keeps its
// parts for a redrive.
func TestAbortsUploads(t *testing.T) {
	for status, want := range map[types.ExecutionStatus]string{types.ExecutionStatusAborted: "[up1]", types.ExecutionStatusFailed: "[]"} {
		w := newWorld(t)
		w.record(run.Record{Status: run.Copying, TaskID: "t1"})
		for id, state := range map[string]any{
			"a": map[string]any{"checkpoint": transfer.Checkpoint{Key: "runs/r1/a.png", UploadID: "up1", PartSize: 1}},
			"b": map[string]any{"output": run.Output{ID: "b"}},
		} {
			if err := w.records().PutCopy(t.Context(), "r1", id, state); err != nil {
				t.Fatal(err)
			}
		}
		w.ended("r1", status, named.OutputTruncated, "x")
		if _, err := w.close("r1"); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(w.s3.Aborted()) != want {
			t.Errorf("%s: aborted %v", status, w.s3.Aborted())
		}
		if left := len(w.s3.Keys(stateBucket, "copies/")); left != map[types.ExecutionStatus]int{types.ExecutionStatusFailed: 2}[status] {
			t.Errorf("%s: %d states left", status, left)
		}
	}
}

func TestErrorInItsOwnPlace(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{Status: run.Submitting, Prefix: "by-task/{task_id}/{workflow}/{date}/"})
	w.ended("r1", types.ExecutionStatusFailed, named.Unauthorized, "x")
	if _, err := w.close("r1"); err != nil {
		t.Fatal(err)
	}
	if keys := w.s3.Keys(outputBucket, ""); fmt.Sprint(keys) != "[by-task/r1/text-to-image/2026-11-23/error.json]" {
		t.Error(keys)
	}
}

func TestStateBucketAway(t *testing.T) {
	w := newWorld(t)
	w.ended("r1", types.ExecutionStatusAborted, "", "")
	w.around = func(string, func() error) error { return storetest.Error(503, "SlowDown") }
	if _, err := w.close("r1"); !named.Is(err, named.Unavailable) {
		t.Error(err)
	}
}
