package handler

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// TestShowsDelivering as copying, and nothing of its outputs yet.
func TestShowsDelivering(t *testing.T) {
	w := newWorld(t)
	w.Record(run.Record{RunID: "r1", Status: run.Delivering, TaskID: "t1", ManifestKey: "runs/r1/manifest.json", ManifestBodyKey: "manifests/r1/fixed.json"})
	if a := w.call("GET", "/runs/r1", ""); a.body["status"] != "copying" || a.body["manifest_key"] != nil || a.body["outputs"] != nil {
		t.Errorf("%s", a.raw)
	}
	for status, want := range map[string]int{"copying": 1, "waiting": 0} {
		if a := w.call("GET", "/runs?status="+status, ""); len(a.body["runs"].([]any)) != want {
			t.Errorf("%s: %s", status, a.raw)
		}
	}
	if a := w.call("GET", "/runs?status=delivering", ""); a.status != 400 {
		t.Errorf("%d", a.status)
	}
}

// TestShowsCandidates of a run in doubt, the cancel of a stopped one, and what was
// paid for beside.
func TestShowsCandidates(t *testing.T) {
	w := newWorld(t)
	w.Record(run.Record{
		RunID: "r1", Status: run.Failed, Submission: &run.Submission{AttemptID: "secret-attempt"}, EndedAt: began, Error: named.Errorf(named.SubmitOutcomeUnknown, "x"),
		Candidates: []run.Candidate{{TaskID: "t7", CreatedAt: began, TaskStatus: "running", DeliveredBy: "r9"}},
	})
	candidate := w.call("GET", "/runs/r1", "").body["candidates"].([]any)[0].(map[string]any)
	if candidate["task_id"] != "t7" || candidate["created_at"] != "2026-11-23T12:00:00Z" || candidate["task_status"] != "running" || candidate["delivered_by"] != "r9" {
		t.Errorf("%v", candidate)
	}
	w.Record(run.Record{RunID: "r2", Status: run.Cancelled, TaskID: "t2", EndedAt: began, Cancel: &run.Cancel{AskedAt: began, EndedAs: "completed"}, ExtraTasks: []run.ExtraTask{{TaskID: "t3", Cancelled: true}}})
	a := w.call("GET", "/runs/r2", "")
	if a.body["cancel"].(map[string]any)["ended_as"] != "completed" || a.body["extra_tasks"].([]any)[0].(map[string]any)["task_id"] != "t3" {
		t.Errorf("%s", a.raw)
	}
}

func TestShowsProgress(t *testing.T) {
	w := newWorld(t)
	w.Record(run.Record{RunID: "r1", Status: run.Waiting, TaskID: "t1", Adopted: true, Workflow: "x"})
	if err := w.runs.PutProgress(t.Context(), run.Progress{RunID: "r1", TaskStatus: "running", Fraction: 0.5, StepCurrent: ptr(15), StepTotal: ptr(30), Polls: 1}); err != nil {
		t.Fatal(err)
	}
	a := w.call("GET", "/runs/r1", "")
	progress := a.body["progress"].(map[string]any)
	if a.body["task_id"] != "t1" || a.body["task_status"] != "running" || a.body["adopted"] != true || progress["progress"] != 0.5 || progress["step_current"] != 15. {
		t.Errorf("%s", a.raw)
	}
}

func TestShowsFailure(t *testing.T) {
	w := newWorld(t)
	w.Record(run.Record{RunID: "r1", TaskID: "t1", Status: run.Failed, EndedAt: began, Error: named.Errorf(named.TaskFailed, "CUDA out of memory")})
	a := w.call("GET", "/runs/r1", "")
	e := a.body["error"].(map[string]any)
	if a.status != 200 || e["name"] != "TaskFailed" || e["cause"] != "CUDA out of memory" || e["hint"] == "" || a.body["ended_at"] != "2026-11-23T12:00:00Z" {
		t.Errorf("%s", a.raw)
	}
}

// TestShowsUnrecorded: 200 from the moment of the 202 on, and also of a run that
// ended before it had a record.
func TestShowsUnrecorded(t *testing.T) {
	w := newWorld(t)
	id := w.post(body).body["run_id"].(string)
	a := w.call("GET", "/runs/"+id, "")
	if a.status != 200 || a.body["status"] != "submitting" || a.body["workflow"] != "text-to-image@2" || a.body["started_at"] == nil {
		t.Errorf("%s", a.raw)
	}
	for status, want := range map[executions.Status]string{
		executions.Succeeded: "succeeded", executions.Failed: "failed", executions.TimedOut: "failed", executions.Aborted: "cancelled", executions.Running: "submitting",
	} {
		x := w.start("x", `{"workflow":5}`, status)
		if status.Unsuccessful() {
			x.Error = named.Errorf(named.RunCancelled, "x")
			if status == executions.Failed || status == executions.TimedOut {
				x.Error = named.Errorf(named.Unavailable, "S3 is away")
			}
		}
		a := w.call("GET", "/runs/x", "")
		ended := want == "failed" || want == "cancelled"
		if a.status != 200 || a.body["status"] != want || (want == "failed") != strings.Contains(a.raw, "S3 is away") || ended != (a.body["error"] != nil) {
			t.Errorf("%s: %s", status, a.raw)
		}
	}
}

