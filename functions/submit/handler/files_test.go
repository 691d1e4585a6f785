package handler

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

func TestUploadsFile(t *testing.T) {
	w := newWorld(t)
	w.submits("r1", withFile(w, "r1"))
	if fmt.Sprint(w.Cyberun.Uploads) != "[file-1-photo.png=png]" || w.Cyberun.Started[0].Parameters["image"] != "file-1-photo.png" {
		t.Errorf("uploaded %v, sent %v", w.Cyberun.Uploads, w.Cyberun.Started[0].Parameters)
	}
}

// TestFileNames: a key may be what no file can be called.
func TestFileNames(t *testing.T) {
	long := strings.Repeat("图", 300)
	for key, want := range map[string]string{
		"photo.png": "photo.png", "a/b c+ü%20.png": "b c+ü%20.png", "a//x": "x", "a/..": "file", "a/ ": "file", "a\nb/c\nd.png": "c_d.png",
		long + ".png": strings.Repeat("图", 83) + ".png", long: strings.Repeat("图", 85), "x." + long: "x." + strings.Repeat("图", 84),
	} {
		if got := fileName(key); got != want {
			t.Errorf("%q is announced as %q, want %q", key, got, want)
		}
	}
}

// TestUploadsFileAgain only when Cyberun may have removed it: a redrive may come
// days later.
func TestUploadsFileAgain(t *testing.T) {
	for later, want := range map[time.Duration]int{fileKept - time.Hour: 1, fileKept + time.Hour: 2} {
		w := newWorld(t)
		in := withFile(w, "r1")
		w.Fails("PutObject state/submitting/", errNetwork)
		if _, name, _, _ := w.once(in); name != named.Unavailable || len(w.Cyberun.Uploads) != 1 {
			t.Fatalf("%s, uploaded %v", name, w.Cyberun.Uploads)
		}
		w.Around = nil
		w.Now = w.Now.Add(later)
		w.submits("r1", in)
		if len(w.Cyberun.Uploads) != want {
			t.Errorf("%s later: uploaded %v, want %d", later, w.Cyberun.Uploads, want)
		}
	}
}

func TestFileKeyIsPassedOn(t *testing.T) {
	w := newWorld(t)
	if _, err := w.drive(w.input("r1", `{"workflow":"text-to-image","parameters":{"prompt":"r1","image":"inputs/given.png"}}`)); err != nil {
		t.Fatal(err)
	}
	if len(w.Cyberun.Uploads) != 0 || w.Cyberun.Started[0].Parameters["image"] != "inputs/given.png" {
		t.Errorf("uploaded %v, sent %v", w.Cyberun.Uploads, w.Cyberun.Started[0].Parameters)
	}
}

