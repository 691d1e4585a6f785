package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

var updateTests = []suiteTest{
	{"an update changes what stands", testUpdate},
	{"an update of what its caller has just seen does not read", testUpdateKnown},
	{"an update of what its caller saw before another wrote", testUpdateStale},
	{"many increments are all counted", testUpdateRace},
	{"an update whose reply was lost is made once", testUpdateLostReply},
	{"a change sees what it did, when another wrote after a lost reply", testUpdateLostReplyThenAnother},
	{"an update works on the newest object", testUpdateNewest},
	{"an update that conflicts is tried again", testUpdateConflict},
	{"an update that is refused writes nothing", testUpdateRefused},
	{"an update that has nothing to change writes nothing", testUpdateNothing},
	{"an update of what is not there", testUpdateMissing},
	{"an update ends with its context", testUpdateCancelled},
}

// increment counts one up. Each write has an id of its own, as a record's has: by
// it a writer knows its own bytes.
func increment(t *testing.T, by string) func([]byte) ([]byte, error) {
	writes := 0
	return change(t, func(c *counter) {
		writes++
		c.N, c.By = c.N+1, fmt.Sprintf("%s, write %d", by, writes)
	})
}

func change(t *testing.T, how func(*counter)) func([]byte) ([]byte, error) {
	return func(body []byte) ([]byte, error) {
		var c counter
		if err := json.Unmarshal(body, &c); err != nil {
			return nil, err
		}
		how(&c)
		return encode(t, c), nil
	}
}

func testUpdate(t *testing.T, s *Store, _ *wire) {
	before := create(t, s, key)
	got, err := s.Update(t.Context(), key, Object{}, increment(t, "me"))
	if err != nil || got.ETag == before.ETag || string(got.Body) != `{"n":1,"by":"me, write 1"}` {
		t.Fatalf("returned %s %s, %v", got.Body, got.ETag, err)
	}
	if stands, err := s.Get(t.Context(), key); err != nil || stands.ETag != got.ETag || string(stands.Body) != string(got.Body) {
		t.Errorf("stands %s %s, %v", stands.Body, stands.ETag, err)
	}
}

