package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
	"github.com/google/go-cmp/cmp"
)

// TestEnded: what counts as the end of an execution, by the event and by what
// DescribeExecution says then.
func TestEnded(t *testing.T) {
	failed := func(redrives int) executions.Execution {
		return executions.FromEvent(arnPrefix+"r1", "FAILED", named.Unavailable, "x", redrives, time.Time{})
	}
	succeeded := executions.FromEvent(arnPrefix+"r1", "SUCCEEDED", "", "", 0, began)
	tests := []struct {
		name      string
		event     executions.Execution
		described func(w *world)
		recorded  bool
		age       time.Duration
		ok, sure  bool
		redrives  int
	}{
		{name: "it ended", event: failed(0), described: func(w *world) { w.execution("r1", executions.Failed, 0, named.Unavailable, "x") }, ok: true, sure: true},
		{name: "reads lag behind events", event: failed(0), described: func(w *world) { w.execution("r1", executions.Running, 0, "", "") }, ok: true},
		{name: "it was redriven since", event: failed(0), described: func(w *world) { w.execution("r1", executions.Running, 1, "", "") }},
		{name: "it was redriven and failed again", event: failed(0), described: func(w *world) { w.execution("r1", executions.Failed, 1, named.Unavailable, "x") }, ok: true, sure: true, redrives: 1},
		{name: "reads lag behind the second end", event: failed(1), described: func(w *world) { w.execution("r1", executions.Failed, 0, named.Unavailable, "x") }, ok: true, redrives: 1},
		{name: "it was redriven and succeeded", event: failed(0), described: func(w *world) { w.execution("r1", executions.Succeeded, 1, "", "") }},
		{name: "a good end", event: succeeded, described: func(w *world) { w.execution("r1", executions.Succeeded, 0, "", "") }},
		{name: "a good end, whose reads lag", event: succeeded, described: func(w *world) { w.execution("r1", executions.Running, 0, "", "") }},
		{name: "not known, and its record is young", event: failed(0), described: func(*world) {}, recorded: true, age: forgotten - time.Second},
		{name: "not known, and its record is old", event: failed(0), described: func(*world) {}, recorded: true, age: forgotten, ok: true, sure: true},
		{name: "not known, and no record", event: failed(0), described: func(*world) {}, age: forgotten},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			if test.recorded {
				w.begin("r1", 0)
			}
			w.advance(test.age)
			test.described(w)
			e, sure, ok, err := w.close.Ended(t.Context(), test.event)
			if err != nil || ok != test.ok || sure != test.sure || ok && (e.Error == nil || e.Redrives != test.redrives) {
				t.Errorf("%+v, sure %v, ok %v, %v", e, sure, ok, err)
			}
		})
	}
}

// TestCloseNeedsToBeSure for what cannot be undone: a cancel, and cancelled.
func TestCloseNeedsToBeSure(t *testing.T) {
	for _, state := range []executions.State{executions.Aborted, executions.TimedOut, executions.Failed} {
		w := newWorld(t)
		w.submit("r1", "t1")
		e := w.execution("r1", state, 0, named.Unavailable, "x")
		closed, err := w.close.Close(t.Context(), e, false)
		if state == executions.Failed {
			if err != nil || !closed || w.get("r1").Status != run.Failed {
				t.Errorf("%s: %v, %v", state, closed, err)
			}
			continue
		}
		wantName(t, err, named.Unavailable, "does not show yet how the run r1 ended")
		if closed || !w.get("r1").Status.Open() || len(w.asked) > 0 || len(w.s3.Keys(outputBucket, "")) > 0 {
			t.Errorf("%s: %v, %+v, cancelled %v", state, closed, w.get("r1"), w.asked)
		}
	}
}

