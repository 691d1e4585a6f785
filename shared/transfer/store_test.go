package transfer

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// storeAnswers are S3's answers to a write, and what the copy makes of each.
var storeAnswers = []struct {
	name   string
	status int
	code   string
	want   string
	// not is the call to which the answer says something else; "" none.
	not string
}{
	{name: "another region", status: 301, code: "PermanentRedirect", want: named.OutputBucketRefused},
	{name: "a bucket in the making", status: 307, code: "TemporaryRedirect", want: named.Unavailable},
	{name: "signed for another region", status: 400, code: "AuthorizationHeaderMalformed", want: named.OutputBucketRefused},
	{name: "Object Lock", status: 400, code: "InvalidRequest", want: named.OutputBucketRefused, not: "CompleteMultipartUpload"},
	{name: "no right", status: 403, code: "AccessDenied", want: named.OutputBucketRefused},
	{name: "no right to anything", status: 403, code: "AllAccessDisabled", want: named.OutputBucketRefused},
	{name: "a key without the right", status: 403, code: "KMS.AccessDeniedException", want: named.OutputBucketRefused},
	{name: "a disabled key", status: 400, code: "KMS.DisabledException", want: named.OutputBucketRefused},
	{name: "a throttled key", status: 400, code: "KMS.ThrottlingException", want: named.Unavailable},
	{name: "no bucket", status: 404, code: "NoSuchBucket", want: named.OutputBucketRefused},
	{name: "not allowed", status: 405, code: "MethodNotAllowed", want: named.OutputBucketRefused},
	{name: "another call at work", status: 409, code: "OperationAborted", want: named.Unavailable},
	{name: "a precondition", status: 412, code: "PreconditionFailed", want: named.Unavailable},
	{name: "throttled", status: 503, code: "SlowDown", want: named.Unavailable},
	{name: "failed", status: 500, code: "InternalError", want: named.Unavailable},
	{name: "failed inside a 200", status: 200, code: "InternalError", want: named.Unavailable},
	{name: "credentials ran out", status: 400, code: "ExpiredToken", want: named.Unavailable},
	{name: "a proxy's page", status: 403, want: named.Unavailable},
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
				f := newFixture(t, size)
				f.copier.attempts = 3
				connections := f.copier.Connections
				f.store.fault = func(called string, _ int, w http.ResponseWriter, r *http.Request) bool {
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
				_, err := f.copy()
				want := a.want
				if a.not == op {
					want = named.Unavailable
				}
				e, _ := named.As(err)
				if e == nil || e.Name != want || !e.Redrivable() {
					t.Fatalf("%v, want %s", err, want)
				}
				calls := f.store.count(op)
				switch refused := want == named.OutputBucketRefused; {
				case refused && (op != "UploadPart" && calls != 1 || calls > connections):
					t.Errorf("%d calls of what is refused", calls)
				case refused && (!strings.Contains(e.Cause, "the bucket bucket refuses S3's "+op) || !strings.Contains(e.Cause, a.code)):
					t.Errorf("it tells neither the bucket, the call nor S3's code: %s", e.Cause)
				case a.status == 301 && !strings.Contains(e.Cause, "eu-central-1"):
					t.Errorf("it does not tell the region: %s", e.Cause)
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
			f := newFixture(t, size)
			f.store.fault = func(_ string, _ int, w http.ResponseWriter, r *http.Request) bool {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("x-amz-bucket-region", "eu-central-1")
				fail(w, status, code)
				return true
			}
			_, err := f.copy()
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
			f := newFixture(t, size)
			f.origin.noRanges = !ranges
			f.store.fault = func(op string, _ int, w http.ResponseWriter, r *http.Request) bool {
				if (op != "PutObject" && op != "UploadPart") || r.Header.Get("x-amz-sdk-checksum-algorithm") == "CRC32" {
					return false
				}
				_, _ = io.Copy(io.Discard, r.Body)
				return refuse(http.StatusBadRequest, "InvalidRequest")(w, r)
			}
			f.copied()
		}
	}
}
