package transfer

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// Between two invocations the origin has come to hold another file: the upload
// of the old one is aborted and the new one copied whole.
func TestResumeOfChangedOutput(t *testing.T) {
	origin, store := newFakeOrigin(8*testPart), newFakeS3()
	saved, src, client := stopHalfway(t, origin, store)
	origin.change(randomBytes(9*testPart+5), changedETag)
	res, err := testCopier(t, client).Copy(t.Context(), src, testTarget(), saved, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkCopied(t, store, origin, res)
}

// A part without a CRC32 cannot be vouched for, and is copied again.
func TestResumeWithoutSums(t *testing.T) {
	origin, store := newFakeOrigin(8*testPart), newFakeS3()
	store.noSums = true
	saved, src, client := stopHalfway(t, origin, store)
	res, err := testCopier(t, client).Copy(t.Context(), src, testTarget(), saved, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkCopied(t, store, origin, res)
	if res.Copied != int64(len(origin.data)) {
		t.Errorf("copied %d, want all %d", res.Copied, len(origin.data))
	}
}

func TestResumeAfterEnd(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *fakeS3, *Checkpoint, Source, S3){
		"completed by another invocation": func(t *testing.T, _ *fakeS3, cp *Checkpoint, src Source, client S3) {
			if _, err := testCopier(t, client).Copy(t.Context(), src, testTarget(), cp, nil); err != nil {
				t.Fatal(err)
			}
		},
		"aborted": func(t *testing.T, _ *fakeS3, cp *Checkpoint, _ Source, client S3) {
			for range 2 { // the second time there is nothing left to abort
				if err := Abort(t.Context(), client, "bucket", *cp); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			origin, store := newFakeOrigin(8*testPart), newFakeS3()
			saved, src, client := stopHalfway(t, origin, store)
			end(t, store, saved, src, client)
			res, err := testCopier(t, client).Copy(t.Context(), src, testTarget(), saved, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkCopied(t, store, origin, res)
		})
	}
}

// Some seconds of trouble, at the origin or at S3, cost no part that is there:
// the error is one that is tried again, and the next call goes on.
func TestTroubleLeavesTheUpload(t *testing.T) {
	for name, trouble := range map[string]func(*fakeOrigin, *fakeS3, *atomic.Bool){
		"the origin cuts each answer after some bytes": func(origin *fakeOrigin, store *fakeS3, on *atomic.Bool) {
			origin.body = func(_ int, w http.ResponseWriter) io.Writer {
				if on.Load() && store.count("UploadPart") > 20 {
					return &breakAfter{w: w, limit: 100}
				}
				return w
			}
		},
		"the origin resets each answer at once": func(origin *fakeOrigin, store *fakeS3, on *atomic.Bool) {
			origin.fault = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
				return on.Load() && store.count("UploadPart") > 20 && hijack(w, "")
			}
		},
		"S3 cuts its answers": func(_ *fakeOrigin, store *fakeS3, on *atomic.Bool) {
			store.after = func(op string, n int, w http.ResponseWriter, _ *http.Request) bool {
				return on.Load() && op == "UploadPart" && n > 20 && hijack(w, "HTTP/1.1 200 OK\r\nETag: \"x")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			origin, store := newFakeOrigin(40*testPart+5), newFakeS3()
			var on atomic.Bool
			on.Store(true)
			trouble(origin, store, &on)
			client, src := store.client(t), Source{URL: origin.serve(t)}
			var saved *Checkpoint
			_, err := testCopier(t, client).Copy(t.Context(), src, testTarget(), nil, func(_ context.Context, cp Checkpoint) error {
				saved = &cp
				return nil
			})
			if !named.Is(err, named.Unavailable) || store.openUploads() != 1 || saved == nil {
				t.Fatalf("%v, %d uploads", err, store.openUploads())
			}
			on.Store(false)
			res, err := testCopier(t, client).Copy(t.Context(), src, testTarget(), saved, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkCopied(t, store, origin, res)
			if res.Stored == 0 || res.Stored > 24*testPart {
				t.Errorf("the second call stored %d of %d bytes", res.Stored, len(origin.data))
			}
		})
	}
}

// A total that no object can have is refused before an upload is begun; a
// checkpoint that no upload of ours can have had is begun anew.
func TestImpossibleSizes(t *testing.T) {
	origin, store := newFakeOrigin(2*testPart), newFakeS3()
	client, url := store.client(t), origin.serve(t)
	for _, cp := range []Checkpoint{
		{}, {UploadID: "x"}, {UploadID: "x", PartSize: testPart}, {UploadID: "x", PartSize: -1, Total: 1},
		{UploadID: "x", PartSize: 1, Total: math.MaxInt64}, {UploadID: "x", PartSize: math.MaxInt64, Total: 2 * testPart},
	} {
		cp.Key = "runs/1/picture.png"
		res, err := testCopier(t, client).Copy(t.Context(), Source{URL: url}, testTarget(), &cp, nil)
		if err != nil {
			t.Fatalf("%+v: %v", cp, err)
		}
		checkCopied(t, store, origin, res)
		store.mu.Lock()
		clear(store.objects)
		store.mu.Unlock()
	}
	origin.fault = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("ETag", `"x"`)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", testPart-1, math.MaxInt64))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(origin.data[:testPart])
		return true
	}
	created := store.count("CreateMultipartUpload")
	_, err := testCopier(t, client).Copy(t.Context(), Source{URL: url}, testTarget(), nil, nil)
	if !named.Is(err, named.Unavailable) || !strings.Contains(err.Error(), "more than an S3 object can hold") || store.count("CreateMultipartUpload") != created {
		t.Errorf("%v", err)
	}
}

// An output that is another one in each call is fetched in one stream in the
// end: each call would copy some of it and begin anew, for ever.
func TestAnotherOutputEachCall(t *testing.T) {
	origin, store := newFakeOrigin(8*testPart), newFakeS3()
	client, src := store.client(t), Source{URL: origin.serve(t)}
	var saved *Checkpoint
	for call := range maxRestarts + 2 {
		origin.replace(randomBytes(8*testPart+call), fmt.Sprintf(`"content-%d"`, call), fmt.Sprintf("Mon, 23 Nov 2026 10:00:%02d GMT", call))
		copier, before := testCopier(t, client), store.count("UploadPart")
		copier.Connections = 1
		copier.StopBefore = time.Unix(3, 0)
		copier.now = func() time.Time { return time.Unix(int64(store.count("UploadPart")-before), 0) }
		res, err := copier.Copy(t.Context(), src, testTarget(), saved, func(_ context.Context, cp Checkpoint) error {
			saved = &cp
			return nil
		})
		switch {
		case err != nil:
			t.Fatalf("call %d: %v", call, err)
		case call <= maxRestarts && (res.Done || res.Stored == 0):
			t.Fatalf("call %d: %+v", call, res)
		case call > maxRestarts:
			checkCopied(t, store, origin, res)
		}
	}
}

// stopHalfway copies some parts of a file and gives the checkpoint.
func stopHalfway(t *testing.T, origin *fakeOrigin, store *fakeS3) (*Checkpoint, Source, S3) {
	client, src := store.client(t), Source{URL: origin.serve(t)}
	var saved *Checkpoint
	copier := testCopier(t, client)
	copier.Connections = 1
	copier.StopBefore = time.Unix(3, 0)
	copier.now = func() time.Time { return time.Unix(int64(store.count("UploadPart")), 0) }
	res, err := copier.Copy(t.Context(), src, testTarget(), nil, func(_ context.Context, cp Checkpoint) error {
		saved = &cp
		return nil
	})
	if err != nil || res.Done || saved == nil || res.Copied == 0 {
		t.Fatalf("stopping: %+v, %v", res, err)
	}
	return saved, src, client
}