// TestIgnores what is not this run's end: another execution, an earlier life, a
// call that was superseded.
func TestIgnores(t *testing.T) {
	tests := []struct {
		name   string
		life   int // of the record
		change func(e *executions.Execution)
	}{
		{name: "an earlier life", life: 1, change: func(*executions.Execution) {}},
		{name: "another state machine", change: func(e *executions.Execution) { e.ARN = strings.Replace(e.ARN, "relay-run", "x", 1) }},
		{name: "another start", change: func(e *executions.Execution) { e.StartedAt = began.Add(time.Hour) }},
		{name: "it ended by a call of an earlier life", change: func(e *executions.Execution) { e.Error = named.Errorf(named.Superseded, "x") }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.submit("r1", "t1")
			if test.life > 0 {
				w.begin("r1", test.life)
			}
			before := w.get("r1")
			e := w.execution("r1", executions.Failed, 0, named.Unavailable, "x")
			test.change(&e)
			closed, err := w.close.Close(t.Context(), e, true)
			if err != nil || closed || w.get("r1").WriteID != before.WriteID || len(w.s3.Keys(outputBucket, "")) > 0 {
				t.Errorf("%v, %v, %+v", closed, err, w.get("r1"))
			}
		})
	}
}

// TestRefusedErrorFile: a bucket that refuses error.json does not hold up the
// close; the record says so. An outage of it does.
func TestRefusedErrorFile(t *testing.T) {
	for _, state := range []executions.State{executions.Failed, executions.Aborted} {
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
			wantName(t, err, named.Unavailable, "error.json")
			w.around = nil
			if r, err := w.runs.Get(t.Context(), "r1"); err == nil && !r.Status.Open() {
				t.Errorf("an outage of the bucket closed it without error.json: %+v", r)
			}
		}
	}
}

// TestTombstone: a run that ended before it had a record gets one that is closed,
// and Submit, should it come yet, starts nothing. A redrive goes on from it.
func TestTombstone(t *testing.T) {
	for state, want := range map[executions.State]run.Status{executions.Failed: run.Failed, executions.TimedOut: run.Failed, executions.Aborted: run.Cancelled} {
		w := newWorld(t)
		e := w.execution("r1", state, 0, named.Unavailable, "x")
		e.Input = `{"workflow":"text-to-image@2","destination":{"prefix":"p/{run_id}/"},"max_seconds":60}`
		w.executions["r1"] = e
		closed, r, failure := w.closes(e)
		if !closed || r.Status != want || failure == nil || r.Prefix != "p/r1/" || r.MaxSeconds != 60 || r.ExecutionARN != e.ARN || !r.StartedAt.Equal(began) || r.EndedAt.IsZero() || r.Error == nil || r.ErrorKey != "p/r1/error.json" {
			t.Errorf("%s: %v, %+v, %+v", state, closed, r.Record, failure)
		}
		if ids := w.keys("index/"); len(ids) != 1 {
			t.Errorf("%s: GET /runs would not show it: %v", state, ids)
		}
		_, err := w.runs.Begin(t.Context(), call("r1", 0), w.request(), outputBucket, "")
		wantName(t, err, named.Superseded, "")
		w.execution("r1", executions.Running, 1, "", "")
		_, err = w.runs.Begin(t.Context(), call("r1", 1), w.request(), outputBucket, "")
		if want == run.Cancelled {
			wantName(t, err, named.RunCancelled, "")
		} else if err != nil || w.get("r1").Status != run.Submitting {
			t.Errorf("%s, redriven: %+v, %v", state, w.get("r1").Record, err)
		}
	}
}

// TestTombstoneOfNonsense: an input that is no request leaves error.json under the
// default prefix; one whose prefix is invalid leaves none.
func TestTombstoneOfNonsense(t *testing.T) {
	for input, leaves := range map[string]bool{
		`[]`: true, `{"workflow":5}`: true, `{`: true, ``: true, `{"workflow":"x","destination":{"prefix":"/../"}}`: false,
	} {
		w := newWorld(t)
		e := w.execution("r1", executions.Failed, 0, named.InvalidRequest, "x")
		e.Input = input
		w.executions["r1"] = e
		if closed, r, failure := w.closes(e); !closed || r.Status != run.Failed || (failure != nil) != leaves || r.MaxSeconds == 0 {
			t.Errorf("%s: %v, %+v, %+v", input, closed, r.Record, failure)
		}
	}
}

