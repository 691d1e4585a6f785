package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// cell is what one copy of the matrix runs against.
type cell struct {
	origin *fakeOrigin
	store  *fakeS3
	copier *Copier
	src    *Source
	save   func(context.Context, Checkpoint) error
	ctx    context.Context
	url    redact.SignedURL
}

// fault is one row of the matrix; want is what it comes to for a file of
// several parts whose origin has ranges: the name of an error, or "" for a right
// object. In every other cell either will do, so long as it is one of the two.
type fault struct {
	name string
	set  func(*cell)
	want string
}

const changedETag = `"content-2"`

func hijack(w http.ResponseWriter, say string) bool {
	conn, buffer, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_, _ = buffer.WriteString(say)
		_ = buffer.Flush()
		_ = conn.Close()
	}
	return true
}

// onRequest makes the origin answer its nth request (0: each one) with answer.
func onRequest(n int, answer func(http.ResponseWriter, *http.Request) bool) func(*cell) {
	return func(c *cell) {
		c.origin.fault = func(i int, w http.ResponseWriter, r *http.Request) bool {
			return (n == 0 || n == i) && answer(w, r)
		}
	}
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

// cut breaks the body of the nth answer (0: of each) after some bytes.
func cut(n, after int) func(*cell) {
	return func(c *cell) {
		c.origin.body = func(i int, w http.ResponseWriter) io.Writer {
			if n == 0 || n == i {
				return &breakAfter{w: w, limit: after}
			}
			return w
		}
	}
}

// cutRange announces the rest of the file and sends nothing of it.
func cutRange(w http.ResponseWriter, o *fakeOrigin, from int) bool {
	to := min(from+testPart, len(o.data))
	w.Header().Set("ETag", o.etag)
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(o.data)))
	w.Header().Set("Content-Length", fmt.Sprint(to-from))
	w.WriteHeader(http.StatusPartialContent)
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// later changes a header of every answer after the first.
func later(name, value string) func(*cell) {
	return func(c *cell) {
		c.origin.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n > 1 {
				c.origin.mu.Lock()
				defer c.origin.mu.Unlock()
				c.origin.header = http.Header{name: {value}}
			}
			return false
		}
	}
}

// ranged answers each range with a 206 of its own making.
func ranged(contentRange func(from, to, total int) string) func(*cell) {
	return func(c *cell) {
		c.origin.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
			var from, to int
			if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); err != nil || c.origin.noRanges || from >= len(c.origin.data) {
				return false
			}
			to = min(to+1, len(c.origin.data))
			w.Header().Set("ETag", c.origin.etag)
			w.Header().Set("Content-Range", contentRange(from, to, len(c.origin.data)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(c.origin.data[from:to])
			return true
		}
	}
}

// stall keeps the answer open and silent until the client goes.
func stall(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Set("Content-Length", "1000000000")
	w.Header().Set("Content-Range", "bytes 0-999999999/1000000000")
	w.WriteHeader(http.StatusPartialContent)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
	return true
}

const (
	before = "Mon, 23 Nov 2026 10:00:00 GMT"
	after  = "Mon, 23 Nov 2026 10:00:01 GMT"
)

// replaceAfterFirst makes the file another one, of the same length and written
// later, before the second request.
func replaceAfterFirst(c *cell) {
	c.origin.lastModified = before
	c.origin.fault = func(n int, _ http.ResponseWriter, _ *http.Request) bool {
		if n == 2 {
			c.origin.replace(reversed(c.origin.data), changedETag, after)
		}
		return false
	}
}

// nodes answers each request as the next of two nodes, whose ETags differ and,
// where asked, their times of change.
func nodes(honourIfMatch, times bool) func(*cell) {
	return func(c *cell) {
		c.origin.fault = func(n int, _ http.ResponseWriter, r *http.Request) bool {
			etag, time := `"node-1"`, before
			if n%2 == 0 {
				etag = `"node-0"`
			}
			if n%2 == 0 && times {
				time = after
			}
			c.origin.tag(etag, time)
			if !honourIfMatch {
				r.Header.Del("If-Match")
			}
			return false
		}
	}
}

func changeAfterFirst(data func(old []byte) []byte, etag string) func(*cell) {
	return func(c *cell) {
		c.origin.fault = func(n int, _ http.ResponseWriter, r *http.Request) bool {
			if n == 2 {
				c.origin.change(data(c.origin.data), etag)
			}
			return false
		}
	}
}

