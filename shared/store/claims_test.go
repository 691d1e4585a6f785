package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/google/go-cmp/cmp"
)

var claimTests = []suiteTest{
	{"a task has one owner", testClaim},
	{"of many who claim a task, one has it and all know", testClaimRace},
	{"a claim whose reply was lost is known as its own", testClaimLostReply},
	{"a task is taken over from the run that has it", testTakeOver},
	{"of many who take a task over, one does", testTakeOverRace},
	{"a take-over whose reply was lost is known as its own", testTakeOverLostReply},
	{"markers of odd workflow ids", testMarkers},
	{"each attempt has a marker of its own", testMarkersOfAttempts},
	{"a marker that goes while they are read", testMarkerGoes},
}

func testClaim(t *testing.T, s *Store, _ *wire) {
	if _, err := s.ClaimOf(t.Context(), "t-1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("before it: %v", err)
	}
	mine := Claim{RunID: "run-1"}
	for range 2 { // the second is the same call made again
		if got, err := s.Claim(t.Context(), "t-1", mine); err != nil || got != mine {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	for _, other := range []Claim{{RunID: "run-2"}, {RunID: "run-1", Candidate: true}, {RunID: "run-2", Candidate: true}} {
		if got, err := s.Claim(t.Context(), "t-1", other); err != nil || got != mine {
			t.Errorf("%+v was told %+v, %v", other, got, err)
		}
	}
	if got, err := s.ClaimOf(t.Context(), "t-1"); err != nil || got != mine {
		t.Errorf("%+v stands, %v", got, err)
	}
}

func testClaimRace(t *testing.T, s *Store, _ *wire) {
	const n = 20
	var told [n]Claim
	var errs [n]error
	atOnce(n, func(i int) {
		told[i], errs[i] = s.Claim(context.Background(), "t-1", Claim{RunID: fmt.Sprintf("run-%d", i)})
	})
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	stands, err := s.ClaimOf(t.Context(), "t-1")
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range told {
		if c != stands {
			t.Errorf("run-%d was told %s, and %s has it", i, c.RunID, stands.RunID)
		}
	}
}

func testClaimLostReply(t *testing.T, s *Store, w *wire) {
	w.meddle(1, http.MethodPut, "tasks/t-1", loseReply)
	if got, err := s.Claim(t.Context(), "t-1", Claim{RunID: "run-1"}); err != nil || got.RunID != "run-1" || w.count("PUT tasks/t-1") != 2 {
		t.Errorf("got %+v, %v after %d writes", got, err, w.count("PUT tasks/t-1"))
	}
}

func testTakeOver(t *testing.T, s *Store, w *wire) {
	one, two, three := Claim{RunID: "run-1"}, Claim{RunID: "run-2"}, Claim{RunID: "run-3"}
	if err := s.TakeOver(t.Context(), "t-1", one, two); !errors.Is(err, ErrNotFound) {
		t.Errorf("a task that nobody has: %v", err)
	}
	if _, err := s.Claim(t.Context(), "t-1", one); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.TakeOver(t.Context(), "t-1", one, two); err != nil {
			t.Error(err)
		}
	}
	if err := s.TakeOver(t.Context(), "t-1", one, three); !errors.Is(err, ErrExists) {
		t.Errorf("from a run that no longer has it: %v", err)
	}
	// Another is faster between reading and writing.
	w.meddle(1, http.MethodPut, "tasks/t-1", before(func() {
		if err := s.TakeOver(t.Context(), "t-1", two, three); err != nil {
			t.Error(err)
		}
	}))
	if err := s.TakeOver(t.Context(), "t-1", two, one); !errors.Is(err, ErrExists) {
		t.Errorf("beside a faster one: %v", err)
	}
	if got, err := s.ClaimOf(t.Context(), "t-1"); err != nil || got != three {
		t.Errorf("%+v stands, %v", got, err)
	}
}

func testTakeOverRace(t *testing.T, s *Store, _ *wire) {
	from := Claim{RunID: "run-ended"}
	if _, err := s.Claim(t.Context(), "t-1", from); err != nil {
		t.Fatal(err)
	}
	const n = 12
	var errs [n]error
	atOnce(n, func(i int) {
		errs[i] = s.TakeOver(context.Background(), "t-1", from, Claim{RunID: fmt.Sprintf("run-%d", i)})
	})
	stands, err := s.ClaimOf(t.Context(), "t-1")
	if err != nil {
		t.Fatal(err)
	}
	won := 0
	for i, err := range errs {
		switch {
		case err == nil:
			won++
			if want := fmt.Sprintf("run-%d", i); stands.RunID != want {
				t.Errorf("%s was told it has the task, %s has it", want, stands.RunID)
			}
		case !errors.Is(err, ErrExists):
			t.Errorf("a loser was told: %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d took it over", won)
	}
}

func testTakeOverLostReply(t *testing.T, s *Store, w *wire) {
	one, two := Claim{RunID: "run-1", Candidate: true}, Claim{RunID: "run-1"}
	if _, err := s.Claim(t.Context(), "t-1", one); err != nil {
		t.Fatal(err)
	}
	w.meddle(1, http.MethodPut, "tasks/t-1", loseReply)
	if err := s.TakeOver(t.Context(), "t-1", one, two); err != nil {
		t.Error(err)
	}
	if got, err := s.ClaimOf(t.Context(), "t-1"); err != nil || got != two {
		t.Errorf("%+v stands, %v", got, err)
	}
}

func marker(runID, attempt string) run.Marker {
	return run.Marker{RunID: runID, Attempt: attempt, Window: run.Window{From: start, Until: start.Add(35 * time.Second)}}
}

// A workflow's id is the remote's word. Whatever is in it, its markers are found
// by it, and by no other workflow's.
func testMarkers(t *testing.T, s *Store, _ *wire) {
	ids := []string{"wf-1", "wf-10", "wf", "a/b", "a%2Fb", "a%252Fb", "a", "a/", "größe", "with+plus", "q?x=1#y", "WF-1", "...", strings.Repeat("x", 200)}
	for i, id := range ids {
		if err := s.PutMarker(t.Context(), id, marker(fmt.Sprintf("run-%d", i), "a1")); err != nil {
			t.Fatalf("%q: %v", id, err)
		}
	}
	found := map[string]string{}
	if err := s.AllMarkers(t.Context(), func(workflowID, runID string) bool { found[workflowID] = runID; return true }); err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		want := fmt.Sprintf("run-%d", i)
		got, err := s.Markers(t.Context(), id)
		if err != nil {
			t.Fatalf("%q: %v", id, err)
		}
		if diff := cmp.Diff([]run.Marker{marker(want, "a1")}, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", id, diff)
		}
		if found[id] != want {
			t.Errorf("%q: all markers have %q", id, found[id])
		}
	}
	if len(found) != len(ids) {
		t.Errorf("all markers are of %v", found)
	}
	for i, id := range ids {
		for range 2 {
			if err := s.ClearMarker(t.Context(), id, fmt.Sprintf("run-%d", i), "a1"); err != nil {
				t.Errorf("%q: %v", id, err)
			}
		}
	}
	if err := s.AllMarkers(t.Context(), func(workflowID, _ string) bool { t.Errorf("%q is left", workflowID); return true }); err != nil {
		t.Error(err)
	}
}

func testMarkersOfAttempts(t *testing.T, s *Store, _ *wire) {
	for _, m := range []run.Marker{marker("run-1", "a1"), marker("run-1", "a2"), marker("run-10", "a1"), marker("run-2", "a1")} {
		if err := s.PutMarker(t.Context(), "wf", m); err != nil {
			t.Fatal(err)
		}
	}
	attempts := func() (list []string) {
		t.Helper()
		markers, err := s.Markers(t.Context(), "wf")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range markers {
			list = append(list, m.RunID+"/"+m.Attempt)
		}
		slices.Sort(list)
		return list
	}
	if got := attempts(); !slices.Equal(got, []string{"run-1/a1", "run-1/a2", "run-10/a1", "run-2/a1"}) {
		t.Errorf("markers: %v", got)
	}
	if err := s.ClearMarker(t.Context(), "wf", "run-1", "a1"); err != nil {
		t.Error(err)
	}
	if got := attempts(); !slices.Equal(got, []string{"run-1/a2", "run-10/a1", "run-2/a1"}) {
		t.Errorf("after one attempt: %v", got)
	}
	if err := s.ClearMarkers(t.Context(), "wf", "run-1"); err != nil {
		t.Error(err)
	}
	if got := attempts(); !slices.Equal(got, []string{"run-10/a1", "run-2/a1"}) {
		t.Errorf("after the run: %v", got)
	}
	if err := s.ClearMarkers(t.Context(), "wf", "run-1"); err != nil {
		t.Error(err)
	}
}

func testMarkerGoes(t *testing.T, s *Store, w *wire) {
	for _, m := range []run.Marker{marker("run-1", "a"), marker("run-2", "a")} {
		if err := s.PutMarker(t.Context(), "wf", m); err != nil {
			t.Fatal(err)
		}
	}
	w.meddle(1, http.MethodGet, "submitting/wf/run-1/a", before(func() {
		if err := s.ClearMarker(t.Context(), "wf", "run-1", "a"); err != nil {
			t.Error(err)
		}
	}))
	got, err := s.Markers(t.Context(), "wf")
	if err != nil || len(got) != 1 || got[0].RunID != "run-2" {
		t.Errorf("got %v, %v", got, err)
	}
	// One that cannot be read is no proof that there is none.
	w.meddle(-1, http.MethodGet, "submitting/wf/run-2/a", answerWith(503, "SlowDown"))
	if _, err := s.Markers(t.Context(), "wf"); !named.Is(err, named.Unavailable) {
		t.Errorf("unreadable: %v", err)
	}
	w.meddle(0, "", "", nil)
	if err := s.write(t.Context(), "submitting/wf/run-3/a", []byte("{"), condition{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Markers(t.Context(), "wf"); err == nil {
		t.Error("broken, and passed over")
	}
}
