package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"
)

// containerCall is a call to a container service by the HTTP API. Its path and
// query go out byte for byte, and no header but those and the signature's.
type containerCall struct {
	method, container, path, query string
	header                         http.Header
	body                           []byte
	identity                       aws.CredentialsProvider // nil: the stack's own
	unsigned                       bool
}

// slashes are those that say no more than one does, with the dots between them.
var slashes = regexp.MustCompile(`/(\./|/)+`)

func (s *stack) callContainer(t *testing.T, k containerCall) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), k.method, s.apiURL, bytes.NewReader(k.body))
	if err != nil {
		t.Fatal(err)
	}
	raw := req.URL.Path + "/containers/" + k.container + k.path
	if req.URL.Path, err = url.PathUnescape(raw); err != nil {
		t.Fatal(err)
	}
	req.URL.RawPath, req.URL.RawQuery = raw, k.query
	if req.URL.EscapedPath() != raw {
		t.Fatalf("net/http would send %s", req.URL.EscapedPath())
	}
	maps.Copy(req.Header, k.header)
	if req.Header.Get("Accept-Encoding") == "" {
		req.Header.Set("Accept-Encoding", "identity") // else net/http asks for gzip
	}
	if !k.unsigned {
		if k.identity == nil {
			k.identity = s.aws.Credentials
		}
		// AWS checks the signature of a path without dots and repeated slashes, and
		// of a query in order. botocore signs so; the Go SDK's signer leaves the path.
		sent := *req.URL
		req.URL.Path, req.URL.RawPath = slashes.ReplaceAllString(req.URL.Path, "/"), slashes.ReplaceAllString(raw, "/")
		s.signAs(t, req, k.identity, "execute-api", k.body)
		*req.URL = sent
	}
	hc := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, got}
}

func (s *stack) signAs(t *testing.T, req *http.Request, identity aws.CredentialsProvider, service string, body []byte) {
	t.Helper()
	who, err := identity.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(t.Context(), who, req, hex.EncodeToString(sum[:]), service, s.aws.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// echoed is what the stand-in's echo says that it saw.
type echoed struct {
	Method     string              `json:"method"`
	Path       string              `json:"path"`
	Query      string              `json:"query"`
	Headers    map[string][]string `json:"headers"`
	BodyBase64 []byte              `json:"body_base64"`
	BodyBytes  int                 `json:"body_bytes"`
	BodySHA256 string              `json:"body_sha256"`
}

func (s *stack) echo(t *testing.T, k containerCall) echoed {
	t.Helper()
	k.container = "echo"
	a := s.callContainer(t, k)
	if a.status != http.StatusOK || a.header.Get("Relay-Error") != "" {
		t.Fatalf("%s %s: %d %s", k.method, k.path, a.status, a.body)
	}
	var seen echoed
	a.into(t, &seen)
	return seen
}

// isProblem demands the relay's own problem document.
func isProblem(t *testing.T, a answer, status int, name string) map[string]any {
	t.Helper()
	var p map[string]any
	if a.status != status || a.header.Get("Relay-Error") != name || a.header.Get("Content-Type") != "application/problem+json" || json.Unmarshal(a.body, &p) != nil || p["title"] != name {
		t.Fatalf("want %d %s: %d %v %.500s", status, name, a.status, a.header, a.body)
	}
	return p
}

// containerCalls says how many calls reached a container.
func (s *stack) containerCalls(t *testing.T, slug string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.control+"/ledger", nil)
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Calls map[string]int `json:"container_calls"`
	}
	send(t, req).into(t, &all)
	return all.Calls[slug]
}

