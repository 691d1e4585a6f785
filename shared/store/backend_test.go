package store

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

const (
	testBucket = "state"
	testSecret = "local-secret"
)

// wire lies between the SDK's own client, its retries included, and a store of
// objects. A test sets around to refuse a request, to lose its reply, or to let
// others in.
type wire struct {
	objects http.RoundTripper

	mu     sync.Mutex
	around func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error)
	sent   []string // method and path, in order
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	around := w.around
	w.sent = append(w.sent, r.Method+" "+strings.TrimPrefix(r.URL.Path, "/"+testBucket+"/"))
	w.mu.Unlock()
	send := func() (*http.Response, error) { return w.objects.RoundTrip(r) }
	if around == nil {
		return send()
	}
	return around(r, send)
}

// meddle has its way with the next n requests of a method and key; n below 0:
// with all of them.
func (w *wire) meddle(n int, method, key string, how func(send func() (*http.Response, error)) (*http.Response, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.around = func(r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		w.mu.Lock()
		hit := n != 0 && r.Method == method && strings.HasSuffix(r.URL.Path, "/"+key)
		if hit {
			n--
		}
		w.mu.Unlock()
		if !hit {
			return send()
		}
		return how(send)
	}
}

func (w *wire) count(request string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, sent := range w.sent {
		if sent == request {
			n++
		}
	}
	return n
}

// The ways of a wire and a store to fail.
var errReset = errors.New("read: connection reset by peer")

func refuse(func() (*http.Response, error)) (*http.Response, error) { return nil, errReset }

func loseReply(send func() (*http.Response, error)) (*http.Response, error) {
	if answer, err := send(); err == nil {
		answer.Body.Close()
	}
	return nil, errReset
}

func answerWith(status int, code string) func(func() (*http.Response, error)) (*http.Response, error) {
	return func(func() (*http.Response, error)) (*http.Response, error) { return failure(status, code), nil }
}

// loseReplyThen lets another writer in after the write whose reply was lost.
func loseReplyThen(other func()) func(func() (*http.Response, error)) (*http.Response, error) {
	return func(send func() (*http.Response, error)) (*http.Response, error) {
		_, err := loseReply(send)
		other()
		return nil, err
	}
}

// before lets another writer in first.
func before(other func()) func(func() (*http.Response, error)) (*http.Response, error) {
	return func(send func() (*http.Response, error)) (*http.Response, error) {
		other()
		return send()
	}
}

func failure(status int, code string) *http.Response {
	return response(status, http.Header{"Content-Type": {"application/xml"}}, []byte("<Error><Code>"+code+"</Code><Message>"+code+"</Message></Error>"))
}

func response(status int, header http.Header, body []byte) *http.Response {
	return &http.Response{
		StatusCode: status, Status: fmt.Sprint(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
}

// memory speaks S3's HTTP for the objects that storetest keeps.
type memory struct{ *storetest.S3 }

func (m memory) RoundTrip(r *http.Request) (*http.Response, error) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	optional := func(header string) *string {
		if value := r.Header.Get(header); value != "" {
			return &value
		}
		return nil
	}
	var body []byte
	if r.Body != nil {
		defer r.Body.Close()
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	if strings.Contains(r.Header.Get("Content-Encoding"), "aws-chunked") {
		return nil, errors.New("this store does not take a body in chunks")
	}
	switch {
	case r.Method == http.MethodPut:
		out, err := m.PutObject(r.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body), IfMatch: optional("If-Match"), IfNoneMatch: optional("If-None-Match")})
		if err != nil {
			return failure(statusOf(err), "Refused"), nil
		}
		return response(http.StatusOK, http.Header{"Etag": {*out.ETag}}, nil), nil
	case r.Method == http.MethodDelete:
		_, err := m.DeleteObject(r.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
		return response(http.StatusNoContent, http.Header{}, nil), err
	case r.URL.Query().Get("list-type") == "2":
		return m.listed(r, bucket)
	}
	out, err := m.GetObject(r.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return failure(statusOf(err), "NoSuchKey"), nil
	}
	body, err = io.ReadAll(out.Body)
	return response(http.StatusOK, http.Header{"Etag": {*out.ETag}}, body), err
}

func statusOf(err error) int {
	_, status := s3errors.Code(err)
	return status
}

func (m memory) listed(r *http.Request, bucket string) (*http.Response, error) {
	query := r.URL.Query()
	in := &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: aws.String(query.Get("prefix"))}
	if after := query.Get("start-after"); after != "" {
		in.StartAfter = &after
	}
	if token := query.Get("continuation-token"); token != "" {
		in.ContinuationToken = &token
	}
	out, err := m.ListObjectsV2(r.Context(), in)
	if err != nil {
		return nil, err
	}
	type object struct {
		Key          string
		LastModified string `xml:",omitempty"`
	}
	answer := struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []object
	}{IsTruncated: *out.IsTruncated, NextContinuationToken: aws.ToString(out.NextContinuationToken)}
	for _, o := range out.Contents {
		listed := object{Key: *o.Key}
		if o.LastModified != nil {
			listed.LastModified = o.LastModified.Format(time.RFC3339Nano)
		}
		answer.Contents = append(answer.Contents, listed)
	}
	body, err := xml.Marshal(answer)
	return response(http.StatusOK, http.Header{"Content-Type": {"application/xml"}}, body), err
}

