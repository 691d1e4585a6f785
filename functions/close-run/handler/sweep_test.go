package handler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

func (w *world) sweep() Output {
	w.t.Helper()
	out, err := w.handler().Handle(w.t.Context(), Input{Sweep: true})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// TestSweep closes what no event closed, and leaves alone what lives.
func TestSweep(t *testing.T) {
	w := newWorld(t)
	w.s3.PageSize = 2
	w.record(run.Record{RunID: "aborted", Status: run.Waiting, TaskID: "t1", WorkflowID: "wf-1"})
	w.ended("aborted", types.ExecutionStatusAborted, "", "")
	w.record(run.Record{RunID: "failed", Status: run.Copying, TaskID: "t2", WorkflowID: "wf-1"})
	w.ended("failed", types.ExecutionStatusFailed, named.OutputExpired, "x")
	w.record(run.Record{RunID: "running", Status: run.Waiting, TaskID: "t3", WorkflowID: "wf-1"})
	w.ended("running", types.ExecutionStatusRunning, "", "")
	w.record(run.Record{RunID: "gone", Status: run.Waiting, TaskID: "t4"})
	w.record(run.Record{RunID: "tidied", Status: run.Failed, TaskID: "t5"})
	w.record(run.Record{RunID: "doubt", Status: run.Failed, WorkflowID: "wf/2", Submission: &submission})
	for _, id := range []string{"tidied", "expired"} { // a close, or a claim, that died half-way
		if err := w.records().MarkOpen(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"expired", "tidied"} {
		if err := w.records().PutMarker(t.Context(), "wf/2", submission.Marker(id)); err != nil {
			t.Fatal(err)
		}
	}

	if out := w.sweep(); out != (Output{Closed: 3}) {
		t.Errorf("%+v", out)
	}
	want := map[string]run.Status{"aborted": run.Cancelled, "failed": run.Failed, "running": run.Waiting, "gone": run.Failed, "tidied": run.Failed}
	for id, status := range want {
		if record, _ := w.closed(id); record.Status != status {
			t.Errorf("%s is %s", id, record.Status)
		}
	}
	if fmt.Sprint(w.cancelled) != "[t1]" {
		t.Errorf("cancelled %v", w.cancelled)
	}
	if open := w.s3.Keys(stateBucket, "open/"); fmt.Sprint(open) != "[open/expired open/running]" {
		t.Errorf("open %v", open)
	}
	if markers := w.s3.Keys(stateBucket, "submitting/"); fmt.Sprint(markers) != "[submitting/wf%2F2/doubt/a1 submitting/wf-1/running/a1]" {
		t.Errorf("markers %v", markers)
	}
	if out := w.sweep(); out != (Output{}) {
		t.Errorf("the second sweep: %+v", out)
	}
}

// TestSweepGoesOn: one run that cannot be closed keeps no other open.
func TestSweepGoesOn(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"a", "b", "c"} {
		w.record(run.Record{RunID: id, Status: run.Waiting, TaskID: "t-" + id})
		w.ended(id, types.ExecutionStatusAborted, "", "")
	}
	w.around = func(call string, do func() error) error {
		if strings.HasPrefix(call, "GetObject state/runs/b") {
			return errors.New("connection reset by peer")
		}
		return do()
	}
	if out := w.sweep(); out != (Output{Closed: 2, Failed: 1}) {
		t.Errorf("%+v", out)
	}
	w.around = nil
	if out := w.sweep(); out != (Output{Closed: 1}) {
		t.Errorf("%+v", out)
	}
}

// TestSweepMarkersGoesOn: what cannot be cleared is told, all of it, and the rest is cleared.
func TestSweepMarkersGoesOn(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"a", "b", "c", "d"} {
		w.record(run.Record{RunID: id, Status: run.Cancelled, TaskID: "t-" + id, WorkflowID: "wf-1"})
	}
	w.around = func(call string, do func() error) error {
		if strings.HasPrefix(call, "GetObject state/runs/a") || strings.HasPrefix(call, "GetObject state/runs/c") {
			return errors.New("connection reset by peer")
		}
		return do()
	}
	_, err := w.handler().Handle(t.Context(), Input{Sweep: true})
	if !named.Is(err, named.Unavailable) || !strings.Contains(err.Error(), "the run a:") || !strings.Contains(err.Error(), "the run c:") {
		t.Errorf("%v", err)
	}
	if markers := w.s3.Keys(stateBucket, "submitting/"); fmt.Sprint(markers) != "[submitting/wf-1/a/a1 submitting/wf-1/c/a1]" {
		t.Errorf("markers %v", markers)
	}
	w.around = nil
	w.sweep()
	if markers := w.s3.Keys(stateBucket, "submitting/"); len(markers) > 0 || len(w.cancelled) != 4 {
		t.Errorf("markers %v, cancelled %v", markers, w.cancelled)
	}
}

