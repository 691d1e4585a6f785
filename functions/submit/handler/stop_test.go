package handler

import (
	"fmt"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// markStop is what DELETE /runs/{id} does to a record.
func (w *world) markStop(runID string) bool {
	around := w.around
	w.around = nil
	defer func() { w.around = around }()
	_, err := w.records().Update(w.t.Context(), runID, func(r *run.Record) error {
		if r.Status.Open() {
			r.StopRequestedAt = w.now
		}
		return nil
	})
	return err == nil
}

// TestStopAtEveryCall: from the moment of the stop on either nothing is started,
// or what was started is cancelled, also when the function dies and is called again.
func TestStopAtEveryCall(t *testing.T) {
	prepare := func(w *world) Input { return withFile(w, "r1") }
	for n, call := range calls(t, prepare) {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d %s, after %v", n+1, call, after), func(t *testing.T) {
				w := newWorld(t)
				in := prepare(w)
				stopped := false
				w.at(n+1, fate{meet: func(_ *world, _ string, do func() error) error {
					if !after {
						stopped = w.markStop("r1")
						return do()
					}
					err := do()
					stopped = w.markStop("r1")
					return err
				}})
				out, err := w.drive(in)
				w.around = nil
				if !stopped { // no record to mark yet: the API leaves a tombstone then
					w.checkSettled("r1", out)
					return
				}
				record, _ := w.records().Get(t.Context(), "r1")
				if err == nil {
					if record.TaskID == "" || len(w.service.tasks) != 1 {
						t.Fatalf("%+v", record)
					}
					return // the stop came after submit's last look: poll-status and close-run honour it
				}
				wantName(t, err, named.RunCancelled, "")
				for _, task := range w.service.tasks {
					if task.Status != cyberun.StatusCancelled || record.TaskID != task.ID {
						t.Errorf("%s runs on: %s", task.ID, task.Status)
					}
				}
				if markers := w.s3.Keys(stateBucket, "submitting/"); len(markers) > 0 {
					t.Errorf("markers %v", markers)
				}
			})
		}
	}
}

func TestTombstone(t *testing.T) {
	tests := map[string]run.Record{
		"the API's":   {Status: run.Submitting, StopRequestedAt: began},
		"close-run's": {Status: run.Cancelled, EndedAt: began},
	}
	for name, tombstone := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			in := w.input("r1", prompted("r1"))
			tombstone.RunID, tombstone.ExecutionARN, tombstone.StartedAt = in.RunID, in.ExecutionARN, in.StartedAt
			if _, err := w.records().Create(t.Context(), tombstone); err != nil {
				t.Fatal(err)
			}
			_, err := w.drive(in)
			wantName(t, err, named.RunCancelled, "before anything was submitted")
			if len(w.service.tasks) > 0 {
				t.Error("paid")
			}
		})
	}
}

// TestStoppedInDoubt says so: "nothing was submitted" would be a guess.
func TestStoppedInDoubt(t *testing.T) {
	w, in := doubtful(t, true)
	w.markStop("r1")
	_, err := w.drive(in)
	wantName(t, err, named.RunCancelled, "in doubt")
	if w.service.tasks[0].Status == cyberun.StatusCancelled {
		t.Error("a task that is only a candidate was cancelled")
	}
}

// TestStoppedBeforeTheReceipt: the stop closes the record while the POST is under
// way. The task is saved and cancelled.
func TestStoppedBeforeTheReceipt(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	w.around = func(call string, do func() error) error {
		err := do()
		if call == "Run" {
			w.around = nil
			if _, err := w.records().Update(t.Context(), "r1", func(r *run.Record) error {
				r.Close(run.Cancelled, w.now, named.Errorf(named.RunCancelled, "x"))
				return nil
			}); err != nil {
				t.Error(err)
			}
		}
		return err
	}
	_, err := w.drive(in)
	wantName(t, err, named.RunCancelled, "its task task-2 cancelled")
	record, _ := w.records().Get(t.Context(), "r1")
	if record.Status != run.Cancelled || record.TaskID != "task-2" || w.service.tasks[0].Status != cyberun.StatusCancelled {
		t.Errorf("%+v, %+v", record, w.service.tasks)
	}
}

// TestAdoptedIsNotCancelled: it might be a colleague's.
func TestAdoptedIsNotCancelled(t *testing.T) {
	w, in := doubtful(t, true)
	w.around = func(call string, do func() error) error {
		if call == "Tasks" {
			defer w.markStop("r1")
		}
		return do()
	}
	w.now = began.Add(DefaultWaits.Post + DefaultWaits.Settle)
	_, _, err, _ := w.once(in)
	wantName(t, err, named.RunCancelled, "was left alone")
	if w.service.tasks[0].Status == cyberun.StatusCancelled {
		t.Error("cancelled")
	}
}

// TestCancelFails while Cyberun is away: the step is tried again.
func TestCancelFails(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	failed := false
	w.around = func(call string, do func() error) error {
		switch {
		case call == "Run":
			defer w.markStop("r1")
		case call == "Cancel" && !failed:
			failed = true
			return answered(503)
		}
		return do()
	}
	_, _, err, _ := w.once(in)
	wantName(t, err, named.Unavailable, "cancel the task")
	_, err = w.drive(in)
	wantName(t, err, named.RunCancelled, "cancelled")
	if w.service.tasks[0].Status != cyberun.StatusCancelled {
		t.Error("runs on")
	}
}
