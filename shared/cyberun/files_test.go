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
	"testing/iotest"
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
		for name, want := range map[string]string{"Content-Type": "image/png", "If-None-Match": "*", "X-Amz-Meta-Name": "a, b", "Authorization": "", "User-Agent": userAgent} {
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
		{403, "<Error><Code>geheim-1</Code><Message>the token geheim-1 is old</Message></Error>", "([redacted]): the token [redacted] is old"},
		{403, "<Error><Code>Sig", "Cyberun answered 403 to PUT "},
		{303, "", "a redirect to"},
		{307, "", "a redirect to"},
		{503, "", "Cyberun answered 503 to PUT "},
	} {
		s, c := serve(t, raw(tt.status, tt.body, "Location", "/elsewhere"))
		err := c.Upload(context.Background(), Presigned{UploadURL: SignedURL(s.URL + "/x?" + secretQuery), UploadHeaders: UploadHeaders{"x-token": "geheim-1"}}, strings.NewReader("x"), 1)
		e, ok := errors.AsType[*APIError](err)
		if !ok || e.Status != tt.status || !strings.Contains(err.Error(), tt.text) || e.Path != s.URL+"/x" || len(s.asked) != 1 {
			t.Errorf("%d: %v, %#v, asked %v", tt.status, err, e, s.asked)
		}
	}
}

func TestUploadOfTheWrongSize(t *testing.T) {
	stored := 0
	s, c := serve(t, nil)
	s.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err == nil {
			stored++
		}
	})
	u := SignedURL(s.URL + "/x?" + secretQuery)
	for name, tt := range map[string]struct {
		p    Presigned
		body io.Reader
		size int64
		says string
	}{
		"signed for another": {Presigned{UploadURL: u, UploadHeaders: UploadHeaders{"content-length": "6"}}, strings.NewReader("hello"), 5, "signed for 6 bytes, not 5"},
		"too short":          {Presigned{UploadURL: u}, strings.NewReader("hell"), 5, "ends 1 bytes before"},
		"empty":              {Presigned{UploadURL: u}, strings.NewReader(""), 5, "ends 5 bytes before"},
		"too long":           {Presigned{UploadURL: u}, strings.NewReader("hello!"), 5, "longer than the size"},
		"too long, in bytes": {Presigned{UploadURL: u}, iotest.OneByteReader(strings.NewReader("hello!")), 5, "longer than the size"},
		"not empty":          {Presigned{UploadURL: u}, strings.NewReader("h"), 0, "longer than the size"},
		"breaks":             {Presigned{UploadURL: u}, io.MultiReader(strings.NewReader("he"), iotest.ErrReader(io.ErrClosedPipe)), 5, "closed pipe"},
		"negative":           {Presigned{UploadURL: u}, nil, -1, "-1 bytes"},
		"no address":         {Presigned{UploadURL: "s3://geheim"}, nil, 5, "not an http(s) address"},
		"bad header":         {Presigned{UploadURL: u, UploadHeaders: UploadHeaders{"x": "geheim\r\ny: z"}}, strings.NewReader("hello"), 5, "invalid header"},
	} {
		err := c.Upload(context.Background(), tt.p, tt.body, tt.size)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
		leaks(t, name, err)
	}
	s.Close() // waits for what is still being handled
	if stored > 0 {
		t.Errorf("%d files of a wrong size were stored", stored)
	}
}

// A 2xx before the whole file was sent is no proof of anything.
func TestUploadAcceptedTooEarly(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, c := listen(t, func(w *wire, c *net.TCPConn, r *bufio.Reader) {
		http.ReadRequest(r)
		reply(c, "200 OK", "")
		<-ctx.Done()
	})
	body := make([]byte, 64<<20) // more than the sockets in between can hold
	err := c.Upload(ctx, Presigned{UploadURL: SignedURL(c.BaseURL + "/x")}, bytes.NewReader(body), int64(len(body)))
	if err == nil || !strings.Contains(err.Error(), "before its end") {
		t.Error(err)
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
	keyRejected := errors.New("this address is not allowed")
	_, c := serve(t, raw(200, taskJSON))
	c.UploadHTTP = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, keyRejected })}
	if err := c.Upload(context.Background(), Presigned{UploadURL: "https://s3.test/x?" + secretQuery}, strings.NewReader("x"), 1); !errors.Is(err, keyRejected) {
		t.Error(err)
	}
	if _, err := c.Task(context.Background(), "t-1"); err != nil {
		t.Error(err)
	}
}

// TestUploadOfDamagedFile: S3's own checksum speaks with the last bytes. The store
// must not get the file whole, for the task that reads it is paid for.
func TestUploadOfDamagedFile(t *testing.T) {
	damaged := errors.New("checksum did not match")
	for name, body := range map[string]io.Reader{
		"with the last bytes":  iotest.DataErrReader(io.MultiReader(strings.NewReader("damaged"), iotest.ErrReader(damaged))),
		"after the last bytes": io.MultiReader(strings.NewReader("damaged"), iotest.ErrReader(damaged)),
	} {
		lent := &lentReader{from: body, left: 7}
		got, err := io.ReadAll(lent)
		if _, failed := lent.takeBack(); !errors.Is(err, damaged) || len(got) == 7 || !errors.Is(failed, damaged) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
