package handler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// stop notes a stop as DELETE /runs/{id} does, before it cancels anything.
func (w *world) stop(runID string) {
	w.Undisturbed(func() {
		if _, _, err := w.Runs().Stop(w.T.Context(), runID, *w.Executions.Of(runID), outputBucket, ""); err != nil {
			w.T.Errorf("stop %s: %v", runID, err)
		}
	})
}

// TestStopAtEveryCall: from the moment of the stop on either nothing is started,
// or what was started is cancelled, also when the function dies and is called again.
func TestStopAtEveryCall(t *testing.T) {
	prepare := func(w *world) Input { return withFile(w, "r1") }
	for n, call := range calls(t, prepare) {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d %s, after %v", n+1, call, after), func(t *testing.T) {
				w := witnessed(t)
				in := prepare(w)
				w.at(n+1, fate{meet: func(_ *world, _ string, do func() error) error {
					if !after {
						w.stop("r1")
						return do()
					}
					err := do()
					w.stop("r1")
					return err
				}})
				out, err := w.drive(in)
				w.Around = nil
				if err != nil { // the execution fails by it
					w.fail("r1", err)
				}
				record := w.Run("r1")
				if err == nil {
					if record.TaskID == "" || out.TaskID != record.TaskID || len(w.Cyberun.Paid("r1")) != 1 {
						t.Fatalf("%+v", record.Record)
					}
					return // the stop came after submit's last look: poll-status and close-run honour it
				}
				namedtest.Want(t, err, named.RunCancelled, "")
				if record.Status != run.Cancelled {
					t.Errorf("the run is %s", record.Status)
				}
				for _, id := range w.Cyberun.Paid("r1") {
					if task := w.Cyberun.Of(id); task.Status != cyberun.StatusCancelled || record.TaskID != id || record.Cancel.EndedAs != "cancelled" {
						t.Errorf("%s runs on: %s, %+v", id, task.Status, record.Cancel)
					}
				}
				w.checkNoTraces("r1")
			})
		}
	}
}

// TestStoppedBeforeItsRecord: a stop, or the end of the execution, that comes
// before Submit leaves a record that Submit honours.
func TestStoppedBeforeItsRecord(t *testing.T) {
	tests := []struct {
		name string
		ends func(w *world)
		want string
	}{
		{name: "the API's", ends: func(w *world) { w.stop("r1") }, want: named.RunCancelled},
		{name: "close-run's", ends: func(w *world) {
			w.Executions.End("r1", executions.Aborted, named.Errorf(named.RunCancelled, "x"))
			w.Close("r1")
		}, want: named.Superseded},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			in := w.input("r1", prompted("r1"))
			test.ends(w)
			_, err := w.drive(in)
			namedtest.Want(t, err, test.want, "")
			if len(w.Cyberun.Started) > 0 {
				t.Error("paid")
			}
			if status := w.Run("r1").Status; test.want == named.Superseded && status != run.Cancelled {
				t.Errorf("it is %s", status)
			}
			if test.want == named.RunCancelled {
				namedtest.Want(t, err, test.want, "before anything was submitted")
			}
		})
	}
}

// TestStoppedBeforeTheReceipt: the stop closes the record while the POST is under
// way. The task is saved and cancelled.
func TestStoppedBeforeTheReceipt(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	w.After("StartTask", func() {
		w.stop("r1")
		w.Executions.End("r1", executions.Aborted, named.Errorf(named.RunCancelled, "x"))
		w.Close("r1")
	})
	_, _, err, _ := w.once(in)
	if err == nil {
		t.Error("the state machine of a stopped run would go on")
	}
	record, id := w.Run("r1"), w.Cyberun.Paid("r1")[0]
	if record.Status != run.Cancelled || record.TaskID != id || w.Cyberun.Of(id).Status != cyberun.StatusCancelled || record.Cancel.EndedAs != "cancelled" {
		t.Errorf("%+v, %+v", record.Record, w.Cyberun.Started)
	}
	if !record.CleanUpDue {
		t.Error("the sweep would pass it over: its error.json lacks the task")
	}
}

