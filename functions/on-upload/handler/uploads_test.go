package handler

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// notification is one event, in either of S3's shapes.
type notification struct {
	classic           bool
	key               string // as the event has it
	version, etag     string
	sequencer, reason string // reason: CopyObject, or Copy of a classic one
	size              *int64
}

func (e notification) input() Input {
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

func (w *world) handle(t *testing.T, e notification) Response {
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
		out := w.handle(t, notification{key: photoKey, version: u.stored.VersionID, etag: etagOf(u.stored), sequencer: fmt.Sprint("A", i)})
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
	w.handle(t, notification{key: "jobs/latest.json", version: a.VersionID, etag: etagOf(a), sequencer: "A"})
	if r := w.request(t); r.Workflow != "text-to-image" {
		t.Errorf("%+v", r)
	}
}

// TestJobWithByteOrderMark: some editors, and PowerShell, write one.
func TestJobWithByteOrderMark(t *testing.T) {
	w := versioned()
	o := w.set("jobs/x.json", object{body: "\xef\xbb\xbf" + job})
	w.handle(t, notification{key: "jobs/x.json", version: o.VersionID, etag: etagOf(o), sequencer: "A"})
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
		if out := w.handle(t, notification{key: photoKey, version: version, etag: etagOf(a), sequencer: "A"}); out.Ignored != 1 {
			t.Errorf("%+v", out)
		}
		if !strings.Contains(w.log.String(), "level=WARN msg=ignored bucket=inbox key="+photoKey) || !strings.Contains(w.log.String(), `why="it was taken away or replaced since"`) {
			t.Errorf("logged %s", w.log.String())
		}
		w.handle(t, notification{key: photoKey, version: version, etag: etagOf(b), sequencer: "B"})
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
	if out := w.handle(t, notification{key: photoKey, version: a.VersionID, etag: etagOf(a), sequencer: "A"}); out.Ignored != 1 || len(w.started) != 0 {
		t.Errorf("%+v, %v", out, w.started)
	}
	if !strings.Contains(w.log.String(), "its version was deleted") {
		t.Errorf("logged %s", w.log.String())
	}
	// A version that is not what the event tells is another object's.
	b, _ := w.s3.Object(inbox, photoKey)
	if out := w.handle(t, notification{key: photoKey, version: b.VersionID, etag: "another", sequencer: "A"}); out.Ignored != 1 {
		t.Errorf("%+v", out)
	}
	// One that only a delete marker hides is there.
	w.s3.Remove(inbox, photoKey)
	if out := w.handle(t, notification{key: photoKey, version: b.VersionID, etag: etagOf(b), sequencer: "B"}); len(out.Started) != 1 {
		t.Errorf("%+v", out)
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
		out := w.handle(t, notification{key: key, version: o.VersionID, etag: etagOf(o), sequencer: "A"})
		if len(out.Rejected) != 1 || !strings.Contains(w.rejected(t)[out.Rejected[0]].Error.Cause, "archive") {
			t.Errorf("%+v", out)
		}
	}
	w := versioned()
	o := w.set(photoKey, object{body: "photo", metadata: map[string]string{"param-prompt": "caf\xe9", "param-note": "=?UTF-8?Q?=FF?=", "param-good": "café", "Param-Image": "other.png"}})
	out := w.handle(t, notification{key: photoKey, version: o.VersionID, etag: etagOf(o), sequencer: "A"})
	if len(out.Rejected) != 1 || len(w.started) > 0 || len(w.rejected(t)[out.Rejected[0]].Reasons) != 3 {
		t.Errorf("%+v, %v", out, w.rejected(t))
	}
	large := int64(run.MaxInputFile) + 1
	if _, err := fileRequest(upload{bucket: inbox, key: photoKey, size: &large}, &s3.HeadObjectOutput{}); !named.Is(err, named.InvalidRequest) || !strings.Contains(err.Error(), "at most 524288000") {
		t.Errorf("%v", err)
	}
}
