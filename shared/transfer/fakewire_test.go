package transfer

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
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

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
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
	own := NewS3Client()
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
	{pattern: regexp.MustCompile(`\b20\d{6}T\d{6}Z\b`), to: "DATETZ"},
	{pattern: regexp.MustCompile(`(ASIALOCAL(?:/|%2F))20\d{6}`), to: "${1}DATE"},
	{pattern: regexp.MustCompile(`Signature=[0-9a-f]{64}`), to: "Signature=…"},
	{pattern: regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$`), to: "ID"},
	{pattern: regexp.MustCompile(`^[0-9a-f]{64}$`), to: "SHA256"},
}
