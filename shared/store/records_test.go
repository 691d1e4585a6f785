package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/google/go-cmp/cmp"
)

// suite is what holds of a store whatever keeps its objects.
var suite = slices.Concat(recordTests, updateTests, claimTests, objectTests)

type suiteTest struct {
	name string
	run  func(t *testing.T, s *Store, w *wire)
}

var recordTests = []suiteTest{
	{"a record is read as it was created", testCreate},
	{"of many who create one record, one does", testCreateRace},
	{"a create whose reply was lost is known as its own", testCreateLostReply},
	{"a create whose every reply was lost is told", testCreateAllRepliesLost},
	{"a create that meets another is tried again", testCreateConflict},
	{"a create that finds another's is told so", testCreateExists},
	{"a closed record has no open marker", testCreateClosed},
	{"no record stands without marker and index entry", testCreateOrder},
	{"a store that is away is named", testUnavailable},
	{"what is no record", testNotARecord},
	{"runs are listed newest first", testNewest},
	{"open runs", testOpenRuns},
}

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func newRecord(runID string) run.Record {
	return run.Record{RunID: runID, ExecutionARN: "arn:" + runID, StartedAt: start, Status: run.Submitting, Workflow: "w", Prefix: run.DefaultPrefix, MaxSeconds: 60}
}

func create(t *testing.T, s *Store, runID string) run.Record {
	t.Helper()
	r, err := s.Create(t.Context(), newRecord(runID))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func get(t *testing.T, s *Store, runID string) run.Record {
	t.Helper()
	r, err := s.Get(t.Context(), runID)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// atOnce calls n functions that wait for each other.
func atOnce(n int, each func(i int)) {
	var ready, done sync.WaitGroup
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			each(i)
		})
	}
	done.Wait()
}