// TestBadFiles: a file that cannot be an input is refused before anything is uploaded
// or paid.
func TestBadFiles(t *testing.T) {
	put := func(key, contentType string, size int) func(*world) {
		return func(w *world) {
			w.S3.Set(inboxBucket, key, storetest.Object{Body: make([]byte, size), ContentType: contentType})
		}
	}
	fails := func(call string, err error) func(*world) {
		return func(w *world) { w.Fails(call, err) }
	}
	uploaded := func(call string, err error) func(*world) { // x.png is there, and a later call fails
		return func(w *world) { put("x.png", "image/png", 9)(w); fails(call, err)(w) }
	}
	tests := []struct {
		name    string
		uri     string
		prepare func(*world)
		want    string
		text    string
	}{
		{name: "missing", uri: "s3://inbox/gone.png", want: named.InvalidRequest, text: "image: s3://inbox/gone.png is not there"},
		{name: "forbidden", uri: "s3://private/x.png", prepare: fails("HeadObject private", storetest.Error(http.StatusForbidden, "Forbidden")), want: named.InvalidRequest, text: "ExtraInputBucketArns"},
		{name: "another region", uri: "s3://far/x.png", prepare: fails("HeadObject far", storetest.Error(http.StatusMovedPermanently, "")), want: named.InvalidRequest, text: "another region"},
		{name: "the relay's own state", uri: "s3://state/wake/r9.json", prepare: put("x.png", "image/png", 9), want: named.InvalidRequest, text: "may not be read: it is the relay's own state"},
		{name: "no key", uri: "s3://inbox", want: named.InvalidRequest, text: "does not name an S3 object"},
		{name: "no bucket", uri: "s3:///x.png", want: named.InvalidRequest, text: "does not name an S3 object"},
		{name: "empty", uri: "s3://inbox/e.png", prepare: put("e.png", "image/png", 0), want: named.InvalidRequest, text: "is empty"},
		{name: "wrong type", uri: "s3://inbox/x.pdf", prepare: put("x.pdf", "application/pdf", 9), want: named.InvalidRequest, text: "accepted are image/*, txt"},
		{name: "S3 away", uri: "s3://inbox/x.png", prepare: fails("HeadObject", errNetwork), want: named.Unavailable, text: "could not look up s3://inbox/x.png"},
		{name: "throttled", uri: "s3://inbox/x.png", prepare: fails("HeadObject", storetest.Error(http.StatusServiceUnavailable, "SlowDown")), want: named.Unavailable},
		{name: "presign refused", uri: "s3://inbox/x.png", prepare: uploaded("Presign", functiontest.Answered(http.StatusUnprocessableEntity)), want: named.RunRejected, text: "announce the file"},
		{name: "store refuses the size", uri: "s3://inbox/x.png", prepare: uploaded("Upload", functiontest.Answered(http.StatusRequestEntityTooLarge)), want: named.RunRejected, text: "upload the file"},
		{name: "store stalled", uri: "s3://inbox/x.png", prepare: uploaded("Upload", functiontest.Answered(http.StatusBadRequest)), want: named.Unavailable, text: "upload the file"},
		{name: "address ran out", uri: "s3://inbox/x.png", prepare: uploaded("Upload", functiontest.Answered(http.StatusForbidden)), want: named.Unavailable, text: "upload the file"},
		{name: "taken already", uri: "s3://inbox/x.png", prepare: uploaded("Upload", functiontest.Answered(http.StatusPreconditionFailed)), want: named.Unavailable, text: "upload the file"},
		{name: "changed meanwhile", uri: "s3://inbox/x.png", prepare: func(w *world) {
			put("x.png", "image/png", 9)(w)
			w.Around = func(call string, do func() error) error {
				err := do()
				if call == "Presign" {
					put("x.png", "image/png", 10)(w)
				}
				return err
			}
		}, want: named.InvalidRequest, text: "changed while the run was prepared"},
		{name: "taken away meanwhile", uri: "s3://inbox/x.png", prepare: func(w *world) {
			put("x.png", "image/png", 9)(w)
			w.Around = func(call string, do func() error) error {
				err := do()
				if call == "Presign" {
					w.S3.Remove(inboxBucket, "x.png")
				}
				return err
			}
		}, want: named.Unavailable, text: "could not read"}, // the next try finds it missing
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			if test.prepare != nil {
				test.prepare(w)
			}
			_, _, err, _ := w.once(w.input("r1", fmt.Sprintf(`{"workflow":"text-to-image","parameters":{"prompt":"r1","image":%q}}`, test.uri)))
			namedtest.Want(t, err, test.want, test.text)
			if len(w.Cyberun.Started) > 0 || len(w.Cyberun.Uploads) > 0 {
				t.Errorf("tasks %v, uploads %v", w.Cyberun.Started, w.Cyberun.Uploads)
			}
		})
	}
}

// TestTooLarge never reads the file: its head tells.
func TestTooLarge(t *testing.T) {
	file := inputFile{size: run.MaxInputFile + 1, contentType: "image/png", key: "x.png"}
	if problem := file.problem([]string{"image/png"}); !strings.Contains(problem, "500 MiB") {
		t.Error(problem)
	}
	file.size--
	if problem := file.problem([]string{"image/png"}); problem != "" {
		t.Error(problem)
	}
}

// TestTypeByName: an upload that named no type is known by its extension.
func TestTypeByName(t *testing.T) {
	for _, contentType := range []string{"", "binary/octet-stream", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain", "image/x-png"} {
		w := newWorld(t)
		w.S3.Set(inboxBucket, "dir/photo.PNG", storetest.Object{Body: []byte("x"), ContentType: contentType})
		if _, err := w.drive(w.input("r1", `{"workflow":"text-to-image","parameters":{"prompt":"r1","image":"s3://inbox/dir/photo.PNG"}}`)); err != nil {
			t.Errorf("%q: %v", contentType, err)
		}
	}
}

// TestChangedBetweenTries: a file that was replaced since it was uploaded is
// uploaded anew, and only then.
func TestChangedBetweenTries(t *testing.T) {
	for _, changed := range []bool{true, false} {
		w := newWorld(t)
		in := withFile(w, "r1")
		w.Cyberun.Refuse = func() error { return functiontest.Refused(http.StatusTooManyRequests) }
		_, _, err, _ := w.once(in)
		namedtest.Want(t, err, named.Unavailable, "")
		if w.Cyberun.Refuse = nil; changed {
			w.S3.Set(inboxBucket, "photo.png", storetest.Object{Body: []byte("newer"), ContentType: "image/png"})
		}
		if _, err := w.drive(in); err != nil {
			t.Fatal(err)
		}
		want := "[file-1-photo.png=png]"
		if changed {
			want = "[file-1-photo.png=png file-2-photo.png=newer]"
		}
		if fmt.Sprint(w.Cyberun.Uploads) != want {
			t.Errorf("changed %v: %v", changed, w.Cyberun.Uploads)
		}
	}
}

