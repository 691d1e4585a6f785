package handler

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// TestRunIDUsedBefore: 90 days on, or in another stack's bucket, a name can come
// again. It must not go on from a stranger's record.
func TestRunIDUsedBefore(t *testing.T) {
	const day = 24 * time.Hour
	tests := []struct {
		name   string
		closed bool
		later  time.Duration
		change func(*Input)
		reused bool
	}{
		{name: "another execution", change: func(in *Input) { in.ExecutionARN = strings.Replace(in.ExecutionARN, "relay", "other", 1) }},
		{name: "another start", later: time.Hour, change: func(in *Input) { in.StartedAt = in.StartedAt.Add(time.Hour) }},
		{name: "another start 79 days after one that is closed", closed: true, later: 79 * day, change: func(in *Input) { in.StartedAt = in.StartedAt.Add(79 * day) }},
		{name: "81 days after one that is open", later: 81 * day, change: func(in *Input) { in.StartedAt = in.StartedAt.Add(81 * day) }},
		{name: "81 days after one that is closed", closed: true, later: 81 * day, change: func(in *Input) { in.StartedAt = in.StartedAt.Add(81 * day) }, reused: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			in := w.input("r1", prompted("r1"))
			if _, err := w.drive(in); err != nil {
				t.Fatal(err)
			}
			first := w.Cyberun.Paid("r1")[0]
			if test.closed {
				w.fail("r1", named.Errorf(named.TaskFailed, "x"))
				w.Executions.Forget("r1")
			}
			w.Now = w.Now.Add(test.later)
			test.change(&in)
			out, _, err, _ := w.once(in)
			if !test.reused {
				namedtest.Want(t, err, named.InvalidRequest, "used before")
				if len(w.Cyberun.Started) != 1 {
					t.Error("paid again")
				}
				return
			}
			record := w.Run("r1")
			if err != nil || out.TaskID == first || len(w.Cyberun.Paid("r1")) != 2 || record.TaskID != out.TaskID || record.Error != nil || !record.StartedAt.Equal(in.StartedAt) {
				t.Errorf("%+v, %v: %+v", out, err, record.Record)
			}
		})
	}
}

// TestStartsRoundedDifferently: the context object has milliseconds and
// DescribeExecution, which a stop's record is made from, may have others.
func TestStartsRoundedDifferently(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	if _, err := w.drive(in); err != nil {
		t.Fatal(err)
	}
	in.StartedAt = in.StartedAt.Add(999 * time.Millisecond)
	if _, err := w.drive(in); err != nil {
		t.Fatal(err)
	}
}

// TestRedrive goes on from where the run failed, with its record open again.
func TestRedrive(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	w.Cyberun.Refuse = func() error { return functiontest.Refused(http.StatusUnauthorized) }
	_, err := w.drive(in)
	namedtest.Want(t, err, named.Unauthorized, "")
	w.fail("r1", err)
	if _, found := w.S3.Object(outputBucket, "runs/r1/error.json"); !found {
		t.Error("no error.json")
	}
	w.Cyberun.Refuse = nil
	w.Now = w.Now.Add(time.Hour)
	w.submits("r1", w.redrive(in))
	record := w.Run("r1")
	if record.Life != 1 || record.Error != nil || !record.EndedAt.IsZero() || !record.LifeStartedAt.After(began.Add(time.Hour)) {
		t.Errorf("%+v", record.Record)
	}
}