func testCreate(t *testing.T, s *Store, _ *wire) {
	if _, err := s.Get(t.Context(), "run-1"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("before it: %v", err)
	}
	want := newRecord("run-1")
	want.Uploads = map[string]run.Upload{"image": {Source: "s3://b/größe +1.png", ETag: `"e"`, FileKey: "f"}}
	created, err := s.Create(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	want.Nonce = created.Nonce
	if want.Nonce == "" {
		t.Error("it has no nonce")
	}
	if diff := cmp.Diff(want, get(t, s, "run-1")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func testCreateRace(t *testing.T, s *Store, _ *wire) {
	const n = 20
	var errs [n]error
	var records [n]run.Record
	atOnce(n, func(i int) { records[i], errs[i] = s.Create(context.Background(), newRecord("run-1")) })
	var winner string
	for i, err := range errs {
		switch {
		case err == nil && winner == "":
			winner = records[i].Nonce
		case err == nil:
			t.Error("two created it")
		case !errors.Is(err, ErrExists):
			t.Errorf("a loser was told: %v", err)
		}
	}
	if got := get(t, s, "run-1").Nonce; got != winner || winner == "" {
		t.Errorf("%q won, %q stands", winner, got)
	}
}

func testCreateLostReply(t *testing.T, s *Store, w *wire) {
	w.meddle(1, http.MethodPut, "runs/run-1.json", loseReply)
	r := create(t, s, "run-1")
	if got := get(t, s, "run-1"); got.Nonce != r.Nonce {
		t.Errorf("%q was created, %q stands", r.Nonce, got.Nonce)
	}
	if n := w.count("PUT runs/run-1.json"); n != 2 {
		t.Errorf("%d writes: the SDK did not try again, so this test shows nothing", n)
	}
}

func testCreateAllRepliesLost(t *testing.T, s *Store, w *wire) {
	w.meddle(-1, http.MethodPut, "runs/run-1.json", loseReply)
	if _, err := s.Create(t.Context(), newRecord("run-1")); !named.Is(err, named.Unavailable) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Create(t.Context(), newRecord("run-1")); !named.Is(err, named.Unavailable) {
		t.Errorf("again: %v", err)
	}
	w.meddle(0, "", "", nil)
	if _, err := s.Create(t.Context(), newRecord("run-1")); !errors.Is(err, ErrExists) {
		t.Errorf("the first one's write stands, and the last was told %v", err)
	}
}

func testCreateConflict(t *testing.T, s *Store, w *wire) {
	w.meddle(3, http.MethodPut, "runs/run-1.json", answerWith(http.StatusConflict, "ConditionalRequestConflict"))
	create(t, s, "run-1")
}

func testCreateExists(t *testing.T, s *Store, _ *wire) {
	first := create(t, s, "run-1")
	second := newRecord("run-1")
	second.Workflow = "other"
	if _, err := s.Create(t.Context(), second); !errors.Is(err, ErrExists) {
		t.Errorf("got %v", err)
	}
	if got := get(t, s, "run-1"); got.Workflow != "w" || got.Nonce != first.Nonce {
		t.Errorf("%+v stands", got)
	}
}

func testCreateClosed(t *testing.T, s *Store, _ *wire) {
	r := newRecord("run-1")
	r.Close(run.Cancelled, start, named.Errorf(named.RunCancelled, "stopped before it began"))
	if _, err := s.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if open := openRuns(t, s); len(open) > 0 {
		t.Errorf("open: %v", open)
	}
	if ids, _ := newest(t, s, "", 10); !slices.Equal(ids, []string{"run-1"}) {
		t.Errorf("listed: %v", ids)
	}
}

func testCreateOrder(t *testing.T, s *Store, w *wire) {
	create(t, s, "run-1")
	want := []string{"PUT open/run-1", "PUT " + indexKey(newRecord("run-1")), "PUT runs/run-1.json"}
	if diff := cmp.Diff(want, w.sent); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	for _, key := range []string{"open/run-2", indexKey(newRecord("run-2"))} {
		w.meddle(-1, http.MethodPut, key, refuse)
		if _, err := s.Create(t.Context(), newRecord("run-2")); !named.Is(err, named.Unavailable) {
			t.Errorf("without %s: %v", key, err)
		}
		if _, err := s.Get(t.Context(), "run-2"); !errors.Is(err, ErrNotFound) {
			t.Errorf("a record stands without %s: %v", key, err)
		}
	}
}

func testUnavailable(t *testing.T, s *Store, w *wire) {
	create(t, s, "run-1")
	for name, how := range map[string]func(func() (*http.Response, error)) (*http.Response, error){
		"reset": refuse, "503": answerWith(503, "SlowDown"), "403": answerWith(403, "AccessDenied"), "500": answerWith(500, "InternalError"),
	} {
		w.meddle(-1, http.MethodGet, "runs/run-1.json", how)
		_, err := s.Get(t.Context(), "run-1")
		w.meddle(-1, http.MethodPut, "runs/run-1.json", how)
		_, updateErr := s.Update(t.Context(), "run-1", increment)
		w.meddle(-1, http.MethodDelete, "open/run-1", how)
		deleteErr := s.ClearOpen(t.Context(), "run-1")
		w.meddle(-1, http.MethodGet, testBucket, how) // a list
		listErr := s.OpenRuns(t.Context(), func(string) bool { return true })
		for call, err := range map[string]error{"get": err, "update": updateErr, "delete": deleteErr, "list": listErr} {
			if !named.Is(err, named.Unavailable) || !strings.Contains(err.Error(), "s3://"+testBucket) {
				t.Errorf("%s, %s: %v", name, call, err)
			} else if text := err.Error(); strings.Contains(text, testSecret) || strings.Contains(text, "Signature") {
				t.Errorf("%s, %s tells a secret: %s", name, call, text)
			}
		}
	}
}

func testNotARecord(t *testing.T, s *Store, _ *wire) {
	for name, body := range map[string]string{"nothing": "", "not JSON": "<html>", "another shape": `[]`, "a field of another type": `{"run_id":7}`, "too large": "{}" + strings.Repeat(" ", maxObject)} {
		if err := s.write(t.Context(), "runs/run-1.json", []byte(body), condition{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), "run-1"); err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "runs/run-1.json") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func newest(t *testing.T, s *Store, cursor string, limit int) (ids []string, next string) {
	t.Helper()
	if err := s.Newest(t.Context(), cursor, func(runID, cursor string) bool {
		ids, next = append(ids, runID), cursor
		return len(ids) < limit
	}); err != nil {
		t.Fatal(err)
	}
	return ids, next
}

func testNewest(t *testing.T, s *Store, _ *wire) {
	var want []string
	for i := range 10 {
		r := newRecord(fmt.Sprintf("run-with-dashes-%d", i))
		r.StartedAt = start.Add(time.Duration(i*i) * time.Millisecond) // from the same moment to far apart
		if _, err := s.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		want = slices.Insert(want, 0, r.RunID)
	}
	for _, size := range []int{1, 3, 4, 10, 100} {
		var got []string
		cursor := ""
		for range 20 {
			ids, next := newest(t, s, cursor, size)
			if len(ids) == 0 {
				break
			}
			got, cursor = append(got, ids...), next
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("by %d (-want +got):\n%s", size, diff)
		}
	}
	if ids, _ := newest(t, s, "no such cursor/../", 10); len(ids) > 0 {
		t.Errorf("after a cursor that is none: %v", ids)
	}
	ahead := newRecord("ahead") // by a clock so wrong that its place in the list has a digit less
	ahead.StartedAt = time.Date(2256, 10, 1, 0, 0, 0, 0, time.UTC)
	if _, err := s.Create(t.Context(), ahead); err != nil {
		t.Fatal(err)
	}
	if ids, _ := newest(t, s, "", 100); ids[0] != "ahead" {
		t.Errorf("the newest is not first: %v", ids)
	}
}

func openRuns(t *testing.T, s *Store) (ids []string) {
	t.Helper()
	if err := s.OpenRuns(t.Context(), func(runID string) bool { ids = append(ids, runID); return true }); err != nil {
		t.Fatal(err)
	}
	return ids
}

func testOpenRuns(t *testing.T, s *Store, _ *wire) {
	want := []string{"a", "b", "c", "d", "e"}
	for _, id := range want {
		create(t, s, id)
	}
	if got := openRuns(t, s); !slices.Equal(got, want) {
		t.Errorf("open: %v", got)
	}
	for range 2 { // what is not there is cleared as well
		if err := s.ClearOpen(t.Context(), "c"); err != nil {
			t.Error(err)
		}
	}
	if got := openRuns(t, s); !slices.Equal(got, []string{"a", "b", "d", "e"}) {
		t.Errorf("open: %v", got)
	}
	if err := s.MarkOpen(t.Context(), "c"); err != nil {
		t.Error(err)
	}
	seen := 0
	if err := s.OpenRuns(t.Context(), func(string) bool { seen++; return seen < 2 }); err != nil || seen != 2 {
		t.Errorf("a list that was to end after 2 gave %d (%v)", seen, err)
	}
	if got := openRuns(t, s); !slices.Equal(got, want) {
		t.Errorf("open: %v", got)
	}
}
