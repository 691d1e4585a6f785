package transfer

import (
	"io"
	"net/http"
	"testing"
)

// TestShorterStreamAtSecondAttempt: a stream that was cut after several parts, and
// is then short enough for one request, leaves no upload.
func TestShorterStreamAtSecondAttempt(t *testing.T) {
	f := newFixture(t, 5*testPart)
	f.origin.noRanges, f.origin.noLength = true, true
	f.origin.body = func(n int, w http.ResponseWriter) io.Writer {
		if n == 1 {
			f.origin.change(f.origin.data[:testPart/2], f.origin.etag)
			return &breakAfter{w: w, limit: 4 * testPart}
		}
		return w
	}
	if f.copied(); f.s3.count("CreateMultipartUpload") != 1 {
		t.Error("the first attempt created no upload")
	}
}
