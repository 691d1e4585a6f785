package handler

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

func (w *world) sweep() Response {
	w.T.Helper()
	out, err := w.handler().Handle(w.T.Context(), Input{Sweep: true})
	if err != nil {
		w.T.Fatal(err)
	}
	return out
}

// TestSweep closes what no event closed, and leaves alone what lives.
func TestSweep(t *testing.T) {
	w := newWorld(t)
	w.S3.PageSize = 2
	w.record(run.Record{RunID: "aborted", Status: run.Waiting, TaskID: "t1", WorkflowID: "wf-1"})
	w.execution("aborted", "ABORTED", "", "")
	w.record(run.Record{RunID: "failed", Status: run.Copying, TaskID: "t2", WorkflowID: "wf-1"})
	w.execution("failed", "FAILED", named.OutputExpired, "x")
	w.record(run.Record{RunID: "running", Status: run.Waiting, TaskID: "t3", WorkflowID: "wf-1"})
	w.execution("running", "RUNNING", "", "")
	w.record(run.Record{RunID: "gone", Status: run.Waiting, TaskID: "t4", StartedAt: began.Add(-228 * time.Hour)}) // Step Functions has forgotten it
	w.execution("unrecorded", "FAILED", named.Unavailable, "x")
	w.record(run.Record{RunID: "clean_up_due", Status: run.Failed, TaskID: "t5", WorkflowID: "wf-2", EndedAt: w.Now, CleanUpDue: true})
	w.execution("clean_up_due", "FAILED", named.Unavailable, "x")
	w.record(run.Record{RunID: "settled", Status: run.Failed, TaskID: "t6", EndedAt: w.Now})
	w.execution("settled", "FAILED", named.Unavailable, "x")
	w.record(run.Record{RunID: "doubt", Status: run.Failed, WorkflowID: "wf-3", Submission: &submission, EndedAt: w.Now, CandidatesAt: began})
	w.execution("doubt", "FAILED", named.SubmitOutcomeUnknown, "x")

	if out := w.sweep(); out != (Response{Closed: 4}) {
		t.Errorf("%+v", out)
	}
	want := map[string]run.Status{"aborted": run.Cancelled, "failed": run.Failed, "running": run.Waiting, "gone": run.Failed, "unrecorded": run.Failed, "clean_up_due": run.Failed, "settled": run.Failed}
	for id, status := range want {
		if record, _ := w.closed(id); record.Status != status || record.CleanUpDue {
			t.Errorf("%s is %s, %+v", id, record.Status, record)
		}
	}
	if fmt.Sprint(w.Cyberun.Cancelled) != "[t1]" {
		t.Errorf("cancelled %v", w.Cyberun.Cancelled)
	}
	if markers := w.S3.Keys(stateBucket, "submitting/"); fmt.Sprint(markers) != "[submitting/wf-1/running/a1 submitting/wf-3/doubt/a1]" {
		t.Errorf("markers %v", markers)
	}
	if out := w.sweep(); out != (Response{}) {
		t.Errorf("the second sweep: %+v", out)
	}
}

