package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// TestResume resumes a copy after what may have happened between two calls.
func TestResume(t *testing.T) {
	for name, test := range map[string]struct {
		first, between func(*fixture) // before the first call, and after it
		copied         int            // bytes that the second call fetches; 0: not looked at
	}{
		"nothing":                    {copied: 5 * testPart},
		"the output changed":         {between: func(f *fixture) { f.origin.change(randomBytes(9*testPart+5), changedETag) }, copied: 9*testPart + 5},
		"a node with another ETag":   {between: nodes(true, false)},
		"S3 keeps no CRC32 of parts": {first: func(f *fixture) { f.s3.noSums = true }, copied: 8 * testPart},
		"another call completed it": {between: func(f *fixture) {
			if _, err := testCopier(t, f.client).Copy(f.ctx, f.src, testTarget(), f.saved, nil); err != nil {
				t.Fatal(err)
			}
		}},
		"it was aborted, twice": {between: func(f *fixture) {
			for range 2 { // the second time there is nothing left to abort
				if err := Abort(f.ctx, f.client, "bucket", *f.saved); err != nil {
					t.Fatal(err)
				}
			}
		}, copied: 8 * testPart},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 8*testPart)
			if test.first != nil {
				test.first(f)
			}
			f.copySome()
			if test.between != nil {
				test.between(f)
			}
			if res := f.copied(); test.copied > 0 && res.Fetched != int64(test.copied) {
				t.Errorf("fetched %d bytes, want %d", res.Fetched, test.copied)
			}
		})
	}
}

// TestTroubleLeavesTheUpload: some seconds of trouble, at the origin or at S3, cost
// no part that is stored. The error is one that is tried again, and the next call
// resumes the upload.
func TestTroubleLeavesTheUpload(t *testing.T) {
	for name, trouble := range map[string]func(*fixture, *atomic.Bool){
		"the origin cuts each answer after some bytes": func(f *fixture, on *atomic.Bool) {
			f.origin.body = func(_ int, w http.ResponseWriter) io.Writer {
				if on.Load() && f.s3.count("UploadPart") > 20 {
					return &breakAfter{w: w, limit: 100}
				}
				return w
			}
		},
		"the origin resets each answer at once": func(f *fixture, on *atomic.Bool) {
			f.origin.fault = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
				return on.Load() && f.s3.count("UploadPart") > 20 && hijack(w, "")
			}
		},
		"S3 cuts its answers": func(f *fixture, on *atomic.Bool) {
			f.s3.after = func(op string, n int, w http.ResponseWriter, _ *http.Request) bool {
				return on.Load() && op == "UploadPart" && n > 20 && hijack(w, "HTTP/1.1 200 OK\r\nETag: \"x")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 40*testPart+5)
			var on atomic.Bool
			on.Store(true)
			trouble(f, &on)
			if _, err := f.copy(); !named.Is(err, named.Unavailable) || f.s3.openUploads() != 1 || f.saved == nil {
				t.Fatalf("%v, %d uploads", err, f.s3.openUploads())
			}
			on.Store(false)
			if res := f.copied(); res.Stored == 0 || res.Stored > 24*testPart {
				t.Errorf("the second call stored %d of %d bytes", res.Stored, len(f.origin.data))
			}
		})
	}
}

// TestUnsavedCheckpoint: an upload whose checkpoint is not stored is aborted, since
// nothing would find it again.
func TestUnsavedCheckpoint(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		f := newFixture(t, 5*testPart)
		f.origin.noRanges = !ranges
		refused := errors.New("the run was closed")
		f.save = func(context.Context, Checkpoint) error { return refused }
		if _, err := f.copy(); !errors.Is(err, refused) || f.s3.openUploads() > 0 {
			t.Errorf("ranges %t: %v, %d uploads are left", ranges, err, f.s3.openUploads())
		}
	}
}

// TestImpossibleCheckpoints: one that no upload of ours can have had is not resumed.
func TestImpossibleCheckpoints(t *testing.T) {
	for _, cp := range []Checkpoint{
		{}, {UploadID: "x"}, {UploadID: "x", PartSize: testPart}, {UploadID: "x", PartSize: -1, OriginFile: OriginFile{Total: 1}},
		{UploadID: "x", PartSize: 1, OriginFile: OriginFile{Total: math.MaxInt64}}, {UploadID: "x", PartSize: math.MaxInt64, OriginFile: OriginFile{Total: 2 * testPart}},
	} {
		f := newFixture(t, 2*testPart)
		cp.Key = "runs/1/picture.png"
		f.saved = &cp
		f.copied()
	}
}

// TestImpossibleTotal: a total that no object can have is refused before an upload
// is created.
func TestImpossibleTotal(t *testing.T) {
	f := newFixture(t, 2*testPart)
	ranged(func(from, to, _ int) string { return fmt.Sprintf("bytes %d-%d/%d", from, to-1, math.MaxInt64) })(f)
	_, err := f.copy()
	if !named.Is(err, named.Unavailable) || !strings.Contains(err.Error(), "more than an S3 object can hold") || f.s3.count("CreateMultipartUpload") > 0 {
		t.Errorf("%v", err)
	}
}

// TestAnotherOutputEachCall: an output that is another one in each call is copied
// in one stream in the end. Else each call would copy some of it, for ever.
func TestAnotherOutputEachCall(t *testing.T) {
	f := newFixture(t, 8*testPart)
	for call := range maxRestarts + 2 {
		f.origin.replace(randomBytes(8*testPart+call), fmt.Sprintf(`"content-%d"`, call), fmt.Sprintf("Mon, 23 Nov 2026 10:00:%02d GMT", call))
		if f.stopAfter(3, 1); call > maxRestarts {
			f.copied()
		} else if res, err := f.copy(); err != nil || res.Done || res.Stored == 0 {
			t.Fatalf("call %d: %+v, %v", call, res, err)
		}
	}
}
