package store

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/google/go-cmp/cmp"
)

var objectTests = []suiteTest{
	{"progress", testProgress},
	{"copies", testCopies},
	{"tokens and hooks", testWake},
	{"a step goes on with its run", testContinue},
	{"who may cancel a task", testMayCancel},
	{"a run is reopened", testReopen},
}

func testProgress(t *testing.T, s *Store, _ *wire) {
	got, err := s.Progress(t.Context(), "run-1")
	if diff := cmp.Diff(run.Progress{RunID: "run-1"}, got); err != nil || diff != "" {
		t.Errorf("before the first poll: %v\n%s", err, diff)
	}
	step := 3
	want := run.Progress{RunID: "run-1", TaskStatus: "running", Progress: 0.5, StepCurrent: &step, UpdatedAt: start, Polls: 2, HeldSeconds: 29.5}
	if err := s.PutProgress(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if got, err = s.Progress(t.Context(), "run-1"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A fraction is the remote's word: JSON has no NaN, and a bar no 300 %.
	for given, want := range map[float64]float64{math.NaN(): 0, math.Inf(1): 1, math.Inf(-1): 0, -0.1: 0, 3: 1, 1: 1} {
		if err := s.PutProgress(t.Context(), run.Progress{RunID: "run-1", Progress: given}); err != nil {
			t.Errorf("%v: %v", given, err)
		}
		if got, err := s.Progress(t.Context(), "run-1"); err != nil || got.Progress != want {
			t.Errorf("%v: %+v, %v", given, got, err)
		}
	}
	if err := s.write(t.Context(), "progress/run-1.json", []byte("{"), condition{}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Progress(t.Context(), "run-1"); err == nil || got.RunID != "run-1" {
		t.Errorf("broken: %+v, %v", got, err)
	}
}

func testCopies(t *testing.T, s *Store, _ *wire) {
	type state struct{ ID string }
	ids := []string{"9.images.0", "9/images/0", "..", "", "größe", "manifest", "x"}
	for _, id := range ids {
		var got state
		if there, err := s.Copy(t.Context(), "run-1", id, &got); there || err != nil {
			t.Errorf("%q before it began: %v, %v", id, there, err)
		}
		if err := s.PutCopy(t.Context(), "run-1", id, state{"first"}); err != nil {
			t.Fatal(err)
		}
		if err := s.PutCopy(t.Context(), "run-1", id, state{id}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.PutCopy(t.Context(), "run-10", "x", state{"another run's"}); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		var got state
		if there, err := s.Copy(t.Context(), "run-1", id, &got); !there || err != nil || got.ID != id {
			t.Errorf("%q: %v, %v, %v", id, got, there, err)
		}
	}
	collect := func(runID string) (list []string) {
		t.Helper()
		if err := s.Copies(t.Context(), runID, func(raw []byte) error {
			var got state
			list = append(list, "")
			err := json.Unmarshal(raw, &got)
			list[len(list)-1] = got.ID
			return err
		}); err != nil {
			t.Fatal(err)
		}
		slices.Sort(list)
		return list
	}
	slices.Sort(ids)
	if got := collect("run-1"); !slices.Equal(got, ids) {
		t.Errorf("copies %q, want %q", got, ids)
	}
	stop := errors.New("stop")
	if err := s.Copies(t.Context(), "run-1", func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a caller's error became %v", err)
	}
	for range 2 {
		if err := s.ClearCopies(t.Context(), "run-1"); err != nil {
			t.Fatal(err)
		}
	}
	if got := collect("run-1"); len(got) > 0 {
		t.Errorf("left: %q", got)
	}
	if got := collect("run-10"); !slices.Equal(got, []string{"another run's"}) {
		t.Errorf("another run's: %q", got)
	}
}

func testWake(t *testing.T, s *Store, _ *wire) {
	if got, err := s.Token(t.Context(), "run-1"); got != "" || err != nil {
		t.Errorf("never parked: %q, %v", got, err)
	}
	for _, token := range []string{"first", "AQ+/=later"} {
		if err := s.PutToken(t.Context(), "run-1", token); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Token(t.Context(), "run-1"); got != "AQ+/=later" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	h := Hook{TaskID: "t/1", TaskStatus: "completed", ReceivedAt: start}
	for range 2 {
		if err := s.PutHook(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	raw, _, err := s.read(t.Context(), "wake/hooks/t%2F1.json")
	if err != nil {
		t.Fatal(err)
	}
	var got Hook
	if err := json.Unmarshal(raw, &got); err != nil || got != h {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := s.write(t.Context(), "wake/run-1.json", []byte("7"), condition{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Token(t.Context(), "run-1"); err == nil {
		t.Error("a broken token was read")
	}
}

func testContinue(t *testing.T, s *Store, _ *wire) {
	if _, err := s.Continue(t.Context(), "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a run that is not there: %v", err)
	}
	ended := func(status run.Status) func(*run.Record) {
		return func(r *run.Record) { r.Close(status, start, named.Errorf(named.Unavailable, "x")) }
	}
	tests := []struct {
		name   string
		change func(*run.Record)
		owner  string // of its task; empty: nobody
		error  string
		status run.Status
	}{
		{"waiting", func(r *run.Record) { r.Status = run.Waiting }, "me", "", run.Waiting},
		{"succeeded", ended(run.Succeeded), "me", "", run.Succeeded},
		{"stop-requested", func(r *run.Record) { r.StopRequestedAt = start }, "me", named.RunCancelled, ""},
		{"cancelled", ended(run.Cancelled), "me", named.RunCancelled, ""},
		{"failed-and-redriven", ended(run.Failed), "me", "", run.Waiting},
		{"failed-before-the-claim", ended(run.Failed), "", "", run.Waiting},
		{"failed-while-it-copied", func(r *run.Record) { r.CopyStartedAt = start; ended(run.Failed)(r) }, "me", "", run.Copying},
		{"failed-and-rescued-by-another", ended(run.Failed), "another", named.TaskTaken, ""},
		{"failed-after-a-stop", func(r *run.Record) { r.StopRequestedAt = start; ended(run.Failed)(r) }, "me", named.RunCancelled, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRecord(test.name)
			r.TaskID = "t-" + test.name
			test.change(&r)
			if _, err := s.Create(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if owner := test.owner; owner != "" {
				if owner == "me" {
					owner = r.RunID
				}
				if _, err := s.Claim(t.Context(), r.TaskID, Claim{RunID: owner}); err != nil {
					t.Fatal(err)
				}
			}
			got, err := s.Continue(t.Context(), r.RunID)
			if test.error != "" {
				if !named.Is(err, test.error) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || got.Status != test.status || get(t, s, r.RunID).Status != test.status {
				t.Errorf("got %+v, %v", got, err)
			}
			if test.status.Open() != slices.Contains(openRuns(t, s), r.RunID) {
				t.Errorf("open runs: %v", openRuns(t, s))
			}
		})
	}
}

func testMayCancel(t *testing.T, s *Store, _ *wire) {
	tests := []struct {
		name   string
		change func(*run.Record)
		claim  Claim
		may    bool
		owner  string
	}{
		{"its-own", func(*run.Record) {}, Claim{RunID: "its-own"}, true, ""},
		{"before-the-claim", func(*run.Record) {}, Claim{}, true, ""},
		{"rescued-by-another", func(*run.Record) {}, Claim{RunID: "another", Rescued: true}, false, "another"},
		{"guessed-by-another", func(*run.Record) {}, Claim{RunID: "another", Candidate: true}, true, ""},
		{"adopted", func(r *run.Record) { r.Adopted = true }, Claim{RunID: "adopted"}, false, ""},
		{"no-task", func(r *run.Record) { r.TaskID = "" }, Claim{}, false, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRecord(test.name)
			r.TaskID = "t-" + test.name
			test.change(&r)
			if test.claim.RunID != "" {
				if _, err := s.Claim(t.Context(), r.TaskID, test.claim); err != nil {
					t.Fatal(err)
				}
			}
			may, owner, err := s.MayCancel(t.Context(), r)
			if err != nil || may != test.may || owner != test.owner {
				t.Errorf("%v, %q, %v", may, owner, err)
			}
		})
	}
}

func testReopen(t *testing.T, s *Store, _ *wire) {
	r := newRecord("run-1")
	r.Close(run.Failed, start, named.Errorf(named.Unavailable, "x"))
	if _, err := s.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	got, err := s.Reopen(t.Context(), "run-1")
	if err != nil || got.Status != run.Submitting || !got.Redriven || got.Error != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	if open := openRuns(t, s); !slices.Equal(open, []string{"run-1"}) {
		t.Errorf("open: %v", open)
	}
	// Of what is open, or was stopped, nothing is undone.
	if _, err := s.Update(t.Context(), "run-1", func(r *run.Record) error {
		r.Close(run.Cancelled, start.Add(time.Minute), named.Errorf(named.RunCancelled, "stopped"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got, err = s.Reopen(t.Context(), "run-1"); err != nil || got.Status != run.Cancelled || got.EndedAt.IsZero() {
		t.Errorf("a run that was stopped became %+v, %v", got, err)
	}
}