func TestContainers(t *testing.T) {
	s := open(t)
	t.Parallel()
	var page struct {
		Containers []struct{ Slug, Status string }
		NextCursor string `json:"next_cursor"`
	}
	s.call(t, "GET", "/containers?limit=3", "").into(t, &page)
	if len(page.Containers) != 3 || page.Containers[0].Slug != "echo" || page.NextCursor == "" {
		t.Errorf("%+v", page)
	}
	s.call(t, "GET", "/containers?limit=3&cursor="+page.NextCursor, "").into(t, &page)
	if len(page.Containers) != 3 || page.Containers[0].Slug == "echo" {
		t.Errorf("%+v", page)
	}
	var one map[string]any
	s.call(t, "GET", "/containers/vllm", "").into(t, &one)
	if one["status"] != "running" || one["usage_prompt"] == "" || one["openapi_url"] == nil {
		t.Errorf("%v", one)
	}
	isProblem(t, s.call(t, "GET", "/containers/none", ""), 404, "ContainerNotFound")
	isProblem(t, s.call(t, "GET", "/containers/NONE", ""), 404, "ContainerNotFound")
	isProblem(t, s.call(t, "GET", "/containers?limit=x", ""), 400, "InvalidRequest")
}

// TestContainerPaths: what arrives of a path by itself, and with the header
// relay-path, which makes up for what the gateway decodes. docs/containers.md
// has this table with the reasons.
func TestContainerPaths(t *testing.T) {
	s := open(t)
	t.Parallel()
	caller := s.checkedUser(t)
	for _, test := range []struct {
		name, path, query string
		arrives           string // without relay-path; empty: as it was sent
		exact             string // with relay-path; empty: as it was sent, "400": refused
	}{
		{name: "plain", path: "/v1/models"},
		{name: "two slashes", path: "//"},
		{name: "double slashes", path: "//a///b//"},
		{name: "what may stand", path: "/a;x=1,2/:@!$&'()*+~-._/..."},
		{name: "dots", path: "/./a/./.b"},
		{name: "UTF-8", path: "/%C3%A4/%E6%97%A5%E6%9C%AC"},
		{name: "UTF-8, small digits", path: "/%c3%a4", arrives: "/%C3%A4"},
		{name: "a blank", path: "/a%20b+c"},
		{name: "a percent sign", path: "/50%25/a%252Fb"},
		{name: "an encoded slash", path: "/a%2Fb", arrives: "/a/b"},
		{name: "encoded for no reason", path: "/%61%2E", arrives: "/a."},
		{name: "NUL", path: "/a%00b"},
		{name: "not UTF-8", path: "/a%FFb", arrives: "/a%EF%BF%BDb"},
		{name: "a number sign", path: "/a%23b"},
		{name: "a question mark", path: "/a%3Fb"},
		{name: "odd query", path: "/q", query: "b=%20+&a=1&b=2&&=&c=%2F%00?/:@'\"!"},
		{name: "8 KB of query", path: "/q", query: "q=" + strings.Repeat("%C3%A4x", 1170)},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, said := range []bool{false, true} {
				k := containerCall{method: "GET", path: test.path, query: test.query, identity: caller}
				want := test.arrives
				if said {
					k.header, want = http.Header{"Relay-Path": {test.path}}, test.exact
				}
				if want == "" {
					want = test.path
				}
				seen := s.echo(t, k)
				if seen.Path != want || seen.Query != test.query {
					t.Errorf("relay-path %v: arrived as %s ? %s", said, seen.Path, seen.Query)
				}
				if seen.Headers["Relay-Path"] != nil {
					t.Error("relay-path was passed on")
				}
			}
		})
	}
	if seen := s.echo(t, containerCall{method: "GET", path: "//", header: http.Header{"Relay-Path": {"/"}}}); seen.Path != "/" {
		t.Errorf("the root arrived as %s", seen.Path)
	}
	for _, path := range []string{"/..", "/../x", "/a/../../x", "/a/../x", "/%2e%2e/x", "/%2E%2E%2Fx", "/a%2f..%2f..%2fx", "/%252e%252e/x", "/..%5cx", "/%5c..%5cx", "/..;a/x",
		"/a/..%3Fx", "/..%23x", "/..%00x", "/%25c0%25ae./x", "/%25u002e%25u002e/x", "/%EF%BC%8E%EF%BC%8E/x"} {
		a := s.callContainer(t, containerCall{method: "GET", container: "files", path: path})
		isProblem(t, a, 400, "InvalidRequest")
		isProblem(t, s.callContainer(t, containerCall{method: "GET", container: "files", path: path, header: http.Header{"Relay-Path": {path}}}), 400, "InvalidRequest")
	}
	// What is not UTF-8 is no more than replacement characters behind the gateway:
	// relay-path alone could bring it to the container.
	for _, path := range []string{"/%C0%AE%C0%AE/x", "/.%E0%80%AE/x", "/.%FF./x"} {
		isProblem(t, s.callContainer(t, containerCall{method: "GET", container: "files", path: path, header: http.Header{"Relay-Path": {path}}}), 400, "InvalidRequest")
	}
	isProblem(t, s.callContainer(t, containerCall{method: "GET", container: "echo", path: "/a/b", header: http.Header{"Relay-Path": {"/a/c"}}}), 400, "InvalidRequest")
	// Slugs that would lead elsewhere, had they been put into an address.
	for _, test := range []struct {
		slug, path string
		status     int
		name       string
	}{
		{"..", "/workflows/x", 400, "InvalidRequest"},
		{"%2e%2e", "/workflows/x", 400, "InvalidRequest"},
		{"echo%2f..%2f..%2fworkflows", "/x", 400, "InvalidRequest"},
		{"echo%5c..%5c..%5cworkflows", "/x", 404, "ContainerNotFound"},
		{"echo%3Fx", "/x", 404, "ContainerNotFound"},
		{"echo%23", "/x", 404, "ContainerNotFound"},
		{"echo;x", "/x", 404, "ContainerNotFound"},
		{"%2565cho", "/x", 404, "ContainerNotFound"},
		{"echo%00", "/x", 404, "ContainerNotFound"},
	} {
		for _, method := range []string{"GET", "POST"} {
			isProblem(t, s.callContainer(t, containerCall{method: method, container: test.slug, path: test.path}), test.status, test.name)
		}
	}
	if seen := s.echo(t, containerCall{method: "GET", path: "/a/containers/echo/b"}); seen.Path != "/a/containers/echo/b" {
		t.Errorf("a path that names the container arrived as %s", seen.Path)
	}
}

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

