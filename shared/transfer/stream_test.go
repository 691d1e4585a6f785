package transfer

import (
	"io"
	"net/http"
	"testing"
)

// A stream that was cut after several parts and is then short enough for one
// request leaves no upload.
func TestShorterStreamAtSecondAttempt(t *testing.T) {
	origin, store := newFakeOrigin(5*testPart), newFakeS3()
	origin.noRanges, origin.noLength = true, true
	origin.body = func(n int, w http.ResponseWriter) io.Writer {
		if n == 1 {
			origin.change(origin.data[:testPart/2], origin.etag)
			return &breakAfter{w: w, limit: 4 * testPart}
		}
		return w
	}
	res, err := testCopier(t, store.client(t)).Copy(t.Context(), Source{URL: origin.serve(t)}, testTarget(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if store.count("CreateMultipartUpload") != 1 {
		t.Fatal("the first attempt was to begin an upload")
	}
	checkCopied(t, store, origin, res)
}
