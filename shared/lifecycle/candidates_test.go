package lifecycle

import (
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/google/go-cmp/cmp"
)

// TestClosedInDoubt keeps its markers and its doubt, so that no other run adopts
// its task, until its candidates are named; those stay the run's.
func TestClosedInDoubt(t *testing.T) {
	for state, status := range map[executions.Status]run.Status{executions.Failed: run.Failed, executions.Aborted: run.Cancelled} {
		w := newWorld(t)
		w.doubt("r1")
		_, r, failure := w.closes(w.execution("r1", state, 0, named.Unauthorized, "refused"))
		if r.Status != status || !r.InDoubt() || !r.WorkLeft(w.clock()) || len(w.keys("submitting/")) != 1 {
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
		if diff := cmp.Diff(candidates, r.Candidates); diff != "" || r.WorkLeft(w.clock()) || failure == nil || !cmp.Equal(failure.Candidates, candidates) {
			t.Errorf("%s: %+v, %+v", state, r.Record, failure)
		}
		if strings.Count(r.Error.Cause, "candidates: t7, t8") != 1 || failure.Error.Cause != r.Error.Cause {
			t.Errorf("%s: %q, error.json %q", state, r.Error.Cause, failure.Error.Cause)
		}
		if o := w.ownership("t7"); o.StartedBy != "r1" || o.Evidence != run.AsCandidate || len(w.asked) > 0 {
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
		w.dies(n+1, false)
		died := w.close.NameCandidates(t.Context(), r, candidates) != nil
		w.around = nil
		r = w.get("r1")
		if died && !r.WorkLeft(w.clock()) && len(w.failure(r).Candidates) == 0 {
			t.Errorf("after %d calls the sweep passes it over, and error.json names nothing", n)
		}
		if r.CandidatesAt.IsZero() { // the sweep's look comes first
			if err := w.close.NameCandidates(t.Context(), r, candidates); err != nil {
				t.Fatal(err)
			}
		} else if err := w.close.cleanUpClosed(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		r = w.get("r1")
		if failure := w.failure(r); r.WorkLeft(w.clock()) || failure == nil || !cmp.Equal(failure.Candidates, candidates) {
			t.Errorf("after %d calls and the sweep: %+v, %+v", n, r.Record, failure)
		}
		if !died {
			return
		}
	}
}
