package transfer

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// TestBucketOfAnotherRegion answers every call alike, the HEAD before the write
// among them, which has no body to tell a reason in: the write tells it.
func TestBucketOfAnotherRegion(t *testing.T) {
	for code, status := range map[string]int{"PermanentRedirect": 301, "AuthorizationHeaderMalformed": 400} {
		for _, size := range []int{0, 1000, 5 * testPart} {
			f := newFixture(t, size)
			f.s3.fault = func(_ string, _ int, w http.ResponseWriter, r *http.Request) bool {
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
			f.s3.fault = func(op string, _ int, w http.ResponseWriter, r *http.Request) bool {
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