// TestContainerThatDoesNotRun: by the detail, not by a status.
func TestContainerThatDoesNotRun(t *testing.T) {
	s := open(t)
	t.Parallel()
	for _, slug := range []string{"stopped", "deploying"} {
		p := isProblem(t, s.callContainer(t, containerCall{method: "POST", container: slug, path: "/v1/x"}), 409, "ContainerNotRunning")
		if told, _ := p["container"].(map[string]any); told["status"] != slug || told["usage_prompt"] == "" {
			t.Errorf("%v", p)
		}
	}
	isProblem(t, s.callContainer(t, containerCall{method: "GET", container: "none", path: "/v1/x"}), 404, "ContainerNotFound")
	p := isProblem(t, s.callContainer(t, containerCall{method: "POST", container: "failing", path: "/reset"}), 503, "Unavailable")
	if !strings.Contains(p["detail"].(string), "may have been carried out") {
		t.Errorf("%v", p)
	}
	s.showsNoKey(t, `"error":"ContainerNotRunning"`)
	s.showsNoKey(t, `"error":"Unavailable"`)
	// Cyberun's own outage, seen in call and detail.
	s.addFault(t, `{"name":"away","match":{"path_regexp":"/r/containers/html"},"times":2,"action":{"type":"status","status":502,"body":"<html>bad gateway"}}`)
	isProblem(t, s.callContainer(t, containerCall{method: "GET", container: "html", path: "/index.html"}), 503, "Unavailable")
	if a := s.callContainer(t, containerCall{method: "GET", container: "html", path: "/index.html"}); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestSlowContainer: told after 25 s, and sent once.
func TestSlowContainer(t *testing.T) {
	s := open(t)
	t.Parallel()
	before := s.containerCalls(t, "slow")
	p := isProblem(t, s.callContainer(t, containerCall{method: "GET", container: "slow", path: "/wait"}), 504, "ContainerTimedOut")
	if !strings.Contains(p["detail"].(string), "the call may go on") {
		t.Errorf("%v", p)
	}
	if after := s.containerCalls(t, "slow"); after != before+1 {
		t.Errorf("%d calls", after-before)
	}
	s.showsNoKey(t, `"error":"ContainerTimedOut"`)
}

// TestContainerFunctionKilled: the gateway answers for a function that died, and
// nothing is sent again.
func TestContainerFunctionKilled(t *testing.T) {
	s := open(t)
	s.timeOut(t, "CallContainerFunction", 2)
	before := s.containerCalls(t, "slow")
	a := s.callContainer(t, containerCall{method: "GET", container: "slow", path: "/x", query: "seconds=8"})
	if a.status < 500 || a.header.Get("Relay-Error") != "" || strings.Contains(string(a.body), s.key) {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
	s.showsNoKey(t, "")
	if after := s.containerCalls(t, "slow"); after != before+1 {
		t.Errorf("%d calls", after-before)
	}
}

// TestContainerKeyRefused: Cyberun's 401 is the stack's own trouble, and a
// container's 401 the caller's.
func TestContainerKeyRefused(t *testing.T) {
	s := open(t)
	t.Cleanup(func() { s.setKeys(t, s.key); s.setSecret(t, s.key) })
	s.setKeys(t, "sk-local-another")
	isProblem(t, s.callContainer(t, containerCall{method: "GET", container: "echo", path: "/x"}), 502, "Unauthorized")
	s.showsNoKey(t, `"error":"Unauthorized"`)
	s.setSecret(t, "sk-local-another")
	if a := s.callContainer(t, containerCall{method: "POST", container: "echo", path: "/x", body: []byte("x")}); a.status != 200 {
		t.Errorf("after the secret was mended: %d %s", a.status, a.body)
	}
}

// TestContainersAreShut: without a signature, and to those whose policy grants
// another path.
func TestContainersAreShut(t *testing.T) {
	s := open(t)
	t.Parallel()
	for _, path := range []string{"/containers", "/containers/vllm", "/containers/vllm/v1/models"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.apiURL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := send(t, req); a.status != http.StatusForbidden {
			t.Errorf("%s, unsigned: %d %s", path, a.status, a.body)
		}
	}
	if !s.checksSignatures(t) {
		t.Skip("this stack lets every signature in: policies are enforced with `stack exec -auth` alone")
	}
	_, apiID, _ := strings.Cut(s.apiURL, "/execute-api/")
	caller := s.user(t, fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"arn:aws:execute-api:*:*:%s/*/GET/containers/vllm/v1/*"}]}`, apiID))
	for _, test := range []struct {
		method, container, path string
		status                  int
	}{
		{"GET", "vllm", "/v1/models", 200},
		{"POST", "vllm", "/v1/chat/completions", 403},
		{"GET", "echo", "/v1/models", 403},
		{"GET", "vllm", "/v2", 403},
	} {
		a := s.callContainer(t, containerCall{method: test.method, container: test.container, path: test.path, identity: caller})
		if a.status != test.status {
			t.Errorf("%s %s%s: %d %s, want %d", test.method, test.container, test.path, a.status, a.body, test.status)
		}
	}
	// Granted by its beginning: the gateway refuses what is not signed for the
	// path without its dots, the relay what is.
	for _, path := range []string{"/v1/../v2", "/v1/%2e%2e/v2", "/v1/..%2fv2"} {
		if a := s.callContainer(t, containerCall{method: "GET", container: "vllm", path: path, identity: caller}); a.status != 403 && a.status != 400 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

// checksSignatures reports whether the stack enforces signatures and policies.
func (s *stack) checksSignatures(t *testing.T) bool {
	t.Helper()
	stranger := credentials.NewStaticCredentialsProvider("AKIANOBODY", "nothing", "")
	return s.callContainer(t, containerCall{method: "GET", container: "vllm", path: "/v1/models", identity: stranger}).status == http.StatusForbidden
}

// checkedUser is a caller whose signature is checked, where any is: MiniStack
// takes its root user's unseen.
func (s *stack) checkedUser(t *testing.T) aws.CredentialsProvider {
	t.Helper()
	if !s.checksSignatures(t) {
		t.Log("this stack checks no signatures: how odd paths are signed is not tested")
		return nil
	}
	return s.user(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"execute-api:Invoke","Resource":"*"}]}`)
}

