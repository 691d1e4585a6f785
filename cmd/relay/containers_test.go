package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestContainers(t *testing.T) {
	one := `{"slug":"vllm","display_name":"The model\u001b[2J","status":"running","type":"deployed","usage_prompt":"POST /v1/chat/completions","openapi_url":"https://x.test/openapi.json"}`
	two := `{"slug":"stopped-one","status":"stopped"}`
	printed(t, "containers", map[string][]answer{"GET /containers": {ok(`{"containers":[` + one + `],"next_cursor":"2"}`), ok(`{"containers":[` + two + `]}`)}},
		`{"containers":[`+one+`,`+two+`]}`, "containers")
	printed(t, "containers-none", map[string][]answer{"GET /containers": {ok(`{"containers":[]}`)}}, `{"containers":[]}`, "containers")
	printed(t, "container", map[string][]answer{"GET /containers/vllm": {ok(one)}}, one, "containers", "vllm")
	printed(t, "container-stopped", map[string][]answer{"GET /containers/stopped-one": {ok(two)}}, two, "containers", "stopped-one")
}

// callServer answers every request so, and tells the last one.
func callServer(t *testing.T, status int, body string, header http.Header) (*harness, func() (*http.Request, string)) {
	t.Helper()
	api := replay(t, map[string][]answer{})
	var uri, kind string
	if header.Get("Relay-Error") != "" {
		kind = "application/problem+json"
	}
	h := newHarness(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uri = r.RequestURI
		api.left[r.Method+" "+r.URL.Path] = []answer{{status: status, body: body, header: header, kind: kind}}
		api.ServeHTTP(w, r)
	}))
	return h, func() (*http.Request, string) {
		if len(api.calls) == 0 {
			t.Fatal("nothing was called")
		}
		last := api.calls[len(api.calls)-1]
		last.RequestURI = uri
		return last, api.sent()
	}
}

func TestCallSends(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "data.bin")
	if err := os.WriteFile(file, []byte("line one\nline two\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, stdin string
		args        []string
		method, uri string
		body        string
		header      map[string]string // "-": must not be there
		repeated    []string          // X-A
	}{
		{name: "plain", args: []string{"/v1/models?b=%20+&a=1&&"}, method: "GET", uri: "/containers/vllm/v1/models?b=%20+&a=1&&",
			header: map[string]string{"Accept": "*/*", "Content-Type": "-", "Relay-Path": "-", "Accept-Encoding": "identity"}},
		{name: "json", args: []string{"v1/chat", "-d", `{"a":[1,2]}`}, method: "POST", uri: "/containers/vllm/v1/chat", body: `{"a":[1,2]}`, header: map[string]string{"Content-Type": "application/json"}},
		{name: "form", args: []string{"/f", "-d", "a=1,2", "-d", "b=2"}, method: "POST", uri: "/containers/vllm/f", body: "a=1,2&b=2", header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}},
		{name: "a file", args: []string{"/f", "-X", "put", "-d", "@" + file, "-H", "Content-Type: application/octet-stream"}, method: "PUT", uri: "/containers/vllm/f", body: "line one\nline two\x00", header: map[string]string{"Content-Type": "application/octet-stream"}},
		{name: "stdin", stdin: "from stdin", args: []string{"/f", "-d", "@-"}, method: "POST", uri: "/containers/vllm/f", body: "from stdin"},
		{name: "headers", args: []string{"/", "-H", "X-A: 1", "-H", "X-A: 2", "-H", "X-Empty;", "-H", "Accept:", "-H", "Accept-Encoding: gzip"}, method: "GET", uri: "/containers/vllm//",
			header: map[string]string{"Relay-Path": "/", "Accept": "-", "Accept-Encoding": "gzip", "X-Empty": ""}, repeated: []string{"1", "2"}},
		{name: "odd path", args: []string{"//a%2fb c/ä"}, method: "GET", uri: "/containers/vllm//a%2fb%20c/%C3%A4", header: map[string]string{"Relay-Path": "//a%2fb%20c/%C3%A4"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, last := callServer(t, 200, "fine", nil)
			h.stdin = strings.NewReader(test.stdin)
			h.run(t, codeOK, append([]string{"call", "vllm"}, test.args...)...)
			r, body := last()
			if r.Method != test.method || r.RequestURI != test.uri || body != test.body || h.out.String() != "fine" {
				t.Errorf("%s %s %q, stdout %q", r.Method, r.RequestURI, body, h.out)
			}
			for name, want := range test.header {
				got, there := r.Header[name]
				if (want == "-") == there || there && got[0] != want {
					t.Errorf("%s: %q", name, got)
				}
			}
			if diff := cmp.Diff(test.repeated, r.Header["X-A"]); diff != "" {
				t.Error(diff)
			}
			if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
				t.Error("unsigned")
			}
		})
	}
}