// TestFailedBeforeTheReceipt: a failed run's task is left for a redrive.
func TestFailedBeforeTheReceipt(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	w.After("StartTask", func() { w.fail("r1", named.Errorf(named.Unavailable, "ten deaths")) })
	w.once(in)
	record, id := w.Run("r1"), w.Cyberun.Paid("r1")[0]
	if record.Status != run.Failed || record.TaskID != id || record.Evidence != run.ByReceipt || w.Cyberun.Of(id).Status.Terminal() {
		t.Errorf("%+v, %+v", record.Record, w.Cyberun.Started)
	}
	w.submits("r1", w.redrive(in))
}

// TestAdoptedIsNotCancelled: it might be a stranger's. The run is stopped between
// its look and its adoption, or after it.
func TestAdoptedIsNotCancelled(t *testing.T) {
	for _, at := range []string{"Tasks", "PutObject state/tasks/", "PutObject state/runs/r1.json"} {
		t.Run(at, func(t *testing.T) {
			w, in := doubtful(t, true)
			w.Now = began.Add(DefaultWaits.Post + DefaultWaits.Settle)
			w.Around = func(call string, do func() error) error {
				if strings.HasPrefix(call, at) {
					defer w.stop("r1")
				}
				return do()
			}
			_, _, err, _ := w.once(in)
			if err != nil { // otherwise the stop came after submit's last look
				namedtest.Want(t, err, named.RunCancelled, "")
			}
			w.Executions.End("r1", executions.Aborted, named.Errorf(named.RunCancelled, "x"))
			w.Close("r1")
			if w.Cyberun.Of(w.Cyberun.Paid("r1")[0]).Status == cyberun.StatusCancelled {
				t.Error("cancelled")
			}
			if record := w.Run("r1"); record.Cancel != nil || record.Status != run.Cancelled {
				t.Errorf("%+v", record.Record)
			}
		})
	}
}

// TestCancelsThatAreNotAccepted: Cyberun answers a stop's first cancels 500, with
// a no, or by a proxy's page. The call goes on until the task is cancelled.
func TestCancelsThatAreNotAccepted(t *testing.T) {
	no := &cyberun.AnswerError{Method: "POST", Path: "/r/tasks/x/cancel", Status: 200, Reason: "but without success"}
	tests := []struct {
		name    string
		answers []error
		most    time.Duration
	}{
		{name: "500, then a page", answers: []error{functiontest.Answered(500), functiontest.HTMLPage(200)}, most: 3 * time.Second},
		{name: "no, twice", answers: []error{no, no}, most: 3 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			in := w.input("r1", prompted("r1"))
			w.Cyberun.Cancels = test.answers
			var stopped time.Time
			w.Around = func(call string, do func() error) error {
				if call == "StartTask" {
					defer func() { w.stop("r1"); stopped = w.Now }()
				}
				return do()
			}
			_, _, err, _ := w.once(in)
			namedtest.Want(t, err, named.RunCancelled, "was cancelled")
			if w.Cyberun.Of(w.Cyberun.Paid("r1")[0]).Status != cyberun.StatusCancelled {
				t.Error("runs on")
			}
			if took := w.Now.Sub(stopped); took > test.most {
				t.Errorf("took %s", took)
			}
		})
	}
}

// TestCancelOutlastsTheCall: what is not accepted within the call's time is said,
// and left to close-run.
func TestCancelOutlastsTheCall(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	for range 20 {
		w.Cyberun.Cancels = append(w.Cyberun.Cancels, functiontest.Answered(503))
	}
	w.Around = func(call string, do func() error) error {
		if call == "StartTask" {
			defer w.stop("r1")
		}
		return do()
	}
	_, _, err, _ := w.once(in)
	namedtest.Want(t, err, named.RunCancelled, "could not be cancelled yet")
	w.Around, w.Cyberun.Cancels = nil, nil
	w.Executions.End("r1", executions.Aborted, err)
	w.Close("r1")
	if record := w.Run("r1"); record.Status != run.Cancelled || record.Cancel.EndedAs != "cancelled" || w.Cyberun.Of(record.TaskID).Status != cyberun.StatusCancelled {
		t.Errorf("%+v", record.Record)
	}
}

// TestCompletedBeforeTheCancel names what can still be had.
func TestCompletedBeforeTheCancel(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	w.Around = func(call string, do func() error) error {
		if call == "StartTask" {
			defer func() {
				w.Cyberun.Started[0].Status = cyberun.StatusCompleted
				w.stop("r1")
			}()
		}
		return do()
	}
	_, _, err, _ := w.once(in)
	namedtest.Want(t, err, named.RunCancelled, "relay rescue "+w.Cyberun.Paid("r1")[0])
}