// TestClosesOnce: two closes of one end, the second at each call of the first:
// both may do what can be repeated, one closes, and all is done.
func TestClosesOnce(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		r := w.copied("r1", "t1")
		w.s3.Set(stateBucket, marker1, storetest.Object{Body: []byte("{}")})
		if err := w.runs.PutCheckpoint(t.Context(), r.RunID, "a", Checkpoint{}); err != nil {
			t.Fatal(err)
		}
		e := w.execution("r1", executions.Aborted, 0, "", "")
		second := false
		met := w.at(n, func(string) {
			w.advance(time.Millisecond)
			var err error
			if second, err = w.close.Close(t.Context(), e, true); err != nil {
				t.Error(err)
			}
			w.advance(time.Millisecond)
		})
		first, err := w.close.Close(t.Context(), e, true)
		w.around = nil
		got := w.get("r1")
		if err != nil || first == second || got.Status != run.Cancelled || w.failure(got) == nil || w.tasks["t1"] != cyberun.StatusCancelled || len(w.keys("submitting/")) > 0 || len(w.keys("copies/")) > 0 || got.Pending(w.clock()) {
			t.Errorf("at call %d: closed %v and %v, %v, %+v, left %v", n, first, second, err, got.Record, w.keys(""))
		}
		if !*met {
			return
		}
	}
}

// TestCloseCancelsOnce: the close tries within its budget; what is not accepted
// then, or whose end was not seen, is the sweep's.
func TestCloseCancelsOnce(t *testing.T) {
	tests := []struct {
		name    string
		answers []error
		runsOn  bool // the task does not end of an accepted cancel at once
		tries   int
		cause   string
		pending bool
	}{
		{name: "accepted, and it ends", tries: 1, cause: "its task t1 had been cancelled"},
		{name: "accepted, and it runs on for a while", runsOn: true, tries: 1, cause: "its task t1 was cancelled", pending: true},
		{name: "never accepted", answers: slices.Repeat([]error{errServer}, 99), tries: 15, cause: "could not be cancelled yet", pending: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.submit("r1", "t1")
			w.answers["t1"] = test.answers
			if test.runsOn {
				w.runs.Cyberun = fakeCyberun{cancel: w.cancel, task: func(_ context.Context, id string) (cyberun.Task, error) {
					return cyberun.Task{ID: id, Status: cyberun.StatusRunning}, nil
				}}
			}
			closed, r, failure := w.closes(w.execution("r1", executions.Aborted, 0, "", ""))
			if !closed || r.Status != run.Cancelled || failure == nil || len(w.asked) != test.tries || w.slept > CloseBudget {
				t.Errorf("%v, %+v, %d tries within %s", closed, r.Record, len(w.asked), w.slept)
			}
			if r.Pending(w.clock()) != test.pending || r.Pending(w.clock().Add(run.MaxLife+time.Hour)) {
				t.Errorf("the sweep is to go on: %v, after 7 days %v", r.Pending(w.clock()), r.Pending(w.clock().Add(run.MaxLife+time.Hour)))
			}
		})
	}
}

