package cyberun

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func TestUpload(t *testing.T) {
	var got *http.Request
	var body []byte
	s, c := serve(t, func(http.ResponseWriter, *http.Request) {})
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
	})
	for _, content := range []string{"hello", ""} {
		size := int64(len(content))
		p := Presigned{UploadURL: SignedURL(s.URL + "/in/a%20b.png?X-Amz-Signature=a%2Fb&x=1"), UploadHeaders: UploadHeaders{
			"content-type": "image/png", "If-None-Match": "*", "x-amz-meta-Name": "a, b", "Host": "bucket.test"}}
		if size > 0 {
			p.UploadHeaders["Content-Length"] = "5"
		}
		if err := c.Upload(context.Background(), p, onlyReader{strings.NewReader(content)}, size); err != nil {
			t.Fatal(err)
		}
		if string(body) != content || got.ContentLength != size || len(got.TransferEncoding) > 0 {
			t.Errorf("%q, %d bytes announced, %v", body, got.ContentLength, got.TransferEncoding)
		}
		if got.Method != "PUT" || got.RequestURI != "/in/a%20b.png?X-Amz-Signature=a%2Fb&x=1" || got.Host != "bucket.test" {
			t.Error(got.Method, got.RequestURI, got.Host)
		}
		for name, want := range map[string]string{"Content-Type": "image/png", "If-None-Match": "*", "X-Amz-Meta-Name": "a, b", "Authorization": "", "User-Agent": defaultUserAgent} {
			if got.Header.Get(name) != want {
				t.Errorf("%s: %q", name, got.Header.Get(name))
			}
		}
	}
}

// onlyReader hides every method that net/http could find more about.
type onlyReader struct{ io.Reader }

func TestUploadRefused(t *testing.T) {
	s3 := `<?xml version="1.0"?><Error><Code>PreconditionFailed</Code><Message>At least one did not hold</Message><Condition>If-None-Match</Condition></Error>`
	for _, tt := range []struct {
		status     int
		body, text string
	}{
		{412, s3, "(PreconditionFailed): At least one did not hold"},
		{403, "<html>no</html>", ": <html>no</html>"},
		{403, "<Error><Code>Sig", "Cyberun answered 403 to PUT "},
		{307, "", "a redirect to"},
		{503, "", "Cyberun answered 503 to PUT "},
	} {
		s, c := serve(t, raw(tt.status, tt.body, "Location", "/elsewhere"))
		err := c.Upload(context.Background(), Presigned{UploadURL: SignedURL(s.URL + "/x?" + secretQuery)}, strings.NewReader("x"), 1)
		e, ok := errors.AsType[*APIError](err)
		if !ok || e.Status != tt.status || !strings.Contains(err.Error(), tt.text) || e.Path != s.URL+"/x" || len(s.asked) != 1 {
			t.Errorf("%d: %v, %#v, asked %v", tt.status, err, e, s.asked)
		}
	}
}

func TestUploadOfTheWrongSize(t *testing.T) {
	s, c := serve(t, raw(200, ""))
	u := SignedURL(s.URL + "/x?" + secretQuery)
	for name, tt := range map[string]struct {
		p    Presigned
		body string
		size int64
	}{
		"signed for another": {Presigned{UploadURL: u, UploadHeaders: UploadHeaders{"content-length": "6"}}, "hello", 5},
		"too short":          {Presigned{UploadURL: u}, "hell", 5},
		"too long":           {Presigned{UploadURL: u}, "hello!", 5},
		"negative":           {Presigned{UploadURL: u}, "", -1},
		"no address":         {Presigned{UploadURL: "s3://geheim"}, "hello", 5},
		"bad header":         {Presigned{UploadURL: u, UploadHeaders: UploadHeaders{"x": "geheim\r\ny: z"}}, "hello", 5},
	} {
		err := c.Upload(context.Background(), tt.p, strings.NewReader(tt.body), tt.size)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		leaks(t, name, err)
	}
}

// A store that refuses early leaves net/http reading: the caller's reader must
// be its own again when Upload returns. The race detector watches.
func TestUploadGivesTheReaderBack(t *testing.T) {
	for range 20 {
		_, c := listen(t, func(w *wire, c *net.TCPConn, r *bufio.Reader) {
			http.ReadRequest(r)
			reply(c, "403 Forbidden", "no")
			io.Copy(io.Discard, r)
		})
		body := bytes.NewReader(make([]byte, 8<<20))
		err := c.Upload(context.Background(), Presigned{UploadURL: SignedURL(c.BaseURL + "/x")}, body, body.Size())
		if e, ok := errors.AsType[*APIError](err); !ok || e.Status != 403 {
			t.Fatal(err)
		}
		body.Seek(0, io.SeekStart)
		body.ReadByte()
	}
}

func TestUploadHasItsOwnTransport(t *testing.T) {
	refused := errors.New("this address is not allowed")
	_, c := serve(t, raw(200, taskJSON))
	c.UploadHTTP = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, refused })}
	if err := c.Upload(context.Background(), Presigned{UploadURL: "https://s3.test/x?" + secretQuery}, strings.NewReader("x"), 1); !errors.Is(err, refused) {
		t.Error(err)
	}
	if _, err := c.Task(context.Background(), "t-1"); err != nil {
		t.Error(err)
	}
}
