package lifecycle

import (
	"slices"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// TestRefusedErrorFile: a bucket that refuses error.json does not hold up the
// close; the record says so. An outage of it does.
func TestRefusedErrorFile(t *testing.T) {
	for _, state := range []executions.Status{executions.Failed, executions.Aborted} {
		for _, recorded := range []bool{true, false} {
			for _, status := range []int{301, 400, 403, 404, 405} {
				w := newWorld(t)
				if recorded {
					w.submit("r1", "t1")
				}
				w.around = refuses("PutObject outputs/", status)
				closed, r, failure := w.closes(w.execution("r1", state, 0, named.OutputBucketRefused, "x"))
				if !closed || r.Status.Open() || failure != nil || r.ErrorKey != "" || !strings.Contains(r.Error.Cause, "error.json was not written") || !strings.Contains(r.Error.Cause, "s3://outputs/runs/r1/error.json") {
					t.Errorf("%s, recorded %v, %d: %v, %+v", state, recorded, status, closed, r.Record)
				}
			}
			w := newWorld(t)
			if recorded {
				w.submit("r1", "t1")
			}
			w.around = refuses("PutObject outputs/", 503)
			_, err := w.close.Close(t.Context(), w.execution("r1", state, 0, named.Unavailable, "x"), true)
			namedtest.Want(t, err, named.Unavailable, "error.json")
			w.around = nil
			if r, err := w.runs.Get(t.Context(), "r1"); err == nil && !r.Status.Open() {
				t.Errorf("an outage of the bucket closed it without error.json: %+v", r)
			}
		}
	}
}

// TestErrorFileAfterALostClose: a close wrote error.json and lost its conditional
// write. Whatever won, what stands at the end fits the record.
func TestErrorFileAfterALostClose(t *testing.T) {
	tests := []struct {
		name   string
		prefix string
		wins   func(w *world, r Run)
		status run.Status
		left   []string
	}{
		{name: "against a delivery", prefix: "runs/{run_id}/", wins: func(w *world, r Run) {
			if _, err := w.runs.Deliver(w.t.Context(), r, manifestOf(r)); err != nil {
				w.t.Error(err)
			}
		}, status: run.Succeeded, left: []string{"runs/r1/manifest.json"}},
		{name: "against a stop", prefix: "runs/{run_id}/", wins: func(w *world, _ Run) {
			if _, _, err := w.stops("r1"); err != nil {
				w.t.Error(err)
			}
		}, status: run.Cancelled, left: []string{"runs/r1/error.json"}},
		{name: "against a redrive's step", prefix: "runs/{run_id}/", wins: func(w *world, _ Run) {
			w.execution("r1", executions.Running, 1, "", "")
			w.begin("r1", 1)
		}, status: run.Copying, left: []string{"runs/r1/error.json"}}, // until it delivers
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			r := w.copied("r1", "t1")
			w.around = func(call string, do func() error) error {
				err := do()
				if call == "PutObject outputs/runs/r1/error.json" {
					w.around = nil
					test.wins(w, r)
				}
				return err
			}
			e := w.execution("r1", executions.Failed, 0, named.Unavailable, "x")
			if _, err := w.close.Close(t.Context(), e, true); err != nil {
				t.Fatal(err)
			}
			got := w.get("r1")
			if keys := w.s3.Keys(outputBucket, ""); got.Status != test.status || !slices.Equal(keys, test.left) {
				t.Errorf("%s leaves %v", got.Status, keys)
			}
			if failure := w.failure(got); failure != nil && !got.Status.Open() && failure.Error.Cause != got.Error.Cause {
				t.Errorf("error.json says %q, the record %q", failure.Error.Cause, got.Error.Cause)
			}
		})
	}
}

// TestErrorFileMoves with the prefix: a close that knew no task wrote it under the
// run's id, and lost because Submit stored the task. Nothing of it is left behind.
func TestErrorFileMoves(t *testing.T) {
	w := newWorld(t)
	w.tasks["t1"] = cyberun.StatusRunning
	request := w.request()
	request.Destination.Prefix = "by/{task_id}/"
	r, err := w.runs.Begin(t.Context(), call("r1", 0), request, outputBucket, "")
	if err != nil {
		t.Fatal(err)
	}
	r = w.mark(r, "a1")
	w.around = func(call string, do func() error) error {
		err := do()
		if call == "PutObject outputs/by/r1/error.json" {
			w.around = nil
			if _, err := w.runs.Accept(t.Context(), r, "t1"); err != nil {
				t.Error(err)
			}
		}
		return err
	}
	if _, err := w.close.Close(t.Context(), w.execution("r1", executions.Failed, 0, named.Unauthorized, "x"), true); err != nil {
		t.Fatal(err)
	}
	if keys := w.s3.Keys(outputBucket, ""); !slices.Equal(keys, []string{"by/t1/error.json"}) {
		t.Errorf("left %v", keys)
	}
}