func TestCallAnswers(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		body   string
		header http.Header
		code   int
		out    string
		says   string
	}{
		{"success", 200, "\x00\xff", nil, codeOK, "\x00\xff", ""},
		{"created", 201, "", nil, codeOK, "", ""},
		{"redirect", 302, "moved", http.Header{"Location": {"http://127.0.0.1:1/"}}, codeOK, "moved", ""},
		{"its 404", 404, "<p>no such page", nil, codeClientError, "<p>no such page", "the container answered 404 Not Found"},
		{"its 403", 403, `{"message":"not you"}`, nil, codeClientError, `{"message":"not you"}`, "the container answered 403"},
		{"its 500", 500, "broken", nil, codeServerError, "broken", "the container answered 500 Internal Server Error"},
		{"stopped", 409, `{"title":"ContainerNotRunning","detail":"the container service vllm is stopped","hint":"start it"}`, http.Header{"Relay-Error": {"ContainerNotRunning"}}, codeUsage, "", "ContainerNotRunning: the container service vllm is stopped"},
		{"slow", 504, `{"title":"ContainerTimedOut","detail":"not after 25s"}`, http.Header{"Relay-Error": {"ContainerTimedOut"}}, codeUnreachable, "", "ContainerTimedOut: not after 25s"},
		{"gateway 403", 403, `{"message":"Forbidden"}`, nil, codeUnreachable, "", "execute-api:Invoke"},
		{"gateway 500", 500, `{"message":"Internal Server Error"}`, nil, codeUnreachable, "", "the API answered 500"},
		{"gateway 413", 413, `{"message":"Request Too Long"}`, nil, codeUnreachable, "", "the API answered 413"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, last := callServer(t, test.status, test.body, test.header)
			h.run(t, test.code, "call", "vllm", "/x", "-d", "y")
			if h.out.String() != test.out || !strings.Contains(h.err.String(), test.says) {
				t.Errorf("%s", h.both())
			}
			last()
		})
	}
}

// A call is sent once, whatever becomes of it.
func TestCallIsSentOnce(t *testing.T) {
	for _, next := range []answer{{status: hangUp}, problemAnswer(503, "Unavailable", "away"), {status: 429, body: `{"message":"Too Many Requests"}`}} {
		api := replay(t, map[string][]answer{"GET /containers/vllm/x": {next}})
		h := newHarness(t, api)
		h.execute(t.Context(), []string{"call", "vllm", "/x"})
		if n := api.count("GET", "/containers/vllm/x"); n != 1 {
			t.Errorf("%+v: sent %d times", next, n)
		}
	}
}

func TestCallWrites(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	h, _ := callServer(t, 200, "\x00body", http.Header{"X-B": {"1", "2"}, "X-A": {"3"}, "Date": {"Mon, 23 Nov 2026 10:00:00 GMT"}})
	h.run(t, codeOK, "call", "vllm", "/x", "-i", "-o", file)
	got, err := os.ReadFile(file)
	if err != nil || h.out.String() != "" {
		t.Fatal(err, h.out)
	}
	want := "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: application/json\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nX-A: 3\r\nX-B: 1\r\nX-B: 2\r\n\r\n\x00body"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	h, _ = callServer(t, 200, "body", nil)
	h.run(t, codeFailed, "call", "vllm", "/x", "-o", filepath.Join(file, "none"))
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, make([]byte, maxSent+1), 0o600); err != nil {
		t.Fatal(err)
	}
	h = newHarness(t, replay(t, nil))
	h.run(t, codeUsage, "call", "vllm", "/x", "-d", "@"+large)
}

// AWS checks the signature of a path without its dots and repeated slashes.
func TestNormalPath(t *testing.T) {
	for path, want := range map[string]string{"/": "/", "//": "/", "/a/b": "/a/b", "//a///b//": "/a/b/", "/./a/./b/.": "/a/b/", "/a/../b": "/a/../b", "/a%2F/": "/a%2F/", "/...": "/..."} {
		if got := normalPath(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}
