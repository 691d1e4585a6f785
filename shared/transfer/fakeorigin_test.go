package transfer

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// fakeOrigin serves one file as S3 serves a presigned GET, and fails where a
// test says so.
type fakeOrigin struct {
	mu           sync.Mutex
	data         []byte
	etag         string
	lastModified string
	header       http.Header // more to answer with
	noRanges     bool
	noLength     bool // chunked
	// fault is asked first; n counts the requests from 1. True: it has answered.
	fault func(n int, w http.ResponseWriter, r *http.Request) bool
	// body wraps the writer that the file's bytes go to.
	body func(n int, w http.ResponseWriter) io.Writer

	requests atomic.Int64
	wholes   atomic.Int64 // requests without a range
	served   atomic.Int64
}

func newFakeOrigin(size int) *fakeOrigin {
	return &fakeOrigin{data: randomBytes(size), etag: `"content-1"`}
}

func randomBytes(size int) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size), byte(size >> 8), byte(size >> 16)}).Read(data)
	return data
}

// serve starts the origin and returns the URL of its file.
func (f *fakeOrigin) serve(t testing.TB) redact.SignedURL {
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return redact.SignedURL(server.URL + "/outputs/picture.png?X-Amz-Signature=secret")
}

func (f *fakeOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := int(f.requests.Add(1))
	if r.Header.Get("Range") == "" {
		f.wholes.Add(1)
	}
	if f.fault != nil && f.fault(n, w, r) {
		return
	}
	f.mu.Lock()
	data, etag, lastModified, header, body, noLength := f.data, f.etag, f.lastModified, f.header, f.body, f.noLength
	f.mu.Unlock()
	for name, values := range header {
		w.Header()[name] = values
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "image/png")
	}
	if etag != "" {
		w.Header().Set("ETag", etag)
	}
	if lastModified != "" {
		w.Header().Set("Last-Modified", lastModified)
	}
	if want := r.Header.Get("If-Match"); want != "" && want != etag {
		w.WriteHeader(http.StatusPreconditionFailed)
		return
	}
	from, to, status := 0, len(data), http.StatusOK
	if got, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); got == 2 && !f.noRanges {
		to = min(to+1, len(data))
		if from >= len(data) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(data)))
		status = http.StatusPartialContent
	} else {
		from, to = 0, len(data)
	}
	if !noLength {
		w.Header().Set("Content-Length", strconv.Itoa(to-from))
	}
	w.WriteHeader(status)
	var out io.Writer = w
	if body != nil {
		out = body(n, w)
	}
	for from < to { // in pieces, so that served tells what really went out
		piece := min(32<<10, to-from)
		f.served.Add(int64(piece)) // before: the client may have it all before Write returns
		m, err := out.Write(data[from : from+piece])
		f.served.Add(int64(m - piece))
		if from += m; err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// tag gives the same file other validators.
func (f *fakeOrigin) tag(etag, lastModified string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.etag, f.lastModified = etag, lastModified
}

// replace makes the file another one, written later.
func (f *fakeOrigin) replace(data []byte, etag, lastModified string) {
	f.change(data, etag)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastModified = lastModified
}

// change makes the file another one.
func (f *fakeOrigin) change(data []byte, etag string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.data, f.etag = data, etag
}

// breakAfter lets limit bytes through and then cuts the connection.
type breakAfter struct {
	w     http.ResponseWriter
	limit int
}

func (b *breakAfter) Write(p []byte) (int, error) {
	n, err := b.w.Write(p[:min(len(p), b.limit)])
	if b.limit -= n; b.limit == 0 && err == nil {
		_ = http.NewResponseController(b.w).Flush()
		err = io.ErrClosedPipe
	}
	return n, err
}

// changedETag is that of a file which took another's place.
const changedETag = `"content-2"`

const (
	before = "Mon, 23 Nov 2026 10:00:00 GMT"
	after  = "Mon, 23 Nov 2026 10:00:01 GMT"
)

func reversed(old []byte) []byte {
	data := make([]byte, len(old))
	for i, b := range old {
		data[len(old)-1-i] = b
	}
	return data
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// hijack sends say in place of an answer, and cuts the connection.
func hijack(w http.ResponseWriter, say string) bool {
	conn, buffer, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_, _ = buffer.WriteString(say)
		_ = buffer.Flush()
		_ = conn.Close()
	}
	return true
}

// status answers with that status and header.
func status(code int, header ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "no")
		return true
	}
}
