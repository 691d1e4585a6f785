package transfer

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// TestOriginStatuses: each refusal has its own error, after a fresh URL was asked
// for, which would cure most of them.
func TestOriginStatuses(t *testing.T) {
	for status, want := range map[int]string{
		400: named.OutputUnavailable, 401: named.OutputExpired, 402: named.OutputUnavailable, 403: named.OutputExpired, 404: named.OutputExpired,
		405: named.OutputUnavailable, 406: named.OutputUnavailable, 407: named.OutputUnavailable, 409: named.OutputUnavailable, 410: named.OutputUnavailable,
		418: named.OutputUnavailable, 423: named.OutputUnavailable, 451: named.OutputUnavailable, 499: named.OutputUnavailable,
		408: named.Unavailable, 421: named.Unavailable, 425: named.Unavailable, 429: named.Unavailable,
		500: named.Unavailable, 502: named.Unavailable, 503: named.Unavailable, 520: named.Unavailable, 304: named.Unavailable, 204: named.Unavailable,
	} {
		for _, inTheMiddle := range []bool{false, true} {
			f := newFixture(t, 5*testPart)
			f.origin.fault = func(n int, w http.ResponseWriter, _ *http.Request) bool {
				if inTheMiddle && n <= 2 {
					return false
				}
				w.WriteHeader(status)
				return true
			}
			f.copier.attempts = 2
			_, err := f.copy()
			e, _ := named.As(err)
			if e == nil || e.Name != want || !strings.Contains(e.Cause, fmt.Sprintf("HTTP %d", status)) || !e.Redrivable() {
				t.Errorf("%d: %v, want %s", status, err, want)
			}
			if asked := want != named.Unavailable; asked != (f.refreshed.Load() > 0) {
				t.Errorf("%d: a fresh URL was asked for %d times", status, f.refreshed.Load())
			}
		}
	}
}

// TestFreshURLCuresAnyRefusal: stores say in several ways that a signature has run
// out, 400 ExpiredToken among them.
func TestFreshURLCuresAnyRefusal(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 410} {
		f := newFixture(t, 3*testPart)
		f.origin.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Has("fresh") {
				return false
			}
			w.WriteHeader(status)
			return true
		}
		f.copied()
	}
}

// TestErrorsHoldNoURL: what net/http quotes of an answer may hold the URL that was
// asked for.
func TestErrorsHoldNoURL(t *testing.T) {
	for name, answer := range map[string]func(r *http.Request) string{
		"a Location that cannot be parsed": func(r *http.Request) string {
			return "HTTP/1.1 302 Found\r\nLocation: https://files.example:port/100%.png?" + r.URL.RawQuery + "\r\nContent-Length: 0\r\n\r\n"
		},
		"the query as a Location": func(r *http.Request) string {
			return "HTTP/1.1 302 Found\r\nLocation: " + r.URL.RawQuery + "://x\r\nContent-Length: 0\r\n\r\n"
		},
		"the address as a header": func(r *http.Request) string { return "HTTP/1.1 200 OK\r\nX " + r.URL.RequestURI() + "\r\n\r\n" },
		"the address as a status": func(r *http.Request) string { return "HTTP/1.1 " + r.URL.RequestURI() + "\r\n\r\n" },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testPart)
			f.origin.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool { return hijack(w, answer(r)) }
			f.copier.attempts = 2
			_, err := f.copy()
			if !named.Is(err, named.Unavailable) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v", err)
			}
		})
	}
}
