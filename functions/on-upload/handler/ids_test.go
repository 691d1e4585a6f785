package handler

import (
	"fmt"
	"strings"
	"testing"
)

// TestUploadsWithoutSequencer: the second upload of a key is a run of its own where
// the store's events have no sequencer, and the same event is still one run.
func TestUploadsWithoutSequencer(t *testing.T) {
	w := newWorld()
	for _, etag := range []string{"e1", "e1", "e2"} {
		w.set(photoKey, object{body: "x", etag: etag})
		if _, err := w.Handle(t.Context(), bridge(photoKey, etag, "")); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.started) != 2 {
		t.Errorf("started %v", w.started)
	}
}

// TestRejectionsKeptApart: no upload writes over the reasons of another.
func TestRejectionsKeptApart(t *testing.T) {
	w := newWorld()
	keys := []string{
		"jobs/a", "jobs/a.json", "jobs/a.json.json", "jobs/a.txt", "jobs/a.txt.json", "jobs/a/b", "jobs/a/b.json",
		"files/photo.png", "files/photo.png.json", "files/photo", "files/photo.json",
	}
	for _, key := range keys {
		w.set(key, object{body: "{}", etag: "e1"})
		if _, err := w.Handle(t.Context(), bridge(key, "e1", "A")); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.rejected(t)) != len(keys) {
		t.Errorf("%d rejections of %d uploads: %v", len(w.rejected(t)), len(keys), w.rejected(t))
	}
}

// TestRunIDs: a hundred thousand uploads of one name are as many runs.
func TestRunIDs(t *testing.T) {
	seen := make(map[string]bool, 100_000)
	for i := range 100_000 {
		id := runIDFor(upload{bucket: inbox, key: photoKey, sequencer: fmt.Sprintf("0066F3A1C2D4%06X", i)})
		if seen[id] {
			t.Fatalf("%s comes twice, at upload %d", id, i)
		}
		seen[id] = true
		if len(id) != len("photo-")+18 || !strings.HasPrefix(id, "photo-") {
			t.Fatal(id)
		}
	}
	long := runIDFor(upload{bucket: inbox, key: "jobs/" + strings.Repeat("n", 900) + ".json", sequencer: "A"})
	if len(long) != 79 {
		t.Errorf("%s has %d characters", long, len(long))
	}
	// Bucket, key and sequencer each count, and do not run into each other.
	ids := map[string]bool{}
	for _, u := range []upload{{bucket: "a", key: "b/c", sequencer: "d"}, {bucket: "a", key: "b/c", sequencer: "e"}, {bucket: "ab", key: "/c", sequencer: "d"}, {bucket: "a", key: "x/c", sequencer: "d"}} {
		ids[runIDFor(u)] = true
	}
	if len(ids) != 4 {
		t.Errorf("%v", ids)
	}
}
