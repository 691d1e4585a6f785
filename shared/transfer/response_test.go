package transfer

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
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
		object := f.s3.object(res.Key)
		stored := strings.Join(object.header.Values("Content-Encoding"), "|")
		if stored != want || res.ContentEncoding != want || !bytes.Equal(object.data, f.origin.data) {
			t.Errorf("%q is stored as %q, returned as %q, want %q", sent, stored, res.ContentEncoding, want)
		}
	}
}

// TestETagsOfNodes: a store's nodes have ETags of their own for one file, and
// some their own times of change. What cannot be joined is copied in one stream;
// nothing is left of the ranges that were begun.
func TestETagsOfNodes(t *testing.T) {
	for _, honoured := range []bool{false, true} {
		for _, times := range []bool{false, true} {
			for name, change := range map[string]func(*fakeOrigin){
				"with a length":   func(*fakeOrigin) {},
				"without ranges":  func(o *fakeOrigin) { o.noRanges = true },
				"a chunked whole": func(o *fakeOrigin) { o.noLength = true },
			} {
				t.Run(fmt.Sprintf("%s/If-Match honoured %t/own times %t", name, honoured, times), func(t *testing.T) {
					f := newFixture(t, 40*testPart+5)
					change(f.origin)
					nodes(honoured, times)(f)
					if res := f.copied(); res.Stored != 0 {
						t.Errorf("a stream has stored %d bytes, which no later call can resume", res.Stored)
					}
				})
			}
		}
	}
}

// TestETagsThatTellNothing tie no ranges to one content.
func TestETagsThatTellNothing(t *testing.T) {
	for etag, strong := range map[string]bool{`"a"`: true, `"a b"`: true, `""`: false, `"`: false, "": false, "a": false, `W/"a"`: false, `w/"a"`: false} {
		if got := strongETag(etag) != ""; got != strong {
			t.Errorf("%s is strong: %t", etag, got)
		}
	}
	first := OriginFile{ETag: `""`, LastModified: "yesterday", Total: 5}
	if first.check(OriginFile{ETag: `""`, LastModified: "today", Total: 5}, false) == nil {
		t.Error("ranges of two files are joined")
	}
}

// TestReplacedUnderOneStream: once ranges are given up, an answer that is the
// whole is believed unless its length, encoding or time of change says that the
// output was replaced since the first answer.
func TestReplacedUnderOneStream(t *testing.T) {
	tests := []struct {
		name   string
		change func(*fakeOrigin)
		want   string // empty: the newer output, whole
	}{
		{name: "longer", change: func(o *fakeOrigin) { o.replace(randomBytes(6*testPart), changedETag, before) }, want: named.OutputChanged},
		{name: "written later", change: func(o *fakeOrigin) { o.replace(reversed(o.data), changedETag, after) }, want: named.OutputChanged},
		{name: "encoded", change: func(o *fakeOrigin) {
			o.change(reversed(o.data), changedETag)
			o.mu.Lock()
			o.header = http.Header{"Content-Encoding": {"gzip"}}
			o.mu.Unlock()
		}, want: named.OutputChanged},
		{name: "shorter, and its length not told", change: func(o *fakeOrigin) {
			o.change(randomBytes(4*testPart), changedETag)
			o.mu.Lock()
			o.noLength = true
			o.mu.Unlock()
		}, want: named.OutputTruncated},
		{name: "nothing but its ETag tells", change: func(o *fakeOrigin) { o.change(reversed(o.data), changedETag) }},
		{name: "no time any more", change: func(o *fakeOrigin) { o.replace(reversed(o.data), changedETag, "") }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, 5*testPart)
			f.origin.lastModified = before
			f.origin.fault = func(n int, _ http.ResponseWriter, _ *http.Request) bool {
				if n == 2 {
					test.change(f.origin)
				}
				return false
			}
			res, err := f.copy()
			switch {
			case test.want == "" && err != nil, test.want != "" && !named.Is(err, test.want):
				t.Fatalf("%v, want %q", err, test.want)
			case err == nil:
				checkCopied(t, f.s3, f.origin, res)
			case f.s3.openUploads() != 0 || len(f.s3.objects) != 0:
				t.Errorf("%d uploads and %d objects are left", f.s3.openUploads(), len(f.s3.objects))
			}
		})
	}
}
