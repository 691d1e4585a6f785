package transfer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"
)

var updateWire = flag.Bool("update", false, "write testdata/wire.txt anew; its diff is to be read")

const wireFile = "testdata/wire.txt"

// TestS3OnTheWire holds every kind of request that the relay makes to S3 against
// testdata/wire.txt, as it goes over TLS to the addresses that AWS has: over plain
// HTTP, as in every other test, the SDK signs and frames bodies otherwise. The
// requests of the copy are made by its own code. Those of the records and of the
// handlers are the SDK's alone: they are made here with the inputs that those give.
func TestS3OnTheWire(t *testing.T) {
	w := newWire(t)
	copies, small := w.clients(t)

	w.section("the copy: an output of one part")
	data := randomBytes(testPart / 2)
	w.copy(t, copies, "picture.png", data, nil)

	w.section("the copy: an output of one part with a Content-Encoding")
	w.copy(t, copies, "page.html", data, http.Header{"Content-Encoding": {"gzip"}})

	w.section("the copy: an empty output")
	w.copy(t, copies, "empty.txt", nil, nil)

	w.section("the copy: an output of three parts, resumed after the first two calls")
	w.copyResumed(t, copies, "film.mp4", randomBytes(2*testPart+100))

	w.section("the copy: the same output, which is there already")
	w.copy(t, copies, "film.mp4", randomBytes(2*testPart+100), nil)

	w.section("close-run: the upload of a copy that was stopped")
	if err := Abort(t.Context(), copies, wireOutput, Checkpoint{Key: "runs/1/film.mp4", UploadID: "upload-0"}); err != nil {
		t.Fatal(err)
	}

	w.section("submit: a file for Cyberun, whose connection is cut once")
	w.readCut(t, small, "photos/my photo+1 ä.png", randomBytes(1_000_000)) // the size that cutAnswer tells

	w.section("the records: created, read, changed, written, listed, deleted")
	w.records(t, small)

	w.section("submit: does the output bucket exist, and a file's type and size")
	_, err := small.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String(wireOutput)})
	w.check(t, err)
	_, err = small.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(wireOutput), Key: aws.String("runs/1/picture.png")})
	w.check(t, err)

	w.section("copy-result: manifest.json, and an error.json that is wrong by now")
	_, err = copies.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(wireOutput), Key: aws.String("runs/1/manifest.json"), Body: bytes.NewReader([]byte("{}\n")),
		ContentType: aws.String("application/json"), Metadata: map[string]string{"cyberun-run-id": "run-1"},
	})
	w.check(t, err)
	_, err = copies.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(wireOutput), Key: aws.String("runs/1/error.json")})
	w.check(t, err)

	w.section("relay: an upload to the inbox")
	file, err := os.Open(wireUpload(t, data))
	w.check(t, err)
	defer file.Close()
	_, err = small.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String("inbox"), Key: aws.String("cli/0123/my photo+1 ä.png"), Body: file, ContentLength: aws.Int64(int64(len(data))),
		ContentType: aws.String("image/png"), IfNoneMatch: aws.String("*"),
	})
	w.check(t, err)

	w.section("api: the address of an output")
	signed, err := s3.NewPresignClient(small).PresignGetObject(t.Context(),
		&s3.GetObjectInput{Bucket: aws.String(wireOutput), Key: aws.String("runs/1/my photo+1 ä.png")}, s3.WithPresignExpires(15*time.Minute))
	w.check(t, err)
	w.note(signed.Method + " " + normalWire(signed.URL))

	if *updateWire {
		if err := os.WriteFile(wireFile, []byte(w.text()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(wireFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), w.text()); diff != "" {
		t.Errorf("the requests to S3 are others than in %s; if they are meant so, go test -run TestS3OnTheWire -update (-file +made):\n%s", wireFile, diff)
	}
}

const (
	wireState  = "state"
	wireOutput = "outputs"
)

// wire is S3 behind TLS, and what was asked of it.
type wire struct {
	fake    *fakeS3
	address string // of the server, whatever name is dialled

	mu       sync.Mutex
	requests strings.Builder
}

func newWire(t *testing.T) *wire {
	w := &wire{fake: newFakeS3()}
	server := httptest.NewTLSServer(w)
	t.Cleanup(server.Close)
	w.address = server.Listener.Addr().String()
	return w
}

// clients are those of copy-result and of the other functions, of the SDK's default
// configuration as shared/config loads it: only where a name leads to and whose
// certificate is taken are the test's.
func (w *wire) clients(t *testing.T) (copies, small *s3.Client) {
	for name, value := range map[string]string{
		"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "ASIALOCAL", "AWS_SECRET_ACCESS_KEY": "local", "AWS_SESSION_TOKEN": "local-session",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_ENDPOINT_URL": "", "AWS_PROFILE": "",
	} {
		t.Setenv(name, value)
	}
	cfg, err := awsconfig.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dialer := &net.Dialer{}
	trust := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}} // #nosec G402 -- the test's own server
	own := NewStoreClient()
	t.Cleanup(own.CloseIdleConnections)
	own.Transport.(*http.Transport).DialTLSContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&tls.Dialer{NetDialer: dialer, Config: trust}).DialContext(ctx, network, w.address)
	}
	copies = s3.NewFromConfig(cfg, func(o *s3.Options) { o.HTTPClient = own })
	cfg.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(tr *http.Transport) {
		tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, w.address)
		}
		tr.TLSClientConfig = trust
	})
	return copies, s3.NewFromConfig(cfg)
}

