package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/google/go-cmp/cmp"
)

// suite is what holds of a store whatever keeps its objects.
var suite = slices.Concat(objectTests, updateTests)

type suiteTest struct {
	name string
	run  func(t *testing.T, s *Store, w *wire)
}

var objectTests = []suiteTest{
	{"an object is read as it was written", testReadBack},
	{"a put replaces what lies there", testPut},
	{"of many who create one object, one does", testCreateRace},
	{"a create whose reply was lost is known as its own", testCreateLostReply},
	{"a create whose every reply was lost is told", testCreateAllRepliesLost},
	{"a create that meets another is tried again", testCreateConflict},
	{"a create that finds another's is told so", testCreateExists},
	{"a create of the same bytes is the same create", testCreateSame},
	{"a create whose standing object goes meanwhile", testCreateGone},
	{"what was deleted is not there", testDelete},
	{"a store that is away is named", testUnavailable},
	{"an object that is too large is not read", testTooLarge},
	{"a list has every key once, in order", testList},
	{"a list says when an object was written", testListModified},
}

const key = "things/größe +1%2F.json"

// counter is an object of the tests: what it counts, and the id of its last write.
type counter struct {
	N    int    `json:"n"`
	By   string `json:"by"`
	Note string `json:"note,omitempty"`
}

