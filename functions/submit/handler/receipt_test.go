package handler

import (
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// TestStateBucketFailsAfterTheReceipt, for longer than the call lives.
func TestStateBucketFailsAfterTheReceipt(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	down := false
	w.Around = func(call string, do func() error) error {
		if down && functiontest.OnS3(call) {
			return errNetwork
		}
		err := do()
		down = down || call == "StartTask"
		return err
	}
	_, _, err, _ := w.once(in)
	namedtest.Want(t, err, named.Unavailable, "task-")
	w.Around = nil
	w.submits("r1", in)
}

// TestReceiptIsSurer: another run in doubt named this run's task as a candidate,
// or a rescue took it, between the receipt and the ownership.
func TestReceiptIsSurer(t *testing.T) {
	tests := []struct {
		name      string
		known     run.Ownership
		deliverer string
	}{
		{name: "a candidate of another", known: run.Ownership{StartedBy: "r9", Evidence: run.AsCandidate}, deliverer: "r1"},
		{name: "rescued", known: run.Ownership{Evidence: run.ByRescue, DeliveredBy: "r9"}, deliverer: "r9"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			in := w.input("r1", prompted("r1"))
			w.After("StartTask", func() { w.own(w.Cyberun.Started[0].ID, test.known) })
			out, _, err, _ := w.once(in)
			if err != nil {
				t.Fatal(err)
			}
			if o := w.ownership(out.TaskID); (o != run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: test.deliverer}) {
				t.Errorf("%+v", o)
			}
			w.checkNoTraces("r1")
		})
	}
}

// late lets another call's whole way come in between a call's POST and its
// answer, and returns what the late receipt came to.
func (w *world) late(in Input, meanwhile func(taskID string)) error {
	w.After("StartTask", func() { meanwhile(w.Cyberun.Paid(in.RunID)[0]) })
	_, _, err, _ := w.once(in)
	w.Around = nil
	return err
}

// TestLateReceipt: a receipt is taken from any life and in any state of the
// record; what it does there follows from the state.
func TestLateReceipt(t *testing.T) {
	aborted := func(w *world) {
		w.stop("r1")
		w.Executions.End("r1", executions.Aborted, named.Errorf(named.RunCancelled, "x"))
		w.Close("r1")
	}
	tests := []struct {
		name      string
		meanwhile func(w *world, in Input, taskID string)
		status    run.Status
		how       run.Evidence
		ends      cyberun.Status // of the task
		text      string         // of the late call's error; empty: it succeeds
	}{
		{name: "adopted by a second call", meanwhile: func(w *world, in Input, _ string) {
			w.Now = w.Now.Add(time.Minute)
			if _, err := w.drive(in); err != nil {
				w.T.Fatal(err)
			}
		}, status: run.Waiting, how: run.ByReceipt, ends: cyberun.StatusPending},
		{name: "failed", meanwhile: func(w *world, _ Input, _ string) { w.fail("r1", named.Errorf(named.Unavailable, "x")) },
			status: run.Failed, how: run.ByReceipt, ends: cyberun.StatusPending, text: "Superseded"},
		{name: "failed and redriven", meanwhile: func(w *world, in Input, _ string) {
			w.fail("r1", named.Errorf(named.Unavailable, "x"))
			in = w.redrive(in)
			w.once(in) // in doubt
		}, status: run.Waiting, how: run.ByReceipt, ends: cyberun.StatusPending, text: "Superseded"},
		{name: "stopped", meanwhile: func(w *world, _ Input, _ string) { w.stop("r1") },
			status: run.Waiting, how: run.ByReceipt, ends: cyberun.StatusCancelled, text: "RunCancelled"},
		{name: "cancelled", meanwhile: func(w *world, _ Input, _ string) { aborted(w) },
			status: run.Cancelled, how: run.ByReceipt, ends: cyberun.StatusCancelled, text: "Superseded"},
		{name: "cancelled, and named as a candidate", meanwhile: func(w *world, _ Input, id string) {
			aborted(w)
			w.own(id, run.Ownership{StartedBy: "r1", Evidence: run.AsCandidate})
		}, status: run.Cancelled, how: run.ByReceipt, ends: cyberun.StatusCancelled, text: "Superseded"},
		{name: "cancelled, and its candidates named", meanwhile: func(w *world, _ Input, id string) {
			aborted(w)
			w.Undisturbed(func() {
				closer := lifecycle.Closer{Runs: w.Runs(), Bucket: outputBucket}
				if err := closer.NameCandidates(w.T.Context(), w.Run("r1"), []run.Candidate{{TaskID: id}}); err != nil {
					w.T.Fatal(err)
				}
			})
			if w.Run("r1").WorkLeft(w.Now) {
				w.T.Error("the sweep would look at it again and again")
			}
		}, status: run.Cancelled, how: run.ByReceipt, ends: cyberun.StatusCancelled, text: "Superseded"},
		{name: "a person said that it is this one", meanwhile: func(w *world, in Input, id string) {
			w.fail("r1", named.Errorf(named.SubmitOutcomeUnknown, "x"))
			w.decide("r1", run.Decision{TaskID: id})
			if _, err := w.drive(w.redrive(in)); err != nil {
				w.T.Fatal(err)
			}
		}, status: run.Waiting, how: run.ByReceipt, ends: cyberun.StatusPending, text: "Superseded"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := witnessed(t)
			in := w.input("r1", prompted("r1"))
			var id string
			err := w.late(in, func(taskID string) { id = taskID; test.meanwhile(w, in, taskID) })
			switch {
			case test.text == "" && err != nil:
				t.Error(err)
			case test.text != "" && (err == nil || !strings.Contains(err.Error(), test.text)):
				t.Errorf("%v, want %s", err, test.text)
			}
			record := w.Run("r1")
			if record.Status != test.status && !(test.status == run.Waiting && record.Status == run.Submitting) || record.TaskID != id || record.Evidence != test.how || record.Adopted || record.InDoubt() {
				t.Errorf("%+v", record.Record)
			}
			if got := w.Cyberun.Of(id).Status; got != test.ends {
				t.Errorf("the task is %s, want %s", got, test.ends)
			}
			if o := w.ownership(id); o.Evidence != run.ByReceipt || o.StartedBy != "r1" || o.DeliveredBy != "r1" {
				t.Errorf("%+v", o)
			}
			if len(record.ExtraTasks) > 0 || len(w.Cyberun.Paid("r1")) != 1 {
				t.Errorf("extra %v, paid %v", record.ExtraTasks, w.Cyberun.Paid("r1"))
			}
			w.checkNoTraces("r1")
			if record.Status.Open() {
				return
			}
			if !record.WorkLeft(w.Now) {
				t.Error("the sweep passes it over")
			}
			w.Close("r1") // as the sweep does
			if again := w.Run("r1"); again.CleanUpDue {
				t.Errorf("not settled: %+v", again.Record)
			}
			if o, _ := w.S3.Object(outputBucket, "runs/r1/error.json"); !strings.Contains(string(o.Body), `"task_id": "`+id+`"`) {
				t.Errorf("error.json does not name the task: %s", o.Body)
			}
		})
	}
}