// ServeHTTP writes a request down and lets the fake answer it, which knows buckets
// in paths alone.
func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	w.note(describeWire(r, body))
	r.Body = io.NopCloser(bytes.NewReader(body))
	bucket, _, _ := strings.Cut(r.Host, ".")
	object := strings.TrimPrefix(r.URL.Path, "/")
	r.URL.Path = "/" + bucket + "/" + object
	switch q := r.URL.Query(); {
	case q.Has("list-type"):
		_, _ = io.WriteString(rw, `<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>`)
	case object == "":
		rw.WriteHeader(http.StatusOK)
	case r.Method == http.MethodDelete && !q.Has("uploadId"):
		rw.WriteHeader(http.StatusNoContent)
	default:
		w.fake.ServeHTTP(rw, r)
	}
}

func (w *wire) note(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests.WriteString(text + "\n")
}

func (w *wire) section(name string) { w.note("\n=== " + name) }

func (w *wire) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.TrimPrefix(w.requests.String(), "\n")
}

func (w *wire) check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// copy copies data as an output of that name. One connection: the order of the
// requests is theirs then.
func (w *wire) copy(t *testing.T, client S3, name string, data []byte, header http.Header) {
	t.Helper()
	origin := &fakeOrigin{data: data, etag: `"content-1"`, header: header}
	copier := testCopier(t, client)
	copier.Connections = 1
	target := Target{
		Bucket: wireOutput, Key: func(Remote) string { return "runs/1/" + name },
		Metadata: map[string]string{"cyberun-run-id": "run-1", "cyberun-output-id": "out"},
	}
	if _, err := copier.Copy(t.Context(), Source{URL: origin.serve(t)}, target, nil, nil); err != nil {
		t.Fatal(err)
	}
}

// copyResumed has a first call that ends before its second part.
func (w *wire) copyResumed(t *testing.T, client S3, name string, data []byte) {
	t.Helper()
	origin := &fakeOrigin{data: data, etag: `"content-1"`}
	source := Source{URL: origin.serve(t)}
	target := Target{
		Bucket: wireOutput, Key: func(Remote) string { return "runs/1/" + name },
		Metadata: map[string]string{"cyberun-run-id": "run-1", "cyberun-output-id": "out"},
	}
	var saved *Checkpoint
	first := testCopier(t, client)
	first.Connections = 1
	stop := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	first.StopBefore = stop
	first.now = func() time.Time {
		if w.fake.count("UploadPart") > 0 {
			return stop.Add(time.Second)
		}
		return stop.Add(-time.Hour)
	}
	res, err := first.Copy(t.Context(), source, target, nil, func(_ context.Context, cp Checkpoint) error { saved = &cp; return nil })
	if err != nil || res.Done || saved == nil {
		t.Fatalf("the first call: %+v, %v, saved %v", res, err, saved)
	}
	second := testCopier(t, client)
	second.Connections = 1
	if res, err := second.Copy(t.Context(), source, target, saved, nil); err != nil || !res.Done {
		t.Fatalf("the second call: %+v, %v", res, err)
	}
}

// readCut reads an object whose first answer ends early.
func (w *wire) readCut(t *testing.T, client *s3.Client, key string, data []byte) {
	t.Helper()
	object := newObject(data, http.Header{})
	w.fake.mu.Lock()
	w.fake.objects[key] = object
	w.fake.mu.Unlock()
	cut := cutAnswer(data, object.etag, len(data)/2)
	first := true
	w.fake.fault = func(_ string, _ int, rw http.ResponseWriter, r *http.Request) bool {
		if first {
			first = false
			return cut(rw, r)
		}
		return false
	}
	from := testStore(client)
	from.bucket = "photos-of-ours"
	if crc, err := from.readBack(t.Context(), key, object.etag, int64(len(data))); err != nil || crc != crc32.ChecksumIEEE(data) {
		t.Fatalf("%08x, %v", crc, err)
	}
	w.fake.fault = nil
}