// user makes an IAM user with this policy and returns its credentials.
func (s *stack) user(t *testing.T, policy string) aws.CredentialsProvider {
	t.Helper()
	name := strings.ReplaceAll(t.Name(), "/", "-")
	s.iam(t, url.Values{"Action": {"CreateUser"}, "UserName": {name}}, nil)
	s.iam(t, url.Values{"Action": {"PutUserPolicy"}, "UserName": {name}, "PolicyName": {"one-path"}, "PolicyDocument": {policy}}, nil)
	var made struct {
		Result struct {
			AccessKey struct {
				AccessKeyID     string `xml:"AccessKeyId"`
				SecretAccessKey string
			}
		} `xml:"CreateAccessKeyResult"`
	}
	s.iam(t, url.Values{"Action": {"CreateAccessKey"}, "UserName": {name}}, &made)
	return credentials.NewStaticCredentialsProvider(made.Result.AccessKey.AccessKeyID, made.Result.AccessKey.SecretAccessKey, "")
}

// iam is one call; it is not worth one more SDK.
func (s *stack) iam(t *testing.T, form url.Values, into any) {
	t.Helper()
	form.Set("Version", "2010-05-08")
	body := form.Encode()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, os.Getenv("AWS_ENDPOINT_URL")+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	s.signAs(t, req, s.aws.Credentials, "iam", []byte(body))
	a := send(t, req)
	if a.status != http.StatusOK {
		t.Fatalf("%s: %d %s", form.Get("Action"), a.status, a.body)
	}
	if into != nil {
		if err := xml.Unmarshal(a.body, into); err != nil {
			t.Fatalf("%v: %s", err, a.body)
		}
	}
}