// TestReadsAreLate: Step Functions may not know yet what it has just accepted.
func TestReadsAreLate(t *testing.T) {
	w := newWorld(t)
	w.Asleep = func() {
		if w.Now.Sub(began) > time.Second {
			w.start("late", body, executions.Running)
		}
	}
	if a := w.call("GET", "/runs/late", ""); a.status != 200 || a.body["status"] != "submitting" {
		t.Errorf("%d %s", a.status, a.raw)
	}
	if a := w.call("GET", "/runs/never", ""); a.status != 404 || w.Now.Sub(began) > 10*time.Second {
		t.Errorf("%d after %s", a.status, w.Now.Sub(began))
	}
}

func TestNoSuchRun(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"nope", "a%2Fb", "..%2F..%2Fsecret", "%00", "x%20y", strings.Repeat("x", 81), "%C3%A4"} {
		for _, method := range []string{"GET", "DELETE"} {
			if a := w.call(method, "/runs/"+id, ""); a.status != 404 || a.body["title"] != "RunNotFound" {
				t.Errorf("%s %s: %d %s", method, id, a.status, a.raw)
			}
		}
	}
}

func TestUnicodeRunID(t *testing.T) {
	w := newWorld(t)
	w.Record(run.Record{RunID: "größe", Status: run.Waiting})
	for _, path := range []string{"/runs/gr%C3%B6%C3%9Fe", "/runs/größe"} {
		if a := w.call("GET", path, ""); a.status != 200 || a.body["run_id"] != "größe" {
			t.Errorf("%s: %s", path, a.raw)
		}
	}
}

func TestShowFails(t *testing.T) {
	w := newWorld(t)
	w.s3Fails("")
	for _, target := range []string{"/runs/r1", "/runs"} {
		if a := w.call("GET", target, ""); a.status != 503 || a.headers["retry-after"] == "" {
			t.Errorf("%s: %d %s", target, a.status, a.raw)
		}
	}
	w = newWorld(t)
	w.Fails("DescribeExecution", functiontest.ErrNetwork)
	if a := w.call("GET", "/runs/r1", ""); a.status != 503 {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

// TestWaits: ?wait answers early only when the run has ended.
func TestWaits(t *testing.T) {
	w := newWorld(t)
	w.Record(run.Record{RunID: "r1", Status: run.Waiting})
	for wait, want := range map[string]time.Duration{"0": 0, "7": 7 * time.Second, "20": 20 * time.Second, "3600": 20 * time.Second, "9223372037": 20 * time.Second, "": 0} {
		from := w.Now
		if a := w.call("GET", "/runs/r1?wait="+wait, ""); a.status != 200 || a.body["status"] != "waiting" || w.Now.Sub(from) != want {
			t.Errorf("wait=%s: %s after %s", wait, a.raw, w.Now.Sub(from))
		}
	}
	for _, bad := range []string{"-1", "x", "1.5", "99999999999999999999"} {
		if a := w.call("GET", "/runs/r1?wait="+bad, ""); a.status != 400 || fmt.Sprint(a.violations()) != "[wait]" {
			t.Errorf("wait=%s: %d %s", bad, a.status, a.raw)
		}
	}
	from := w.Now
	w.Asleep = func() {
		if w.Now.Sub(from) == 3*time.Second {
			w.Record(run.Record{RunID: "r1", Status: run.Succeeded, EndedAt: w.Now})
		}
	}
	if a := w.call("GET", "/runs/r1?wait=20", ""); a.body["status"] != "succeeded" || w.Now.Sub(from) != 3*time.Second {
		t.Errorf("%s after %s", a.raw, w.Now.Sub(from))
	}
}

// TestS3AwayWhileWaiting: S3 answers nothing any more while a caller waits. It does not end
// the wait, and the answer is what was read before; a first reading that fails is an error.
func TestS3AwayWhileWaiting(t *testing.T) {
	tests := []struct {
		name  string
		reads int  // how many succeed
		ended bool // the request's time has ended when the next one fails
		want  int
	}{
		{name: "at the first reading", reads: 0, ended: true, want: 503},
		{name: "until the request's time is over", reads: 3, ended: true, want: 200},
		{name: "for the rest of the wait", reads: 3, ended: false, want: 200},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.Record(run.Record{RunID: "r1", Status: run.Waiting})
			ctx, end := context.WithCancel(t.Context())
			defer end()
			w.Around = func(call string, do func() error) error {
				if test.reads--; test.reads >= 0 {
					return do()
				}
				if test.ended {
					end()
				}
				return context.DeadlineExceeded
			}
			a, err := w.h.Handle(ctx, httpEvent("GET", "/runs/r1?wait=20", ""))
			if err != nil || a.StatusCode != test.want || (test.want == 200) != strings.Contains(a.Body, `"status":"waiting"`) {
				t.Errorf("%v, %d %s", err, a.StatusCode, a.Body)
			}
		})
	}
	w := newWorld(t)
	w.Record(run.Record{RunID: "r1", Status: run.Waiting})
	w.h.Sleep = func(context.Context, time.Duration) error { return context.DeadlineExceeded }
	if a := w.call("GET", "/runs/r1?wait=20", ""); a.status != 200 || a.body["status"] != "waiting" {
		t.Errorf("time ends between two readings: %d %s", a.status, a.raw)
	}
}

// TestUnknownRunWithoutTime: the time of a request ends while it waits for Step Functions to
// show the run.
func TestUnknownRunWithoutTime(t *testing.T) {
	w := newWorld(t)
	w.h.Sleep = func(context.Context, time.Duration) error { return context.DeadlineExceeded }
	for _, method := range []string{"GET", "DELETE"} {
		if a := w.call(method, "/runs/r1", ""); a.status != 503 || !strings.Contains(fmt.Sprint(a.body["detail"]), "Step Functions does not show the run r1 yet") {
			t.Errorf("%s: %d %s", method, a.status, a.raw)
		}
	}
}
