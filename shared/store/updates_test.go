package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
	"github.com/google/go-cmp/cmp"
)

var updateTests = []suiteTest{
	{"an update changes what stands", testUpdate},
	{"many increments are all counted", testUpdateRace},
	{"an update whose reply was lost is made once", testUpdateLostReply},
	{"a change sees what it did, when another wrote after a lost reply", testUpdateLostReplyThenAnother},
	{"an update works on the newest record", testUpdateNewest},
	{"an update that conflicts is tried again", testUpdateConflict},
	{"an update that is refused writes nothing", testUpdateRefused},
	{"an update of nothing", testUpdateMissing},
	{"an update ends with its context", testUpdateCancelled},
}

func increment(r *run.Record) error { r.Posts++; return nil }

func testUpdate(t *testing.T, s *Store, _ *wire) {
	before := create(t, s, "run-1")
	got, err := s.Update(t.Context(), "run-1", func(r *run.Record) error { r.TaskID = "t-1"; return nil })
	if err != nil {
		t.Fatal(err)
	}
	if got.TaskID != "t-1" || got.Nonce == before.Nonce || got.Nonce == "" {
		t.Errorf("returned %+v", got)
	}
	if diff := cmp.Diff(got, get(t, s, "run-1")); diff != "" {
		t.Errorf("stands (-returned +read):\n%s", diff)
	}
}

// A writer loses to at most all the others once each: with as many writers as
// there are tries, none may give up.
func testUpdateRace(t *testing.T, s *Store, _ *wire) {
	create(t, s, "run-1")
	var errs [maxConflicts]error
	atOnce(maxConflicts, func(i int) { _, errs[i] = s.Update(context.Background(), "run-1", increment) })
	if err := errors.Join(errs[:]...); err != nil {
		t.Error(err)
	}
	if got := get(t, s, "run-1").Posts; got != maxConflicts {
		t.Errorf("counted %d of %d", got, maxConflicts)
	}
}

func testUpdateLostReply(t *testing.T, s *Store, w *wire) {
	create(t, s, "run-1")
	w.meddle(1, http.MethodPut, "runs/run-1.json", loseReply)
	got, err := s.Update(t.Context(), "run-1", increment)
	if err != nil {
		t.Fatal(err)
	}
	if stands := get(t, s, "run-1"); stands.Posts != 1 || got.Posts != 1 || stands.Nonce != got.Nonce {
		t.Errorf("returned %+v, stands %+v", got, stands)
	}
	// Every reply lost: the caller hears of it, and the change was made once.
	w.meddle(-1, http.MethodPut, "runs/run-1.json", loseReply)
	if _, err := s.Update(t.Context(), "run-1", increment); !named.Is(err, named.Unavailable) {
		t.Errorf("got %v", err)
	}
	if got := get(t, s, "run-1").Posts; got != 2 {
		t.Errorf("counted %d", got)
	}
}

// The nonce cannot tell our own write once another lies over it. Changes look at
// the record for what they did: this is what they see then.
func testUpdateLostReplyThenAnother(t *testing.T, s *Store, w *wire) {
	create(t, s, "run-1")
	other := &Store{S3: s.S3, Bucket: s.Bucket}
	w.meddle(1, http.MethodPut, "runs/run-1.json", loseReplyThen(func() {
		if _, err := other.Update(t.Context(), "run-1", func(r *run.Record) error { r.StopRequestedAt = start; return nil }); err != nil {
			t.Error(err)
		}
	}))
	calls := 0
	got, err := s.Update(t.Context(), "run-1", func(r *run.Record) error {
		calls++
		if r.TaskID == "" {
			r.TaskID = "t-1"
			r.Posts++
		}
		return nil
	})
	if err != nil || calls != 2 || got.Posts != 1 || got.StopRequestedAt.IsZero() {
		t.Errorf("after %d calls: %+v, %v", calls, got, err)
	}
}

