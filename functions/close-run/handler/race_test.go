package handler

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

// TestSubmitWasFaster: the record comes while the tombstone is made, open or with
// its task already.
func TestSubmitWasFaster(t *testing.T) {
	w := newWorld(t)
	w.ended("r1", types.ExecutionStatusAborted, "", "")
	w.around = func(call string, do func() error) error {
		if strings.HasPrefix(call, "PutObject state/runs/") {
			w.around = nil
			w.record(run.Record{Status: run.Waiting, TaskID: "t1"})
		}
		return do()
	}
	if _, err := w.close("r1"); err != nil {
		t.Fatal(err)
	}
	if record, _ := w.closed("r1"); record.Status != run.Cancelled || fmt.Sprint(w.cancelled) != "[t1]" {
		t.Errorf("%+v, cancelled %v", record, w.cancelled)
	}
}

// TestSubmitGoesOnMeanwhile: between close-run's read and its close Submit marks,
// or stores its task.
func TestSubmitGoesOnMeanwhile(t *testing.T) {
	tests := map[string]struct {
		change func(*run.Record)
		text   string
		cancel string
	}{
		"marks":           {func(r *run.Record) { r.Submission = &submission }, "was in doubt", "[]"},
		"stores its task": {func(r *run.Record) { r.TaskID, r.Submission, r.Status = "t1", nil, run.Waiting }, "its task t1 was cancelled", "[t1]"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.record(run.Record{Status: run.Submitting, WorkflowID: "wf-1"})
			w.ended("r1", types.ExecutionStatusAborted, "", "")
			reads := 0
			w.around = func(call string, do func() error) error {
				if call == "GetObject state/runs/r1.json" {
					if reads++; reads == 2 {
						w.around = nil
						if _, err := w.records().Update(t.Context(), "r1", func(r *run.Record) error { test.change(r); return nil }); err != nil {
							t.Error(err)
						}
					}
				}
				return do()
			}
			if _, err := w.close("r1"); err != nil {
				t.Fatal(err)
			}
			record, failure := w.closed("r1")
			if record.Status != run.Cancelled || !strings.Contains(failure.Error.Cause, test.text) || fmt.Sprint(w.cancelled) != test.cancel {
				t.Errorf("%+v, %+v, cancelled %v", record, failure, w.cancelled)
			}
		})
	}
}

// TestTaskStoredAfterTheClose: Submit got its receipt when the run was closed
// already and died before it could cancel. Whatever looks next cancels.
func TestTaskStoredAfterTheClose(t *testing.T) {
	for _, sweep := range []bool{true, false} {
		w := newWorld(t)
		w.record(run.Record{Status: run.Cancelled, TaskID: "t1", WorkflowID: "wf-1", EndedAt: began})
		w.ended("r1", types.ExecutionStatusAborted, "", "")
		var err error
		if sweep {
			_, err = w.handler().Handle(t.Context(), Input{Sweep: true})
		} else {
			_, err = w.close("r1")
		}
		if err != nil || fmt.Sprint(w.cancelled) != "[t1]" {
			t.Errorf("sweep %v: %v, cancelled %v", sweep, err, w.cancelled)
		}
		if markers := w.s3.Keys(stateBucket, "submitting/"); len(markers) > 0 {
			t.Errorf("sweep %v: %v", sweep, markers)
		}
	}
}

func TestTakenOverIsNotCancelled(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{Status: run.Waiting, TaskID: "t1"})
	if err := w.records().TakeOver(t.Context(), "t1", store.Claim{RunID: "r1"}, store.Claim{RunID: "r9"}); err != nil {
		t.Fatal(err)
	}
	w.ended("r1", types.ExecutionStatusAborted, "", "")
	if _, err := w.close("r1"); err != nil {
		t.Fatal(err)
	}
	if _, failure := w.closed("r1"); w.cancelled != nil || !strings.Contains(failure.Error.Cause, "the run r9 has taken it over") {
		t.Errorf("cancelled %v, %+v", w.cancelled, failure.Error)
	}
}

