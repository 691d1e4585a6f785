package transfer

import (
	"bytes"
	"context"
	"hash/crc32"
	"net/http"
	"testing"
	"time"
)

func TestCombineCRC32(t *testing.T) {
	data := randomBytes(100_000)
	for _, cut := range []int{0, 1, 7, 8, 255, 4096, 65_537, len(data)} {
		a, b := data[:cut], data[cut:]
		got := combineCRC32(crc32.ChecksumIEEE(a), crc32.ChecksumIEEE(b), int64(len(b)))
		if want := crc32.ChecksumIEEE(data); got != want {
			t.Errorf("cut at %d: %08x, want %08x", cut, got, want)
		}
	}
}

func FuzzCombineCRC32(f *testing.F) {
	f.Add([]byte("a"), []byte("bc"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		got := combineCRC32(crc32.ChecksumIEEE(a), crc32.ChecksumIEEE(b), int64(len(b)))
		if want := crc32.ChecksumIEEE(append(bytes.Clone(a), b...)); got != want {
			t.Errorf("%08x, want %08x", got, want)
		}
	})
}

// sizes lie below, at and above one part and several.
var sizes = map[string]int{
	"empty": 0, "one byte": 1, "below a part": testPart - 1, "a part": testPart,
	"above a part": testPart + 1, "parts": 5 * testPart, "parts and a rest": 9*testPart + 4321,
}

func TestCopy(t *testing.T) {
	origins := map[string]func(*fakeOrigin){
		"ranges":             func(*fakeOrigin) {},
		"no ranges":          func(o *fakeOrigin) { o.noRanges = true },
		"no length":          func(o *fakeOrigin) { o.noRanges, o.noLength = true, true },
		"weak ETag":          func(o *fakeOrigin) { o.etag = `W/"content-1"` },
		"only Last-Modified": func(o *fakeOrigin) { o.etag, o.lastModified = "", "Mon, 23 Nov 2026 10:00:00 GMT" },
		"no validator":       func(o *fakeOrigin) { o.etag = "" },
		"encoded":            func(o *fakeOrigin) { o.header = http.Header{"Content-Encoding": {"gzip"}} },
	}
	stores := map[string]func(*fakeS3){
		"full object":  func(*fakeS3) {},
		"composite":    func(s *fakeS3) { s.composite = true },
		"no checksums": func(s *fakeS3) { s.noSums = true },
	}
	for originName, changeOrigin := range origins {
		for storeName, changeStore := range stores {
			for sizeName, size := range sizes {
				t.Run(originName+"/"+storeName+"/"+sizeName, func(t *testing.T) {
					t.Parallel()
					origin, store := newFakeOrigin(size), newFakeS3()
					changeOrigin(origin)
					changeStore(store)
					copier := testCopier(t, store.client(t))
					src := Source{URL: origin.serve(t)}
					res, err := copier.Copy(t.Context(), src, testTarget(), nil, nil)
					if err != nil {
						t.Fatal(err)
					}
					checkCopied(t, store, origin, res)
					again, err := testCopier(t, copier.S3).Copy(t.Context(), src, testTarget(), nil, nil)
					if err != nil {
						t.Fatal(err)
					}
					checkCopied(t, store, origin, again)
					if !again.Skipped {
						t.Error("the second copy did it all again")
					}
				})
			}
		}
	}
}

// checkCopied holds object and result against the file.
func checkCopied(t *testing.T, store *fakeS3, origin *fakeOrigin, res Result) {
	t.Helper()
	object := store.object(res.Key)
	switch {
	case !res.Done || object == nil:
		t.Fatalf("nothing was stored: %+v", res)
	case !bytes.Equal(object.data, origin.data):
		t.Fatalf("the object has other bytes: %d, want %d", len(object.data), len(origin.data))
	case res.Bytes != int64(len(origin.data)) || res.CRC32 != crc32.ChecksumIEEE(origin.data):
		t.Errorf("result %+v, want %d bytes, CRC %08x", res, len(origin.data), crc32.ChecksumIEEE(origin.data))
	case res.ETag != object.etag:
		t.Errorf("ETag %s, want S3's %s", res.ETag, object.etag)
	case object.header.Get("X-Amz-Meta-Cyberun-Run-Id") != "run-1" || object.header.Get("Content-Type") != "image/png":
		t.Errorf("header %v", object.header)
	case object.header.Get("Content-Encoding") != origin.header.Get("Content-Encoding"):
		t.Errorf("encoding %q, want %q", object.header.Get("Content-Encoding"), origin.header.Get("Content-Encoding"))
	case store.openUploads() != 0:
		t.Errorf("%d uploads are left open", store.openUploads())
	}
}

func TestStopAndResume(t *testing.T) {
	origin, store := newFakeOrigin(20*testPart+17), newFakeS3()
	store.pageSize = 3
	client := store.client(t)
	src := Source{URL: origin.serve(t)}
	var saved *Checkpoint
	save := func(_ context.Context, cp Checkpoint) error {
		if saved != nil {
			t.Error("a second upload was begun")
		}
		saved = &cp
		return nil
	}
	calls := 0
	for {
		copier := testCopier(t, client)
		copier.Connections = 2
		// A clock that is moved by what S3 has got: time for four parts a call.
		before := store.count("UploadPart")
		copier.StopBefore = time.Unix(4, 0)
		copier.now = func() time.Time { return time.Unix(int64(store.count("UploadPart")-before), 0) }
		res, err := copier.Copy(t.Context(), src, testTarget(), saved, save)
		if err != nil {
			t.Fatal(err)
		}
		if calls++; res.Done {
			checkCopied(t, store, origin, res)
			break
		}
		if calls > 20 {
			t.Fatal("the copy gets nowhere")
		}
	}
	if calls < 4 {
		t.Errorf("only %d calls: it was not stopped", calls)
	}
	if served := origin.served.Load(); served != int64(len(origin.data)) {
		t.Errorf("fetched %d bytes, want each of %d once", served, len(origin.data))
	}
}
