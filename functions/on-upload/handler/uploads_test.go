package handler

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// told is one event, in either of S3's shapes.
type told struct {
	classic           bool
	key               string // as the event has it
	version, etag     string
	sequencer, reason string // reason: CopyObject, or Copy of a classic one
	size              *int64
}

func (e told) input() Input {
	object := map[string]any{"key": e.key, "sequencer": e.sequencer}
	for name, value := range map[string]string{"etag": e.etag, "version-id": e.version} {
		if e.classic {
			name = map[string]string{"etag": "eTag", "version-id": "versionId"}[name]
		}
		if value != "" {
			object[name] = value
		}
	}
	if e.size != nil {
		object["size"] = *e.size
	}
	bucket := map[string]any{"name": inbox}
	shape := map[string]any{"detail-type": "Object Created", "source": "aws.s3", "detail": map[string]any{"bucket": bucket, "object": object, "reason": e.reason}}
	if e.classic {
		shape = map[string]any{"Records": []any{map[string]any{"eventName": "ObjectCreated:" + e.reason, "s3": map[string]any{"bucket": bucket, "object": object}}}}
	}
	raw, _ := json.Marshal(shape)
	return Input{raw}
}

func (w *world) handle(t *testing.T, e told) Output {
	t.Helper()
	out, err := w.Handle(t.Context(), e.input())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func etagOf(o storetest.Object) string { return strings.Trim(o.ETag, `"`) }

const photoKey = "files/upscale/image/photo.png"

// TestEachUploadIsItsOwn: photo A and photo B at one key, and the same bytes with
// other parameters, whenever their events come.
func TestEachUploadIsItsOwn(t *testing.T) {
	w := versioned()
	uploads := []struct {
		object
		stored storetest.Object
	}{
		{object: object{body: "photo A", metadata: map[string]string{"param-scale": "2"}}},
		{object: object{body: "photo B", metadata: map[string]string{"param-scale": "2"}}},
		{object: object{body: "photo B", metadata: map[string]string{"param-scale": "4"}}},
	}
	for i := range uploads {
		uploads[i].stored = w.set(photoKey, uploads[i].object)
	}
	for i, u := range slices.Backward(uploads) {
		out := w.handle(t, told{key: photoKey, version: u.stored.VersionID, etag: etagOf(u.stored), sequencer: fmt.Sprint("A", i)})
		if len(out.Started) != 1 {
			t.Fatalf("%+v", out)
		}
		r, violations := run.ParseRequest([]byte(w.started[out.Started[0]]))
		if len(violations) > 0 || r.InputVersions["image"].VersionID != u.stored.VersionID || r.Parameters["scale"] != u.metadata["param-scale"] {
			t.Errorf("upload %d: %+v, %v", i, r, violations)
		}
	}
	if len(w.started) != len(uploads) {
		t.Errorf("started %v", w.started)
	}
}

// TestJobOfItsVersion: a job that was written over is still read as it was.
func TestJobOfItsVersion(t *testing.T) {
	w := versioned()
	a := w.set("jobs/latest.json", object{body: job})
	w.set("jobs/latest.json", object{body: `{"workflow":"another"}`})
	w.handle(t, told{key: "jobs/latest.json", version: a.VersionID, etag: etagOf(a), sequencer: "A"})
	if r := w.request(t); r.Workflow != "text-to-image" {
		t.Errorf("%+v", r)
	}
}

// TestJobWithByteOrderMark: some editors, and PowerShell, write one.
func TestJobWithByteOrderMark(t *testing.T) {
	w := versioned()
	o := w.set("jobs/x.json", object{body: "\xef\xbb\xbf" + job})
	w.handle(t, told{key: "jobs/x.json", version: o.VersionID, etag: etagOf(o), sequencer: "A"})
	if r := w.request(t); r.Parameters["prompt"] != "a fir" {
		t.Errorf("%+v", r)
	}
}

// TestWithoutVersions: where none are kept the ETag decides, and what was replaced
// is told.
func TestWithoutVersions(t *testing.T) {
	for _, version := range []string{"", "null"} {
		w := newWorld()
		a := w.set(photoKey, object{body: "photo A"})
		b := w.set(photoKey, object{body: "photo B"})
		if version != "" { // of a bucket that kept none when they were written
			w.s3.Versioned = nil
		}
		if out := w.handle(t, told{key: photoKey, version: version, etag: etagOf(a), sequencer: "A"}); out.Ignored != 1 {
			t.Errorf("%+v", out)
		}
		if !strings.Contains(w.log.String(), "level=WARN msg=ignored bucket=inbox key="+photoKey) || !strings.Contains(w.log.String(), `why="it was taken away or replaced since"`) {
			t.Errorf("logged %s", w.log.String())
		}
		w.handle(t, told{key: photoKey, version: version, etag: etagOf(b), sequencer: "B"})
		if pin := w.request(t).InputVersions["image"]; pin != (run.InputVersion{ETag: etagOf(b)}) {
			t.Errorf("pinned to %+v", pin)
		}
	}
}

// TestVersionGone: a version that was deleted before its event came is told.
func TestVersionGone(t *testing.T) {
	w := versioned()
	a := w.set(photoKey, object{body: "photo A"})
	w.s3.RemoveVersion(inbox, photoKey, a.VersionID)
	w.set(photoKey, object{body: "photo B"})
	if out := w.handle(t, told{key: photoKey, version: a.VersionID, etag: etagOf(a), sequencer: "A"}); out.Ignored != 1 || len(w.started) != 0 {
		t.Errorf("%+v, %v", out, w.started)
	}
	if !strings.Contains(w.log.String(), "its version was deleted") {
		t.Errorf("logged %s", w.log.String())
	}
	// A version that is not what the event tells is another object's.
	b, _ := w.s3.Object(inbox, photoKey)
	if out := w.handle(t, told{key: photoKey, version: b.VersionID, etag: "another", sequencer: "A"}); out.Ignored != 1 {
		t.Errorf("%+v", out)
	}
	// One that only a delete marker hides is there.
	w.s3.Remove(inbox, photoKey)
	if out := w.handle(t, told{key: photoKey, version: b.VersionID, etag: etagOf(b), sequencer: "B"}); len(out.Started) != 1 {
		t.Errorf("%+v", out)
	}
}

// TestKeysRawAndEncoded: whichever EventBridge sends, the object is found, as one
// and the same upload; a classic key is always encoded.
func TestKeysRawAndEncoded(t *testing.T) {
	for _, name := range []string{
		"my photo+1 ä.png", "a+b.png", "100%.png", "100%25.png", "%2B+.png", "a&b=c?d#e.png", "café.png", "cafe\u0301.png", "山.png", " x .png", "line\nend.png", "plain.png",
		"a//b/./c", "..", strings.Repeat("n", 900) + ".png",
	} {
		for _, keeps := range []bool{true, false} {
			key := "files/upscale/image/" + name
			ids := map[string]bool{}
			for kind, e := range map[string]told{
				"raw": {key: key}, "encoded": {key: strings.ReplaceAll(url.QueryEscape(key), "%2F", "/")},
				"encoded with %20": {key: strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(key), "%2F", "/"), "+", "%20")},
				"classic":          {key: strings.ReplaceAll(url.QueryEscape(key), "%2F", "/"), classic: true, reason: "Put"},
			} {
				w := newWorld()
				if keeps {
					w = versioned()
				}
				o := w.set(key, object{body: "photo"})
				e.version, e.etag, e.sequencer = o.VersionID, etagOf(o), "A"
				out := w.handle(t, e)
				if len(out.Started) != 1 || w.request(t).Parameters["image"] != "s3://inbox/"+key {
					t.Fatalf("%s, %s (%q): %+v, %v\n%s", name, kind, e.key, out, w.started, w.log.String())
				}
				ids[out.Started[0]] = true
			}
			if len(ids) != 1 {
				t.Errorf("%s: the run ids are %v", name, ids)
			}
		}
	}
}

