package transfer

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

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
					origin := newFakeOrigin(40*testPart + 5)
					change(origin)
					nodes(honoured, times)(&cell{origin: origin})
					store, res, err := copyOnce(t, origin, origin.serve(t))
					if err != nil {
						t.Fatal(err)
					}
					checkCopied(t, store, origin, res)
					if res.Stored != 0 {
						t.Errorf("a stream has stored %d bytes, on which no later call can build", res.Stored)
					}
				})
			}
		}
	}
}

// TestResumeAtAnotherNode: the node that a later call meets has another ETag,
// and so has each after it.
func TestResumeAtAnotherNode(t *testing.T) {
	origin, store := newFakeOrigin(8*testPart), newFakeS3()
	saved, src, client := stopHalfway(t, origin, store)
	nodes(true, false)(&cell{origin: origin})
	res, err := testCopier(t, client).Copy(t.Context(), src, testTarget(), saved, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkCopied(t, store, origin, res)
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
			origin := newFakeOrigin(5 * testPart)
			origin.lastModified = before
			origin.fault = func(n int, _ http.ResponseWriter, _ *http.Request) bool {
				if n == 2 {
					test.change(origin)
				}
				return false
			}
			store, res, err := copyOnce(t, origin, origin.serve(t))
			switch {
			case test.want == "" && err != nil, test.want != "" && !named.Is(err, test.want):
				t.Fatalf("%v, want %q", err, test.want)
			case err == nil:
				checkCopied(t, store, origin, res)
			case store.openUploads() != 0 || len(store.objects) != 0:
				t.Errorf("%d uploads and %d objects are left", store.openUploads(), len(store.objects))
			}
		})
	}
}
