package transfer

import (
	"io"
	"net/http"
	"testing"
)

// An origin that for a while answers and sends nothing is no end of the output.
func TestAnswersWithoutBytes(t *testing.T) {
	origin, store := newFakeOrigin(20*testPart+5), newFakeS3()
	var empty int
	origin.body = func(_ int, w http.ResponseWriter) io.Writer {
		origin.mu.Lock()
		defer origin.mu.Unlock()
		if store.count("UploadPart") > 10 && empty < 4*defaultAttempts { // more than each of four connections has tries
			empty++
			return &breakAfter{w: w, limit: 0}
		}
		return w
	}
	copier := testCopier(t, store.client(t))
	copier.maxTruncations = 5 * defaultAttempts
	res, err := copier.Copy(t.Context(), Source{URL: origin.serve(t)}, testTarget(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkCopied(t, store, origin, res)
}