// TestTaskThatHadCompleted: the close names it, and how to have it.
func TestTaskThatHadCompleted(t *testing.T) {
	w := newWorld(t)
	w.submit("r1", "t1")
	w.tasks["t1"] = cyberun.StatusCompleted
	w.answers["t1"] = []error{errDenied}
	_, r, failure := w.closes(w.execution("r1", executions.Aborted, 0, "", ""))
	if !strings.Contains(failure.Error.Cause, "relay rescue t1") || r.Cancel.EndedAs != "completed" || r.Status != run.Cancelled {
		t.Errorf("%+v, %+v", failure.Error, r.Cancel)
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
	r, _, err = w.runs.Adopt(t.Context(), w.begin("r1", 1), "t1", run.Exclusion)
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
	if needed, err := w.close.NeedsClose(t.Context(), e); err != nil || !needed {
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

// TestClosedInDoubt keeps its markers and its doubt, so that no other run adopts
// its task, until its candidates are named; those stay the run's.
func TestClosedInDoubt(t *testing.T) {
	for state, status := range map[executions.State]run.Status{executions.Failed: run.Failed, executions.Aborted: run.Cancelled} {
		w := newWorld(t)
		w.doubt("r1")
		_, r, failure := w.closes(w.execution("r1", state, 0, named.Unauthorized, "refused"))
		if r.Status != status || !r.InDoubt() || !r.Pending(w.clock()) || len(w.keys("submitting/")) != 1 {
			t.Errorf("%s: %+v, %v", state, r.Record, w.keys("submitting/"))
		}
		for _, part := range []string{"from 2026-11-23T12:00:00Z to 2026-11-23T12:00:25Z", "text-to-image@2"} {
			if strings.Count(failure.Error.Cause, part) != 1 {
				t.Errorf("%q is not once in %q", part, failure.Error.Cause)
			}
		}
		candidates := []run.Candidate{{TaskID: "t7", CreatedAt: began, TaskStatus: "running"}, {TaskID: "t8", CreatedAt: began}}
		for range 2 { // a death between the two is made good by the sweep
			if err := w.close.NameCandidates(t.Context(), r, candidates); err != nil {
				t.Fatal(err)
			}
		}
		r = w.get("r1")
		failure = w.failure(r)
		if diff := cmp.Diff(candidates, r.Candidates); diff != "" || r.Pending(w.clock()) || failure == nil || !cmp.Equal(failure.Candidates, candidates) {
			t.Errorf("%s: %+v, %+v", state, r.Record, failure)
		}
		if strings.Count(r.Error.Cause, "candidates: t7, t8") != 1 || failure.Error.Cause != r.Error.Cause {
			t.Errorf("%s: %q, error.json %q", state, r.Error.Cause, failure.Error.Cause)
		}
		if o := w.ownership("t7"); o.StartedBy != "r1" || o.How != run.Named || len(w.asked) > 0 {
			t.Errorf("%s: %+v, cancelled %v", state, o, w.asked)
		}
	}
	// None of it is done to a run that was redriven meanwhile.
	w := newWorld(t)
	w.doubt("r1")
	_, r, _ := w.closes(w.execution("r1", executions.Failed, 0, named.Unauthorized, "refused"))
	w.execution("r1", executions.Running, 1, "", "")
	w.begin("r1", 1)
	if err := w.close.NameCandidates(t.Context(), r, []run.Candidate{{TaskID: "t7"}}); err != nil || len(w.get("r1").Candidates) > 0 {
		t.Errorf("%v, %+v", err, w.get("r1").Record)
	}
}

// TestDeathsWhileCandidatesAreNamed: whatever call it is behind which close-run
// dies, the sweep finds the run and puts the candidates into error.json.
func TestDeathsWhileCandidatesAreNamed(t *testing.T) {
	candidates := []run.Candidate{{TaskID: "t7", CreatedAt: began, TaskStatus: "running"}}
	for n := 1; ; n++ {
		w := newWorld(t)
		w.doubt("r1")
		_, r, _ := w.closes(w.execution("r1", executions.Aborted, 0, "", ""))
		count := 0
		w.around = func(call string, do func() error) error {
			if count++; count > n {
				return errReset
			}
			return do()
		}
		died := w.close.NameCandidates(t.Context(), r, candidates) != nil
		w.around = nil
		r = w.get("r1")
		if died && !r.Pending(w.clock()) && len(w.failure(r).Candidates) == 0 {
			t.Errorf("after %d calls the sweep passes it over, and error.json names nothing", n)
		}
		if r.CandidatesAt.IsZero() { // the sweep's look comes first
			if err := w.close.NameCandidates(t.Context(), r, candidates); err != nil {
				t.Fatal(err)
			}
		} else if err := w.close.CleanUp(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		r = w.get("r1")
		if failure := w.failure(r); r.Pending(w.clock()) || failure == nil || !cmp.Equal(failure.Candidates, candidates) {
			t.Errorf("after %d calls and the sweep: %+v, %+v", n, r.Record, failure)
		}
		if !died {
			return
		}
	}
}

// TestReceiptBesideAClose: the receipt of a stopped run is stored before whatever
// call of its close, and its submit dies behind that. The sweep cancels the task,
// also where the close named it as a candidate meanwhile.
func TestReceiptBesideAClose(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		submit := w.doubt("r1")
		w.tasks["t1"] = cyberun.StatusRunning
		e := w.execution("r1", executions.Aborted, 0, "", "")
		met := w.at(n, func(string) {
			count, dead := 0, errors.New("it died")
			w.around = func(call string, do func() error) error {
				if count > 0 {
					return dead
				}
				err := do()
				if err == nil && strings.HasPrefix(call, "PutObject state/runs/") {
					count++
				}
				return err
			}
			ctx, cancel := context.WithCancel(t.Context())
			w.runs.Sleep = func(context.Context, time.Duration) error { cancel(); return ctx.Err() }
			if _, err := w.runs.Accept(ctx, submit, "t1"); err == nil {
				t.Error("nobody knows that submit died")
			}
			w.runs.Sleep = func(_ context.Context, d time.Duration) error { w.advance(d); return nil }
			w.around = nil
		})
		if _, err := w.close.Close(t.Context(), e, true); err != nil {
			t.Fatalf("at call %d: %v", n, err)
		}
		if err := w.close.NameCandidates(t.Context(), w.get("r1"), []run.Candidate{{TaskID: "t1", CreatedAt: began}}); err != nil {
			t.Fatalf("at call %d: %v", n, err)
		}
		w.around = nil
		if !*met {
			return
		}
		for range 2 {
			if r := w.get("r1"); r.Pending(w.clock()) {
				if err := w.close.CleanUp(t.Context(), r); err != nil {
					t.Fatalf("at call %d: %v", n, err)
				}
			}
		}
		if r := w.get("r1"); r.TaskID != "t1" || r.Cancel == nil || r.Cancel.EndedAs != "cancelled" || w.ownership("t1").How != run.Receipt {
			t.Errorf("at call %d: %+v, %+v, cancelled %v", n, r.Record, w.ownership("t1"), w.asked)
		}
	}
}

// TestCleanUpBesideARedrive: a sweep cleans up after a close that died, and a redrive
// announces its POST before whatever call of that, its record not marked yet. The
// marker stays: without it another run in doubt would adopt the task.
func TestCleanUpBesideARedrive(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		w.begin("r1", 0)
		e := w.execution("r1", executions.Failed, 0, named.Unauthorized, "x")
		w.around = func(call string, do func() error) error {
			if strings.HasPrefix(call, "PutObject state/runs/") {
				w.around = func(string, func() error) error { return errReset } // it dies behind its write
			}
			return do()
		}
		if _, err := w.close.Close(t.Context(), e, true); err == nil {
			t.Fatal("nobody knows that it died")
		}
		w.around = nil
		w.change("r1", func(r *run.Record) { r.WorkflowID = "wf-1" }) // of a submission that was taken back
		r := w.get("r1")
		if !r.Pending(w.clock()) {
			t.Fatalf("the sweep passes it over: %+v", r.Record)
		}
		met := w.at(n, func(string) {
			w.execution("r1", executions.Running, 1, "", "")
			w.begin("r1", 1)
			if err := w.runs.put(t.Context(), markersOf("wf-1", "r1")+"a2", w.submission("a2").Marker("r1")); err != nil {
				t.Error(err)
			}
		})
		if err := w.close.CleanUp(t.Context(), r); err != nil {
			t.Errorf("at call %d: %v", n, err)
		}
		w.around = nil
		if !*met {
			return
		}
		if r := w.get("r1"); r.Life != 1 || !r.Status.Open() || !slices.Equal(w.keys("submitting/"), []string{"submitting/wf-1/r1/a2"}) {
			t.Errorf("at call %d: %+v, markers %v", n, r.Record, w.keys("submitting/"))
		}
	}
}

// TestExtraTasks that could not be cancelled at their receipt are cancelled by the
// close, and named.
func TestExtraTasks(t *testing.T) {
	w := newWorld(t)
	r := w.submit("r1", "t1")
	w.tasks["t2"] = cyberun.StatusRunning
	w.answers["t2"] = slices.Repeat([]error{errServer}, 5)
	if _, err := w.runs.Accept(t.Context(), r, "t2"); err != nil {
		t.Fatal(err)
	}
	if got := w.get("r1").ExtraTasks; !cmp.Equal(got, []run.ExtraTask{{TaskID: "t2"}}) {
		t.Fatalf("%+v", got)
	}
	_, r, failure := w.closes(w.execution("r1", executions.Failed, 0, named.Unavailable, "x"))
	if w.tasks["t2"] != cyberun.StatusCancelled || w.tasks["t1"] != cyberun.StatusRunning || len(failure.ExtraTasks) != 1 || !r.ExtraTasks[0].Cancelled {
		t.Errorf("t1 is %s, t2 is %s, %+v, %+v", w.tasks["t1"], w.tasks["t2"], failure, r.ExtraTasks)
	}
}

// TestCloseGivesUp on a record that changes under it each time.
func TestCloseGivesUp(t *testing.T) {
	w := newWorld(t)
	w.doubt("r1")
	n := 0
	w.around = func(call string, do func() error) error {
		err := do()
		if strings.HasPrefix(call, "PutObject outputs/") {
			around := w.around
			w.around = nil
			if n++; n%2 == 0 {
				r := w.get("r1")
				w.mark(r, fmt.Sprint("a", n))
			} else if _, err := w.runs.NotStarted(t.Context(), w.get("r1")); err != nil {
				t.Error(err)
			}
			w.around = around
		}
		return err
	}
	_, err := w.close.Close(t.Context(), w.execution("r1", executions.Failed, 0, named.Unavailable, "x"), true)
	wantName(t, err, named.Unavailable, "changed 8 times")
}

// TestCloseDuringAnOutage of the state bucket is told, and tried again.
func TestCloseDuringAnOutage(t *testing.T) {
	w := newWorld(t)
	w.submit("r1", "t1")
	e := w.execution("r1", executions.Failed, 0, named.Unavailable, "x")
	w.around = func(string, func() error) error { return errReset }
	if _, err := w.close.Close(t.Context(), e, true); !named.Is(err, named.Unavailable) || errors.Is(err, ErrNoRecord) {
		t.Error(err)
	}
}

// TestWithdraw: the close of a life that was redriven died behind its error.json;
// its event comes again once the run goes on, delivers, or has succeeded. What goes
// on keeps the file: another close of that life may rely on it, and the delivery
// removes it.
func TestWithdraw(t *testing.T) {
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
			if err := w.close.WithdrawError(t.Context(), "r1"); err != nil {
				t.Fatal(err)
			}
			if keys := w.s3.Keys(outputBucket, ""); slices.Contains(keys, "runs/r1/error.json") != test.stays {
				t.Errorf("it leaves %v", keys)
			}
		})
	}
	if err := newWorld(t).close.WithdrawError(t.Context(), "r1"); err != nil {
		t.Errorf("without a record: %v", err)
	}
}