// TestSweepGoesOn: one run that cannot be closed keeps no other open, nor one whose
// clean-up fails.
func TestSweepGoesOn(t *testing.T) {
	for _, closed := range []bool{false, true} {
		w := newWorld(t)
		for _, id := range []string{"a", "b", "c", "d"} {
			r := run.Record{RunID: id, Status: run.Waiting, TaskID: "t-" + id, WorkflowID: "wf-1"}
			if closed {
				r.Status, r.EndedAt, r.CleanUpDue = run.Cancelled, w.Now, true
			}
			w.record(r)
			w.execution(id, "ABORTED", "", "")
		}
		w.Around = func(call string, do func() error) error {
			if strings.HasPrefix(call, "GetObject state/runs/b") || strings.HasPrefix(call, "GetObject state/runs/d") {
				return functiontest.ErrNetwork
			}
			return do()
		}
		want := Response{Closed: 2, Left: 2}
		if closed {
			want.Closed = 0
		}
		if out := w.sweep(); out != want {
			t.Errorf("%+v", out)
		}
		if markers := w.S3.Keys(stateBucket, "submitting/"); fmt.Sprint(markers) != "[submitting/wf-1/b/a1 submitting/wf-1/d/a1]" {
			t.Errorf("markers %v", markers)
		}
		w.Around = nil
		if want.Left = 0; !closed {
			want.Closed = 2
		}
		if out := w.sweep(); out != want || len(w.Cyberun.Cancelled) != 4 || len(w.S3.Keys(stateBucket, "submitting/")) > 0 {
			t.Errorf("%+v, cancelled %v", out, w.Cyberun.Cancelled)
		}
	}
}

// TestSweepAfterARotation: a revoked key does not hold up the close; the sweep goes
// on with the cancel, and the key that is put in lets it through.
func TestSweepAfterARotation(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{Status: run.Waiting, TaskID: "t1", WorkflowID: "wf-1", StopRequestedAt: began})
	w.execution("r1", "ABORTED", "", "")
	w.Cyberun.Cancels = slices.Repeat([]error{functiontest.Answered(401)}, 1000)
	if out, err := w.close("r1"); err != nil || out.Closed != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	for range 3 {
		if out := w.sweep(); out != (Response{}) {
			t.Errorf("%+v", out)
		}
		if record, _ := w.closed("r1"); !record.WorkLeft(w.Now) || record.Cancel == nil || !record.Cancel.AcceptedAt.IsZero() || len(w.Cyberun.Cancelled) > 0 {
			t.Fatalf("no later sweep will cancel it: %+v", record)
		}
	}
	w.Cyberun.Cancels = nil
	w.sweep()
	if got, _ := w.closed("r1"); got.Status != run.Cancelled || len(w.Cyberun.Cancelled) != 1 || got.WorkLeft(w.Now) {
		t.Errorf("%+v, cancelled %v", got, w.Cyberun.Cancelled)
	}
}

// hangs has every cancel of a task with an id before a given one get no answer.
type hangs struct {
	*functiontest.Cyberun
	before string
}

func (h hangs) Cancel(ctx context.Context, id string) error {
	if id < h.before {
		<-ctx.Done()
		return ctx.Err()
	}
	return h.Cyberun.Cancel(ctx, id)
}

// TestSweepOutOfTime in a bubble of its own time: cancels that hang take their
// budget each, several at once; the runs behind them are reached, by this sweep or
// the next ones, and no sweep outlasts its function.
func TestSweepOutOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Now = time.Now()
		const hanging, all = 200, 240 // eight at once and 12 s each: more than one call's 300 s
		for i := range all {
			id := fmt.Sprintf("r%03d", i) // the hanging ones first, by key
			w.record(run.Record{RunID: id, Status: run.Waiting, TaskID: "t-" + id})
			w.execution(id, "ABORTED", "", "")
		}
		sleep := func(ctx context.Context, d time.Duration) error {
			select {
			case <-time.After(d):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		w.runs.Cyberun, w.runs.Now, w.runs.Sleep = hangs{w.Cyberun, fmt.Sprintf("t-r%03d", hanging)}, time.Now, sleep
		closed := 0
		for n := 1; closed < all && n < 4; n++ {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Second)
			h := w.handler()
			h.Now = time.Now
			h.Sleep = func(context.Context, time.Duration) error { return nil } // a bubble's clock stands still while one waits for another's lock
			out, err := h.Handle(ctx, Input{Sweep: true})
			if err != nil || ctx.Err() != nil {
				t.Fatalf("sweep %d: %+v, %v, %v", n, out, err, ctx.Err())
			}
			cancel()
			closed += out.Closed
		}
		if closed != all {
			t.Errorf("%d of %d runs were closed", closed, all)
		}
		for i := range all {
			if r := w.Run(fmt.Sprintf("r%03d", i)); r.Cancel == nil || (r.Cancel.AcceptedAt.IsZero()) != (i < hanging) {
				t.Errorf("%s: %+v", r.RunID, r.Cancel)
			}
		}
	})
}

