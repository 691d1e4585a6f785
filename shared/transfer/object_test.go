package transfer

import (
	"bytes"
	"errors"
	"io"
	"net/http"
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

func TestOpen(t *testing.T) {
	data := randomBytes(1_000_000)
	object := newObject(data, http.Header{"Content-Type": {"image/png"}})
	wrongRange := func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("ETag", object.etag)
		w.Header().Set("Content-Range", "bytes 0-999999/1000000")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(data)
		return true
	}
	tests := map[string]struct {
		set  func(*fakeS3)
		etag string
		want string
	}{
		"as it is":                {func(*fakeS3) {}, "", ""},
		"the content asked for":   {func(*fakeS3) {}, object.etag, ""},
		"another content":         {func(*fakeS3) {}, `"other"`, named.OutputChanged},
		"cut once":                {getFault(1, cutAnswer(data, object.etag, 400_000)), "", ""},
		"cut at the first byte":   {getFault(1, cutAnswer(data, object.etag, 0)), "", ""},
		"SlowDown once":           {getFault(1, refuse(http.StatusServiceUnavailable, "SlowDown")), "", ""},
		"SlowDown for good":       {getFault(0, refuse(http.StatusServiceUnavailable, "SlowDown")), "", named.Unavailable},
		"no right to it":          {getFault(0, refuse(http.StatusForbidden, "AccessDenied")), "", named.Unavailable},
		"not there":               {func(s *fakeS3) { delete(s.objects, "in") }, "", named.Unavailable},
		"other bytes than summed": {func(s *fakeS3) { s.objects["in"].crc = "AAAAAA==" }, "", named.Unavailable},
		"changed after a cut": {func(s *fakeS3) {
			cut := cutAnswer(data, object.etag, 400_000)
			s.fault = func(op string, n int, w http.ResponseWriter, r *http.Request) bool {
				if n == 1 {
					s.mu.Lock()
					s.objects["in"] = newObject(reversed(data), object.header)
					s.mu.Unlock()
					return cut(w, r)
				}
				return false
			}
		}, "", named.OutputChanged},
		"another range after a cut": {func(s *fakeS3) {
			cut := cutAnswer(data, object.etag, 400_000)
			s.fault = func(_ string, n int, w http.ResponseWriter, r *http.Request) bool {
				if n == 1 {
					return cut(w, r)
				}
				return wrongRange(w, r)
			}
		}, "", named.Unavailable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newFakeS3()
			copied := *object
			store.objects["in"] = &copied
			test.set(store)
			bounds := &Copier{Backoff: time.Millisecond}
			bounds.init()
			got, err := readAll(t, bounds, store.client(t), test.etag)
			switch {
			case test.want == "" && (err != nil || !bytes.Equal(got, data)):
				t.Errorf("%d bytes, %v, want %d", len(got), err, len(data))
			case test.want != "" && !named.Is(err, test.want):
				t.Errorf("%d bytes, %v, want %s", len(got), err, test.want)
			}
		})
	}
}

func readAll(t *testing.T, bounds *Copier, client Getter, etag string) ([]byte, error) {
	object, err := bounds.openObject(t.Context(), client, "bucket", "in", etag)
	if err != nil {
		return nil, err
	}
	if object.Size != 1_000_000 {
		t.Errorf("size %d", object.Size)
	}
	data, err := io.ReadAll(object)
	return data, errors.Join(err, object.Close())
}