// TestFence: a step of an earlier life, or of one that has ended, decides nothing;
// the first of a later one opens the run again.
func TestFence(t *testing.T) {
	failed := named.Errorf(named.Unavailable, "x")
	// life is a world whose run is in its life 1, and what is sent in it.
	life := func(t *testing.T) (*world, Input) {
		w := newWorld(t)
		in := w.input("r1", prompted("r1"))
		w.Fails("Workflow", errNetwork)
		w.once(in)
		w.Around = nil
		w.fail("r1", failed)
		in = w.redrive(in)
		w.Fails("Workflow", errNetwork)
		w.once(in)
		w.Around = nil
		if record := w.Run("r1"); record.Life != 1 || record.Status != run.Submitting {
			t.Fatalf("%+v", record.Record)
		}
		return w, in
	}
	tests := []struct {
		name    string
		prepare func(w *world)
		count   int // -1: not said
		want    string
		life    int // of the record afterwards
	}{
		{name: "lower", count: 0, want: named.Superseded, life: 1},
		{name: "equal, open", count: 1, life: 1},
		{name: "higher, open", count: 2, life: 2},
		{name: "lower, failed", prepare: func(w *world) { w.fail("r1", failed) }, count: 0, want: named.Superseded, life: 1},
		{name: "equal, failed", prepare: func(w *world) { w.fail("r1", failed) }, count: 1, want: named.Superseded, life: 1},
		{name: "higher, failed", prepare: func(w *world) { w.fail("r1", failed) }, count: 2, life: 2},
		{name: "equal, stopped", prepare: func(w *world) { w.stop("r1") }, count: 1, want: named.RunCancelled, life: 1},
		{name: "higher, stopped", prepare: func(w *world) { w.stop("r1") }, count: 2, want: named.RunCancelled, life: 2},
		{name: "higher, cancelled", prepare: func(w *world) {
			w.stop("r1")
			w.Executions.End("r1", executions.Aborted, named.Errorf(named.RunCancelled, "x"))
			w.Close("r1")
		}, count: 2, want: named.RunCancelled, life: 2},
		{name: "not said, of this life", count: -1, life: 1},
		{name: "not said, of the next life", prepare: func(w *world) { w.fail("r1", failed); w.Executions.BeginAgain("r1") }, count: -1, life: 2},
		{name: "not said, and it has ended", prepare: func(w *world) { w.fail("r1", failed) }, count: -1, want: named.Superseded, life: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, in := life(t)
			if test.prepare != nil {
				test.prepare(w)
			}
			if in.Redrives = &test.count; test.count < 0 {
				in.Redrives = nil
			}
			out, _, err, _ := w.once(in)
			record := w.Run("r1")
			if record.Life != test.life {
				t.Errorf("the record is in life %d, want %d", record.Life, test.life)
			}
			if test.want != "" {
				namedtest.Want(t, err, test.want, "")
				if len(w.Cyberun.Started) > 0 {
					t.Error("paid")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			w.checkSettled("r1", out)
		})
	}
}

// TestSucceededAnswersAgain: a redrive of a run that has succeeded gets its result
// again and pays nothing.
func TestSucceededAnswersAgain(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	first, err := w.drive(in)
	if err != nil {
		t.Fatal(err)
	}
	r, err := w.Runs().StartCopy(t.Context(), w.Run("r1"))
	if err == nil {
		_, err = w.Runs().Deliver(t.Context(), r, run.NewManifest(r.Record, run.Progress{}, nil, w.Now))
	}
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.drive(w.redrive(in))
	if err != nil || again != first || len(w.Cyberun.Started) != 1 {
		t.Errorf("%+v, then %+v, %v", first, again, err)
	}
	if status := w.Run("r1").Status; status != run.Succeeded {
		t.Errorf("it is %s", status)
	}
}

// TestOutlivedItsExecution: the call was lost to Step Functions, which called
// again, failed and was closed. What the first one would start now nobody delivers.
func TestOutlivedItsExecution(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	w.Around = func(call string, do func() error) error {
		if strings.HasPrefix(call, "CreateMultipartUpload") {
			w.fail("r1", named.Errorf(named.Unavailable, "x"))
		}
		return do()
	}
	_, _, err, _ := w.once(in)
	namedtest.Want(t, err, named.Superseded, "")
	if len(w.Cyberun.Started) > 0 {
		t.Errorf("tasks %v", w.Cyberun.Started)
	}
	if record := w.Run("r1"); record.Status != run.Failed || record.Submission != nil {
		t.Errorf("%+v", record.Record)
	}
	w.checkNoTraces("r1")
}