// TestErrorFileIsRemoved wherever the close left it, by the delivery of a redrive.
func TestErrorFileIsRemoved(t *testing.T) {
	w := newWorld(t)
	request := w.request()
	request.Destination.Prefix = "by/{task_id}/"
	r, err := w.runs.Begin(t.Context(), call("r1", 0), request, outputBucket, "")
	if err != nil {
		t.Fatal(err)
	}
	w.mark(r, "a1")
	w.closes(w.execution("r1", executions.Failed, 0, named.Unauthorized, "x"))
	if keys := w.s3.Keys(outputBucket, ""); !slices.Equal(keys, []string{"by/r1/error.json"}) {
		t.Fatalf("left %v", keys)
	}
	w.execution("r1", executions.Running, 1, "", "")
	r, err = w.runs.AttachTask(t.Context(), w.begin("r1", 1), "t1")
	if err != nil {
		t.Fatal(err)
	}
	if r, err = w.runs.StartCopy(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := w.runs.Deliver(t.Context(), r, manifestOf(r)); err != nil {
		t.Fatal(err)
	}
	w.delivered("r1")
}

// TestLateEventOfASuccess removes an error.json that stands beside its manifest.
func TestLateEventOfASuccess(t *testing.T) {
	w := newWorld(t)
	r := w.copied("r1", "t1")
	if _, err := w.runs.Deliver(t.Context(), r, manifestOf(r)); err != nil {
		t.Fatal(err)
	}
	w.s3.Set(outputBucket, "runs/r1/error.json", storetest.Object{Body: []byte(`{"error":{"name":"x","cause":"x","hint":"x"}}`)})
	e := w.execution("r1", executions.Failed, 0, "Lambda.Unknown", "x") // its last call's reply was lost
	if due, err := w.close.DueOf(t.Context(), e); err != nil || due == NothingDue {
		t.Errorf("the sweep passes it over: %v", err)
	}
	if closed, _, _ := w.closes(e); closed {
		t.Error("it was closed")
	}
	w.delivered("r1")
}

// TestSharedPrefix: a rescue delivers to the place that the run's own error.json
// would have: none is written there.
func TestSharedPrefix(t *testing.T) {
	for rescuer, leaves := range map[string]string{"by/{task_id}/": "", "runs/{run_id}/": "by/t1/error.json"} {
		w := newWorld(t)
		w.execution("r1", executions.Running, 0, "", "")
		w.tasks["t1"] = cyberun.StatusRunning
		begin := func(id, prefix string) Run {
			request := w.request()
			request.Destination.Prefix = prefix
			r, err := w.runs.Begin(t.Context(), call(id, 0), request, outputBucket, "")
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		if _, err := w.runs.Accept(t.Context(), w.mark(begin("r1", "by/{task_id}/"), "a1"), "t1"); err != nil {
			t.Fatal(err)
		}
		e := w.execution("r1", executions.Failed, 0, named.Unavailable, "x")
		if _, err := w.runs.RescueTask(t.Context(), begin("r9", rescuer), "t1", "x"); err != nil {
			t.Fatal(err)
		}
		w.closes(e)
		if got := strings.Join(w.s3.Keys(outputBucket, ""), " "); got != leaves {
			t.Errorf("beside a rescue to %s: left %q", rescuer, got)
		}
	}
}

// TestRepairError: the close of a life that was redriven died behind its error.json;
// its event comes again once the run goes on, delivers, or has succeeded. What goes
// on keeps the file: another close of that life may rely on it, and the delivery
// removes it.
func TestRepairError(t *testing.T) {
	tests := []struct {
		name     string
		delivers bool
		dies     string // the call that the delivery dies at
		status   run.Status
		stays    bool
	}{
		{name: "it goes on", status: run.Copying, stays: true},
		{name: "it delivers", delivers: true, dies: "PutObject outputs/runs/r1/manifest.json", status: run.Delivering},
		{name: "it succeeded", delivers: true, status: run.Succeeded},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			r := w.copied("r1", "t1")
			if test.delivers {
				w.around = func(call string, do func() error) error {
					if call == test.dies {
						return errReset
					}
					return do()
				}
				if _, err := w.runs.Deliver(t.Context(), r, manifestOf(r)); (err != nil) != (test.dies != "") {
					t.Fatal(err)
				}
				w.around = nil
			}
			if got := w.get("r1").Status; got != test.status {
				t.Fatalf("the run is %s", got)
			}
			record := r.Record
			record.Error = named.Errorf(named.Unavailable, "x")
			if err := w.runs.writeError(t.Context(), &record); err != nil {
				t.Fatal(err)
			}
			if err := w.close.RepairError(t.Context(), "r1"); err != nil {
				t.Fatal(err)
			}
			if keys := w.s3.Keys(outputBucket, ""); slices.Contains(keys, "runs/r1/error.json") != test.stays {
				t.Errorf("it leaves %v", keys)
			}
		})
	}
	if err := newWorld(t).close.RepairError(t.Context(), "r1"); err != nil {
		t.Errorf("without a record: %v", err)
	}
}
