package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestContainerHeaders: what arrives of the headers, each way.
func TestContainerHeaders(t *testing.T) {
	s := open(t)
	t.Parallel()
	header := http.Header{
		"X-Twice": {"one", "two"}, "X-Empty": {""}, "X-Text": {"Gr\u00fc\u00dfe, \"quoted\"; q=1"}, "Accept": {"text/html, */*;q=0.1"}, "User-Agent": {"odd/1.0 (x)"},
		"Range": {"bytes=0-1"}, "If-None-Match": {`"x"`}, "X-Api-Key": {"the container's own"},
		"Cookie": {"a=1"}, "X-Forwarded-For": {"1.2.3.4"}, "Forwarded": {"for=1.2.3.4"}, "Via": {"1.1 x"}, "Te": {"trailers"}, "Keep-Alive": {"timeout=5"},
	}
	for i := range 100 {
		header.Set(fmt.Sprintf("X-Number-%d", i), fmt.Sprint(i))
	}
	seen := s.echo(t, containerCall{method: "GET", path: "/x", header: header})
	want := map[string][]string{}
	for name, values := range header {
		want[name] = values
	}
	for _, name := range []string{"Cookie", "X-Forwarded-For", "Forwarded", "Via", "Te", "Keep-Alive"} {
		delete(want, name)
	}
	want["Accept-Encoding"] = []string{"identity"}   // what this test sends
	want["X-Twice"] = []string{"one, two"}           // the gateway joins them
	delete(want, "X-Text")                           // below
	text := strings.Join(seen.Headers["X-Text"], "") // bytes that are not ASCII are the gateway's to read
	delete(seen.Headers, "X-Text")
	if diff := cmp.Diff(want, seen.Headers); diff != "" {
		t.Errorf("(-sent +arrived):\n%s", diff)
	}
	if !strings.Contains(text, `"quoted"; q=1`) {
		t.Errorf("X-Text arrived as %q", text)
	}

	a := s.callContainer(t, containerCall{method: "GET", container: "files", path: "/headers"})
	if a.status != 201 || a.header.Get("X-Twice") != "one, two" || a.header["X-Empty"] == nil || len(a.header["Set-Cookie"]) != 2 {
		t.Errorf("%d %v", a.status, a.header)
	}
	for _, name := range []string{"Keep-Alive", "Relay-Error"} {
		if a.header[name] != nil {
			t.Errorf("%s came back: %v", name, a.header)
		}
	}
}