// TestContainerLog: a line for each call, and nothing that was said in it.
func TestContainerLog(t *testing.T) {
	s := open(t)
	t.Parallel()
	word := fmt.Sprintf("geheim%d", time.Now().UnixNano())
	s.echo(t, containerCall{method: "POST", path: "/" + word, query: word, header: http.Header{"X-Word": {word}}, body: []byte(word)})
	marked := strings.Repeat("x", 4321) // the line is found by how many bytes went in
	s.echo(t, containerCall{method: "POST", path: "/" + word, header: http.Header{"Content-Type": {"a/b"}}, body: []byte(marked)})
	var logged string
	eventually(t, "the call is logged", func() (bool, any) {
		logged = s.functionLog(t, "call-container")
		return strings.Contains(logged, `"bytes_in":4321`), len(logged)
	})
	for line := range strings.Lines(logged) {
		if strings.Contains(line, `"bytes_in":4321`) {
			var told map[string]any
			if err := json.Unmarshal([]byte(line), &told); err != nil || told["container"] != "echo" || told["method"] != "POST" || told["status"] != 200. || told["who"] == "" || told["ms"] == nil || told["bytes_out"] == 0. {
				t.Errorf("%v: %s", err, line)
			}
			t.Log(strings.TrimSpace(line))
		}
	}
	for _, secret := range []string{word, s.key, "AWS4-HMAC"} {
		if strings.Contains(logged, secret) {
			t.Errorf("%q stands in the log", secret)
		}
	}
}

// showsNoKey demands that the function has logged such a line, and the stack's key
// nowhere.
func (s *stack) showsNoKey(t *testing.T, line string) {
	t.Helper()
	var logged string
	eventually(t, "the call is logged", func() (bool, any) {
		logged = s.functionLog(t, "call-container")
		return strings.Contains(logged, line), len(logged)
	})
	for _, secret := range s.secrets() {
		if strings.Contains(logged, secret) {
			t.Errorf("%q stands in the log", secret)
		}
	}
}