// onWire is a store whose S3 client is the SDK's, with its pauses cut short.
func onWire(objects http.RoundTripper) (*Store, *wire) {
	w := &wire{objects: objects}
	client := s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String("http://127.0.0.1"), UsePathStyle: true, HTTPClient: &http.Client{Transport: w},
		Credentials: credentials.NewStaticCredentialsProvider("local", testSecret, ""),
		Retryer:     retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond }),
	})
	return &Store{S3: client, Bucket: testBucket}, w
}

// TestStore holds every test of the suite against S3 in memory, with short pages
// so that lists take several.
func TestStore(t *testing.T) {
	for _, test := range suite {
		t.Run(test.name, func(t *testing.T) {
			s, w := onWire(memory{&storetest.S3{PageSize: 3, Now: time.Now}})
			test.run(t, s, w)
		})
	}
}

// TestStoreOnVersitygw holds the same against a real S3 server.
func TestStoreOnVersitygw(t *testing.T) {
	gateway := versitygw(t)
	for _, test := range suite {
		t.Run(test.name, func(t *testing.T) {
			s, w := onWire(gateway)
			ctx := context.Background()
			if _, err := s.S3.(*s3.Client).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &s.Bucket}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { emptyBucket(t, s) })
			w.sent = nil
			test.run(t, s, w)
		})
	}
}

func emptyBucket(t *testing.T, s *Store) {
	s, _ = onWire(s.S3.(*s3.Client).Options().HTTPClient.(*http.Client).Transport.(*wire).objects)
	ctx := context.Background()
	var keys []string
	err := s.List(ctx, "", "", func(e Entry) bool { keys = append(keys, e.Key); return true })
	for _, key := range keys {
		err = errors.Join(err, s.Delete(ctx, key))
	}
	_, deleteErr := s.S3.(*s3.Client).DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &s.Bucket})
	if err := errors.Join(err, deleteErr); err != nil {
		t.Error(err)
	}
}

// versitygw starts a real S3 store on a socket in a directory of its own. Its
// binary is .tools/bin/versitygw or what $VERSITYGW names.
func versitygw(t *testing.T) http.RoundTripper {
	binary := os.Getenv("VERSITYGW")
	if binary == "" {
		binary, _ = filepath.Abs("../../.tools/bin/versitygw")
	}
	if _, err := os.Stat(binary); err != nil {
		t.Skip("no real S3 to test against: `make tools` installs versitygw into .tools/bin, or set VERSITYGW")
	}
	dir, err := os.MkdirTemp("", "s3-") // a socket's path must be short, which the test's own directory is not
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket, data := filepath.Join(dir, "sock"), filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	// Without --sidecar: that keeps an ETag beside its object, where a read can
	// meet the new ETag with the old body, and so a writer undo another's change.
	// In the object's own attributes the two change as one, as in S3.
	cmd := exec.CommandContext(ctx, binary, "--port", socket, "--access", "local", "--secret", testSecret, "--quiet", "--keep-alive", "posix", data)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		<-ended
		if t.Failed() {
			t.Logf("versitygw said: %s", said.String())
		}
	})
	waitCtx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		select {
		case <-ended:
			if strings.Contains(said.String(), "xattr") {
				t.Skipf("the file system of %s keeps no attributes, so versitygw cannot keep objects on it: %s", dir, said.String())
			}
			t.Fatalf("versitygw ended: %s", said.String())
		default:
		}
		conn, err := new(net.Dialer).DialContext(waitCtx, "unix", socket)
		if err == nil {
			conn.Close()
			return transport
		}
		if waitCtx.Err() != nil {
			t.Fatalf("versitygw does not listen: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
