package handler

import "testing"

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
