package transfer

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer/bulk"
)

const minPart = 5 << 20 // S3's own limit, for all but the last part

// versitygw starts a real S3 store on a socket in the test's directory, over TLS
// where asked, and gives its client with the bucket made. Its binary is
// .tools/bin/versitygw or what $VERSITYGW names.
func versitygw(t *testing.T, secure bool) *s3.Client {
	binary := os.Getenv("VERSITYGW")
	if binary == "" {
		binary, _ = filepath.Abs("../../.tools/bin/versitygw")
	}
	if _, err := os.Stat(binary); err != nil {
		t.Skip("no real S3 to test against: `make tools` installs versitygw into .tools/bin, or set VERSITYGW")
	}
	// A socket's path must be short, which the test's own directory is not.
	dir, err := os.MkdirTemp("", "s3-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket, data, meta := filepath.Join(dir, "sock"), filepath.Join(dir, "data"), filepath.Join(dir, "meta")
	if err := errors.Join(os.Mkdir(data, 0o700), os.Mkdir(meta, 0o700)); err != nil {
		t.Fatal(err)
	}
	args := []string{"--port", socket, "--access", "local", "--secret", "locallocal", "--quiet", "--keep-alive"}
	transport := NewS3Client()
	inner := transport.Transport.(*http.Transport)
	dial := func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", socket) }
	inner.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }
	endpoint := "http://127.0.0.1"
	if secure {
		cert, key, pool := certificate(t, dir)
		args = append(args, "--cert", cert, "--key", key)
		inner.DialTLSContext = func(ctx context.Context, _, address string) (net.Conn, error) {
			conn, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			return bulk.Client(ctx, conn, clientConfig(&tls.Config{RootCAs: pool}, address))
		}
		endpoint = "https://127.0.0.1"
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, append(args, "posix", "--sidecar", meta, data)...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("versitygw said: %s", said.String())
		}
	})
	client := s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &endpoint, UsePathStyle: true, HTTPClient: transport,
		Credentials:                credentials.NewStaticCredentialsProvider("local", "locallocal", ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
	})
	err = retryPolicy{attempts: 100, backoff: 20 * time.Millisecond}.do(t.Context(), func() error {
		_, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("bucket")})
		if err != nil {
			return &transientError{err: err} // it is not listening yet
		}
		return nil
	})
	if err != nil {
		t.Fatal(err, said.String())
	}
	return client
}

// certificate writes the one that httptest has for 127.0.0.1, with its key.
func certificate(t *testing.T, dir string) (certFile, keyFile string, pool *x509.CertPool) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	server.Close()
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	err = errors.Join(err,
		os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile, server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
}

func TestVersitygw(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			client := versitygw(t, secure)
			for sizeName, size := range map[string]int{"empty": 0, "one byte": 1, "one part": minPart, "parts": 4*minPart + 12345} {
				for _, ranges := range []bool{true, false} {
					t.Run(sizeName+map[bool]string{true: "", false: " without ranges"}[ranges], func(t *testing.T) {
						origin := newFakeOrigin(size)
						origin.noRanges = !ranges
						origin.header = http.Header{"Content-Encoding": {"br"}}
						copyToReal(t, client, origin)
					})
				}
			}
			t.Run("stop, resume and two at once", func(t *testing.T) { resumeOnReal(t, client) })
		})
	}
}

func realCopier(t *testing.T, client *s3.Client) *Copier {
	copier := testCopier(t, client)
	copier.partSize, copier.streamPart = minPart, minPart
	return copier
}

func copyToReal(t *testing.T, client *s3.Client, origin *fakeOrigin) {
	src, dst := Source{URL: origin.serve(t)}, testTarget()
	// A key of its own: versitygw lets an overwritten object's encoding shine through.
	dst.Key = func(OriginFile) string { return t.Name() }
	res, err := realCopier(t, client).Copy(t.Context(), src, dst, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkReal(t, client, origin, res)
	again, err := realCopier(t, client).Copy(t.Context(), src, dst, nil, nil)
	if err != nil || !again.Skipped || again.CRC32 != res.CRC32 || again.ETag != res.ETag {
		t.Errorf("the second copy: %+v, %v", again, err)
	}
}

func checkReal(t *testing.T, client *s3.Client, origin *fakeOrigin, res Result) {
	t.Helper()
	object, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: &res.Key, IfMatch: &res.ETag})
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(object.Body)
	if err := errors.Join(err, object.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, origin.data) || aws.ToString(object.ContentType) != "image/png" {
		t.Errorf("%d bytes of type %s, want %d", len(data), aws.ToString(object.ContentType), len(origin.data))
	}
	if res.CRC32 != crc32.ChecksumIEEE(origin.data) || res.Bytes != int64(len(origin.data)) {
		t.Errorf("result %+v", res)
	}
	head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("bucket"), Key: &res.Key})
	if err != nil || aws.ToString(head.ContentEncoding) != origin.header.Get("Content-Encoding") {
		t.Errorf("encoding %q, %v", aws.ToString(head.ContentEncoding), err)
	}
	open, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String("bucket")})
	if err != nil || len(open.Uploads) > 0 {
		t.Errorf("%d uploads left, %v", len(open.Uploads), err)
	}
}

// resumeOnReal stops a copy, then lets two go on with the same checkpoint.
func resumeOnReal(t *testing.T, client *s3.Client) {
	origin := newFakeOrigin(6*minPart + 99)
	src, dst := Source{URL: origin.serve(t)}, testTarget()
	// A key of its own: versitygw lets an overwritten object's encoding shine through.
	dst.Key = func(OriginFile) string { return t.Name() }
	var saved *Checkpoint
	stopping := realCopier(t, client)
	stopping.Connections = 1
	stopping.StopBefore = time.Unix(1, 0)
	stopping.now = func() time.Time { return time.Unix(origin.served.Load()/minPart, 0) }
	res, err := stopping.Copy(t.Context(), src, dst, nil, func(_ context.Context, cp Checkpoint) error {
		saved = &cp
		return nil
	})
	if err != nil || res.Done || saved == nil {
		t.Fatalf("stopping: %+v, %v", res, err)
	}
	type outcome struct {
		Result
		error
	}
	outcomes := make(chan outcome)
	for range 2 {
		go func() {
			res, err := realCopier(t, client).Copy(t.Context(), src, dst, saved, nil)
			outcomes <- outcome{res, err}
		}()
	}
	for range 2 {
		if o := <-outcomes; o.error != nil {
			t.Error(o.error)
		} else {
			defer checkReal(t, client, origin, o.Result)
		}
	}
}
