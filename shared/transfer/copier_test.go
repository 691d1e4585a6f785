package transfer

import (
	"bytes"
	"context"
	"hash/crc32"
	"net/http"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// The tests' parts are small, so that a matrix of sizes stays quick.
const testPart = 64 << 10

func testCopier(t testing.TB, store S3) *Copier {
	origin := NewOrigin(Policy{AllowInsecure: true})
	t.Cleanup(origin.CloseIdleConnections)
	return &Copier{S3: store, Origin: origin, Connections: 4, tuning: tuning{
		partSize: testPart, streamPart: testPart, maxTruncations: defaultAttempts + 2,
		backoff: time.Millisecond, originStall: 5 * time.Second, storeStall: 5 * time.Second,
	}}
}

func testTarget() Target {
	return Target{
		Bucket: "bucket", Key: func(r Remote) string { return "runs/1/" + r.Name },
		Metadata: map[string]string{"cyberun-run-id": "run-1", "cyberun-output-id": "out"},
	}
}

// copyOnce copies an origin's file into a fresh store.
func copyOnce(t *testing.T, origin *fakeOrigin, url redact.SignedURL) (*fakeS3, Result, error) {
	t.Helper()
	store := newFakeS3()
	res, err := testCopier(t, store.client(t)).Copy(t.Context(), Source{URL: url}, testTarget(), nil, nil)
	return store, res, err
}

// checkCopied holds object and result against the file.
func checkCopied(t *testing.T, store *fakeS3, origin *fakeOrigin, res Result) {
	t.Helper()
	object := store.object(res.Key)
	switch {
	case !res.Done || object == nil:
		t.Fatalf("nothing was stored: %+v", res)
	case !bytes.Equal(object.data, origin.data):
		t.Fatalf("the object has other bytes: %d, want %d", len(object.data), len(origin.data))
	case res.Bytes != int64(len(origin.data)) || res.CRC32 != crc32.ChecksumIEEE(origin.data):
		t.Errorf("result %+v, want %d bytes, CRC %08x", res, len(origin.data), crc32.ChecksumIEEE(origin.data))
	case res.ETag != object.etag:
		t.Errorf("ETag %s, want S3's %s", res.ETag, object.etag)
	case object.header.Get("X-Amz-Meta-Cyberun-Run-Id") != "run-1" || object.header.Get("Content-Type") != "image/png":
		t.Errorf("header %v", object.header)
	case object.header.Get("Content-Encoding") != origin.header.Get("Content-Encoding"):
		t.Errorf("encoding %q, want %q", object.header.Get("Content-Encoding"), origin.header.Get("Content-Encoding"))
	case store.openUploads() != 0:
		t.Errorf("%d uploads are left open", store.openUploads())
	}
}

// sizes lie below, at and above one part and several.
var sizes = map[string]int{
	"empty": 0, "one byte": 1, "below a part": testPart - 1, "a part": testPart,
	"above a part": testPart + 1, "parts": 5 * testPart, "parts and a rest": 9*testPart + 4321,
}

func TestCopy(t *testing.T) {
	origins := map[string]func(*fakeOrigin){
		"ranges":             func(*fakeOrigin) {},
		"no ranges":          func(o *fakeOrigin) { o.noRanges = true },
		"no length":          func(o *fakeOrigin) { o.noRanges, o.noLength = true, true },
		"weak ETag":          func(o *fakeOrigin) { o.etag = `W/"content-1"` },
		"only Last-Modified": func(o *fakeOrigin) { o.etag, o.lastModified = "", "Mon, 23 Nov 2026 10:00:00 GMT" },
		"no validator":       func(o *fakeOrigin) { o.etag = "" },
		"encoded":            func(o *fakeOrigin) { o.header = http.Header{"Content-Encoding": {"gzip"}} },
	}
	stores := map[string]func(*fakeS3){
		"full object":  func(*fakeS3) {},
		"composite":    func(s *fakeS3) { s.composite = true },
		"no checksums": func(s *fakeS3) { s.noSums = true },
	}
	for originName, changeOrigin := range origins {
		for storeName, changeStore := range stores {
			for sizeName, size := range sizes {
				t.Run(originName+"/"+storeName+"/"+sizeName, func(t *testing.T) {
					t.Parallel()
					origin, store := newFakeOrigin(size), newFakeS3()
					changeOrigin(origin)
					changeStore(store)
					copier := testCopier(t, store.client(t))
					src := Source{URL: origin.serve(t)}
					res, err := copier.Copy(t.Context(), src, testTarget(), nil, nil)
					if err != nil {
						t.Fatal(err)
					}
					checkCopied(t, store, origin, res)
					again, err := testCopier(t, copier.S3).Copy(t.Context(), src, testTarget(), nil, nil)
					if err != nil {
						t.Fatal(err)
					}
					checkCopied(t, store, origin, again)
					if !again.Skipped {
						t.Error("the second copy did it all again")
					}
				})
			}
		}
	}
}

func TestStopAndResume(t *testing.T) {
	origin, store := newFakeOrigin(20*testPart+17), newFakeS3()
	store.pageSize = 3
	client := store.client(t)
	src := Source{URL: origin.serve(t)}
	var saved *Checkpoint
	save := func(_ context.Context, cp Checkpoint) error {
		if saved != nil {
			t.Error("a second upload was begun")
		}
		saved = &cp
		return nil
	}
	calls := 0
	for {
		copier := testCopier(t, client)
		copier.Connections = 2
		// A clock that is moved by what S3 has got: time for four parts a call.
		before := store.count("UploadPart")
		copier.StopBefore = time.Unix(4, 0)
		copier.now = func() time.Time { return time.Unix(int64(store.count("UploadPart")-before), 0) }
		res, err := copier.Copy(t.Context(), src, testTarget(), saved, save)
		if err != nil {
			t.Fatal(err)
		}
		if calls++; res.Done {
			checkCopied(t, store, origin, res)
			break
		}
		if calls > 20 {
			t.Fatal("the copy gets nowhere")
		}
	}
	if calls < 4 {
		t.Errorf("only %d calls: it was not stopped", calls)
	}
	if served := origin.served.Load(); served != int64(len(origin.data)) {
		t.Errorf("fetched %d bytes, want each of %d once", served, len(origin.data))
	}
}

// deadline is a context whose time is over when the test says so.
type deadline struct {
	context.Context
	over chan struct{}
}

func (d deadline) Done() <-chan struct{} { return d.over }

func (d deadline) Err() error {
	select {
	case <-d.over:
		return context.DeadlineExceeded
	default:
		return d.Context.Err()
	}
}

// The deadline itself, after StopBefore, is no failure: what S3 has is gone on
// with. Without ranges nothing is, and nothing is left.
func TestDeadline(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		origin, store := newFakeOrigin(8*testPart), newFakeS3()
		origin.noRanges = !ranges
		copier := testCopier(t, store.client(t))
		copier.now = func() time.Time { return time.Unix(0, 0) }
		copier.StopBefore = time.Unix(1, 0)
		ctx := deadline{t.Context(), make(chan struct{})}
		store.fault = func(op string, n int, _ http.ResponseWriter, _ *http.Request) bool {
			if op == "UploadPart" && n == 3 {
				close(ctx.over)
			}
			return false
		}
		res, err := copier.Copy(ctx, Source{URL: origin.serve(t)}, testTarget(), nil, nil)
		if res.Done || err != nil {
			t.Errorf("ranges %t: %+v, %v", ranges, res, err)
		}
		if left := store.openUploads(); left != 1 && ranges || left != 0 && !ranges {
			t.Errorf("ranges %t: %d uploads are left", ranges, left)
		}
		if !ranges && res.Stored != 0 {
			t.Errorf("a stream has stored %d bytes, on which no later call can build", res.Stored)
		}
	}
}