func encode(t *testing.T, c counter) []byte {
	t.Helper()
	body, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func create(t *testing.T, s *Store, key string) Object {
	t.Helper()
	o, err := s.Create(t.Context(), key, encode(t, counter{By: "the first"}))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func get(t *testing.T, s *Store, key string) (c counter) {
	t.Helper()
	o, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(o.Body, &c); err != nil {
		t.Fatal(err)
	}
	return c
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

func testReadBack(t *testing.T, s *Store, _ *wire) {
	if _, err := s.Get(t.Context(), key); !errors.Is(err, ErrNotFound) {
		t.Errorf("before it: %v", err)
	}
	created, err := s.Create(t.Context(), key, []byte(`{"größe":1}`))
	if err != nil || created.ETag == "" {
		t.Fatalf("created %+v, %v", created, err)
	}
	read, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(created, read); diff != "" {
		t.Errorf("(-created +read):\n%s", diff)
	}
	// An empty object is one: the index of runs has no other.
	if err := s.Put(t.Context(), "empty", nil); err != nil {
		t.Fatal(err)
	}
	if o, err := s.Get(t.Context(), "empty"); err != nil || len(o.Body) != 0 {
		t.Errorf("empty: %+v, %v", o, err)
	}
}

func testPut(t *testing.T, s *Store, w *wire) {
	for _, body := range []string{"1", "2", "2"} {
		if err := s.Put(t.Context(), key, []byte(body)); err != nil {
			t.Fatal(err)
		}
		if o, err := s.Get(t.Context(), key); err != nil || string(o.Body) != body {
			t.Errorf("read %s, %v", o.Body, err)
		}
	}
	for name, how := range map[string]func(func() (*http.Response, error)) (*http.Response, error){
		"its reply lost": loseReply, "it met another write": answerWith(http.StatusConflict, "OperationAborted"),
	} {
		w.meddle(1, http.MethodPut, key, how)
		if err := s.Put(t.Context(), key, []byte("3")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func testCreateRace(t *testing.T, s *Store, _ *wire) {
	const n = 20
	var errs [n]error
	var created [n]Object
	atOnce(n, func(i int) {
		created[i], errs[i] = s.Create(t.Context(), key, encode(t, counter{By: fmt.Sprint(i)}))
	})
	winner := ""
	for i, err := range errs {
		switch {
		case err == nil && winner == "":
			winner = string(created[i].Body)
		case err == nil:
			t.Error("two created it")
		case !errors.Is(err, ErrExists):
			t.Errorf("a loser was told: %v", err)
		}
	}
	if stands, err := s.Get(t.Context(), key); err != nil || string(stands.Body) != winner || winner == "" {
		t.Errorf("%q won, %q stands, %v", winner, stands.Body, err)
	}
}

func testCreateLostReply(t *testing.T, s *Store, w *wire) {
	w.meddle(1, http.MethodPut, key, loseReply)
	created := create(t, s, key)
	if n := w.count("PUT " + key); n != 2 {
		t.Errorf("%d writes: the SDK did not try again, so this test shows nothing", n)
	}
	// Its ETag is good for the next write.
	if _, err := s.Update(t.Context(), key, created, increment(t, "me")); err != nil || get(t, s, key).N != 1 {
		t.Errorf("%+v stands, %v", get(t, s, key), err)
	}
}

func testCreateAllRepliesLost(t *testing.T, s *Store, w *wire) {
	w.meddle(-1, http.MethodPut, key, loseReply)
	for range 2 {
		if _, err := s.Create(t.Context(), key, []byte("1")); !named.Is(err, named.Unavailable) {
			t.Errorf("got %v", err)
		}
	}
	w.meddle(0, "", "", nil)
	if _, err := s.Create(t.Context(), key, []byte("2")); !errors.Is(err, ErrExists) {
		t.Errorf("the first one's write stands, and the last was told %v", err)
	}
}

func testCreateConflict(t *testing.T, s *Store, w *wire) {
	w.meddle(3, http.MethodPut, key, answerWith(http.StatusConflict, "ConditionalRequestConflict"))
	create(t, s, key)
}

func testCreateExists(t *testing.T, s *Store, _ *wire) {
	create(t, s, key)
	if _, err := s.Create(t.Context(), key, encode(t, counter{By: "another"})); !errors.Is(err, ErrExists) {
		t.Errorf("got %v", err)
	}
	if got := get(t, s, key); got.By != "the first" {
		t.Errorf("%+v stands", got)
	}
}

func testCreateSame(t *testing.T, s *Store, _ *wire) {
	if first, second := create(t, s, key), create(t, s, key); first.ETag != second.ETag {
		t.Errorf("%s, then %s", first.ETag, second.ETag)
	}
}

// testCreateGone: the object that stood in the way is gone when it is read. What
// that means for the create is not known, so it is told.
func testCreateGone(t *testing.T, s *Store, w *wire) {
	create(t, s, key)
	w.meddle(1, http.MethodGet, key, before(func() {
		if err := s.Delete(t.Context(), key); err != nil {
			t.Error(err)
		}
	}))
	if _, err := s.Create(t.Context(), key, []byte("2")); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func testDelete(t *testing.T, s *Store, _ *wire) {
	create(t, s, key)
	for range 2 { // what is not there is deleted as well
		if err := s.Delete(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Get(t.Context(), key); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func testUnavailable(t *testing.T, s *Store, w *wire) {
	create(t, s, key)
	ways := map[string]func(func() (*http.Response, error)) (*http.Response, error){
		"reset": refuse, "503": answerWith(503, "SlowDown"), "403": answerWith(403, "AccessDenied"), "500": answerWith(500, "InternalError"),
	}
	for name, how := range ways {
		w.meddle(-1, http.MethodGet, key, how)
		_, getErr := s.Get(t.Context(), key)
		w.meddle(-1, http.MethodPut, key, how)
		_, createErr := s.Create(t.Context(), key, []byte("2"))
		_, updateErr := s.Update(t.Context(), key, Object{}, increment(t, "me"))
		putErr := s.Put(t.Context(), key, []byte("2"))
		w.meddle(-1, http.MethodDelete, key, how)
		deleteErr := s.Delete(t.Context(), key)
		w.meddle(-1, http.MethodGet, testBucket, how)
		listErr := s.List(t.Context(), "things/", "", func(Entry) bool { return true })
		for call, err := range map[string]error{"get": getErr, "create": createErr, "update": updateErr, "put": putErr, "delete": deleteErr, "list": listErr} {
			if !named.Is(err, named.Unavailable) || !strings.Contains(err.Error(), "s3://"+testBucket+"/things/") {
				t.Errorf("%s, %s: %v", name, call, err)
			} else if text := err.Error(); strings.Contains(text, testSecret) || strings.Contains(text, "Signature") {
				t.Errorf("%s, %s tells a secret: %s", name, call, text)
			}
		}
	}
}

func testTooLarge(t *testing.T, s *Store, _ *wire) {
	for size, reads := range map[int]bool{maxObject: true, maxObject + 1: false} {
		if err := s.Put(t.Context(), key, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		o, err := s.Get(t.Context(), key)
		if reads != (err == nil) || reads && len(o.Body) != size || !reads && (errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), key)) {
			t.Errorf("%d bytes: read %d, %v", size, len(o.Body), err)
		}
	}
}

func list(t *testing.T, s *Store, prefix, after string, most int) (keys []string) {
	t.Helper()
	if err := s.List(t.Context(), prefix, after, func(e Entry) bool {
		keys = append(keys, e.Key)
		return len(keys) < most
	}); err != nil {
		t.Fatal(err)
	}
	return keys
}

func testList(t *testing.T, s *Store, _ *wire) {
	var all []string
	for i := range 10 {
		all = append(all, fmt.Sprintf("a/%d", i))
	}
	for _, k := range append([]string{"a-", "a.", "b/1", "A/1"}, all...) {
		if err := s.Put(t.Context(), k, nil); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, prefix, after string
		most                int
		want                []string
	}{
		{name: "all of a prefix", prefix: "a/", most: 100, want: all},
		{name: "after a key", prefix: "a/", after: "a/3", most: 100, want: all[4:]},
		{name: "after a key that is not there", prefix: "a/", after: "a/33", most: 100, want: all[4:]},
		{name: "after the last", prefix: "a/", after: "a/9", most: 100},
		{name: "until the caller has enough", prefix: "a/", most: 4, want: all[:4]},
		{name: "until the caller has enough, over an end of a page", prefix: "a/", after: "a/0", most: 3, want: all[1:4]},
		{name: "nothing there", prefix: "c/", most: 100},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := list(t, s, test.prefix, test.after, test.most); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func testListModified(t *testing.T, s *Store, _ *wire) {
	before := time.Now().Add(-time.Minute) // a clock of whole seconds, and another machine's
	create(t, s, key)
	seen := 0
	if err := s.List(t.Context(), "things/", "", func(e Entry) bool {
		if seen++; e.Modified.Before(before) || e.Modified.After(time.Now().Add(time.Minute)) {
			t.Errorf("written at %s", e.Modified)
		}
		return true
	}); err != nil || seen != 1 {
		t.Errorf("%d objects, %v", seen, err)
	}
}
