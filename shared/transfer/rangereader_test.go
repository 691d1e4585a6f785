package transfer

import (
	"io"
	"net/http"
	"testing"
)

// TestAnswersWithoutBytes: an origin that for a while answers and sends nothing has
// not ended the output.
func TestAnswersWithoutBytes(t *testing.T) {
	f := newFixture(t, 20*testPart+5)
	var empty int
	f.origin.body = func(_ int, w http.ResponseWriter) io.Writer {
		f.origin.mu.Lock()
		defer f.origin.mu.Unlock()
		if f.s3.count("UploadPart") > 10 && empty < 4*defaultAttempts { // more than each of four connections has attempts
			empty++
			return &breakAfter{w: w, limit: 0}
		}
		return w
	}
	f.copier.maxTruncations = 5 * defaultAttempts
	f.copied()
}
