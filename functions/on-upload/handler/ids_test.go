package handler

import "testing"

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