// pinnedTo is a request for photo.png whose input is pinned.
func pinnedTo(field, value string) string {
	return fmt.Sprintf(`{"workflow":"text-to-image","parameters":{"prompt":"r1","image":"s3://inbox/photo.png"},"input_versions":{"image":{%q:%q}}}`, field, value)
}

// TestPinned: each run reads what its request names, whatever lies at the key when
// it comes to it, or ends by a name; nothing is announced or paid for then.
func TestPinned(t *testing.T) {
	photo := func(body string) storetest.Object {
		return storetest.Object{Body: []byte(body), ContentType: "image/png"}
	}
	tests := []struct {
		name      string
		versioned bool
		request   func(a, b storetest.Object) string
		between   func(w *world, a storetest.Object) // after photo A and photo B were put
		uploaded  string                             // to Cyberun
		want      string                             // the error's name, if any
		text      string
	}{
		{"the older version", true, func(a, _ storetest.Object) string { return pinnedTo("version_id", a.VersionID) }, nil, "[file-1-photo.png=photo A]", "", ""},
		{"the newer version", true, func(_, b storetest.Object) string { return pinnedTo("version_id", b.VersionID) }, nil, "[file-1-photo.png=photo B]", "", ""},
		{"a version behind a delete marker", true, func(a, _ storetest.Object) string { return pinnedTo("version_id", a.VersionID) },
			func(w *world, _ storetest.Object) { w.S3.Remove(inboxBucket, "photo.png") }, "[file-1-photo.png=photo A]", "", ""},
		{"a version that expired", true, func(a, _ storetest.Object) string { return pinnedTo("version_id", a.VersionID) },
			func(w *world, a storetest.Object) { w.S3.RemoveVersion(inboxBucket, "photo.png", a.VersionID) }, "[]", named.InputGone, "image: the version version-1 of s3://inbox/photo.png is gone"},
		{"a delete marker itself", true, func(storetest.Object, storetest.Object) string { return pinnedTo("version_id", "version-3") },
			func(w *world, _ storetest.Object) { w.S3.Remove(inboxBucket, "photo.png") }, "[]", named.InputGone, "version-3"},
		{"another object's version", true, func(storetest.Object, storetest.Object) string { return pinnedTo("version_id", "version-99") }, nil, "[]", named.InputGone, "version-99"},
		{"the ETag of what lies there", false, func(_, b storetest.Object) string { return pinnedTo("etag", strings.Trim(b.ETag, `"`)) }, nil, "[file-1-photo.png=photo B]", "", ""},
		{"the ETag with its quotes", false, func(_, b storetest.Object) string { return pinnedTo("etag", b.ETag) }, nil, "[file-1-photo.png=photo B]", "", ""},
		{"the ETag of what was replaced", false, func(a, _ storetest.Object) string { return pinnedTo("etag", strings.Trim(a.ETag, `"`)) }, nil, "[]", named.InputReplaced, "image: s3://inbox/photo.png has other bytes"},
		{"the ETag of what was taken away", false, func(_, b storetest.Object) string { return pinnedTo("etag", strings.Trim(b.ETag, `"`)) },
			func(w *world, _ storetest.Object) { w.S3.Remove(inboxBucket, "photo.png") }, "[]", named.InputGone, "image: s3://inbox/photo.png is gone"},
		{"an ETag, replaced once it was looked up", false, func(_, b storetest.Object) string { return pinnedTo("etag", strings.Trim(b.ETag, `"`)) },
			func(w *world, _ storetest.Object) {
				w.Around = after("Presign", func() { w.S3.Set(inboxBucket, "photo.png", photo("photo C")) })
			}, "[]", named.InputReplaced, "has other bytes"},
		{"an ETag, taken away once it was looked up", false, func(_, b storetest.Object) string { return pinnedTo("etag", strings.Trim(b.ETag, `"`)) },
			func(w *world, _ storetest.Object) {
				w.Around = after("Presign", func() { w.S3.Remove(inboxBucket, "photo.png") })
			}, "[]", named.InputGone, "is gone"},
		{"a version, expired once it was looked up", true, func(a, _ storetest.Object) string { return pinnedTo("version_id", a.VersionID) },
			func(w *world, a storetest.Object) {
				w.Around = after("Presign", func() { w.S3.RemoveVersion(inboxBucket, "photo.png", a.VersionID) })
			}, "[]", named.InputGone, "version-1"},
		{"a version, S3 away", true, func(a, _ storetest.Object) string { return pinnedTo("version_id", a.VersionID) },
			func(w *world, _ storetest.Object) {
				w.Fails("HeadObject inbox", storetest.Error(http.StatusServiceUnavailable, "SlowDown"))
			}, "[]", named.Unavailable, "could not look up"},
		{"a version, no right", true, func(a, _ storetest.Object) string { return pinnedTo("version_id", a.VersionID) },
			func(w *world, _ storetest.Object) {
				w.Fails("HeadObject inbox", storetest.Error(http.StatusForbidden, "AccessDenied"))
			}, "[]", named.InvalidRequest, "ExtraInputBucketArns"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			if test.versioned {
				w.S3.Versioned = []string{inboxBucket}
			}
			w.S3.Set(inboxBucket, "photo.png", photo("photo A"))
			a, _ := w.S3.Object(inboxBucket, "photo.png")
			w.S3.Set(inboxBucket, "photo.png", photo("photo B"))
			b, _ := w.S3.Object(inboxBucket, "photo.png")
			if test.between != nil {
				test.between(w, a)
			}
			_, _, err, _ := w.once(w.input("r1", test.request(a, b)))
			if test.want != "" {
				namedtest.Want(t, err, test.want, test.text)
			} else if err != nil {
				t.Error(err)
			}
			if fmt.Sprint(w.Cyberun.Uploads) != test.uploaded || (len(w.Cyberun.Started) == 1) != (test.want == "") {
				t.Errorf("uploaded %v, tasks %v", w.Cyberun.Uploads, w.Cyberun.Started)
			}
		})
	}
}