// TestSecondReceipt: an assumption broke, and the run was submitted twice. The
// second task is owned, cancelled and named; the first one stays the run's.
func TestSecondReceipt(t *testing.T) {
	tests := []struct {
		name      string
		cancels   []error
		stubborn  bool
		cancelled bool
	}{
		{name: "cancelled", cancelled: true},
		{name: "cancelled at the third try", cancels: []error{functiontest.Answered(500), functiontest.HTMLPage(200)}, cancelled: true},
		{name: "not cancelled within the call", cancels: slowCancels(20)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := witnessed(t)
			in := w.input("r1", prompted("r1"))
			var kept string
			err := w.late(in, func(first string) {
				// A person is wrong: the task was there.
				w.fail("r1", named.Errorf(named.SubmitOutcomeUnknown, "x"))
				w.decide("r1", run.Decision{NotStarted: true})
				out, err := w.drive(w.redrive(in))
				if err != nil || out.TaskID == first {
					t.Fatalf("%+v, %v", out, err)
				}
				kept = out.TaskID
				w.Cyberun.Cancels = test.cancels
			})
			if err == nil {
				t.Error("the call of an earlier life succeeded")
			}
			extra := w.Cyberun.Paid("r1")[0]
			record := w.Run("r1")
			if record.TaskID != kept || len(record.ExtraTasks) != 1 || record.ExtraTasks[0] != (run.ExtraTask{TaskID: extra, Cancelled: test.cancelled}) {
				t.Errorf("%+v", record.Record)
			}
			if o := w.ownership(extra); (o != run.Ownership{StartedBy: "r1", Evidence: run.ByReceipt, DeliveredBy: "r1"}) {
				t.Errorf("%+v", o)
			}
			if ended := w.Cyberun.Of(extra).Status == cyberun.StatusCancelled; ended != test.cancelled {
				t.Errorf("the extra task is %s", w.Cyberun.Of(extra).Status)
			}
			if w.Cyberun.Of(kept).Status.Terminal() {
				t.Error("the run's own task was cancelled")
			}
			if m := run.NewManifest(record.Record, run.Progress{}, nil, w.Now); len(m.ExtraTasks) != 1 {
				t.Errorf("the manifest names %v", m.ExtraTasks)
			}
			// The close goes on with the cancel.
			w.Cyberun.Cancels = nil
			w.fail("r1", named.Errorf(named.TaskFailed, "x"))
			if got := w.Cyberun.Of(extra).Status; got != cyberun.StatusCancelled {
				t.Errorf("after the close the extra task is %s", got)
			}
			if o, found := w.S3.Object(outputBucket, "runs/r1/error.json"); !found || !strings.Contains(string(o.Body), extra) {
				t.Errorf("error.json: %s", o.Body)
			}
		})
	}
}

func slowCancels(n int) (answers []error) {
	for range n {
		answers = append(answers, functiontest.Answered(503))
	}
	return answers
}
