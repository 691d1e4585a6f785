package handler

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// TestNotMeant: files that nobody meant to start a run start none, are not
// rejected, and are told.
func TestNotMeant(t *testing.T) {
	names := map[string]bool{ // true: it starts a run
		".DS_Store": false, "._photo.png": false, ".photo.png.Ab12Cd": false, ".goutputstream-1": false, "Thumbs.db": false, "THUMBS.DB": false, "ehthumbs.db": false,
		"desktop.ini": false, "Icon\r": false, "~$photo.docx": false, "photo.png~": false, "#photo.png#": false, "photo.tmp": false, "photo.png.TMP": false,
		"photo.png.part": false, "photo.png.partial": false, "photo.png.filepart": false, "Unconfirmed 1.crdownload": false, "photo.png.swp": false,
		"photo.png.download": false, "photo.png.opdownload": false, "photo.png.aria2": false, "__MACOSX/x.png": false, "a/.thumbnails/x.png": false, "@eaDir/x.png": false,
		"photo.png.crswap": false, "photo.png.bak": false, "clip.mp4.ytdl": false, "#recycle/x.png": false, "lost+found/x.png": false, "Temporary Items/x.png": false,
		"photo.png": true, "thumbs.png": true, "~photo.png": true, "part.png": true, "photo.parts": true, "a.part/photo.png": true, "..": true, "...": true, "a/../b.png": true, "./b.png": true, "x#.png": true,
	}
	for name, starts := range names {
		for prefix, body := range map[string]string{"files/upscale/image/": "photo", "jobs/": job} {
			key := prefix + name
			if prefix == jobsPrefix && starts {
				if key += ".json"; hidden(name + ".json") {
					continue
				}
			}
			w := versioned()
			o := w.set(key, object{body: body})
			out := w.handle(t, notification{key: key, version: o.VersionID, etag: etagOf(o), sequencer: "A"})
			if (len(out.Started) == 1) != starts || (out.Ignored == 1) == starts || len(out.Rejected) > 0 {
				t.Errorf("%q: %+v", key, out)
			}
			if said := strings.Contains(w.log.String(), "level=INFO msg=ignored bucket=inbox") && strings.Contains(w.log.String(), "why="); said == starts {
				t.Errorf("%q: logged %s", key, w.log.String())
			}
		}
	}
	// By the decoded name as well.
	w := versioned()
	o := w.set("files/upscale/image/~$a b.docx", object{body: "x"})
	if out := w.handle(t, notification{key: "files/upscale/image/%7E%24a+b.docx", version: o.VersionID, etag: etagOf(o), sequencer: "A"}); out.Ignored != 1 {
		t.Errorf("%+v", out)
	}
}

// TestEmpty: a file that is created empty and written a moment later starts one
// run, whether or not the events tell sizes and versions.
func TestEmpty(t *testing.T) {
	for _, keeps := range []bool{true, false} {
		for _, sizes := range []bool{true, false} {
			for _, key := range []string{photoKey, "jobs/x.json"} {
				w := newWorld()
				if keeps {
					w = versioned()
				}
				event := func(o storetest.Object, sequencer string) notification {
					e := notification{key: key, version: o.VersionID, etag: etagOf(o), sequencer: sequencer}
					if size := int64(len(o.Body)); sizes {
						e.size = &size
					}
					return e
				}
				empty := w.set(key, object{})
				if out := w.handle(t, event(empty, "A")); out.Ignored != 1 {
					t.Errorf("%+v", out)
				}
				if !strings.Contains(w.log.String(), `why="it is empty"`) {
					t.Errorf("logged %s", w.log.String())
				}
				real := w.set(key, object{body: job})
				w.handle(t, event(real, "B"))
				w.handle(t, event(empty, "A")) // again, and late
				if len(w.started) != 1 || len(w.rejected(t)) > 0 {
					t.Errorf("started %v, rejected %v", w.started, w.rejected(t))
				}
			}
		}
	}
}

// TestCopyOntoItself pays once; every other upload is one of its own.
func TestCopyOntoItself(t *testing.T) {
	scaled := func(body, scale string) object {
		return object{body: body, metadata: map[string]string{"param-scale": scale, "other": body + scale}}
	}
	tests := []struct {
		name          string
		keeps         bool
		before, after object
		reason        string
		between       func(*world)
		starts        bool
	}{
		{"the same bytes and parameters", true, scaled("photo", "4"), object{body: "photo", metadata: map[string]string{"Param-Scale": "4"}}, "CopyObject", nil, false},
		{"other parameters", true, scaled("photo", "4"), scaled("photo", "2"), "CopyObject", nil, true},
		{"fewer parameters", true, scaled("photo", "4"), object{body: "photo"}, "CopyObject", nil, true},
		{"other bytes", true, scaled("photo", "4"), scaled("picture", "4"), "CopyObject", nil, true},
		{"no copy", true, scaled("photo", "4"), scaled("photo", "4"), "PutObject", nil, true},
		{"after a deletion", true, scaled("photo", "4"), scaled("photo", "4"), "CopyObject", func(w *world) { w.s3.Remove(inbox, photoKey) }, true},
		{"the version before expired", true, scaled("photo", "4"), scaled("photo", "4"), "CopyObject", func(w *world) { w.s3.RemoveVersion(inbox, photoKey, "version-2") }, true},
		{"no versions", false, scaled("photo", "4"), scaled("photo", "4"), "CopyObject", nil, true},
	}
	for _, test := range tests {
		for _, shape := range []string{"EventBridge", "classic", "no version in the event"} {
			w := newWorld()
			if test.keeps {
				w = versioned()
			}
			w.set(photoKey+".2", scaled("photo", "4")) // a neighbour
			w.set(photoKey, test.before)
			if test.between != nil {
				test.between(w)
			}
			o := w.set(photoKey, test.after)
			e := notification{key: photoKey, version: o.VersionID, etag: etagOf(o), sequencer: "A", reason: test.reason}
			switch shape {
			case "classic":
				e.classic, e.reason = true, strings.TrimSuffix(test.reason, "Object")
			case "no version in the event":
				e.version = ""
			default:
				w.set(photoKey, scaled("a later photo", "4"))
				if !test.keeps {
					w.set(photoKey, test.after)
				}
			}
			out := w.handle(t, e)
			if (len(out.Started) == 1) != test.starts || (out.Ignored == 1) == test.starts {
				t.Errorf("%s, %s: %+v", test.name, shape, out)
			}
			if told := strings.Contains(w.log.String(), "copied onto itself"); told == test.starts {
				t.Errorf("%s, %s: logged %s", test.name, shape, w.log.String())
			}
		}
	}
	// It is not decided while S3 is away.
	w := versioned()
	w.set(photoKey, object{body: "photo"})
	o := w.set(photoKey, object{body: "photo"})
	w.s3.Around = func(c storetest.Call, do func() error) error {
		if c.Op == "ListObjectVersions" {
			return answered(http.StatusServiceUnavailable)
		}
		return do()
	}
	e := notification{key: photoKey, version: o.VersionID, etag: etagOf(o), sequencer: "A", reason: "CopyObject"}
	if out, err := w.Handle(t.Context(), e.input()); !named.Is(err, named.Unavailable) {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestLevels: a person looks for warnings, and a synchronised folder's leftovers
// are none.
func TestLevels(t *testing.T) {
	for err, want := range map[error]slog.Level{skip("x"): slog.LevelInfo, skipWithWarning("x"): slog.LevelWarn} {
		if got := err.(*skipped).level; got != want {
			t.Errorf("%v", got)
		}
	}
}