// TestSweepAfterARotation: while the key is refused the run stays open and each
// sweep tries again; one that was closed before its task was stored keeps its marker.
func TestSweepAfterARotation(t *testing.T) {
	for name, late := range map[string]bool{"open": false, "closed before its task was stored": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			record := run.Record{Status: run.Waiting, TaskID: "t1", WorkflowID: "wf-1", StopRequestedAt: began}
			if late {
				record.Close(run.Cancelled, began, named.Errorf(named.RunCancelled, "x"))
			}
			w.record(record)
			if late {
				if err := w.records().MarkOpen(t.Context(), "r1"); err != nil { // its close died before the end
					t.Fatal(err)
				}
			}
			w.ended("r1", types.ExecutionStatusAborted, "", "")
			w.cancelErr = answered(401)
			if _, err := w.close("r1"); !named.Is(err, named.Unauthorized) {
				t.Errorf("the event: %v", err)
			}
			out, err := w.handler().Handle(t.Context(), Input{Sweep: true})
			if out != (Output{Failed: 1}) || late != (err != nil) {
				t.Errorf("%+v, %v", out, err)
			}
			if len(w.s3.Keys(stateBucket, "open/")) != 1 || len(w.s3.Keys(stateBucket, "submitting/")) != 1 || len(w.cancelled) > 0 {
				t.Errorf("no later sweep will find the task: %v", w.s3.Keys(stateBucket, ""))
			}
			w.cancelErr = nil
			w.sweep()
			if got, _ := w.closed("r1"); got.Status != run.Cancelled || len(w.cancelled) == 0 || len(w.s3.Keys(stateBucket, "submitting/")) > 0 {
				t.Errorf("%+v, cancelled %v", got, w.cancelled)
			}
		})
	}
}

// TestSweepOutOfTime: cancels that hang take the time of one sweep, and not that
// of the next: it takes them in another order, and the rest is reached.
func TestSweepOutOfTime(t *testing.T) {
	w := newWorld(t)
	const hanging, all = 10, 40
	for i := range all {
		id := fmt.Sprintf("r%02d", i) // the hanging ones first, by key
		w.record(run.Record{RunID: id, Status: run.Waiting, TaskID: "t-" + id})
		w.ended(id, types.ExecutionStatusAborted, "", "")
	}
	hang := true
	sweep := func(left time.Duration) Output {
		ctx, cancel := context.WithTimeout(t.Context(), sweepRest+left)
		defer cancel()
		h := w.handler()
		cancelTask := h.Cyberun.(fakeCyberun).cancel
		h.Cyberun = fakeCyberun{func(ctx context.Context, id string) error {
			if hang && id < fmt.Sprintf("t-r%02d", hanging) {
				time.Sleep(left) // all that the sweep has
				return errors.New("connection reset by peer")
			}
			return cancelTask(ctx, id)
		}}
		out, err := h.Handle(ctx, Input{Sweep: true})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	closed := 0
	for range 100 { // each takes those that hang first with a chance of one in some thousands
		out := sweep(100 * time.Millisecond)
		if closed += out.Closed; closed == all-hanging {
			break
		}
	}
	if closed != all-hanging {
		t.Errorf("%d of %d runs that do not hang were closed", closed, all-hanging)
	}
	hang = false
	if out := sweep(time.Minute); out.Closed != hanging || out.Failed != 0 {
		t.Errorf("%+v", out)
	}
}

// TestRedrivenBetween: the sweep meets a run that runs again.
func TestRedrivenBetween(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{Status: run.Waiting, TaskID: "t1"})
	w.ended("r1", types.ExecutionStatusFailed, named.Unavailable, "x")
	if _, err := w.close("r1"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.records().Continue(t.Context(), "r1"); err != nil { // a redrive's step
		t.Fatal(err)
	}
	w.ended("r1", types.ExecutionStatusRunning, "", "")
	if out := w.sweep(); out != (Output{}) {
		t.Errorf("%+v", out)
	}
	if out, err := w.close("r1"); err != nil || out.Closed != 0 { // the first failure's event, come late
		t.Errorf("%+v, %v", out, err)
	}
	if record, err := w.records().Get(t.Context(), "r1"); err != nil || record.Status != run.Waiting {
		t.Errorf("%+v, %v", record, err)
	}
	w.ended("r1", types.ExecutionStatusFailed, named.OutputExpired, "y")
	if out := w.sweep(); out != (Output{Closed: 1}) {
		t.Errorf("a reopened run is not in the sweep's list: %+v", out)
	}
	if _, failure := w.closed("r1"); failure.Error.Name != named.OutputExpired {
		t.Errorf("%+v", failure)
	}
}
