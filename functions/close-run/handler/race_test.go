package handler

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

// atErrorFile has others in when error.json is written, so the closing write is lost.
func (w *world) atErrorFile(others func()) {
	w.Around = func(call string, do func() error) error {
		if strings.HasPrefix(call, "PutObject outputs/") {
			w.Around = nil
			others()
		}
		return do()
	}
}

// before has others in before the nth call. The string is the call's name once it came.
func (w *world) before(nth int, others func()) (met *string) {
	met = new(string)
	w.Around = func(call string, do func() error) error {
		if nth--; nth == 0 {
			*met = call
			w.Undisturbed(others)
		}
		return do()
	}
	return met
}

// TestSubmitWasFaster: the record comes while the tombstone is made, open or with
// its task already.
func TestSubmitWasFaster(t *testing.T) {
	w := newWorld(t)
	w.execution("r1", "ABORTED", "", "")
	w.Around = func(call string, do func() error) error {
		if strings.HasPrefix(call, "PutObject state/runs/") {
			w.Around = nil
			w.record(run.Record{Status: run.Waiting, TaskID: "t1"})
		}
		return do()
	}
	if _, err := w.close("r1"); err != nil {
		t.Fatal(err)
	}
	if record, _ := w.closed("r1"); record.Status != run.Cancelled || fmt.Sprint(w.Cyberun.Cancelled) != "[t1]" {
		t.Errorf("%+v, cancelled %v", record, w.Cyberun.Cancelled)
	}
}

// TestMeanwhile: between close-run's read and its closing write, Submit marks or
// stores its task, or a person stops the run.
func TestMeanwhile(t *testing.T) {
	tests := map[string]struct {
		record run.Record
		ended  string
		change func(*run.Record)
		text   string
		cancel string
	}{
		"Submit marks": {run.Record{Status: run.Submitting, WorkflowID: "wf-1"}, "ABORTED",
			func(r *run.Record) { r.Submission = &submission }, "was in doubt", "[]"},
		"Submit stores its task": {run.Record{Status: run.Submitting, WorkflowID: "wf-1", Submission: &submission}, "ABORTED",
			func(r *run.Record) { r.TaskID, r.Evidence, r.Status = "t1", run.ByReceipt, run.Waiting }, "its task t1 was cancelled", "[t1]"},
		"a person stops a failed run: the caller was told that it is cancelled": {run.Record{Status: run.Waiting, TaskID: "t1"}, "FAILED",
			func(r *run.Record) { r.StopRequestedAt = began }, "its task t1 was cancelled", "[t1]"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.record(test.record)
			w.execution("r1", test.ended, named.Unauthorized, "x")
			w.atErrorFile(func() { w.Change("r1", test.change) })
			if out, err := w.close("r1"); err != nil || out.Closed != 1 {
				t.Fatal(out, err)
			}
			record, failure := w.closed("r1")
			if record.Status != run.Cancelled || !strings.Contains(failure.Error.Cause, test.text) || fmt.Sprint(w.Cyberun.Cancelled) != test.cancel {
				t.Errorf("%+v, %+v, cancelled %v", record, failure, w.Cyberun.Cancelled)
			}
		})
	}
}

// TestTaskStoredAfterTheClose: Submit got its receipt when the run was closed
// already and died before it could cancel. Whatever looks next cancels.
func TestTaskStoredAfterTheClose(t *testing.T) {
	for _, sweep := range []bool{true, false} {
		w := newWorld(t)
		w.record(run.Record{Status: run.Cancelled, TaskID: "t1", WorkflowID: "wf-1", EndedAt: began, CleanUpDue: true})
		w.execution("r1", "ABORTED", "", "")
		var err error
		if sweep {
			_, err = w.handler().Handle(t.Context(), Input{Sweep: true})
		} else {
			_, err = w.close("r1")
		}
		if err != nil || fmt.Sprint(w.Cyberun.Cancelled) != "[t1]" {
			t.Errorf("sweep %v: %v, cancelled %v", sweep, err, w.Cyberun.Cancelled)
		}
		if markers := w.S3.Keys(stateBucket, "submitting/"); len(markers) > 0 {
			t.Errorf("sweep %v: %v", sweep, markers)
		}
	}
}

