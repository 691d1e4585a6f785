package transfer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// TestOriginStatuses: each is told as what it is, after a fresh address was asked
// for, which is what most of them want.
func TestOriginStatuses(t *testing.T) {
	for status, want := range map[int]string{
		400: named.OutputUnavailable, 401: named.OutputExpired, 402: named.OutputUnavailable, 403: named.OutputExpired, 404: named.OutputExpired,
		405: named.OutputUnavailable, 406: named.OutputUnavailable, 407: named.OutputUnavailable, 409: named.OutputUnavailable, 410: named.OutputUnavailable,
		418: named.OutputUnavailable, 423: named.OutputUnavailable, 451: named.OutputUnavailable, 499: named.OutputUnavailable,
		408: named.Unavailable, 421: named.Unavailable, 425: named.Unavailable, 429: named.Unavailable,
		500: named.Unavailable, 502: named.Unavailable, 503: named.Unavailable, 520: named.Unavailable, 304: named.Unavailable, 204: named.Unavailable,
	} {
		for _, inTheMiddle := range []bool{false, true} {
			origin, store := newFakeOrigin(5*testPart), newFakeS3()
			origin.fault = func(n int, w http.ResponseWriter, _ *http.Request) bool {
				if inTheMiddle && n <= 2 {
					return false
				}
				w.WriteHeader(status)
				return true
			}
			url := origin.serve(t)
			var refreshed int
			var mu sync.Mutex
			copier := testCopier(t, store.client(t))
			copier.attempts = 2
			_, err := copier.Copy(t.Context(), Source{URL: url, Refresh: func(context.Context) (redact.SignedURL, error) {
				mu.Lock()
				defer mu.Unlock()
				refreshed++
				return url + redact.SignedURL(fmt.Sprint(refreshed)), nil
			}}, testTarget(), nil, nil)
			told, _ := named.As(err)
			if told == nil || told.Name != want || !strings.Contains(told.Cause, fmt.Sprintf("HTTP %d", status)) || !told.Redrivable() {
				t.Errorf("%d: %v, want %s", status, err, want)
			}
			if asked := want != named.Unavailable; asked != (refreshed > 0) {
				t.Errorf("%d: a fresh address was asked for %d times", status, refreshed)
			}
		}
	}
}

// TestFreshAddressMendsAnyRefusal: stores say in several ways that a signature
// has run out, 400 ExpiredToken among them.
func TestFreshAddressMendsAnyRefusal(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 410} {
		origin := newFakeOrigin(3 * testPart)
		origin.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Has("fresh") {
				return false
			}
			w.WriteHeader(status)
			return true
		}
		store, url := newFakeS3(), origin.serve(t)
		res, err := testCopier(t, store.client(t)).Copy(t.Context(), Source{URL: url, Refresh: func(context.Context) (redact.SignedURL, error) {
			return url + "&fresh=1", nil
		}}, testTarget(), nil, nil)
		if err != nil {
			t.Fatalf("%d: %v", status, err)
		}
		checkCopied(t, store, origin, res)
	}
}

// TestAwsChunked: a store that kept the framing of the upload as the object's
// encoding hands it out; the copy has to be readable.
func TestAwsChunked(t *testing.T) {
	for sent, want := range map[string]string{
		"aws-chunked": "", "aws-chunked,gzip": "gzip", "gzip, AWS-Chunked": "gzip", "identity": "", "br": "br", "gzip, br": "gzip, br", " , ": "",
	} {
		origin := newFakeOrigin(3 * testPart)
		origin.header = http.Header{"Content-Encoding": {sent}}
		store, res, err := copyOnce(t, origin, string(origin.serve(t)))
		if err != nil {
			t.Fatalf("%q: %v", sent, err)
		}
		stored := strings.Join(store.object(res.Key).header.Values("Content-Encoding"), "|")
		if stored != want || res.ContentEncoding != want || !bytes.Equal(store.object(res.Key).data, origin.data) {
			t.Errorf("%q is stored as %q, told as %q, want %q", sent, stored, res.ContentEncoding, want)
		}
	}
}

// storeAnswers are S3's answers to a write, and what the copy makes of each.
var storeAnswers = []struct {
	name   string
	status int
	code   string
	want   string
	// not is the call to which the answer says something else; "" none.
	not string
}{
	{"another region", 301, "PermanentRedirect", named.OutputBucketRefused, ""},
	{"a bucket in the making", 307, "TemporaryRedirect", named.Unavailable, ""},
	{"signed for another region", 400, "AuthorizationHeaderMalformed", named.OutputBucketRefused, ""},
	{"Object Lock", 400, "InvalidRequest", named.OutputBucketRefused, "CompleteMultipartUpload"},
	{"no right", 403, "AccessDenied", named.OutputBucketRefused, ""},
	{"no right to anything", 403, "AllAccessDisabled", named.OutputBucketRefused, ""},
	{"a key without the right", 403, "KMS.AccessDeniedException", named.OutputBucketRefused, ""},
	{"a disabled key", 400, "KMS.DisabledException", named.OutputBucketRefused, ""},
	{"a throttled key", 400, "KMS.ThrottlingException", named.Unavailable, ""},
	{"no bucket", 404, "NoSuchBucket", named.OutputBucketRefused, ""},
	{"not allowed", 405, "MethodNotAllowed", named.OutputBucketRefused, ""},
	{"another call at work", 409, "OperationAborted", named.Unavailable, ""},
	{"a precondition", 412, "PreconditionFailed", named.Unavailable, ""},
	{"throttled", 503, "SlowDown", named.Unavailable, ""},
	{"failed", 500, "InternalError", named.Unavailable, ""},
	{"failed inside a 200", 200, "InternalError", named.Unavailable, ""},
	{"credentials ran out", 400, "ExpiredToken", named.Unavailable, ""},
	{"a proxy's page", 403, "", named.Unavailable, ""},
}

