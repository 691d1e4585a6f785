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
		"UTF-8": "", "none": "", "binary, gzip": "gzip", "gr\xf6\xdfe": "", "größe, br": "br", "x-gzip": "x-gzip",
	} {
		f := newFixture(t, 3*testPart)
		f.origin.header = http.Header{"Content-Encoding": {sent}}
		res, err := f.copy()
		if err != nil {
			t.Fatalf("%q: %v", sent, err)
		}
		object := f.store.object(res.Key)
		stored := strings.Join(object.header.Values("Content-Encoding"), "|")
		if stored != want || res.ContentEncoding != want || !bytes.Equal(object.data, f.origin.data) {
			t.Errorf("%q is stored as %q, returned as %q, want %q", sent, stored, res.ContentEncoding, want)
		}
	}
}