// TestContainerAnswers: statuses, methods and encodings come back as they are.
func TestContainerAnswers(t *testing.T) {
	s := open(t)
	t.Parallel()
	get := func(method, container, path string, headers ...string) answer {
		header := http.Header{}
		for i := 0; i+1 < len(headers); i += 2 {
			header.Set(headers[i], headers[i+1])
		}
		return s.callContainer(t, containerCall{method: method, container: container, path: path, header: header})
	}
	for _, status := range []int{200, 202, 203, 204, 205, 300, 303, 304, 307, 400, 401, 402, 403, 404, 405, 409, 410, 418, 422, 429, 500, 501, 502, 503, 504, 599} {
		if a := get("GET", "files", fmt.Sprint("/status/", status)); a.status != status || len(a.body) > 0 || a.header.Get("Relay-Error") != "" {
			t.Errorf("%d came back as %d %s", status, a.status, a.body)
		}
	}
	if a := get("GET", "failing", "/404"); a.status != 404 || !strings.Contains(string(a.body), "the container's own") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := get("GET", "html", "/nowhere"); a.status != 404 || a.header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(string(a.body), "Grüße") {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
	if a := get("GET", "files", "/redirect"); a.status != 302 || a.header.Get("Location") != "https://elsewhere.example/next?page=2" {
		t.Errorf("%d %v", a.status, a.header)
	}
	if a := get("HEAD", "files", "/file"); a.status != 200 || a.header.Get("Content-Length") != "10000" || a.header.Get("Etag") != `"a-file"` || len(a.body) > 0 {
		t.Errorf("HEAD: %d %v", a.status, a.header)
	}
	if a := get("GET", "files", "/file", "Range", "bytes=10-19"); a.status != 206 || a.header.Get("Content-Range") != "bytes 10-19/10000" || len(a.body) != 10 {
		t.Errorf("range: %d %v", a.status, a.header)
	}
	if a := get("GET", "files", "/file", "If-None-Match", `"a-file"`); a.status != 304 || a.header.Get("Etag") != `"a-file"` {
		t.Errorf("304: %d %v", a.status, a.header)
	}
	a := get("GET", "files", "/gzip", "Accept-Encoding", "gzip")
	z, err := gzip.NewReader(bytes.NewReader(a.body))
	if a.header.Get("Content-Encoding") != "gzip" || err != nil {
		t.Fatalf("gzip: %v %v", a.header, err)
	}
	if text, err := io.ReadAll(z); err != nil || len(text) != 11_000 {
		t.Errorf("gzip: %d bytes, %v", len(text), err)
	}
	for _, method := range []string{"PUT", "PATCH", "DELETE", "PROPFIND"} {
		if seen := s.echo(t, containerCall{method: method, path: "/x"}); seen.Method != method {
			t.Errorf("%s arrived as %s", method, seen.Method)
		}
	}
	// The local gateway answers OPTIONS itself: what AWS hands over is handed to the function.
	event := strings.NewReplacer(`"method": "PUT"`, `"method": "OPTIONS"`, "/containers/echo/upload", "/containers/files/options", `"slug": "echo"`, `"slug": "files"`, `"path": "upload"`, `"path": "options"`).Replace(s.sample(t, "call-container-binary.json", ""))
	got, failed := s.invoke(t, "CallContainerFunction", event)
	if headers, _ := got["headers"].(map[string]any); failed != "" || got["statusCode"] != 204. || headers["allow"] != "GET, OPTIONS" {
		t.Errorf("OPTIONS: %v %s", got, failed)
	}
}

// TestContainerBodies: 4 MiB that are no text, both ways; what Lambda does not
// carry is told, and not sent.
func TestContainerBodies(t *testing.T) {
	s := open(t)
	t.Parallel()
	const fourMiB = 4 << 20
	binary := make([]byte, fourMiB)
	rand.Read(binary)
	kind := http.Header{"Content-Type": {"application/octet-stream"}}
	sum := sha256.Sum256(binary)
	if seen := s.echo(t, containerCall{method: "PUT", path: "/up", header: kind, body: binary}); seen.BodyBytes != fourMiB || seen.BodySHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("%+v", seen)
	}
	a := s.callContainer(t, containerCall{method: "POST", container: "files", path: "/body", header: kind, body: binary})
	if a.status != 200 || !bytes.Equal(a.body, binary) || a.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("%d, %d bytes %v", a.status, len(a.body), a.header)
	}
	for name, body := range map[string]string{"text": "Grüße\r\n\x00 \u2028", "json": `{"a": "<&>"}`, "nothing": ""} {
		for _, kind := range []string{"text/plain; charset=utf-8", "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"} {
			seen := s.echo(t, containerCall{method: "POST", path: "/x", header: http.Header{"Content-Type": {kind}}, body: []byte(body)})
			if string(seen.BodyBase64) != body || seen.Headers["Content-Type"][0] != kind {
				t.Errorf("%s as %s: %q %v", name, kind, seen.BodyBase64, seen.Headers["Content-Type"])
			}
		}
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte("packed"))
	z.Close()
	seen := s.echo(t, containerCall{method: "POST", path: "/x", header: http.Header{"Content-Type": {"application/x-thing"}, "Content-Encoding": {"gzip"}}, body: packed.Bytes()})
	if !bytes.Equal(seen.BodyBase64, packed.Bytes()) || seen.Headers["Content-Encoding"] == nil {
		t.Errorf("a packed body arrived as %+v", seen)
	}
	// No other test calls this one: the body that is too large did not reach it,
	// and the call whose answer is too large did so once.
	isProblem(t, s.callContainer(t, containerCall{method: "POST", container: "large", path: "/x", header: kind, body: make([]byte, 5<<20)}), 413, "ContainerBodyTooLarge")
	isProblem(t, s.callContainer(t, containerCall{method: "GET", container: "large", path: "/x"}), 502, "ContainerAnswerTooLarge")
	if n := s.containerCalls(t, "large"); n != 1 {
		t.Errorf("%d calls reached the container", n)
	}
	s.showsNoKey(t, `"error":"ContainerAnswerTooLarge"`)
	t.Logf("peak resident memory of call-container: %d MiB (0: not known here)", peakMemory(s.resources["CallContainerFunction"])/mib)
}