func TestTakenOverIsNotCancelled(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{Status: run.Waiting, TaskID: "t1"})
	w.Set("tasks/t1", run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: "r9"})
	w.execution("r1", "ABORTED", "", "")
	if _, err := w.close("r1"); err != nil {
		t.Fatal(err)
	}
	if _, failure := w.closed("r1"); w.Cyberun.Cancelled != nil || !strings.Contains(failure.Error.Cause, "another run delivers it") {
		t.Errorf("cancelled %v, %+v", w.Cyberun.Cancelled, failure.Error)
	}
}

// TestLosesAgainstSuccess at each of its calls: copy-result delivers meanwhile. No
// error.json stays beside the manifest.
func TestLosesAgainstSuccess(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		w.record(run.Record{Status: run.Copying, TaskID: "t1", CopyStartedAt: began})
		w.execution("r1", "FAILED", "Lambda.Unknown", "x")
		met := w.before(n, func() {
			w.Now = w.Now.Add(time.Millisecond) // two ends of one nanosecond would be taken for one
			r, err := w.runs.Continue(t.Context(), lifecycle.Call{RunID: "r1", Redrives: new(int)})
			if err == nil {
				_, err = w.runs.Deliver(t.Context(), r, run.NewManifest(r.Record, run.Progress{}, nil, w.Now))
			}
			if err != nil && !named.Is(err, named.Superseded) {
				t.Error(err)
			}
			w.Now = w.Now.Add(time.Millisecond)
		})
		if _, err := w.close("r1"); err != nil {
			t.Fatal(err)
		}
		record, failure := w.closed("r1")
		manifest := slices.Contains(w.S3.Keys(outputBucket, ""), "runs/r1/manifest.json")
		if (record.Status == run.Succeeded) == (failure != nil) || manifest != (record.Status == run.Succeeded) {
			t.Errorf("at call %d: %s with error.json %v, manifest %v", n, record.Status, failure, manifest)
		}
		if *met == "" {
			if n < 7 {
				t.Errorf("only %d calls", n)
			}
			return
		}
	}
}

// TestFinishesADelivery whose copy-result died past its point of no return.
func TestFinishesADelivery(t *testing.T) {
	for _, status := range []string{"FAILED", "ABORTED", "TIMED_OUT"} {
		w := newWorld(t)
		w.record(run.Record{Status: run.Delivering, TaskID: "t1", ManifestKey: "runs/r1/manifest.json", ManifestBodyKey: "manifests/r1/fixed.json", StopRequestedAt: began})
		w.S3.Set(stateBucket, "manifests/r1/fixed.json", storetest.Object{Body: []byte("fixed")})
		w.execution("r1", status, "Lambda.Unknown", "x")
		if out, err := w.close("r1"); err != nil || out.Closed != 1 {
			t.Errorf("%s: %+v, %v", status, out, err)
		}
		record, failure := w.closed("r1")
		manifest, _ := w.S3.Object(outputBucket, "runs/r1/manifest.json")
		if record.Status != run.Succeeded || failure != nil || string(manifest.Body) != "fixed" || w.Cyberun.Cancelled != nil {
			t.Errorf("%s: %+v, %q, cancelled %v", status, record, manifest.Body, w.Cyberun.Cancelled)
		}
	}
}