// TestLosesAgainstSuccess at each of its calls: copy-result closes the record
// meanwhile. No error.json stays beside the manifest.
func TestLosesAgainstSuccess(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		w.record(run.Record{Status: run.Copying, TaskID: "t1"})
		w.ended("r1", types.ExecutionStatusFailed, "Lambda.Unknown", "x")
		count, met := 0, false
		w.around = func(call string, do func() error) error {
			if count++; count == n {
				met = true
				w.around = nil
				if _, err := w.records().Update(t.Context(), "r1", func(r *run.Record) error {
					if !r.Status.Open() {
						return errClosed
					}
					r.Close(run.Succeeded, w.now, nil)
					return nil
				}); err != nil && !errors.Is(err, errClosed) {
					t.Error(err)
				}
			}
			return do()
		}
		if _, err := w.close("r1"); err != nil {
			t.Fatal(err)
		}
		record, failure := w.closed("r1")
		if (record.Status == run.Succeeded) == (failure != nil) {
			t.Errorf("at call %d: %s with error.json %v", n, record.Status, failure)
		}
		if !met {
			if n < 7 {
				t.Errorf("only %d calls", n)
			}
			return
		}
	}
}

// TestCrashes at every call, before and after it: the event comes again, and the
// run is closed once with all that belongs to it.
func TestCrashes(t *testing.T) {
	lost := errors.New("connection reset by peer")
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			w := newWorld(t)
			w.record(run.Record{Status: run.Copying, TaskID: "t1", WorkflowID: "wf-1"})
			if err := w.records().PutCopy(t.Context(), "r1", "a", map[string]any{"checkpoint": transfer.Checkpoint{UploadID: "up1", PartSize: 1}}); err != nil {
				t.Fatal(err)
			}
			w.ended("r1", types.ExecutionStatusAborted, "", "")
			count := 0
			w.around = func(call string, do func() error) error {
				if count++; count != n {
					return do()
				}
				if after {
					_ = do()
				}
				return lost
			}
			_, err := w.close("r1")
			met := count >= n
			w.around = nil
			if met && err == nil {
				t.Errorf("call %d failed and nobody knows", n)
			}
			if _, err := w.close("r1"); err != nil {
				t.Fatal(err)
			}
			record, failure := w.closed("r1")
			if record.Status != run.Cancelled || failure == nil || len(w.cancelled) == 0 || len(w.s3.Aborted()) == 0 || len(w.s3.Keys(stateBucket, "submitting/")) > 0 || len(w.s3.Keys(stateBucket, "copies/")) > 0 {
				t.Errorf("after %v, call %d: %+v, %v", after, n, record, failure)
			}
			if !met {
				break
			}
		}
	}
}

// TestStopMarkedMeanwhile: a person's stop comes while a failed run is closed. The
// caller was told that it is cancelled, and so it is.
func TestStopMarkedMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{Status: run.Waiting, TaskID: "t1", WorkflowID: "wf-1"})
	w.ended("r1", types.ExecutionStatusFailed, named.Unauthorized, "x")
	reads := 0
	w.around = func(call string, do func() error) error {
		if call == "GetObject state/runs/r1.json" {
			if reads++; reads == 2 {
				w.around = nil
				if _, err := w.records().Update(t.Context(), "r1", func(r *run.Record) error {
					r.StopRequestedAt = w.now
					return nil
				}); err != nil {
					t.Error(err)
				}
			}
		}
		return do()
	}
	if _, err := w.close("r1"); err != nil {
		t.Fatal(err)
	}
	if record, _ := w.closed("r1"); record.Status != run.Cancelled || fmt.Sprint(w.cancelled) != "[t1]" {
		t.Errorf("%s, cancelled %v", record.Status, w.cancelled)
	}
}

// TestClaimsBeforeMarkersGo: Submit stored its task and died each time before it
// claimed it. With neither claim nor marker another run in doubt would adopt it.
func TestClaimsBeforeMarkersGo(t *testing.T) {
	w := newWorld(t)
	w.record(run.Record{Status: run.Waiting, WorkflowID: "wf-1"})
	if _, err := w.records().Update(t.Context(), "r1", func(r *run.Record) error {
		r.TaskID = "t1"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	w.ended("r1", types.ExecutionStatusFailed, "Lambda.Unknown", "x")
	if _, err := w.close("r1"); err != nil {
		t.Fatal(err)
	}
	if claim, err := w.records().ClaimOf(t.Context(), "t1"); err != nil || claim.RunID != "r1" {
		t.Errorf("%+v, %v", claim, err)
	}
	if markers := w.s3.Keys(stateBucket, "submitting/"); len(markers) != 0 {
		t.Errorf("markers %v", markers)
	}
}