func testUpdateNewest(t *testing.T, s *Store, w *wire) {
	create(t, s, "run-1")
	w.meddle(1, http.MethodPut, "runs/run-1.json", before(func() {
		if _, err := s.Update(t.Context(), "run-1", func(r *run.Record) error { r.Prefix = "theirs/{run_id}/"; return increment(r) }); err != nil {
			t.Error(err)
		}
	}))
	got, err := s.Update(t.Context(), "run-1", increment)
	if err != nil || got.Posts != 2 || got.Prefix != "theirs/{run_id}/" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func testUpdateConflict(t *testing.T, s *Store, w *wire) {
	create(t, s, "run-1")
	w.meddle(3, http.MethodPut, "runs/run-1.json", answerWith(http.StatusConflict, "ConditionalRequestConflict"))
	if got, err := s.Update(t.Context(), "run-1", increment); err != nil || got.Posts != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	w.meddle(2, http.MethodPut, "runs/run-1.json", answerWith(http.StatusServiceUnavailable, "SlowDown"))
	if got, err := s.Update(t.Context(), "run-1", increment); err != nil || got.Posts != 2 {
		t.Errorf("after two 503: %+v, %v", got, err)
	}
}

// endless are conflicts that never end, and lists without end: minutes of a clock
// and thousands of requests, so they are held against the memory alone.
var endless = []suiteTest{
	{"a create that always conflicts ends", func(t *testing.T, s *Store, w *wire) {
		w.meddle(-1, http.MethodPut, "runs/run-1.json", answerWith(http.StatusConflict, "ConditionalRequestConflict"))
		_, err := s.Create(t.Context(), newRecord("run-1"))
		if !named.Is(err, named.Unavailable) || w.count("PUT runs/run-1.json") != maxConflicts {
			t.Errorf("after %d conflicts: %v", w.count("PUT runs/run-1.json"), err)
		}
	}},
	{"an update that always loses ends", func(t *testing.T, s *Store, w *wire) {
		create(t, s, "run-1")
		w.meddle(-1, http.MethodPut, "runs/run-1.json", answerWith(http.StatusPreconditionFailed, "PreconditionFailed"))
		calls := 0
		_, err := s.Update(t.Context(), "run-1", func(*run.Record) error { calls++; return nil })
		if !named.Is(err, named.Unavailable) || calls != maxConflicts {
			t.Errorf("after %d calls: %v", calls, err)
		}
	}},
	{"a take-over that always conflicts ends", func(t *testing.T, s *Store, w *wire) {
		one, two := Claim{RunID: "run-1"}, Claim{RunID: "run-2"}
		if _, err := s.Claim(t.Context(), "t-1", one); err != nil {
			t.Fatal(err)
		}
		w.meddle(-1, http.MethodPut, "tasks/t-1", answerWith(http.StatusConflict, "ConditionalRequestConflict"))
		if err := s.TakeOver(t.Context(), "t-1", one, two); !named.Is(err, named.Unavailable) {
			t.Errorf("got %v", err)
		}
	}},
	{"more markers than can be are not taken for all of them", func(t *testing.T, s *Store, _ *wire) {
		body, err := marshal(marker("run", "a"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range maxMarkers + 1 {
			if err := s.write(t.Context(), fmt.Sprintf("submitting/wf/run-%d/a", i), body, condition{}); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := s.Markers(t.Context(), "wf"); err == nil {
			t.Errorf("got %d", len(got))
		}
	}},
}

// TestEndless turns the clock forward by itself while everyone waits.
func TestEndless(t *testing.T) {
	for _, test := range endless {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, w := onWire(memory{&storetest.S3{}})
				test.run(t, s, w)
			})
		})
	}
}

func testUpdateRefused(t *testing.T, s *Store, w *wire) {
	created := create(t, s, "run-1")
	refusal := named.Errorf(named.RunCancelled, "stopped")
	if _, err := s.Update(t.Context(), "run-1", func(*run.Record) error { return fmt.Errorf("mark: %w", refusal) }); !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
	if got := get(t, s, "run-1"); got.Nonce != created.Nonce || w.count("PUT runs/run-1.json") != 1 {
		t.Errorf("it was written: %+v", got)
	}
}

func testUpdateMissing(t *testing.T, s *Store, w *wire) {
	if _, err := s.Update(t.Context(), "run-1", increment); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	// Gone between reading and writing: not made anew.
	create(t, s, "run-1")
	w.meddle(1, http.MethodPut, "runs/run-1.json", before(func() {
		if err := s.delete(t.Context(), "runs/run-1.json"); err != nil {
			t.Error(err)
		}
	}))
	if _, err := s.Update(t.Context(), "run-1", increment); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Get(t.Context(), "run-1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("it is there again: %v", err)
	}
}

func testUpdateCancelled(t *testing.T, s *Store, w *wire) {
	create(t, s, "run-1")
	ctx, cancel := context.WithCancel(t.Context())
	w.meddle(-1, http.MethodPut, "runs/run-1.json", func(send func() (*http.Response, error)) (*http.Response, error) {
		cancel()
		return failure(http.StatusConflict, "ConditionalRequestConflict"), nil
	})
	if _, err := s.Update(ctx, "run-1", increment); err == nil || w.count("PUT runs/run-1.json") > 2 {
		t.Errorf("after %d writes: %v", w.count("PUT runs/run-1.json"), err)
	}
}
