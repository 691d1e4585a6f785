package transfer

import (
	"bytes"
	"context"
	"encoding/hex"
	"flag"
	"hash/crc32"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
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

	w.section("the copy: an object that is there already, without a CRC32; its connection is cut once")
	w.readBackCut(t, copies)

	w.section("submit: a file for Cyberun")
	w.fake.objects["photos/my photo+1 ä.png"] = newObject(data, http.Header{})
	file, err := small.GetObject(t.Context(), &s3.GetObjectInput{
		Bucket: aws.String("photos-of-ours"), Key: aws.String("photos/my photo+1 ä.png"), VersionId: aws.String("v1"),
		IfMatch: aws.String(w.fake.objects["photos/my photo+1 ä.png"].etag),
	})
	w.check(t, err)
	_ = file.Body.Close()

	w.section("the records: created, read, changed, written, listed, deleted")
	w.records(t, small)

	w.section("submit: does the output bucket exist, and a file's type and size")
	_, err = small.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String(wireOutput)})
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
	upload, err := os.Open(wireUpload(t, data))
	w.check(t, err)
	defer upload.Close()
	_, err = small.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String("inbox"), Key: aws.String("cli/0123/my photo+1 ä.png"), Body: upload, ContentLength: aws.Int64(int64(len(data))),
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

// copy copies data as an output of that name. One connection: the order of the
// requests is theirs then.
func (w *wire) copy(t *testing.T, client S3, name string, data []byte, header http.Header) {
	t.Helper()
	origin := &fakeOrigin{data: data, etag: `"content-1"`, header: header}
	copier := testCopier(t, client)
	copier.Connections = 1
	target := Target{
		Bucket: wireOutput, Key: func(OriginFile) string { return "runs/1/" + name },
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
		Bucket: wireOutput, Key: func(OriginFile) string { return "runs/1/" + name },
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

// readBackCut sums an object whose first answer ends early.
func (w *wire) readBackCut(t *testing.T, client S3) {
	t.Helper()
	data := randomBytes(1_000_000) // as many as cutAnswer announces
	object := newObject(data, http.Header{})
	w.fake.objects["runs/1/film.mp4"] = object
	cut, first := cutAnswer(data, object.etag, len(data)/2), true
	w.fake.fault = func(_ string, _ int, rw http.ResponseWriter, r *http.Request) bool {
		defer func() { first = false }()
		return first && cut(rw, r)
	}
	defer func() { w.fake.fault = nil }()
	store := testBucket(client)
	store.bucket = wireOutput
	if crc, err := store.readBack(t.Context(), "runs/1/film.mp4", object.etag, int64(len(data))); err != nil || crc != crc32.ChecksumIEEE(data) {
		t.Fatalf("%08x, %v", crc, err)
	}
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