func reversed(old []byte) []byte {
	data := make([]byte, len(old))
	for i, b := range old {
		data[len(old)-1-i] = b
	}
	return data
}

func originFaults() []fault {
	return []fault{
		{"cut once", cut(1, 1000), ""},
		{"cut at the first byte", cut(2, 0), ""},
		{"cut at the last byte of a part", cut(1, testPart-1), ""},
		{"every answer cut after 20 KiB", cut(0, 20<<10), ""},
		{"every answer cut at once", cut(0, 0), named.OutputTruncated},
		{"truncated for good", func(c *cell) {
			c.origin.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
				var from int
				_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
				return from >= len(c.origin.data)/2 && cutRange(w, c.origin, from)
			}
			c.origin.body = func(_ int, w http.ResponseWriter) io.Writer { return &breakAfter{w: w, limit: len(c.origin.data) / 2} }
		}, named.OutputTruncated},
		{"ranges shorter than they say, without length", func(c *cell) {
			c.origin.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
				var from, to int
				if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); err != nil || c.origin.noRanges {
					return false
				}
				to = min(to+1, len(c.origin.data))
				w.Header().Set("ETag", c.origin.etag)
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(c.origin.data)))
				w.WriteHeader(http.StatusPartialContent)
				_ = http.NewResponseController(w).Flush()
				return true // chunked, and at its clean end already
			}
		}, named.OutputTruncated},
		{"longer than announced", func(c *cell) {
			c.origin.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
				var from, to int
				if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); err != nil || c.origin.noRanges || from >= len(c.origin.data) {
					return false
				}
				to = min(to+1, len(c.origin.data))
				w.Header().Set("ETag", c.origin.etag)
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(c.origin.data)))
				w.WriteHeader(http.StatusPartialContent)
				_ = http.NewResponseController(w).Flush()
				_, _ = w.Write(append(c.origin.data[from:to:to], "and more"...))
				return true
			}
		}, named.OutputTruncated},
		{"changed, with its ETag", replaceAfterFirst, named.OutputChanged},
		{"changed, If-Match not honoured", func(c *cell) {
			replaceAfterFirst(c)
			fault := c.origin.fault
			c.origin.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
				r.Header.Del("If-Match")
				return fault(n, w, r)
			}
		}, named.OutputChanged},
		{"changed after a cut", func(c *cell) {
			cut(1, 1000)(c)
			replaceAfterFirst(c)
		}, named.OutputChanged},
		{"changed, only its ETag tells", changeAfterFirst(reversed, changedETag), ""}, // the newer one, whole
		{"ETags of the nodes", nodes(false, false), ""},
		{"ETags of the nodes, If-Match honoured", nodes(true, false), ""},
		{"ETags and times of the nodes", nodes(false, true), ""},
		{"ETags of the nodes, and a cut", func(c *cell) {
			cut(1, 1000)(c)
			nodes(true, false)(c)
		}, ""},
		{"grown, ETag the same", changeAfterFirst(func(old []byte) []byte { return append(old[:len(old):len(old)], 1) }, `"content-1"`), named.OutputChanged},
		{"shrunk, ETag the same", changeAfterFirst(func(old []byte) []byte { return old[:len(old)/2] }, `"content-1"`), named.OutputChanged},
		{"changed, only Last-Modified tells", func(c *cell) {
			c.origin.etag, c.origin.lastModified = "", before
			c.origin.fault = func(n int, _ http.ResponseWriter, _ *http.Request) bool {
				if n == 2 {
					c.origin.replace(reversed(c.origin.data), "", after)
				}
				return false
			}
		}, named.OutputChanged},
		{"compressed on the way, later", later("Content-Encoding", "gzip"), named.OutputChanged},
		{"expired in the middle", onRequest(3, status(http.StatusForbidden)), ""},
		{"expired from the first", onRequest(1, status(http.StatusForbidden)), ""},
		{"expired for good", onRequest(0, status(http.StatusForbidden)), named.OutputExpired},
		{"expired, nothing fresh to be had", func(c *cell) {
			c.src.Refresh = nil
			onRequest(0, status(http.StatusForbidden))(c)
		}, named.OutputExpired},
		{"expired, asking anew fails", func(c *cell) {
			c.src.Refresh = func(context.Context) (redact.SignedURL, error) {
				return "", named.Errorf(named.Unauthorized, "the key was revoked")
			}
			onRequest(0, status(http.StatusForbidden))(c)
		}, named.Unauthorized},
		{"removed", onRequest(0, status(http.StatusNotFound)), named.OutputExpired},
		{"gone", onRequest(0, status(http.StatusGone)), named.OutputUnavailable},
		{"gone in the middle", onRequest(3, status(http.StatusGone)), ""},
		{"range ignored later", func(c *cell) {
			c.origin.fault = func(n int, _ http.ResponseWriter, r *http.Request) bool {
				if n > 1 {
					r.Header.Del("Range")
				}
				return false
			}
		}, ""},
		{"another range than asked", ranged(func(from, to, total int) string { return fmt.Sprintf("bytes %d-%d/%d", from+1, to, total+1) }), ""},
		{"more than the range asked", ranged(func(from, _, total int) string { return fmt.Sprintf("bytes %d-%d/%d", from, total+99, total+100) }), ""},
		{"total unknown", ranged(func(from, to, _ int) string { return fmt.Sprintf("bytes %d-%d/*", from, to-1) }), ""},
		{"Content-Range is garbage", ranged(func(int, int, int) string { return "octets 1 of 2" }), ""},
		{"Content-Range missing", ranged(func(int, int, int) string { return "" }), ""},
		{"416 in the middle", onRequest(2, status(http.StatusRequestedRangeNotSatisfiable)), named.OutputChanged},
		{"reset before the answer", onRequest(2, func(w http.ResponseWriter, _ *http.Request) bool { return hijack(w, "") }), ""},
		{"always reset before the answer", onRequest(0, func(w http.ResponseWriter, _ *http.Request) bool { return hijack(w, "") }), named.Unavailable},
		{"not HTTP", onRequest(0, func(w http.ResponseWriter, _ *http.Request) bool { return hijack(w, "SSH-2.0-x\r\n") }), named.Unavailable},
		{"no length and no framing", func(c *cell) {
			c.origin.fault = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
				return hijack(w, "HTTP/1.0 200 OK\r\n\r\n"+string(c.origin.data))
			}
		}, named.OutputTruncated},
		{"stalled once", func(c *cell) {
			c.copier.originStall = 50 * time.Millisecond
			c.origin.body = func(n int, w http.ResponseWriter) io.Writer {
				if n != 2 {
					return w
				}
				return writerFunc(func([]byte) (int, error) {
					_ = http.NewResponseController(w).Flush()
					time.Sleep(200 * time.Millisecond) // longer than the client's patience
					return 0, io.ErrClosedPipe
				})
			}
		}, ""},
		{"stalled for good", func(c *cell) {
			c.copier.originStall, c.copier.attempts = 20*time.Millisecond, 2
			onRequest(0, func(w http.ResponseWriter, r *http.Request) bool {
				_ = stall(w, r)
				return true
			})(c)
		}, named.Unavailable},
		{"500 once", onRequest(2, status(http.StatusInternalServerError)), ""},
		{"503 with Retry-After", onRequest(1, status(http.StatusServiceUnavailable, "Retry-After", "0")), ""},
		{"429 once", onRequest(2, status(http.StatusTooManyRequests)), ""},
		{"500 for good", onRequest(0, status(http.StatusInternalServerError)), named.Unavailable},
		{"redirected for ever", onRequest(0, status(http.StatusFound, "Location", "/again")), named.OriginRefused},
		{"redirected to another scheme", onRequest(0, status(http.StatusFound, "Location", "ftp://127.0.0.1/x")), named.OriginRefused},
		{"redirected to a private address", onRequest(0, status(http.StatusTemporaryRedirect, "Location", "http://10.0.0.1/x")), named.OriginRefused},
		{"redirected to the instance's metadata", onRequest(0, status(http.StatusFound, "Location", "http://169.254.169.254/latest/")), named.OriginRefused},
		{"redirected to itself", onRequest(1, status(http.StatusFound, "Location", "/outputs/picture.png")), ""},
		{"304", onRequest(0, status(http.StatusNotModified)), named.Unavailable},
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// onCall makes the store answer the nth of these calls (0: each) with answer.
func onCall(ops string, n int, answer func(http.ResponseWriter, *http.Request) bool) func(*cell) {
	return func(c *cell) {
		c.store.fault = func(op string, i int, w http.ResponseWriter, r *http.Request) bool {
			return strings.Contains(ops, op) && (n == 0 || n == i) && answer(w, r)
		}
	}
}

