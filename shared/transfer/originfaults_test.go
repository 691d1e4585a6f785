package transfer

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// originFaults are the ways in which an origin goes wrong.
func originFaults() []fault {
	return []fault{
		{name: "cut once", set: cut(1, 1000)},
		{name: "cut at the first byte", set: cut(2, 0)},
		{name: "cut at the last byte of a part", set: cut(1, testPart-1)},
		{name: "every answer cut after 20 KiB", want: named.OutputTruncated, in: withoutRanges, set: cut(0, 20<<10)},
		{name: "every answer cut at once", want: named.OutputTruncated, set: cut(0, 0)},
		{name: "truncated for good", want: named.OutputTruncated, set: func(f *fixture) {
			f.origin.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
				var from int
				_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
				return from >= len(f.origin.data)/2 && cutRange(w, f.origin, from)
			}
			f.origin.body = func(_ int, w http.ResponseWriter) io.Writer { return &breakAfter{w: w, limit: len(f.origin.data) / 2} }
		}},
		{name: "ranges shorter than they say, without length", want: named.OutputTruncated, in: withRanges, set: rangedBody(rightRange, func([]byte) []byte { return nil })},
		{name: "longer than announced", want: named.OutputTruncated, in: withRanges, set: rangedBody(rightRange, func(part []byte) []byte { return append(part, "and more"...) })},
		{name: "changed, with its ETag", want: named.OutputChanged, in: inParts, set: replaceAfterFirst},
		{name: "changed, If-Match not honoured", want: named.OutputChanged, in: inParts, set: func(f *fixture) {
			replaceAfterFirst(f)
			fault := f.origin.fault
			f.origin.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
				r.Header.Del("If-Match")
				return fault(n, w, r)
			}
		}},
		{name: "changed after a cut", want: named.OutputChanged, set: func(f *fixture) {
			cut(1, 1000)(f)
			replaceAfterFirst(f)
		}},
		{name: "changed, only its ETag tells", set: changeAfterFirst(reversed, changedETag)}, // the newer one, whole
		{name: "ETags of the nodes", set: nodes(false, false)},
		{name: "ETags of the nodes, If-Match honoured", set: nodes(true, false)},
		{name: "ETags and times of the nodes", set: nodes(false, true)},
		{name: "ETags of the nodes, and a cut", set: func(f *fixture) {
			cut(1, 1000)(f)
			nodes(true, false)(f)
		}},
		{name: "grown, ETag the same", want: named.OutputChanged, in: inParts, set: changeAfterFirst(func(old []byte) []byte { return append(old[:len(old):len(old)], 1) }, `"content-1"`)},
		{name: "shrunk, ETag the same", want: named.OutputChanged, in: inParts, set: changeAfterFirst(func(old []byte) []byte { return old[:len(old)/2] }, `"content-1"`)},
		{name: "changed, only Last-Modified tells", want: named.OutputChanged, in: inParts, set: func(f *fixture) {
			f.origin.etag, f.origin.lastModified = "", before
			f.origin.fault = func(n int, _ http.ResponseWriter, _ *http.Request) bool {
				if n == 2 {
					f.origin.replace(reversed(f.origin.data), "", after)
				}
				return false
			}
		}},
		{name: "compressed on the way, later", want: named.OutputChanged, in: inParts, set: later("Content-Encoding", "gzip")},
		{name: "expired in the middle", set: onRequest(3, status(http.StatusForbidden))},
		{name: "expired from the first", set: onRequest(1, status(http.StatusForbidden))},
		{name: "expired for good", want: named.OutputExpired, set: onRequest(0, status(http.StatusForbidden))},
		{name: "expired, nothing fresh to be had", want: named.OutputExpired, set: func(f *fixture) {
			f.src.Refresh = nil
			onRequest(0, status(http.StatusForbidden))(f)
		}},
		{name: "expired, asking anew fails", want: named.Unauthorized, set: func(f *fixture) {
			f.src.Refresh = func(context.Context) (redact.SignedURL, error) {
				return "", named.Errorf(named.Unauthorized, "the key was revoked")
			}
			onRequest(0, status(http.StatusForbidden))(f)
		}},
		{name: "removed", want: named.OutputExpired, set: onRequest(0, status(http.StatusNotFound))},
		{name: "gone", want: named.OutputUnavailable, set: onRequest(0, status(http.StatusGone))},
		{name: "gone in the middle", set: onRequest(3, status(http.StatusGone))},
		{name: "range ignored later", set: func(f *fixture) {
			f.origin.fault = func(n int, _ http.ResponseWriter, r *http.Request) bool {
				if n > 1 {
					r.Header.Del("Range")
				}
				return false
			}
		}},
		{name: "another range than asked", set: ranged(func(from, to, total int) string { return fmt.Sprintf("bytes %d-%d/%d", from+1, to, total+1) })},
		{name: "more than the range asked", want: named.OutputChanged, in: belowRange, set: ranged(func(from, _, total int) string { return fmt.Sprintf("bytes %d-%d/%d", from, total+99, total+100) })},
		{name: "total unknown", set: ranged(func(from, to, _ int) string { return fmt.Sprintf("bytes %d-%d/*", from, to-1) })},
		{name: "Content-Range is garbage", set: ranged(func(int, int, int) string { return "octets 1 of 2" })},
		{name: "Content-Range missing", set: ranged(func(int, int, int) string { return "" })},
		{name: "416 in the middle", want: named.OutputChanged, in: inParts, set: onRequest(2, status(http.StatusRequestedRangeNotSatisfiable))},
		{name: "reset before the answer", set: onRequest(2, func(w http.ResponseWriter, _ *http.Request) bool { return hijack(w, "") })},
		{name: "always reset before the answer", want: named.Unavailable, set: onRequest(0, func(w http.ResponseWriter, _ *http.Request) bool { return hijack(w, "") })},
		{name: "not HTTP", want: named.Unavailable, set: onRequest(0, func(w http.ResponseWriter, _ *http.Request) bool { return hijack(w, "SSH-2.0-x\r\n") })},
		{name: "no length and no framing", want: named.OutputTruncated, set: func(f *fixture) {
			f.origin.fault = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
				return hijack(w, "HTTP/1.0 200 OK\r\n\r\n"+string(f.origin.data))
			}
		}},
		{name: "stalled once", set: func(f *fixture) {
			f.copier.originStall = 50 * time.Millisecond
			f.origin.body = func(n int, w http.ResponseWriter) io.Writer {
				if n != 2 {
					return w
				}
				return writerFunc(func([]byte) (int, error) {
					_ = http.NewResponseController(w).Flush()
					time.Sleep(200 * time.Millisecond) // longer than the client's patience
					return 0, io.ErrClosedPipe
				})
			}
		}},
		{name: "stalled for good", want: named.Unavailable, set: func(f *fixture) {
			f.copier.originStall, f.copier.attempts = 20*time.Millisecond, 2
			onRequest(0, func(w http.ResponseWriter, r *http.Request) bool {
				_ = stall(w, r)
				return true
			})(f)
		}},
		{name: "500 once", set: onRequest(2, status(http.StatusInternalServerError))},
		{name: "503 with Retry-After", set: onRequest(1, status(http.StatusServiceUnavailable, "Retry-After", "0"))},
		{name: "429 once", set: onRequest(2, status(http.StatusTooManyRequests))},
		{name: "500 for good", want: named.Unavailable, set: onRequest(0, status(http.StatusInternalServerError))},
		{name: "redirected for ever", want: named.OriginRefused, set: onRequest(0, status(http.StatusFound, "Location", "/again"))},
		{name: "redirected to another scheme", want: named.OriginRefused, set: onRequest(0, status(http.StatusFound, "Location", "ftp://127.0.0.1/x"))},
		{name: "redirected to a private address", want: named.OriginRefused, set: onRequest(0, status(http.StatusTemporaryRedirect, "Location", "http://10.0.0.1/x"))},
		{name: "redirected to the instance's metadata", want: named.OriginRefused, set: onRequest(0, status(http.StatusFound, "Location", "http://169.254.169.254/latest/"))},
		{name: "redirected to itself", set: onRequest(1, status(http.StatusFound, "Location", "/outputs/picture.png"))},
		{name: "304", want: named.Unavailable, set: onRequest(0, status(http.StatusNotModified))},
	}
}

