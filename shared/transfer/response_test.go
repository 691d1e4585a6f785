package transfer

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// TestAwsChunked: a store that kept the framing of the upload as the object's
// encoding hands it out; the copy has to be readable.
func TestAwsChunked(t *testing.T) {
	for sent, want := range map[string]string{
		"aws-chunked": "", "aws-chunked,gzip": "gzip", "gzip, AWS-Chunked": "gzip", "identity": "", "br": "br", "gzip, br": "gzip, br", " , ": "",
	} {
		origin := newFakeOrigin(3 * testPart)
		origin.header = http.Header{"Content-Encoding": {sent}}
		store, res, err := copyOnce(t, origin, origin.serve(t))
		if err != nil {
			t.Fatalf("%q: %v", sent, err)
		}
		stored := strings.Join(store.object(res.Key).header.Values("Content-Encoding"), "|")
		if stored != want || res.ContentEncoding != want || !bytes.Equal(store.object(res.Key).data, origin.data) {
			t.Errorf("%q is stored as %q, told as %q, want %q", sent, stored, res.ContentEncoding, want)
		}
	}
}