// TestDecodedKeyNeedsItsETag: another object at the decoded key is not the upload.
func TestDecodedKeyNeedsItsETag(t *testing.T) {
	for name, e := range map[string]told{
		"another ETag":                           {key: "files/upscale/image/a+b.png", etag: "of a+b.png"},
		"no ETag":                                {key: "files/upscale/image/a+b.png"},
		"another ETag, a classic key's raw form": {key: "files/upscale/image/a%2Bb.png", classic: true, reason: "Put", etag: "of a+b.png"},
	} {
		w := newWorld()
		w.set("files/upscale/image/a b.png", object{body: "another photo"})
		e.sequencer = "A"
		if out := w.handle(t, e); out.Ignored != 1 || len(w.started) > 0 {
			t.Errorf("%s: %+v, %v", name, out, w.started)
		}
	}
	// The raw key wins where both are there.
	w := newWorld()
	w.set("files/upscale/image/a b.png", object{body: "photo"})
	o := w.set("files/upscale/image/a+b.png", object{body: "photo"})
	w.handle(t, told{key: "files/upscale/image/a+b.png", etag: etagOf(o), sequencer: "A"})
	if r := w.request(t); r.Parameters["image"] != "s3://inbox/files/upscale/image/a+b.png" {
		t.Errorf("%+v", r)
	}
	// What lies at the raw key is another upload, so the decoded one is meant.
	w = newWorld()
	w.set("files/upscale/image/a+b.png", object{body: "another photo"})
	o = w.set("files/upscale/image/a b.png", object{body: "photo"})
	w.handle(t, told{key: "files/upscale/image/a+b.png", etag: etagOf(o), sequencer: "A"})
	if r := w.request(t); r.Parameters["image"] != "s3://inbox/files/upscale/image/a b.png" {
		t.Errorf("%+v", r)
	}
	// S3 away at the second look is no answer.
	w = newWorld()
	w.away["files/upscale/image/a b.png"] = answered(http.StatusServiceUnavailable)
	if _, err := w.Handle(t.Context(), told{key: "files/upscale/image/a+b.png", etag: "e", sequencer: "A"}.input()); !named.Is(err, named.Unavailable) {
		t.Errorf("%v", err)
	}
}

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
			out := w.handle(t, told{key: key, version: o.VersionID, etag: etagOf(o), sequencer: "A"})
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
	if out := w.handle(t, told{key: "files/upscale/image/%7E%24a+b.docx", version: o.VersionID, etag: etagOf(o), sequencer: "A"}); out.Ignored != 1 {
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
				event := func(o storetest.Object, sequencer string) told {
					e := told{key: key, version: o.VersionID, etag: etagOf(o), sequencer: sequencer}
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
			e := told{key: photoKey, version: o.VersionID, etag: etagOf(o), sequencer: "A", reason: test.reason}
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
	e := told{key: photoKey, version: o.VersionID, etag: etagOf(o), sequencer: "A", reason: "CopyObject"}
	if out, err := w.Handle(t.Context(), e.input()); !named.Is(err, named.Unavailable) {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestRejectedUploads: what no workflow takes is told beside the inbox, and is no
// failed run.
func TestRejectedUploads(t *testing.T) {
	archived := func(w *world, key, body string) {
		w.s3.Set(inbox, key, storetest.Object{Body: []byte(body), Archived: true})
	}
	for key, body := range map[string]string{photoKey: "photo", "jobs/x.json": job} {
		w := versioned()
		archived(w, key, body)
		o, _ := w.s3.Object(inbox, key)
		out := w.handle(t, told{key: key, version: o.VersionID, etag: etagOf(o), sequencer: "A"})
		if len(out.Rejected) != 1 || !strings.Contains(w.rejected(t)[out.Rejected[0]].Error.Cause, "archive") {
			t.Errorf("%+v", out)
		}
	}
	w := versioned()
	o := w.set(photoKey, object{body: "photo", metadata: map[string]string{"param-prompt": "caf\xe9", "param-note": "=?UTF-8?Q?=FF?=", "param-good": "café", "Param-Image": "other.png"}})
	out := w.handle(t, told{key: photoKey, version: o.VersionID, etag: etagOf(o), sequencer: "A"})
	if len(out.Rejected) != 1 || len(w.started) > 0 || len(w.rejected(t)[out.Rejected[0]].Reasons) != 3 {
		t.Errorf("%+v, %v", out, w.rejected(t))
	}
	large := int64(run.MaxInputFile) + 1
	if _, err := fileRequest(upload{bucket: inbox, key: photoKey, size: &large}, &s3.HeadObjectOutput{}); !named.Is(err, named.InvalidRequest) || !strings.Contains(err.Error(), "at most 524288000") {
		t.Errorf("%v", err)
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

// TestKeysThatAreNoText end in the dead-letter queue: no S3 key is like that.
func TestKeysThatAreNoText(t *testing.T) {
	w := newWorld()
	out, err := w.Handle(t.Context(), told{classic: true, key: "jobs/caf%E9.json", reason: "Put", etag: "e", sequencer: "A"}.input())
	if !named.Is(err, named.InvalidRequest) || len(out.Started)+out.Ignored > 0 {
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