// onRequest makes the origin answer its nth request (0: each one) with answer.
func onRequest(n int, answer func(http.ResponseWriter, *http.Request) bool) func(*fixture) {
	return func(f *fixture) {
		f.origin.fault = func(i int, w http.ResponseWriter, r *http.Request) bool {
			return (n == 0 || n == i) && answer(w, r)
		}
	}
}

// cut breaks the body of the nth answer (0: of each) after some bytes.
func cut(n, after int) func(*fixture) {
	return func(f *fixture) {
		f.origin.body = func(i int, w http.ResponseWriter) io.Writer {
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
func later(name, value string) func(*fixture) {
	return func(f *fixture) {
		f.origin.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
			if n > 1 {
				f.origin.mu.Lock()
				defer f.origin.mu.Unlock()
				f.origin.header = http.Header{name: {value}}
			}
			return false
		}
	}
}

// ranged answers each range with a 206 of its own making.
func ranged(contentRange func(from, to, total int) string) func(*fixture) {
	return rangedBody(contentRange, nil)
}

// rangedBody does so with another body than the range's bytes, unless it is nil,
// whose length is not told.
func rangedBody(contentRange func(from, to, total int) string, body func(part []byte) []byte) func(*fixture) {
	return func(f *fixture) {
		f.origin.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			var from, to int
			if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); err != nil || f.origin.noRanges || from >= len(f.origin.data) {
				return false
			}
			to = min(to+1, len(f.origin.data))
			w.Header().Set("ETag", f.origin.etag)
			w.Header().Set("Content-Type", "image/png")
			w.Header().Set("Content-Range", contentRange(from, to, len(f.origin.data)))
			w.WriteHeader(http.StatusPartialContent)
			part := f.origin.data[from:to:to]
			if body != nil {
				_ = http.NewResponseController(w).Flush()
				part = body(part)
			}
			_, _ = w.Write(part)
			return true
		}
	}
}