// TestStoreAnswers holds each answer for each call of a copy. What the bucket
// refuses is asked once by each connection, and never again.
func TestStoreAnswers(t *testing.T) {
	for _, a := range storeAnswers {
		for op, size := range map[string]int{"PutObject": 1000, "CreateMultipartUpload": 5 * testPart, "UploadPart": 5 * testPart, "CompleteMultipartUpload": 5 * testPart} {
			if a.status == 200 && op != "CompleteMultipartUpload" {
				continue // S3 answers so to the call that takes long alone
			}
			t.Run(a.name+"/"+op, func(t *testing.T) {
				t.Parallel()
				origin, store := newFakeOrigin(size), newFakeS3()
				store.fault = func(called string, _ int, w http.ResponseWriter, r *http.Request) bool {
					if called != op {
						return false
					}
					_, _ = io.Copy(io.Discard, r.Body)
					if a.status == 301 {
						w.Header().Set("x-amz-bucket-region", "eu-central-1")
					}
					if a.code == "" {
						w.WriteHeader(a.status)
						_, _ = io.WriteString(w, "<html><h1>Forbidden</h1></html>")
						return true
					}
					fail(w, a.status, a.code)
					return true
				}
				copier := testCopier(t, store.client(t))
				copier.attempts = 3
				_, err := copier.Copy(t.Context(), Source{URL: origin.serve(t)}, testTarget(), nil, nil)
				want := a.want
				if a.not == op {
					want = named.Unavailable
				}
				told, _ := named.As(err)
				if told == nil || told.Name != want || !told.Redrivable() {
					t.Fatalf("%v, want %s", err, want)
				}
				calls := store.count(op)
				switch refused := want == named.OutputBucketRefused; {
				case refused && (op != "UploadPart" && calls != 1 || calls > copier.Connections):
					t.Errorf("%d calls of what is refused", calls)
				case refused && (!strings.Contains(told.Cause, "the bucket bucket refuses S3's "+op) || !strings.Contains(told.Cause, a.code)):
					t.Errorf("it tells neither the bucket, the call nor S3's code: %s", told.Cause)
				case a.status == 301 && !strings.Contains(told.Cause, "eu-central-1"):
					t.Errorf("it does not tell the region: %s", told.Cause)
				}
			})
		}
	}
}

// TestBucketOfAnotherRegion answers every call alike, the HEAD before the write
// among them, which has no body to tell a reason in: the write tells it.
func TestBucketOfAnotherRegion(t *testing.T) {
	for code, status := range map[string]int{"PermanentRedirect": 301, "AuthorizationHeaderMalformed": 400} {
		for _, size := range []int{0, 1000, 5 * testPart} {
			origin, store := newFakeOrigin(size), newFakeS3()
			store.fault = func(_ string, _ int, w http.ResponseWriter, r *http.Request) bool {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("x-amz-bucket-region", "eu-central-1")
				fail(w, status, code)
				return true
			}
			_, err := testCopier(t, store.client(t)).Copy(t.Context(), Source{URL: origin.serve(t)}, testTarget(), nil, nil)
			if !named.Is(err, named.OutputBucketRefused) || !strings.Contains(err.Error(), code) || !strings.Contains(err.Error(), "eu-central-1") {
				t.Errorf("%s, %d bytes: %v", code, size, err)
			}
		}
	}
}

// TestObjectLock: a bucket with a default retention refuses writes without the
// header that names the checksum.
func TestObjectLock(t *testing.T) {
	for _, size := range []int{0, 1000, 5 * testPart} {
		for _, ranges := range []bool{true, false} {
			origin, store := newFakeOrigin(size), newFakeS3()
			origin.noRanges = !ranges
			store.fault = func(op string, _ int, w http.ResponseWriter, r *http.Request) bool {
				if (op != "PutObject" && op != "UploadPart") || r.Header.Get("x-amz-sdk-checksum-algorithm") == "CRC32" {
					return false
				}
				_, _ = io.Copy(io.Discard, r.Body)
				return refuse(http.StatusBadRequest, "InvalidRequest")(w, r)
			}
			res, err := testCopier(t, store.client(t)).Copy(t.Context(), Source{URL: origin.serve(t)}, testTarget(), nil, nil)
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			checkCopied(t, store, origin, res)
		}
	}
}

// TestContentTypesToStore: what S3 could not be told in a signed header is not.
func TestContentTypesToStore(t *testing.T) {
	for told, want := range map[string]string{
		"image/png": "image/png", "text/plain; charset=utf-8": "text/plain; charset=utf-8", "image/png; name=größe.png": "image/png",
		"image/png; name=gr\xf6\xdfe.png": "image/png", "größe": "application/octet-stream", "": "application/octet-stream",
	} {
		if got := contentType(told); got != want {
			t.Errorf("%q is stored as %q, want %q", told, got, want)
		}
	}
}
