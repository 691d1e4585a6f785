package transfer

import (
	"hash/crc32"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// getFault makes the nth GetObject go wrong.
func getFault(n int, answer func(http.ResponseWriter, *http.Request) bool) func(*fakeS3) {
	return func(s *fakeS3) {
		s.fault = func(op string, i int, w http.ResponseWriter, r *http.Request) bool {
			return op == "GetObject" && (n == 0 || n == i) && answer(w, r)
		}
	}
}

// cutAnswer gives the object's first bytes and breaks off.
func cutAnswer(data []byte, etag string, after int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("ETag", etag)
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write(data[:after])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func TestReadBack(t *testing.T) {
	data := randomBytes(1_000_000)
	object := newObject(data, http.Header{"Content-Type": {"image/png"}})
	wrongRange := func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("ETag", object.etag)
		w.Header().Set("Content-Range", "bytes 0-999999/1000000")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(data)
		return true
	}
	afterCut := func(then func(*fakeS3, http.ResponseWriter, *http.Request) bool) func(*fakeS3) {
		cut := cutAnswer(data, object.etag, 400_000)
		return func(s *fakeS3) {
			s.fault = func(_ string, n int, w http.ResponseWriter, r *http.Request) bool {
				if n == 1 {
					return cut(w, r)
				}
				return then(s, w, r)
			}
		}
	}
	tests := map[string]struct {
		set  func(*fakeS3)
		want string // the name of the error; empty: none
	}{
		"as it is":                {set: func(*fakeS3) {}},
		"another content":         {set: func(s *fakeS3) { s.objects["in"].etag = `"other"` }, want: named.OutputChanged},
		"cut once":                {set: getFault(1, cutAnswer(data, object.etag, 400_000))},
		"cut at the first byte":   {set: getFault(1, cutAnswer(data, object.etag, 0))},
		"SlowDown once":           {set: getFault(1, refuse(http.StatusServiceUnavailable, "SlowDown"))},
		"SlowDown for good":       {set: getFault(0, refuse(http.StatusServiceUnavailable, "SlowDown")), want: named.Unavailable},
		"no right to it":          {set: getFault(0, refuse(http.StatusForbidden, "AccessDenied")), want: named.Unavailable},
		"not there":               {set: func(s *fakeS3) { delete(s.objects, "in") }, want: named.Unavailable},
		"other bytes than summed": {set: func(s *fakeS3) { s.objects["in"].crc = "AAAAAA==" }, want: named.Unavailable},
		"another size":            {set: func(s *fakeS3) { s.objects["in"].data = data[1:] }, want: named.Unavailable},
		"changed after a cut": {want: named.OutputChanged, set: afterCut(func(s *fakeS3, _ http.ResponseWriter, _ *http.Request) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.objects["in"] = newObject(reversed(data), object.header)
			return false
		})},
		"a range that is shorter than it says": {set: afterCut(func(s *fakeS3, w http.ResponseWriter, r *http.Request) bool {
			if s.calls["GetObject"] > 2 {
				return false
			}
			w.Header().Set("ETag", object.etag)
			w.Header().Set("Content-Range", "bytes 400000-999999/1000000")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(data[400_000:401_000])
			return true
		})},
		"another range after a cut": {want: named.Unavailable, set: afterCut(func(_ *fakeS3, w http.ResponseWriter, r *http.Request) bool {
			return wrongRange(w, r)
		})},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newFakeS3()
			copied := *object
			store.objects["in"] = &copied
			test.set(store)
			crc, err := testBucket(store.client(t)).readBack(t.Context(), "in", object.etag, int64(len(data)))
			switch {
			case test.want == "" && (err != nil || crc != crc32.ChecksumIEEE(data)):
				t.Errorf("%08x, %v, want %08x", crc, err, crc32.ChecksumIEEE(data))
			case test.want != "" && !named.Is(err, test.want):
				t.Errorf("%08x, %v, want %s", crc, err, test.want)
			}
		})
	}
}

func testBucket(client S3) *bucketClient {
	return &bucketClient{s3: client, bucket: "bucket", retry: retryPolicy{attempts: defaultAttempts, backoff: time.Millisecond}, stall: time.Minute}
}

// TestObjectOfAnotherSize: an object with the target's metadata is this output only
// if it has its size as well.
func TestObjectOfAnotherSize(t *testing.T) {
	for _, size := range []int{1000, 5 * testPart} {
		f := newFixture(t, size)
		f.copied()
		f.origin.change(randomBytes(size+1), changedETag)
		f.saved = nil
		if res := f.copied(); res.Skipped {
			t.Errorf("%d bytes: the old object was taken for the new one", size)
		}
	}
}

// TestContentTypesToStore: what S3 could not be told in a signed header is not.
func TestContentTypesToStore(t *testing.T) {
	for told, want := range map[string]string{
		"image/png": "image/png", "text/plain; charset=utf-8": "text/plain; charset=utf-8", "image/png; name=größe.png": "image/png",
		"image/png; name=gr\xf6\xdfe.png": "image/png", "größe": "application/octet-stream", "": "application/octet-stream",
		"image/png; name=" + strings.Repeat("x", maxContentType): "image/png", strings.Repeat("x", maxContentType+1): "application/octet-stream",
	} {
		if got := contentType(told); got != want {
			t.Errorf("%q is stored as %q, want %q", told, got, want)
		}
	}
}