func refuse(code int, name string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		fail(w, code, name)
		return true
	}
}

// lost does the call's work and loses the answer.
func lost(ops string, n int) func(*cell) {
	return func(c *cell) {
		c.store.after = func(op string, i int, w http.ResponseWriter, _ *http.Request) bool {
			return strings.Contains(ops, op) && (n == 0 || n == i) && hijack(w, "")
		}
	}
}

const bodies = "PutObject UploadPart"

func storeFaults() []fault {
	return []fault{
		{"S3 SlowDown once", onCall(bodies, 1, refuse(http.StatusServiceUnavailable, "SlowDown")), ""},
		{"S3 SlowDown for good", onCall(bodies, 0, refuse(http.StatusServiceUnavailable, "SlowDown")), named.Unavailable},
		{"S3 SlowDown at the third part", onCall("UploadPart", 3, refuse(http.StatusServiceUnavailable, "SlowDown")), ""},
		{"S3 fails to create once", onCall("CreateMultipartUpload", 1, refuse(http.StatusInternalServerError, "InternalError")), ""},
		{"S3 refuses to create", onCall("CreateMultipartUpload PutObject", 0, refuse(http.StatusForbidden, "AccessDenied")), named.OutputBucketRefused},
		{"S3 refuses the checksum once", onCall(bodies, 1, refuse(http.StatusBadRequest, "BadDigest")), ""},
		{"S3 refuses every checksum", onCall(bodies, 0, refuse(http.StatusBadRequest, "BadDigest")), named.Unavailable},
		{"S3 knows no trailers", onCall(bodies, 0, refuse(http.StatusNotImplemented, "NotImplemented")), named.Unavailable},
		{"S3 refuses the whole's checksum", onCall("CompleteMultipartUpload", 0, refuse(http.StatusBadRequest, "BadDigest")), named.Unavailable},
		{"S3 resets in the body", onCall(bodies, 2, func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.CopyN(io.Discard, r.Body, 1000)
			return hijack(w, "")
		}), ""},
		{"S3 reads nothing", func(c *cell) {
			c.copier.storeStall, c.copier.attempts = 50*time.Millisecond, 2
			onCall(bodies, 0, func(_ http.ResponseWriter, r *http.Request) bool {
				select { // unread, the server does not see the client go
				case <-r.Context().Done():
				case <-time.After(200 * time.Millisecond):
				}
				panic(http.ErrAbortHandler) // a client that is late to give up must not read a 200 here
			})(c)
		}, named.Unavailable},
		{"S3 stores other bytes", func(c *cell) {
			c.store.after = func(op string, n int, w http.ResponseWriter, _ *http.Request) bool {
				if !strings.Contains(bodies, op) || n > 1 {
					return false
				}
				w.Header().Set("ETag", `"other"`)
				w.Header().Set("X-Amz-Checksum-Crc32", "AAAAAA==")
				w.WriteHeader(http.StatusOK)
				return true
			}
		}, ""},
		{"the answer to a part is lost", lost(bodies, 1), ""},
		{"the answer to Complete is lost", lost("CompleteMultipartUpload", 1), ""},
		{"every answer to Complete is lost", lost("CompleteMultipartUpload", 0), ""},
		{"the answer to Create is lost", lost("CreateMultipartUpload", 1), ""},
		{"S3 fails to complete once", onCall("CompleteMultipartUpload", 1, refuse(http.StatusInternalServerError, "InternalError")), ""},
		{"S3 fails to complete, with 200", onCall("CompleteMultipartUpload", 1, refuse(http.StatusOK, "InternalError")), ""},
		{"S3 fails to complete for good", onCall("CompleteMultipartUpload", 0, refuse(http.StatusInternalServerError, "InternalError")), named.Unavailable},
		{"another invocation's part: InvalidPart", onCall("CompleteMultipartUpload", 1, refuse(http.StatusBadRequest, "InvalidPart")), ""},
		{"InvalidPart for good", onCall("CompleteMultipartUpload", 0, refuse(http.StatusBadRequest, "InvalidPart")), named.Unavailable},
		{"the upload is aborted by somebody", onCall("UploadPart", 2, func(w http.ResponseWriter, r *http.Request) bool {
			return refuse(http.StatusNotFound, "NoSuchUpload")(w, r)
		}), ""},
		{"the upload is always aborted", onCall("UploadPart", 0, refuse(http.StatusNotFound, "NoSuchUpload")), named.Unavailable},
		{"aborted before Complete", onCall("CompleteMultipartUpload", 1, refuse(http.StatusNotFound, "NoSuchUpload")), ""},
		{"no right to look", onCall("HeadObject", 0, status(http.StatusForbidden)), ""},
		{"S3 cannot look", onCall("HeadObject", 0, status(http.StatusInternalServerError)), named.Unavailable},
		{"the checkpoint cannot be saved", func(c *cell) {
			c.save = func(context.Context, Checkpoint) error { return named.Errorf(named.Unavailable, "the record") }
		}, named.Unavailable},
		{"the run is cancelled", func(c *cell) {
			ctx, cancel := context.WithCancel(c.ctx)
			c.ctx = ctx
			c.origin.fault = func(n int, _ http.ResponseWriter, _ *http.Request) bool {
				if n == 3 {
					cancel()
				}
				return false
			}
		}, "cancelled"},
	}
}

