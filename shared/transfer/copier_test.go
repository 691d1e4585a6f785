package transfer

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// The tests' parts are small, so that a matrix of sizes stays quick.
const testPart = 64 << 10

func testCopier(t testing.TB, store S3) *Copier {
	origin := NewRestrictedClient(Policy{AllowInsecure: true})
	t.Cleanup(origin.CloseIdleConnections)
	return &Copier{S3: store, Origin: origin, Connections: 4, tuning: tuning{
		partSize: testPart, streamPart: testPart, maxTruncations: defaultAttempts + 2,
		backoff: time.Millisecond, originStall: 5 * time.Second, s3Stall: 5 * time.Second,
	}}
}

func testTarget() Target {
	return Target{
		Bucket: "bucket", Key: func(r OriginFile) string { return "runs/1/" + r.Name },
		Metadata: map[string]string{"cyberun-run-id": "run-1", "cyberun-output-id": "out"},
	}
}

// fixture is an origin with one file, an S3, and the calls that copy the one into
// the other.
type fixture struct {
	t         *testing.T
	origin    *fakeOrigin
	s3        *fakeS3
	client    *s3.Client
	copier    *Copier // of the next call
	src       Source
	refreshed atomic.Int64 // how often a fresh URL was asked for
	save      Save         // into saved, unless a test says otherwise
	saved     *Checkpoint  // what the next call begins with
	ctx       context.Context
}

func newFixture(t *testing.T, size int) *fixture {
	f := &fixture{t: t, origin: newFakeOrigin(size), s3: newFakeS3(), ctx: t.Context()}
	f.client = f.s3.client(t)
	f.copier = testCopier(t, f.client)
	url := f.origin.serve(t)
	f.src = Source{URL: url, Refresh: func(context.Context) (redact.SignedURL, error) {
		return url + redact.SignedURL(fmt.Sprintf("&fresh=%d", f.refreshed.Add(1))), nil
	}}
	f.save = func(_ context.Context, cp Checkpoint) error {
		f.saved = &cp
		return nil
	}
	return f
}

// at returns the URL of another path of the origin.
func (f *fixture) at(path string) redact.SignedURL {
	base, _, _ := strings.Cut(string(f.src.URL), "/outputs/")
	return redact.SignedURL(base + path)
}

// copy makes one call.
func (f *fixture) copy() (Result, error) {
	res, err := f.copier.Copy(f.ctx, f.src, testTarget(), f.saved, f.save)
	f.copier = testCopier(f.t, f.client)
	return res, err
}

// copied makes one call, which must store the origin's file.
func (f *fixture) copied() Result {
	f.t.Helper()
	res, err := f.copy()
	if err != nil {
		f.t.Fatal(err)
	}
	checkCopied(f.t, f.s3, f.origin, res)
	return res
}

// stopAfter makes the next call stop when S3 has been given so many parts more, by
// a clock that they move.
func (f *fixture) stopAfter(parts, connections int) {
	before := f.s3.count("UploadPart")
	f.copier.Connections, f.copier.StopBefore = connections, time.Unix(int64(parts), 0)
	f.copier.now = func() time.Time { return time.Unix(int64(f.s3.count("UploadPart")-before), 0) }
}

// copySome makes one call that stops after some parts.
func (f *fixture) copySome() {
	f.t.Helper()
	f.stopAfter(3, 1)
	if res, err := f.copy(); err != nil || res.Done || f.saved == nil || res.Stored == 0 {
		f.t.Fatalf("stopping: %+v, %v", res, err)
	}
}

// checkCopied compares object and result with the file.
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
		for s3Name, changeS3 := range stores {
			for sizeName, size := range sizes {
				t.Run(originName+"/"+s3Name+"/"+sizeName, func(t *testing.T) {
					t.Parallel()
					f := newFixture(t, size)
					changeOrigin(f.origin)
					changeS3(f.s3)
					f.copied()
					f.saved = nil
					if again := f.copied(); !again.Skipped {
						t.Error("the second copy did it all again")
					}
				})
			}
		}
	}
}

// TestStopAndResume copies in calls of four parts each.
func TestStopAndResume(t *testing.T) {
	f := newFixture(t, 20*testPart+17)
	f.s3.pageSize = 3
	for calls := 1; ; calls++ {
		f.stopAfter(4, 2)
		res, err := f.copy()
		if err != nil || calls > 20 {
			t.Fatalf("call %d: %+v, %v", calls, res, err)
		}
		if !res.Done {
			continue
		}
		if checkCopied(t, f.s3, f.origin, res); calls < 4 {
			t.Errorf("only %d calls: it was not stopped", calls)
		}
		break
	}
	if created := f.s3.count("CreateMultipartUpload"); created != 1 {
		t.Errorf("%d uploads were created", created)
	}
	if served := f.origin.served.Load(); served != int64(len(f.origin.data)) {
		t.Errorf("fetched %d bytes, want each of %d once", served, len(f.origin.data))
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

// TestDeadline: the context's deadline, after StopBefore, is no failure. The upload
// is there to be resumed; that of a stream, which cannot be, is aborted.
func TestDeadline(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		f := newFixture(t, 8*testPart)
		f.origin.noRanges = !ranges
		f.copier.now = func() time.Time { return time.Unix(0, 0) }
		f.copier.StopBefore = time.Unix(1, 0)
		ctx := deadline{t.Context(), make(chan struct{})}
		f.ctx = ctx
		f.s3.fault = func(op string, n int, _ http.ResponseWriter, _ *http.Request) bool {
			if op == "UploadPart" && n == 3 {
				close(ctx.over)
			}
			return false
		}
		res, err := f.copy()
		if res.Done || err != nil {
			t.Errorf("ranges %t: %+v, %v", ranges, res, err)
		}
		if left := f.s3.openUploads(); left != 1 && ranges || left != 0 && !ranges {
			t.Errorf("ranges %t: %d uploads are left", ranges, left)
		}
		if !ranges && res.Stored != 0 {
			t.Errorf("a stream has stored %d bytes, which no later call can resume", res.Stored)
		}
	}
}
