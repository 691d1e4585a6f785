package cyberun

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestContainers(t *testing.T) {
	vllm := Container{Slug: "vllm", DisplayName: "vLLM", Status: ContainerRunning, Type: "deployed", UsagePrompt: "POST /v1/chat/completions", OpenAPIURL: "https://x.test/openapi.json"}
	for _, test := range []struct {
		name, body string
		want       []Container
		total      int
		fails      string
	}{
		{name: "as the other lists are", body: `{"container_list":[{"container_slug":"vllm","display_name":"vLLM","container_status":"running","container_type":"deployed","usage_prompt":"POST /v1/chat/completions","openapi_url":"https://x.test/openapi.json"}],"page_meta":{"total_count":7}}`, want: []Container{vllm}, total: 7},
		{name: "plain names", body: `{"containers":[{"slug":"vllm","name":"vLLM","status":"running","type":"deployed","usage_prompt":"POST /v1/chat/completions","openapi_url":"https://x.test/openapi.json"}]}`, want: []Container{vllm}, total: -1},
		{name: "unknown state", body: `{"container_list":[{"slug":"a-b","status":"melting","openapi_url":null}]}`, want: []Container{{Slug: "a-b", Status: "melting"}}, total: -1},
		{name: "none", body: `{"container_list":[]}`, want: []Container{}, total: -1},
		{name: "no list", body: `{"rows":[]}`, fails: "without container_list"},
		{name: "no slug", body: `{"container_list":[{"status":"running"}]}`, fails: "without a container's slug (row 1)"},
		{name: "not an object", body: `{"container_list":[7]}`, fails: "not an object (row 1)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, c := serve(t, raw(200, test.body))
			got, err := c.Containers(t.Context(), Page{Number: 2, Size: 7})
			if s.asked[0] != "GET /api/v1/r/containers?current_page=2&per_page=7" {
				t.Error(s.asked)
			}
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Error(err)
				}
				return
			}
			if diff := cmp.Diff(test.want, got.Containers); err != nil || diff != "" || got.Page.TotalCount != test.total {
				t.Errorf("%v, total %d %s", err, got.Page.TotalCount, diff)
			}
		})
	}
	s, c := serve(t, raw(200, `{"slug":"vllm","status":"stopped"}`))
	if got, err := c.Container(t.Context(), "vllm"); err != nil || got.Status != "stopped" || s.asked[0] != "GET /api/v1/r/containers/vllm" {
		t.Errorf("%+v %v %v", got, err, s.asked)
	}
	if _, err := c.Container(t.Context(), ".."); err == nil || len(s.asked) != 1 {
		t.Errorf("%v %v", err, s.asked)
	}
}

// What goes out is what was given and the key; what comes back is unchanged.
func TestContainerCallIsPassedOn(t *testing.T) {
	sent := make([]byte, 70<<10)
	rand.Read(sent)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte("hello"))
	z.Close()
	type arrival struct {
		Method, URI, Auth string
		Header            http.Header
		Body              []byte
		Length            int64
	}
	var got arrival
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = arrival{r.Method, r.RequestURI, r.Header.Get("Authorization"), r.Header, body, r.ContentLength}
		got.Header.Del("Authorization")
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(303)
		w.Write(packed.Bytes())
	}))
	defer server.Close()
	c := &Client{BaseURL: server.URL + "/api/v1", Keys: StaticKey(testKey), HTTP: server.Client()}
	for _, method := range []string{"POST", "PUT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "PROPFIND"} {
		k := ContainerCall{Slug: "echo", Method: method, Path: "/v1//a%2fb;x=1/%00%C3%A9", Query: "b=2&a=1&a=%20+%zz&&", MaxAnswer: 1 << 20,
			Header: http.Header{"X-Two": {"one", "two"}, "X-Empty": {""}, "Authorization": {"AWS4-HMAC-SHA256 mine"}, "Host": {"evil.test"}, "Content-Length": {"1"}}}
		if method == "POST" || method == "PUT" {
			k.Body, k.Length = bytes.NewReader(sent), int64(len(sent))
		}
		response, err := c.CallContainer(t.Context(), k)
		if err != nil {
			t.Fatal(method, err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.Status != 303 || response.Header.Get("Location") != "/elsewhere" || response.Header.Get("Content-Encoding") != "gzip" || method != "HEAD" && !bytes.Equal(body, packed.Bytes()) {
			t.Errorf("%s: %v %+v %q", method, err, response, body)
		}
		want := arrival{Method: method, URI: "/api/v1/r/containers/echo" + k.Path + "?" + k.Query, Auth: "Bearer " + testKey,
			Header: http.Header{"X-Two": {"one", "two"}, "X-Empty": {""}, "Connection": {"close"}}, Body: []byte{}}
		if k.Body != nil {
			want.Body, want.Length = sent, int64(len(sent))
			want.Header.Set("Content-Length", fmt.Sprint(len(sent)))
		} else if method == "PATCH" {
			want.Header.Set("Content-Length", "0")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", method, diff)
		}
	}
	// A transport of the caller's own cannot be told to leave gzip alone.
	c.HTTP = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) { return http.DefaultTransport.RoundTrip(r) })}
	response, err := c.CallContainer(t.Context(), ContainerCall{Slug: "echo", Method: "GET", Path: "/", MaxAnswer: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); !bytes.Equal(body, packed.Bytes()) || got.Header.Get("Accept-Encoding") != "identity" {
		t.Errorf("%q %v", body, got.Header)
	}
}