// TestSupersededEnd: a stopped run is redriven, the step that says so loses its
// reply, and the next call ends the execution as Superseded. That ends no life, and
// what the close of the stop left is done all the same: a late receipt's task, which
// Cyberun would not cancel, is cancelled.
func TestSupersededEnd(t *testing.T) {
	w := newWorld(t)
	marked := w.doubt("r1")
	w.tasks["t1"] = cyberun.StatusRunning
	w.closes(w.execution("r1", executions.Aborted, 0, "", ""))
	w.execution("r1", executions.Running, 1, "", "")
	_, err := w.runs.Begin(t.Context(), call("r1", 1), w.request(), outputBucket, "")
	wantName(t, err, named.RunCancelled, "")
	_, err = w.runs.Begin(t.Context(), call("r1", 1), w.request(), outputBucket, "")
	wantName(t, err, named.Superseded, "")
	w.answers["t1"] = slices.Repeat([]error{answered(500)}, 20) // longer than the receipt's call has
	if _, err := w.runs.Accept(t.Context(), marked, "t1"); err != nil {
		t.Fatal(err)
	}
	w.answers["t1"] = nil
	if w.tasks["t1"] != cyberun.StatusRunning {
		t.Fatalf("t1 is %s already", w.tasks["t1"])
	}
	closed, r, failure := w.closes(w.execution("r1", executions.Failed, 1, named.Superseded, "x"))
	if closed || w.tasks["t1"] != cyberun.StatusCancelled || r.Cancel.EndedAs != "cancelled" || failure == nil || failure.TaskID != "t1" {
		t.Errorf("closed %v, t1 is %s, the record says %+v, error.json %+v", closed, w.tasks["t1"], r.Cancel, failure)
	}
}