// records makes one of each kind of request that the state bucket gets.
func (w *wire) records(t *testing.T, client *s3.Client) {
	t.Helper()
	bucket, key := aws.String(wireState), aws.String("tasks/task-1")
	put := func(etag, absent *string) *string {
		t.Helper()
		out, err := client.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: bucket, Key: key, Body: strings.NewReader(`{"run_id":"run-1"}`), ContentType: aws.String("application/json"), IfMatch: etag, IfNoneMatch: absent,
		})
		w.check(t, err)
		return out.ETag
	}
	w.note("--- created: it must not be there yet")
	etag := put(nil, aws.String("*"))
	w.note("--- read")
	_, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: key})
	w.check(t, err)
	w.note("--- changed: it must be what was read")
	put(etag, nil)
	w.note("--- written, whatever is there")
	put(nil, nil)
	w.note("--- listed")
	_, err = client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("open/"), StartAfter: aws.String("open/run-0")})
	w.check(t, err)
	w.note("--- deleted")
	_, err = client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: bucket, Key: key})
	w.check(t, err)
}

func wireUpload(t *testing.T, data []byte) string {
	name := t.TempDir() + "/upload.png"
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// describeWire is a request as text: its line, its headers in order, and the frames
// of its body, without what differs from call to call.
func describeWire(r *http.Request, body []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s https://%s%s\n", r.Method, r.Host, normalWire(r.RequestURI))
	headers := r.Header.Clone()
	headers.Set("Content-Length", fmt.Sprint(r.ContentLength))
	// A record's JSON is the business of other tests, and grows.
	ours := headers.Get("Content-Type") == "application/json"
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		for _, value := range headers[name] {
			switch {
			case name == "User-Agent":
				value = "…"
			case ours && slices.Contains([]string{"Content-Length", "X-Amz-Checksum-Crc32", "X-Amz-Decoded-Content-Length"}, name):
				value = "…"
			}
			fmt.Fprintf(&b, "  %s: %s\n", name, normalWire(value))
		}
	}
	switch {
	case ours:
		b.WriteString("  (JSON)\n")
	case strings.HasPrefix(headers.Get("Content-Type"), "application/xml"):
		fmt.Fprintf(&b, "  %s\n", normalWire(string(body)))
	case slices.Contains(headers["Content-Encoding"], "aws-chunked"):
		b.WriteString(framesOf(body))
	case len(body) > 0:
		fmt.Fprintf(&b, "  (%d bytes)\n", len(body))
	}
	return b.String()
}

// framesOf lists the chunks of an aws-chunked body and its trailer.
func framesOf(body []byte) string {
	var b strings.Builder
	for {
		line, rest, found := bytes.Cut(body, []byte("\r\n"))
		var size int
		if _, err := fmt.Sscanf(string(line), "%x", &size); !found || err != nil || len(rest) < size+2 && size > 0 {
			return b.String() + fmt.Sprintf("  broken frame %q\n", line)
		}
		fmt.Fprintf(&b, "  chunk %q", line)
		if size == 0 {
			fmt.Fprintf(&b, ", trailer %q\n", rest)
			return b.String()
		}
		fmt.Fprintf(&b, ", %d bytes, %q\n", size, rest[size:size+2])
		body = rest[size+2:]
	}
}

// normalWire takes out what differs from call to call and from day to day.
func normalWire(text string) string {
	for _, rule := range wireRules {
		text = rule.pattern.ReplaceAllString(text, rule.to)
	}
	return text
}

var wireRules = []struct {
	pattern *regexp.Regexp
	to      string
}{
	{regexp.MustCompile(`\b20\d{6}T\d{6}Z\b`), "DATETZ"},
	{regexp.MustCompile(`(ASIALOCAL(?:/|%2F))20\d{6}`), "${1}DATE"},
	{regexp.MustCompile(`Signature=[0-9a-f]{64}`), "Signature=…"},
	{regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$`), "ID"},
	{regexp.MustCompile(`^[0-9a-f]{64}$`), "SHA256"},
}

// TestWireFrames: a body that is not framed as it says is seen.
func TestWireFrames(t *testing.T) {
	tests := map[string]string{
		"3\r\nabc\r\n0\r\nx-amz-checksum-crc32:NSRBwg==\r\n\r\n": `  chunk "3", 3 bytes, "\r\n"` + "\n" + `  chunk "0", trailer "x-amz-checksum-crc32:NSRBwg==\r\n\r\n"` + "\n",
		"4\r\nabc\r\n": "  broken frame \"4\"\n",
		"abc":          "  broken frame \"abc\"\n",
	}
	for body, want := range tests {
		if got := framesOf([]byte(body)); got != want {
			t.Errorf("%s: %s, want %s", hex.EncodeToString([]byte(body)), got, want)
		}
	}
}