func testUpdateKnown(t *testing.T, s *Store, w *wire) {
	o := create(t, s, key)
	for n := 1; n <= 3; n++ {
		var err error
		if o, err = s.Update(t.Context(), key, o, increment(t, fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.count("GET " + key); n != 0 || get(t, s, key).N != 3 {
		t.Errorf("read %d times, %+v", n, get(t, s, key))
	}
}

func testUpdateStale(t *testing.T, s *Store, _ *wire) {
	seen := create(t, s, key)
	if _, err := s.Update(t.Context(), key, Object{}, increment(t, "another")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(t.Context(), key, seen, increment(t, "me")); err != nil || get(t, s, key).N != 2 {
		t.Errorf("%+v, %v", get(t, s, key), err)
	}
}

// A writer loses to at most all the others once each: with as many writers as
// there are tries, none may give up.
func testUpdateRace(t *testing.T, s *Store, _ *wire) {
	create(t, s, key)
	var errs [maxConflicts]error
	atOnce(maxConflicts, func(i int) {
		_, errs[i] = s.Update(context.Background(), key, Object{}, increment(t, fmt.Sprint(i)))
	})
	if err := errors.Join(errs[:]...); err != nil {
		t.Error(err)
	}
	if got := get(t, s, key).N; got != maxConflicts {
		t.Errorf("counted %d of %d", got, maxConflicts)
	}
}

func testUpdateLostReply(t *testing.T, s *Store, w *wire) {
	create(t, s, key)
	w.meddle(1, http.MethodPut, key, loseReply)
	got, err := s.Update(t.Context(), key, Object{}, increment(t, "me"))
	if err != nil {
		t.Fatal(err)
	}
	if stands := get(t, s, key); stands.N != 1 || string(got.Body) != string(encode(t, stands)) {
		t.Errorf("returned %s, stands %+v", got.Body, stands)
	}
	// Every reply lost: the caller hears of it, and the change was made once.
	w.meddle(-1, http.MethodPut, key, loseReply)
	if _, err := s.Update(t.Context(), key, Object{}, increment(t, "me again")); !named.Is(err, named.Unavailable) {
		t.Errorf("got %v", err)
	}
	if got := get(t, s, key).N; got != 2 {
		t.Errorf("counted %d", got)
	}
}

// Its bytes cannot tell our own write once another lies over it. Changes look at
// the object for what they did: this is what they see then.
func testUpdateLostReplyThenAnother(t *testing.T, s *Store, w *wire) {
	create(t, s, key)
	w.meddle(1, http.MethodPut, key, loseReplyThen(func() {
		if _, err := s.Update(t.Context(), key, Object{}, change(t, func(c *counter) { c.Note = "another was here" })); err != nil {
			t.Error(err)
		}
	}))
	calls := 0
	_, err := s.Update(t.Context(), key, Object{}, change(t, func(c *counter) {
		if calls++; c.By != "me" {
			c.N, c.By = c.N+1, "me"
		}
	}))
	if got := get(t, s, key); err != nil || calls != 2 || got.N != 1 || got.Note == "" {
		t.Errorf("after %d calls: %+v, %v", calls, got, err)
	}
}

func testUpdateNewest(t *testing.T, s *Store, w *wire) {
	create(t, s, key)
	w.meddle(1, http.MethodPut, key, before(func() {
		if _, err := s.Update(t.Context(), key, Object{}, change(t, func(c *counter) { c.N, c.Note = c.N+1, "theirs" })); err != nil {
			t.Error(err)
		}
	}))
	_, err := s.Update(t.Context(), key, Object{}, increment(t, "me"))
	if got := get(t, s, key); err != nil || got.N != 2 || got.Note != "theirs" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func testUpdateConflict(t *testing.T, s *Store, w *wire) {
	create(t, s, key)
	w.meddle(3, http.MethodPut, key, answerWith(http.StatusConflict, "ConditionalRequestConflict"))
	if _, err := s.Update(t.Context(), key, Object{}, increment(t, "me")); err != nil || get(t, s, key).N != 1 {
		t.Errorf("%+v, %v", get(t, s, key), err)
	}
	w.meddle(2, http.MethodPut, key, answerWith(http.StatusServiceUnavailable, "SlowDown"))
	if _, err := s.Update(t.Context(), key, Object{}, increment(t, "me")); err != nil || get(t, s, key).N != 2 {
		t.Errorf("after two 503: %+v, %v", get(t, s, key), err)
	}
}

func testUpdateRefused(t *testing.T, s *Store, w *wire) {
	create(t, s, key)
	refusal := named.Errorf(named.RunCancelled, "stopped")
	if _, err := s.Update(t.Context(), key, Object{}, func([]byte) ([]byte, error) { return nil, fmt.Errorf("mark: %w", refusal) }); !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
	if n := w.count("PUT " + key); n != 1 {
		t.Errorf("written %d times", n)
	}
}

func testUpdateNothing(t *testing.T, s *Store, w *wire) {
	created := create(t, s, key)
	got, err := s.Update(t.Context(), key, Object{}, func([]byte) ([]byte, error) { return nil, nil })
	if err != nil || got.ETag != created.ETag || w.count("PUT "+key) != 1 {
		t.Errorf("%s, %v, written %d times", got.ETag, err, w.count("PUT "+key))
	}
}

func testUpdateMissing(t *testing.T, s *Store, w *wire) {
	if _, err := s.Update(t.Context(), key, Object{}, increment(t, "me")); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	// Gone between reading and writing: not made anew.
	create(t, s, key)
	w.meddle(1, http.MethodPut, key, before(func() {
		if err := s.Delete(t.Context(), key); err != nil {
			t.Error(err)
		}
	}))
	if _, err := s.Update(t.Context(), key, Object{}, increment(t, "me")); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Get(t.Context(), key); !errors.Is(err, ErrNotFound) {
		t.Errorf("it is there again: %v", err)
	}
}

func testUpdateCancelled(t *testing.T, s *Store, w *wire) {
	create(t, s, key)
	ctx, cancel := context.WithCancel(t.Context())
	w.meddle(-1, http.MethodPut, key, func(func() (*http.Response, error)) (*http.Response, error) {
		cancel()
		return failure(http.StatusConflict, "ConditionalRequestConflict"), nil
	})
	if _, err := s.Update(ctx, key, Object{}, increment(t, "me")); !named.Is(err, named.Unavailable) || w.count("PUT "+key) > 2 {
		t.Errorf("after %d writes: %v", w.count("PUT "+key), err)
	}
}

// endless are conflicts that never end: minutes of a clock, so they are held
// against the memory alone.
var endless = []suiteTest{
	{"a create that always conflicts ends", func(t *testing.T, s *Store, w *wire) {
		w.meddle(-1, http.MethodPut, key, answerWith(http.StatusConflict, "ConditionalRequestConflict"))
		_, err := s.Create(t.Context(), key, []byte("1"))
		if !named.Is(err, named.Unavailable) || w.count("PUT "+key) != maxConflicts {
			t.Errorf("after %d conflicts: %v", w.count("PUT "+key), err)
		}
	}},
	{"an update that always loses ends", func(t *testing.T, s *Store, w *wire) {
		create(t, s, key)
		w.meddle(-1, http.MethodPut, key, answerWith(http.StatusPreconditionFailed, "PreconditionFailed"))
		calls := 0
		_, err := s.Update(t.Context(), key, Object{}, change(t, func(c *counter) { calls++; c.N++ }))
		if !named.Is(err, named.Unavailable) || calls != maxConflicts {
			t.Errorf("after %d calls: %v", calls, err)
		}
	}},
	{"and without a pause where the clock stands still", func(t *testing.T, s *Store, w *wire) {
		s.NoPause = true
		create(t, s, key)
		w.meddle(-1, http.MethodPut, key, answerWith(http.StatusConflict, "ConditionalRequestConflict"))
		if _, err := s.Update(t.Context(), key, Object{}, increment(t, "me")); !named.Is(err, named.Unavailable) || w.count("PUT "+key) != maxConflicts+1 {
			t.Errorf("after %d conflicts: %v", w.count("PUT "+key), err)
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