// rawServer answers each connection with these bytes and closes it. KEY in them stands
// for the Authorization header that it got.
func rawServer(t *testing.T, answer string) *Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				io.WriteString(conn, strings.ReplaceAll(answer, "KEY", r.Header.Get("Authorization")))
			}
			conn.Close()
		}
	}()
	// A key of no known shape: it is hidden because it is the key.
	return &Client{BaseURL: "http://" + listener.Addr().String() + "/api/v1", Keys: StaticKey("0123-plain-4567")}
}

// Answers as they come over the wire: what is whole comes back, what is not is an
// error that shows no key.
func TestContainerAnswersOverTheWire(t *testing.T) {
	for _, test := range []struct {
		name, method, answer string
		status               int
		body                 string
		fails                string // in the call, or in the reading of its body
	}{
		{"chunks and a trailer", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n", 200, "abcde", ""},
		{"until the end", "GET", "HTTP/1.0 200 OK\r\n\r\nabc", 200, "abc", ""},
		{"what goes before", "POST", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx", 201, "x", ""},
		{"204 with a body", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc", 204, "", ""},
		{"304 with a length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", 304, "", ""},
		{"HEAD with a length", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 200, "", ""},
		{"a 401", "GET", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno", 401, "no", ""},
		{"ends early", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", 200, "abc", "broke off: unexpected EOF"},
		{"ends within chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 200, "abc", "broke off: unexpected EOF"},
		{"chunks that are none", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nKEY\r\nabc\r\n", 200, "", "broke off"},
		{"nothing", "GET", "", 0, "", "EOF"},
		{"no HTTP", "GET", "KEY geheim", 0, "", "malformed"},
		{"a header that is none", "GET", "HTTP/1.1 200 OK\r\nKEY\r\n\r\n", 0, "", "malformed"},
		{"a header's value that is none", "GET", "HTTP/1.1 200 OK\r\nX-A: a\rSet-Cookie: KEY\r\n\r\n", 0, "", "malformed"},
		{"a length that is none", "GET", "HTTP/1.1 200 OK\r\nContent-Length: KEY\r\n\r\n", 0, "", "bad Content-Length"},
		{"two lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 0, "", "Content-Length"},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := ContainerCall{Slug: "echo", Method: test.method, Path: "/a/private/path", Query: "geheim", MaxAnswer: 100}
			answer, err := rawServer(t, test.answer).CallContainer(t.Context(), k)
			var body []byte
			if err == nil {
				body, err = io.ReadAll(answer.Body)
				answer.Body.Close()
			}
			if answer != nil && (answer.Status != test.status || string(body) != test.body) || answer == nil && test.status != 0 {
				t.Errorf("%+v %q", answer, body)
			}
			if (err == nil) != (test.fails == "") || err != nil && !strings.Contains(err.Error(), test.fails) || NeverSent(err) {
				t.Fatalf("%v", err)
			}
			for _, secret := range []string{"0123-plain-4567", "private"} {
				if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), secret) {
					t.Errorf("%s stands in %v", secret, err)
				}
			}
		})
	}
}

func TestContainerAnswerIsBounded(t *testing.T) {
	for _, test := range []struct{ bytes, most int64 }{{0, 0}, {10, 10}, {11, 10}, {100_000, 99_999}, {99_999, 99_999}} {
		_, c := serve(t, raw(200, strings.Repeat("x", int(test.bytes))))
		response, err := c.CallContainer(t.Context(), ContainerCall{Slug: "echo", Method: "GET", Path: "/", MaxAnswer: test.most})
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if large := test.bytes > test.most; errors.Is(err, ErrContainerAnswerTooLarge) != large || int64(len(body)) != min(test.bytes, test.most) {
			t.Errorf("%+v: %d bytes, %v", test, len(body), err)
		}
	}
}

// The key is read again after a 401 and the call sent again only if it changed and
// Cyberun refuses the old one; a container's own 401 is its answer.
func TestContainerCallWithARotatedKey(t *testing.T) {
	const first, second = "sk-local-1", "sk-local-2"
	for _, test := range []struct {
		name           string
		valid          []string // keys that Cyberun lets in
		own            int      // the container's own status
		fresh          string
		err            error
		status, called int
	}{
		{"replaced", []string{second}, 200, second, nil, 200, 2},
		{"refused, and not replaced", []string{second}, 200, first, nil, 401, 1},
		{"replaced by another that is refused", []string{second}, 200, "sk-local-3", nil, 401, 2},
		{"refused, and the secret cannot be read", []string{second}, 200, "", errors.New("down"), 401, 1},
		{"its own 401", []string{first}, 401, first, nil, 401, 1},
		{"its own 401, and the key was replaced", []string{first, second}, 401, second, nil, 401, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case !slices.Contains(test.valid, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")):
					raw(401, "{}")(w, r)
				case r.Method == "GET":
					raw(200, `{"slug":"echo","status":"running"}`)(w, r)
				default:
					raw(test.own, "fine")(w, r)
				}
			})
			c.Keys = keys{func() (string, error) { return first, nil }, func(string) (string, error) { return test.fresh, test.err }}
			answer, err := c.CallContainer(t.Context(), ContainerCall{Slug: "echo", Method: "POST", Path: "/x", Body: strings.NewReader("twice"), Length: 5, MaxAnswer: 100})
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			called := 0
			for i, asked := range s.asked {
				if asked != "POST /api/v1/r/containers/echo/x" {
					continue
				}
				if called++; s.body[i] != "twice" {
					t.Errorf("sent %q", s.body[i])
				}
			}
			if answer.Status != test.status || called != test.called {
				t.Errorf("%d, called %d times: %v", answer.Status, called, s.asked)
			}
		})
	}
}

// Only a connection that was never made is tried again, and only for GET and HEAD.
func TestContainerCallIsSentOnce(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "POST", "DELETE"} {
		var hits, dials atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			hits.Add(1)
			panic(http.ErrAbortHandler)
		}))
		defer server.Close()
		refuse := true
		transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			if refuse {
				return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}}
		c := &Client{BaseURL: server.URL + "/api/v1", Keys: StaticKey(testKey), HTTP: &http.Client{Transport: transport}}
		k := ContainerCall{Slug: "echo", Method: method, Path: "/a/private/path", Query: "token=geheim"}
		want := int32(1)
		if method == "GET" || method == "HEAD" {
			want = 2
		}
		_, err := c.CallContainer(t.Context(), k)
		if !NeverSent(err) || dials.Load() != want || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %d dials: %v", method, dials.Load(), err)
		}
		refuse = false
		_, err = c.CallContainer(t.Context(), k)
		if err == nil || NeverSent(err) || hits.Load() != 1 {
			t.Errorf("%s: reached %d times: %v", method, hits.Load(), err)
		}
		for _, secret := range []string{testKey, "geheim", "private"} {
			if strings.Contains(fmt.Sprintf("%v %#v", err, err), secret) {
				t.Errorf("%s shows %s", err, secret)
			}
		}
	}
}

func TestContainerCallsThatAreRefused(t *testing.T) {
	s, c := serve(t, raw(200, ""))
	for _, k := range []ContainerCall{
		{Slug: "..", Method: "GET", Path: "/x"}, {Slug: "a/b", Method: "GET", Path: "/x"}, {Slug: "Echo", Method: "GET", Path: "/x"},
		{Slug: "echo", Method: "GET", Path: "/../x"}, {Slug: "echo", Method: "GET", Path: "x"}, {Slug: "echo", Method: "GET", Path: "/a b"}, {Slug: "echo", Method: "GET", Path: "/?x"}, {Slug: "echo", Method: "DELETE"},
		{Slug: "echo", Method: "TRACE", Path: "/x"}, {Slug: "echo", Method: "CONNECT", Path: "/x"},
	} {
		if _, err := c.CallContainer(t.Context(), k); !NeverSent(err) {
			t.Errorf("%+v: %v", k, err)
		}
	}
	if len(s.asked) > 0 {
		t.Error(s.asked)
	}
}