// matrixSizes lie below, at and above one part.
var matrixSizes = map[string]int{"below": testPart / 2, "at": testPart, "above": testPart + 1, "parts": 6*testPart + 77}

func TestFaultMatrix(t *testing.T) {
	rows := append(originFaults(), storeFaults()...)
	if len(rows) < 30 {
		t.Fatalf("only %d faults", len(rows))
	}
	for _, f := range rows {
		for sizeName, size := range matrixSizes {
			for _, ranges := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%s/ranges=%t", f.name, sizeName, ranges), func(t *testing.T) {
					t.Parallel()
					want := f.want
					if sizeName != "parts" || !ranges {
						want = "either"
					}
					runCell(t, f, size, ranges, want)
				})
			}
		}
	}
}

func runCell(t *testing.T, f fault, size int, ranges bool, want string) {
	c := &cell{origin: newFakeOrigin(size), store: newFakeS3(), ctx: t.Context()}
	c.origin.noRanges = !ranges
	original := c.origin.data
	c.copier = testCopier(t, c.store.client(t))
	c.url = c.origin.serve(t)
	var refreshed atomic.Int64
	c.src = &Source{URL: c.url, Refresh: func(context.Context) (redact.SignedURL, error) {
		return c.url + redact.SignedURL(fmt.Sprintf("&fresh=%d", refreshed.Add(1))), nil
	}}
	f.set(c)
	res, err := c.copier.Copy(c.ctx, *c.src, testTarget(), nil, c.save)
	if err == nil {
		if want != "" && want != "either" {
			t.Errorf("copied, want %s", want)
		}
		checkMatrixObject(t, c, original, res)
		return
	}
	name := errorName(err)
	if want == "" || want != "either" && want != name {
		t.Errorf("%v, want %q", err, want)
	}
	if name == "" {
		t.Errorf("an error without a name: %v", err)
	}
	if strings.Contains(err.Error(), "=secret") || strings.Contains(err.Error(), "Signature") {
		t.Errorf("the signed URL is in the error: %v", err)
	}
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	if len(c.store.objects) != 0 {
		t.Errorf("%v, and yet an object", err)
	}
	if (name == named.OutputChanged || name == named.OutputTruncated) && len(c.store.uploads) > 0 {
		t.Errorf("%v leaves an upload that nothing can go on with", err)
	}
}

func errorName(err error) string {
	if named, ok := named.As(err); ok {
		return named.Name
	}
	if errors.Is(err, context.Canceled) {
		return "cancelled"
	}
	return ""
}

// checkMatrixObject takes either of the contents that the origin has had, but
// whole.
func checkMatrixObject(t *testing.T, c *cell, original []byte, res Result) {
	t.Helper()
	first := &fakeOrigin{data: original, header: http.Header{}}
	object := c.store.object(res.Key)
	if object != nil && len(object.data) > 0 && string(object.data) == string(c.origin.data) {
		first = &fakeOrigin{data: c.origin.data, header: http.Header{}}
	}
	if object == nil || string(object.data) != string(first.data) {
		t.Fatalf("a wrong object: %+v", res)
	}
	if sum := encodeCRC32(res.CRC32); res.Bytes != int64(len(first.data)) || sum != object.crc {
		t.Errorf("%+v, S3's checksum %s", res, object.crc)
	}
}