// after does something once a call of that name has ended.
func after(name string, do func()) func(string, func() error) error {
	return func(call string, send func() error) error {
		err := send()
		if call == name {
			do()
		}
		return err
	}
}

// TestPinnedAsText: a parameter's name comes from a key, its spelling from the
// workflow; the pin goes with it.
func TestPinnedAsText(t *testing.T) {
	w := newWorld(t)
	w.S3.Versioned = []string{inboxBucket}
	w.Cyberun.Flow.Parameters[2].Key = "Image"
	for _, body := range []string{"photo A", "photo B"} {
		w.S3.Set(inboxBucket, "photo.png", storetest.Object{Body: []byte(body), ContentType: "image/png"})
	}
	request := strings.Replace(pinnedTo("version_id", "version-1"), "{", `{"parameters_as_text":true,`, 1)
	if _, err := w.drive(w.input("r1", request)); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(w.Cyberun.Uploads) != "[file-1-photo.png=photo A]" {
		t.Errorf("uploaded %v", w.Cyberun.Uploads)
	}
	if pin := pinOf(map[string]run.InputVersion{"image": {ETag: "e"}}, "mask"); pin != (run.InputVersion{}) {
		t.Errorf("the pin of another parameter: %v", pin)
	}
}

// TestPinnedRetry: a step tried again after its file was replaced does not take the
// newer bytes for the pinned ones.
func TestPinnedRetry(t *testing.T) {
	w := newWorld(t)
	w.S3.Set(inboxBucket, "photo.png", storetest.Object{Body: []byte("photo A"), ContentType: "image/png"})
	a, _ := w.S3.Object(inboxBucket, "photo.png")
	w.Cyberun.Refuse = func() error {
		return &cyberun.StartError{NotStarted: true, Err: functiontest.Refused(http.StatusTooManyRequests)}
	}
	in := w.input("r1", pinnedTo("etag", strings.Trim(a.ETag, `"`)))
	_, _, err, _ := w.once(in)
	namedtest.Want(t, err, named.Unavailable, "")
	w.Cyberun.Refuse = nil
	w.S3.Set(inboxBucket, "photo.png", storetest.Object{Body: []byte("photo B"), ContentType: "image/png"})
	_, err = w.drive(in)
	namedtest.Want(t, err, named.InputReplaced, "")
	if len(w.Cyberun.Started) > 0 || fmt.Sprint(w.Cyberun.Uploads) != "[file-1-photo.png=photo A]" {
		t.Errorf("uploaded %v, tasks %v", w.Cyberun.Uploads, w.Cyberun.Started)
	}
}

// TestFilesAreNotedInTurn: each write of the record follows the one before, so S3
// refuses none of them: a refused one costs two more requests.
func TestFilesAreNotedInTurn(t *testing.T) {
	w := newWorld(t)
	w.S3.Set(inboxBucket, "x.png", storetest.Object{Body: []byte("picture"), ContentType: "image/png"})
	var refused []string
	w.Around = func(call string, do func() error) error {
		err := do()
		var answer *awshttp.ResponseError
		if errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusPreconditionFailed {
			refused = append(refused, call)
		}
		return err
	}
	if _, _, err, _ := w.once(w.input("r1", `{"workflow":"text-to-image","parameters":{"prompt":"r1","image":"s3://inbox/x.png"}}`)); err != nil {
		t.Fatal(err)
	}
	if len(w.Cyberun.Uploads) != 1 || len(refused) > 0 {
		t.Errorf("uploads %v, refused %v", w.Cyberun.Uploads, refused)
	}
}
