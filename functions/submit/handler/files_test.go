package handler

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

func TestUploadsFile(t *testing.T) {
	w := newWorld(t)
	out, err := w.drive(withFile(w, "r1"))
	if err != nil {
		t.Fatal(err)
	}
	w.checkSettled("r1", out)
	if fmt.Sprint(w.Cyberun.Uploads) != "[file-1-photo.png=png]" || w.Cyberun.Started[0].Parameters["image"] != "file-1-photo.png" {
		t.Errorf("uploaded %v, sent %v", w.Cyberun.Uploads, w.Cyberun.Started[0].Parameters)
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
		out, err := w.drive(in)
		if err != nil {
			t.Fatal(err)
		}
		w.checkSettled("r1", out)
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

// TestBadFiles are told before anything is uploaded or paid.
func TestBadFiles(t *testing.T) {
	put := func(key, contentType string, size int) func(*world) {
		return func(w *world) {
			w.S3.Set(inboxBucket, key, storetest.Object{Body: make([]byte, size), ContentType: contentType})
		}
	}
	tests := []struct {
		name    string
		uri     string
		prepare func(*world)
		want    string
		text    string
	}{
		{"missing", "s3://inbox/gone.png", nil, named.InvalidRequest, "image: s3://inbox/gone.png is not there"},
		{"forbidden", "s3://private/x.png", func(w *world) { w.Fails("HeadObject private", storetest.Error(http.StatusForbidden, "Forbidden")) }, named.InvalidRequest, "ExtraInputBucketArns"},
		{"another region", "s3://far/x.png", func(w *world) { w.Fails("HeadObject far", storetest.Error(http.StatusMovedPermanently, "")) }, named.InvalidRequest, "another region"},
		{"the relay's own state", "s3://state/wake/r9.json", put("x.png", "image/png", 9), named.InvalidRequest, "may not be read: it is the relay's own state"},
		{"no key", "s3://inbox", nil, named.InvalidRequest, "does not name an S3 object"},
		{"no bucket", "s3:///x.png", nil, named.InvalidRequest, "does not name an S3 object"},
		{"empty", "s3://inbox/e.png", put("e.png", "image/png", 0), named.InvalidRequest, "is empty"},
		{"wrong type", "s3://inbox/x.pdf", put("x.pdf", "application/pdf", 9), named.InvalidRequest, "accepted are image/*, txt"},
		{"S3 away", "s3://inbox/x.png", func(w *world) { w.Fails("HeadObject", errNetwork) }, named.Unavailable, "could not look up s3://inbox/x.png"},
		{"throttled", "s3://inbox/x.png", func(w *world) { w.Fails("HeadObject", storetest.Error(http.StatusServiceUnavailable, "SlowDown")) }, named.Unavailable, ""},
		{"presign refused", "s3://inbox/x.png", func(w *world) {
			put("x.png", "image/png", 9)(w)
			w.Fails("Presign", functiontest.Answered(http.StatusUnprocessableEntity))
		}, named.RunRejected, "announce the file"},
		{"store refuses the size", "s3://inbox/x.png", func(w *world) {
			put("x.png", "image/png", 9)(w)
			w.Fails("Upload", functiontest.Answered(http.StatusRequestEntityTooLarge))
		}, named.RunRejected, "upload the file"},
		{"store stalled", "s3://inbox/x.png", func(w *world) {
			put("x.png", "image/png", 9)(w)
			w.Fails("Upload", functiontest.Answered(http.StatusBadRequest))
		}, named.Unavailable, "upload the file"},
		{"address ran out", "s3://inbox/x.png", func(w *world) {
			put("x.png", "image/png", 9)(w)
			w.Fails("Upload", functiontest.Answered(http.StatusForbidden))
		}, named.Unavailable, "upload the file"},
		{"taken already", "s3://inbox/x.png", func(w *world) {
			put("x.png", "image/png", 9)(w)
			w.Fails("Upload", functiontest.Answered(http.StatusPreconditionFailed))
		}, named.Unavailable, "upload the file"},
		{"changed meanwhile", "s3://inbox/x.png", func(w *world) {
			put("x.png", "image/png", 9)(w)
			w.Around = func(call string, do func() error) error {
				err := do()
				if call == "Presign" {
					put("x.png", "image/png", 10)(w)
				}
				return err
			}
		}, named.InvalidRequest, "changed while the run was prepared"},
		{"taken away meanwhile", "s3://inbox/x.png", func(w *world) {
			put("x.png", "image/png", 9)(w)
			w.Around = func(call string, do func() error) error {
				err := do()
				if call == "Presign" {
					w.S3.Remove(inboxBucket, "x.png")
				}
				return err
			}
		}, named.Unavailable, "could not read"}, // the next try finds it missing
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			if test.prepare != nil {
				test.prepare(w)
			}
			_, _, err, _ := w.once(w.input("r1", fmt.Sprintf(`{"workflow":"text-to-image","parameters":{"prompt":"r1","image":%q}}`, test.uri)))
			wantName(t, err, test.want, test.text)
			if len(w.Cyberun.Started) > 0 || len(w.Cyberun.Uploads) > 0 {
				t.Errorf("tasks %v, uploads %v", w.Cyberun.Started, w.Cyberun.Uploads)
			}
		})
	}
}

// TestTooLarge never reads the file: its head tells.
func TestTooLarge(t *testing.T) {
	file := inputFile{size: maxInputFile + 1, contentType: "image/png", key: "x.png"}
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
		wantName(t, err, named.Unavailable, "")
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