// rightRange is the Content-Range of what was asked for.
func rightRange(from, to, total int) string { return fmt.Sprintf("bytes %d-%d/%d", from, to-1, total) }

// stall keeps the answer open and silent until the client goes.
func stall(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Set("Content-Length", "1000000000")
	w.Header().Set("Content-Range", "bytes 0-999999999/1000000000")
	w.WriteHeader(http.StatusPartialContent)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
	return true
}

// replaceAfterFirst makes the file another one, of the same length and written
// later, before the second request.
func replaceAfterFirst(f *fixture) {
	f.origin.lastModified = before
	f.origin.fault = func(n int, _ http.ResponseWriter, _ *http.Request) bool {
		if n == 2 {
			f.origin.replace(reversed(f.origin.data), changedETag, after)
		}
		return false
	}
}

// nodes answers each request as the next of two nodes, whose ETags differ and,
// where asked, their times of change.
func nodes(honourIfMatch, times bool) func(*fixture) {
	return func(f *fixture) {
		f.origin.fault = func(n int, _ http.ResponseWriter, r *http.Request) bool {
			etag, time := `"node-1"`, before
			if n%2 == 0 {
				etag = `"node-0"`
			}
			if n%2 == 0 && times {
				time = after
			}
			f.origin.tag(etag, time)
			if !honourIfMatch {
				r.Header.Del("If-Match")
			}
			return false
		}
	}
}

// changeAfterFirst makes the file another one before the second request.
func changeAfterFirst(data func(old []byte) []byte, etag string) func(*fixture) {
	return func(f *fixture) {
		f.origin.fault = func(n int, _ http.ResponseWriter, r *http.Request) bool {
			if n == 2 {
				f.origin.change(data(f.origin.data), etag)
			}
			return false
		}
	}
}
