package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// What net/http quotes of an answer may hold the address that was asked.
func TestErrorsAreUnsigned(t *testing.T) {
	for name, answer := range map[string]func(r *http.Request) string{
		"a Location that cannot be parsed": func(r *http.Request) string {
			return "HTTP/1.1 302 Found\r\nLocation: https://files.example:port/100%.png?" + r.URL.RawQuery + "\r\nContent-Length: 0\r\n\r\n"
		},
		"the query as a Location": func(r *http.Request) string {
			return "HTTP/1.1 302 Found\r\nLocation: " + r.URL.RawQuery + "://x\r\nContent-Length: 0\r\n\r\n"
		},
		"the address as a header": func(r *http.Request) string { return "HTTP/1.1 200 OK\r\nX " + r.URL.RequestURI() + "\r\n\r\n" },
		"the address as a status": func(r *http.Request) string { return "HTTP/1.1 " + r.URL.RequestURI() + "\r\n\r\n" },
	} {
		t.Run(name, func(t *testing.T) {
			origin, store := newFakeOrigin(testPart), newFakeS3()
			origin.fault = func(_ int, w http.ResponseWriter, r *http.Request) bool { return hijack(w, answer(r)) }
			copier := testCopier(t, store.client(t))
			copier.attempts = 2
			_, err := copier.Copy(t.Context(), Source{URL: origin.serve(t)}, testTarget(), nil, nil)
			if !named.Is(err, named.Unavailable) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v", err)
			}
		})
	}
}

// A total that no object can have is refused before an upload is begun; a
// checkpoint that no upload of ours can have had is begun anew.
func TestImpossibleSizes(t *testing.T) {
	origin, store := newFakeOrigin(2*testPart), newFakeS3()
	client, url := store.client(t), origin.serve(t)
	for _, cp := range []Checkpoint{
		{}, {UploadID: "x"}, {UploadID: "x", PartSize: testPart}, {UploadID: "x", PartSize: -1, Total: 1},
		{UploadID: "x", PartSize: 1, Total: math.MaxInt64}, {UploadID: "x", PartSize: math.MaxInt64, Total: 2 * testPart},
	} {
		cp.Key = "runs/1/picture.png"
		res, err := testCopier(t, client).Copy(t.Context(), Source{URL: url}, testTarget(), &cp, nil)
		if err != nil {
			t.Fatalf("%+v: %v", cp, err)
		}
		checkCopied(t, store, origin, res)
		store.mu.Lock()
		clear(store.objects)
		store.mu.Unlock()
	}
	origin.fault = func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("ETag", `"x"`)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", testPart-1, math.MaxInt64))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(origin.data[:testPart])
		return true
	}
	created := store.count("CreateMultipartUpload")
	_, err := testCopier(t, client).Copy(t.Context(), Source{URL: url}, testTarget(), nil, nil)
	if !named.Is(err, named.Unavailable) || !strings.Contains(err.Error(), "more than an S3 object can hold") || store.count("CreateMultipartUpload") != created {
		t.Errorf("%v", err)
	}
}

// An output that is another one in each call is fetched in one stream in the
// end: each call would copy some of it and begin anew, for ever.
func TestAnotherOutputEachCall(t *testing.T) {
	origin, store := newFakeOrigin(8*testPart), newFakeS3()
	client, src := store.client(t), Source{URL: origin.serve(t)}
	var saved *Checkpoint
	for call := range maxRestarts + 2 {
		origin.replace(randomBytes(8*testPart+call), fmt.Sprintf(`"content-%d"`, call), fmt.Sprintf("Mon, 23 Nov 2026 10:00:%02d GMT", call))
		copier, before := testCopier(t, client), store.count("UploadPart")
		copier.Connections = 1
		copier.StopBefore = time.Unix(3, 0)
		copier.now = func() time.Time { return time.Unix(int64(store.count("UploadPart")-before), 0) }
		res, err := copier.Copy(t.Context(), src, testTarget(), saved, func(_ context.Context, cp Checkpoint) error {
			saved = &cp
			return nil
		})
		switch {
		case err != nil:
			t.Fatalf("call %d: %v", call, err)
		case call <= maxRestarts && (res.Done || res.Stored == 0):
			t.Fatalf("call %d: %+v", call, res)
		case call > maxRestarts:
			checkCopied(t, store, origin, res)
		}
	}
}

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

// waiting is a source that has nothing to give before its context ends.
type waiting struct {
	ctx   context.Context
	asked chan struct{}
}

func (w *waiting) Read([]byte) (int, error) {
	close(w.asked)
	<-w.ctx.Done()
	return 0, context.Cause(w.ctx)
}

func (w *waiting) close() {}

// S3's refusal ends the request at once and under its own name, though a Read is
// waiting for the origin.
func TestRefusalWaitsForNobody(t *testing.T) {
	asked, refused := make(chan struct{}), errors.New("503 SlowDown")
	_, err := (&store{stall: time.Minute}).sendOnce(t.Context(), "UploadPart", 1000,
		func(ctx context.Context) bodySource { return &waiting{ctx, asked} },
		func(_ context.Context, body io.Reader, _ ...func(*s3.Options)) (*string, error) {
			go func() { _, _ = body.Read(make([]byte, 2000)) }()
			<-asked
			return nil, refused
		})
	if !isTransient(err) || !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
}