// TestSweepPacesItself: it spaces its calls to Step Functions, and describes only
// what there may be something to do for.
func TestSweepPacesItself(t *testing.T) {
	w := newWorld(t)
	for i := range 10 {
		id := fmt.Sprint("r", i)
		r := run.Record{RunID: id, Status: run.Waiting, TaskID: "t-" + id}
		if i < 7 {
			r.Status, r.EndedAt = run.Failed, w.Now
		}
		w.record(r)
		w.execution(id, "FAILED", named.Unavailable, "x")
	}
	h := w.handler()
	h.Concurrency = 1
	paused := time.Duration(0)
	h.Sleep = func(_ context.Context, d time.Duration) error { paused += d; return nil }
	if out, err := h.Handle(t.Context(), Input{Sweep: true}); err != nil || out.Closed != 3 {
		t.Fatal(out, err)
	}
	if described := w.Calls("DescribeExecution"); described != 3 || paused != 4*describePause { // a page, and three runs
		t.Errorf("%d described, paused for %s", described, paused)
	}
}

// TestRedrivenBetween: the sweep meets a run that runs again.
func TestRedrivenBetween(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{Status: run.Waiting, TaskID: "t1"})
	w.execution("r1", "FAILED", named.Unavailable, "x")
	late := w.event("r1")
	if _, err := w.close("r1"); err != nil {
		t.Fatal(err)
	}
	life := w.Executions.BeginAgain("r1")
	if _, err := w.runs.Continue(t.Context(), lifecycle.Call{RunID: "r1", Redrives: &life}); err != nil { // a redrive's step
		t.Fatal(err)
	}
	if out := w.sweep(); out != (Response{}) {
		t.Errorf("%+v", out)
	}
	if out, err := w.handler().Handle(t.Context(), late); err != nil || out.Closed != 0 { // the first failure's event, come late
		t.Errorf("%+v, %v", out, err)
	}
	if record := w.Run("r1"); record.Status != run.Waiting {
		t.Errorf("%+v", record)
	}
	w.Executions.End("r1", executions.Failed, named.Errorf(named.OutputExpired, "y"))
	if out := w.sweep(); out != (Response{Closed: 1}) {
		t.Errorf("a reopened run is in no sweep's list: %+v", out)
	}
	if _, failure := w.closed("r1"); failure.Error.Name != named.OutputExpired {
		t.Errorf("%+v", failure)
	}
}

// cutShort lists executions, of which a sweep reaches the first before its time is over.
type cutShort struct {
	end  func()
	list []executions.Execution
}

func (c cutShort) UnsuccessfulSince(_ context.Context, _, _ time.Time, _ func(context.Context) error, each func(executions.Execution) bool) error {
	for _, e := range c.list {
		each(e)
		c.end()
	}
	return nil
}

// TestSweepSaysWhatItLeft: executions that a sweep did not reach are counted, and logged.
func TestSweepSaysWhatItLeft(t *testing.T) {
	w := newWorld(t)
	var log strings.Builder
	ctx, end := context.WithCancel(observe.WithLog(t.Context(), slog.New(slog.NewTextHandler(&log, nil))))
	defer end()
	h := w.handler()
	h.Executions = cutShort{end, make([]executions.Execution, 4)}
	out, err := h.Handle(ctx, Input{Sweep: true})
	if err != nil || out != (Response{Left: 4}) || !strings.Contains(log.String(), `msg="executions are left to the next sweep" left=3`) {
		t.Errorf("%+v, %v, logged %s", out, err, log.String())
	}
}