// TestCrashes at every call, before and after it: the event comes again, or the
// sweep, and the run is closed once with all that belongs to it.
func TestCrashes(t *testing.T) {
	for _, again := range []string{"event", "sweep"} {
		for _, after := range []bool{false, true} {
			for n := 1; ; n++ {
				w := newWorld(t)
				w.record(run.Record{Status: run.Copying, TaskID: "t1", WorkflowID: "wf-1"})
				if err := w.runs.PutCopyState(t.Context(), "r1", "a", lifecycle.CopyState{Checkpoint: &transfer.Checkpoint{UploadID: "up1", PartSize: 1}}); err != nil {
					t.Fatal(err)
				}
				w.execution("r1", "ABORTED", "", "")
				count, cancel := 0, false
				w.Around = func(call string, do func() error) error {
					if count++; count < n { // from then on the call is dead
						return do()
					}
					if cancel = cancel || call == "Cancel"; count == n && after {
						_ = do()
					}
					return functiontest.ErrNetwork
				}
				_, err := w.close("r1")
				met := count >= n
				w.Around = nil
				if met && err == nil {
					t.Errorf("call %d failed and nobody knows", n)
				}
				if again == "event" {
					_, err = w.close("r1")
				} else {
					_, err = w.handler().Handle(t.Context(), Input{Sweep: true})
				}
				if err != nil {
					t.Fatal(err)
				}
				record, failure := w.closed("r1")
				if record.Status != run.Cancelled || failure == nil || len(w.Cyberun.Cancelled) == 0 || len(w.S3.Aborted()) == 0 || len(w.S3.Keys(stateBucket, "submitting/")) > 0 || len(w.S3.Keys(stateBucket, "copies/")) > 0 || record.WorkLeft(w.Now) {
					t.Errorf("%s, after %v, call %d: %+v, %v, cancelled %v", again, after, n, record, failure, w.Cyberun.Cancelled)
				}
				if !met {
					break
				}
			}
		}
	}
}

// TestOwnershipBeforeMarkersGo: Submit stored its task and died each time before it
// owned it. With neither ownership nor marker another run in doubt would adopt it.
func TestOwnershipBeforeMarkersGo(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{Status: run.Waiting, TaskID: "t1", WorkflowID: "wf-1"})
	w.S3.Remove(stateBucket, "tasks/t1")
	w.execution("r1", "FAILED", "Lambda.Unknown", "x")
	w.Around = func(call string, do func() error) error {
		if strings.HasPrefix(call, "DeleteObject state/submitting/") && len(w.S3.Keys(stateBucket, "tasks/t1")) == 0 {
			t.Error("the marker went first")
		}
		return do()
	}
	if _, err := w.close("r1"); err != nil {
		t.Fatal(err)
	}
	if o, _, err := w.runs.OwnershipOf(t.Context(), "t1"); err != nil || o.StartedBy != "r1" || o.Evidence != run.ByReceipt {
		t.Errorf("%+v, %v", o, err)
	}
	if markers := w.S3.Keys(stateBucket, "submitting/"); len(markers) != 0 {
		t.Errorf("markers %v", markers)
	}
}

// TestRedrivenAtEachCall: a redrive and its first step come before whatever call of
// the close. What the redrive has marked since is never taken away, its run never
// closed by the end of the life before, its task never cancelled.
func TestRedrivenAtEachCall(t *testing.T) {
	for _, record := range []run.Record{
		{Status: run.Waiting, TaskID: "t1", WorkflowID: "wf-1"}, {Status: run.Submitting, WorkflowID: "wf-1"},
	} {
		for n := 1; ; n++ {
			w := newWorld(t)
			w.record(record)
			w.execution("r1", "FAILED", named.Unavailable, "x")
			met := w.before(n, func() {
				life := w.Executions.BeginAgain("r1")
				r, err := w.runs.Continue(t.Context(), lifecycle.Call{RunID: "r1", Redrives: &life})
				if err == nil && r.TaskID == "" {
					_, err = w.runs.Mark(t.Context(), r, "wf-1", run.Submission{AttemptID: "a2", MarkedAt: w.Now, PostUntil: w.Now, LocalAt: w.Now})
				}
				if err != nil {
					t.Errorf("before call %d: %v", n, err)
				}
			})
			if _, err := w.close("r1"); err != nil {
				t.Errorf("before %s: %v", *met, err)
			}
			if *met == "" {
				break
			}
			w.Around = nil
			got := w.Run("r1")
			if !got.Status.Open() || got.Life != 1 || got.Error != nil || w.Cyberun.Cancelled != nil {
				t.Errorf("before %s: %+v, cancelled %v", *met, got, w.Cyberun.Cancelled)
			}
			if marked := slices.Contains(w.S3.Keys(stateBucket, "submitting/"), "submitting/wf-1/r1/a2"); record.TaskID == "" && !marked {
				t.Errorf("before %s: the marker of the redrive is gone", *met)
			}
		}
	}
}