// functionLog are the lines that a function has logged.
func (s *stack) functionLog(t *testing.T, function string) string {
	t.Helper()
	var lines strings.Builder
	for token := ""; ; {
		body := mustJSON(t, map[string]any{"logGroupName": "/aws/lambda/" + os.Getenv("RELAY_STACK") + "/" + function})
		if token != "" {
			body = mustJSON(t, map[string]any{"logGroupName": "/aws/lambda/" + os.Getenv("RELAY_STACK") + "/" + function, "nextToken": token})
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, os.Getenv("AWS_ENDPOINT_URL"), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-amz-json-1.1")
		req.Header.Set("X-Amz-Target", "Logs_20140328.FilterLogEvents")
		s.signAs(t, req, s.aws.Credentials, "logs", []byte(body))
		var page struct {
			Events    []struct{ Message string }
			NextToken string
		}
		send(t, req).into(t, &page)
		for _, event := range page.Events {
			lines.WriteString(strings.TrimSpace(event.Message) + "\n")
		}
		if page.NextToken == "" || page.NextToken == token {
			return lines.String()
		}
		token = page.NextToken
	}
}

// TestOpenAIClient: PyPI's openai gets a completion, signed, with no key of
// Cyberun's in its process.
func TestOpenAIClient(t *testing.T) {
	s := open(t)
	t.Parallel()
	python, err := filepath.Abs("../.tools/openai/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(python); err != nil {
		t.Skip("the OpenAI client is not installed: `make .tools/openai/.done` does that, inside the project")
	}
	run := func(container string) (told struct {
		Keys, Models      []string
		Content, Streamed string
		Tokens, Status    int
		RelayError        string `json:"relay_error"`
	}) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), python, "testdata/openai_client.py", container, "local-7b", "good morning, Grüße")
		cmd.Stderr = os.Stderr
		cmd.Env = slices.DeleteFunc(os.Environ(), func(pair string) bool { return strings.Contains(pair, s.key) })
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := json.Unmarshal(out, &told); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Logf("%s", bytes.TrimSpace(out))
		return told
	}
	const said = "You said: good morning, Grüße"
	if told := run("vllm"); told.Content != said || told.Streamed != said || len(told.Models) != 1 || told.Tokens == 0 || len(told.Keys) > 0 {
		t.Errorf("%+v", told)
	}
	if told := run("stopped"); told.Status != 409 || told.RelayError != "ContainerNotRunning" {
		t.Errorf("%+v", told)
	}
}

// TestCurl makes the call that docs/containers.md shows with curl.
func TestCurl(t *testing.T) {
	s := open(t)
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("there is no curl on this machine")
	}
	if help, err := exec.CommandContext(t.Context(), curl, "--help", "all").Output(); err != nil || !bytes.Contains(help, []byte("--aws-sigv4")) || !bytes.Contains(help, []byte("--json")) {
		t.Skip("this curl knows no --aws-sigv4 or no --json (7.82)")
	}
	who, err := s.aws.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), curl, "-sS", "--aws-sigv4", "aws:amz:"+s.aws.Region+":execute-api", "--user", who.AccessKeyID+":"+who.SecretAccessKey,
		"--json", `{"model":"local-7b","messages":[{"role":"user","content":"good morning"}]}`, s.apiURL+"/containers/vllm/v1/chat/completions").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("You said: good morning")) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestRelayCall: the command line lists, calls, and tells by its exit code.
func TestRelayCall(t *testing.T) {
	s := open(t)
	t.Parallel()
	needRelay(t)
	relay := func(want int, stdin string, args ...string) string {
		t.Helper()
		return relay(t, want, stdin, args...)
	}
	if list := relay(0, "", "containers"); !strings.Contains(list, "vllm") {
		t.Error(list)
	}
	relay(0, "", "containers", "vllm")
	if models := relay(0, "", "call", "vllm", "/v1/models"); !strings.Contains(models, "local-7b") {
		t.Error(models)
	}
	var seen echoed
	if err := json.Unmarshal([]byte(relay(0, "\x00\xff", "call", "echo", "/a%2Fb%20c?x=%20", "-d", "@-", "-H", "X-A: 1")), &seen); err != nil || seen.Path != "/a%2Fb%20c" || seen.Query != "x=%20" || base64.StdEncoding.EncodeToString(seen.BodyBase64) != "AP8=" || seen.Method != "POST" {
		t.Errorf("%v %+v", err, seen)
	}
	relay(6, "", "call", "failing", "/404")
	relay(7, "", "call", "failing", "/503")
	relay(2, "", "call", "stopped", "/")
	relay(2, "", "call", "echo", "/../x")
	relay(3, "", "call", "large", "/x", "--api-url", s.apiURL+"/nowhere")
}
