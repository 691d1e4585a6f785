package cyberun

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
)

// wire is a remote below HTTP: it does to a connection what no server would.
type wire struct {
	net.Listener
	conns  atomic.Int32
	bodies atomic.Int32 // POST bodies that arrived whole: what could have been paid
}

func listen(t *testing.T, serve func(w *wire, c *net.TCPConn, r *bufio.Reader)) (*wire, *Client) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.conns.Add(1)
			go func() {
				defer c.Close()
				serve(w, c.(*net.TCPConn), bufio.NewReader(c))
			}()
		}
	}()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return w, &Client{BaseURL: "http://" + l.Addr().String(), Keys: StaticKey(testKey), HTTP: &http.Client{Transport: transport}}
}

// request reads one request whole and counts a POST.
func (w *wire) newRequest(r *bufio.Reader) bool {
	req, err := http.ReadRequest(r)
	if err != nil {
		return false
	}
	if body, err := io.ReadAll(req.Body); err == nil && req.Method == "POST" && len(body) > 0 {
		w.bodies.Add(1)
	}
	return true
}

func reset(c *net.TCPConn) { c.SetLinger(0); c.Close() }

func reply(c net.Conn, head, body string) {
	fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", head, len(body), body)
}

func notStarted(t *testing.T, err error) bool {
	t.Helper()
	e, ok := errors.AsType[*StartError](err)
	if !ok {
		t.Fatalf("not a StartError: %v", err)
	}
	return e.NotStarted
}

func TestRunOnTheWire(t *testing.T) {
	tests := []struct {
		name       string
		serve      func(w *wire, c *net.TCPConn, r *bufio.Reader)
		notStarted bool
		either     bool // a matter of luck
		bodies     int32
		says       string
	}{
		{name: "reset after one byte", serve: func(w *wire, c *net.TCPConn, r *bufio.Reader) { c.Read(make([]byte, 1)); reset(c) }, says: "no answer"},
		{name: "reset after the request", serve: func(w *wire, c *net.TCPConn, r *bufio.Reader) { w.newRequest(r); reset(c) }, bodies: 1, says: "no answer"},
		{name: "reply lost", serve: func(w *wire, c *net.TCPConn, r *bufio.Reader) { w.newRequest(r) }, bodies: 1, says: "EOF"},
		{name: "not HTTP", serve: func(w *wire, c *net.TCPConn, r *bufio.Reader) { w.newRequest(r); io.WriteString(c, "SSH-2.0\r\n\r\n") }, bodies: 1, says: "malformed"},
		{name: "head cut off", serve: func(w *wire, c *net.TCPConn, r *bufio.Reader) {
			w.newRequest(r)
			io.WriteString(c, "HTTP/1.1 202 Accepted\r\nCont")
		}, bodies: 1, says: "malformed"},
		{name: "body cut off", serve: func(w *wire, c *net.TCPConn, r *bufio.Reader) {
			w.newRequest(r)
			io.WriteString(c, "HTTP/1.1 202 Accepted\r\nContent-Length: 50\r\n\r\n{\"task_id\":\"t-1")
		}, bodies: 1, says: "answered 202 to POST /r/workflows/slug/x/run but the body broke off"},
		{name: "accepted without an id", serve: func(w *wire, c *net.TCPConn, r *bufio.Reader) { w.newRequest(r); reply(c, "202 Accepted", "{}") }, bodies: 1, says: "without a readable task_id"},
		{name: "refused before it was read", serve: func(w *wire, c *net.TCPConn, r *bufio.Reader) {
			r.Peek(1)
			reply(c, "429 Too Many Requests", "slow down")
			w.newRequest(r)
		}, notStarted: true, bodies: 1, says: "429"},
		{name: "an answer to nothing", serve: func(w *wire, c *net.TCPConn, r *bufio.Reader) {
			reply(c, "202 Accepted", "{}") // before the request: net/http may notice it before it writes
			r.Peek(1)
		}, either: true},
		{name: "unfinished 100s", serve: func(w *wire, c *net.TCPConn, r *bufio.Reader) {
			w.newRequest(r)
			io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
		}, bodies: 1, says: "EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			done := make(chan struct{}, 1)
			w, c := listen(t, func(w *wire, c *net.TCPConn, r *bufio.Reader) {
				tt.serve(w, c, r)
				done <- struct{}{}
			})
			_, err := c.StartTask(context.Background(), "x", map[string]any{"a": 1})
			<-done
			if got := notStarted(t, err); got != tt.notStarted && !tt.either || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v: %v", got, err)
			}
			if w.bodies.Load() != tt.bodies || w.conns.Load() != 1 {
				t.Errorf("%d bodies on %d connections", w.bodies.Load(), w.conns.Load())
			}
		})
	}
}

// The server resets at once: whether the request was on its way is a matter of
// luck, and so is the outcome; but it is told once and sent once.
func TestRunResetAtOnce(t *testing.T) {
	for range 50 {
		w, c := listen(t, func(w *wire, c *net.TCPConn, r *bufio.Reader) { reset(c) })
		_, err := c.StartTask(context.Background(), "x", nil)
		notStarted(t, err)
		if w.conns.Load() > 1 {
			t.Fatalf("%d connections", w.conns.Load())
		}
	}
}

func TestRunThatNeverLeft(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	secure := httptest.NewUnstartedServer(http.HandlerFunc(raw(202, `{"task_id":"t-1"}`)))
	secure.Config.ErrorLog = quiet()
	secure.StartTLS()
	defer secure.Close()
	silent, _ := listen(t, func(w *wire, c *net.TCPConn, r *bufio.Reader) { io.Copy(io.Discard, r) })
	plain, _ := listen(t, func(w *wire, c *net.TCPConn, r *bufio.Reader) { io.WriteString(c, "HTTP/1.1 400 no\r\n\r\n") })

	ctx := context.Background()
	over, cancel := context.WithCancel(ctx)
	cancel()
	dialling, stopDialling := context.WithCancel(ctx)
	shaking, stopShaking := context.WithCancel(ctx)
	tests := []struct {
		name      string
		ctx       context.Context
		base      string
		transport *http.Transport
	}{
		{name: "refused", ctx: ctx, base: "http://" + dead.Addr().String(), transport: &http.Transport{}},
		{name: "certificate unknown", ctx: ctx, base: secure.URL, transport: &http.Transport{}},
		{name: "no TLS there", ctx: ctx, base: "https://" + plain.Addr().String(), transport: &http.Transport{}},
		{name: "over before it began", ctx: over, base: "http://" + silent.Addr().String(), transport: &http.Transport{}},
		{name: "over while dialling", ctx: dialling, base: "http://cyberun.test", transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			stopDialling()
			<-ctx.Done()
			return nil, ctx.Err()
		}}},
		{name: "over in the handshake", ctx: shaking, base: "https://" + silent.Addr().String(), transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			defer stopShaking()
			return (&net.Dialer{}).DialContext(context.WithoutCancel(ctx), network, address)
		}}},
		{name: "name unknown", ctx: ctx, base: "http://cyberun.test", transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.DNSError{Err: "no such host", Name: "cyberun.test", IsNotFound: true}
		}}},
		{name: "no base URL", ctx: ctx, transport: &http.Transport{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &Client{BaseURL: tt.base, Keys: StaticKey(testKey), HTTP: &http.Client{Transport: tt.transport}}
			_, err := c.StartTask(tt.ctx, "x", nil)
			if !notStarted(t, err) {
				t.Error(err)
			}
		})
	}
	c := &Client{BaseURL: secure.URL, Keys: StaticKey(testKey)}
	if _, err := c.StartTask(ctx, "x", map[string]any{"f": func() {}}); !notStarted(t, err) {
		t.Error(err)
	}
	if _, err := c.StartTask(ctx, "..", nil); !notStarted(t, err) {
		t.Error(err)
	}
}

// Once the request is out, the end of the caller's patience proves nothing.
func TestRunCancelledAfterSending(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	w, c := listen(t, func(w *wire, c *net.TCPConn, r *bufio.Reader) {
		w.newRequest(r)
		cancel()
		io.Copy(io.Discard, r)
	})
	_, err := c.StartTask(ctx, "x", nil)
	if notStarted(t, err) || !errors.Is(err, context.Canceled) || w.bodies.Load() != 1 {
		t.Error(err, w.bodies.Load())
	}
}

// TestRunStatuses: a refusal is believed where it is Cyberun's own, a JSON object.
// What stands before Cyberun may refuse the answer of a task that was started; but
// what is too large, or too many, is refused before it gets there.
func TestRunStatuses(t *testing.T) {
	byCyberun := map[int]bool{400: true, 401: true, 402: true, 403: true, 404: true, 405: true, 415: true, 422: true}
	byAnybody := map[int]bool{413: true, 429: true}
	for _, body := range []string{`{"task_id":"t-1"}`, "<html>blocked</html>", "", `["no"]`} {
		for _, status := range []int{300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 412, 413, 415, 418, 422, 423, 425, 429, 451, 499, 500, 501, 502, 503, 504, 520, 599} {
			s, c := serve(t, raw(status, body, "Location", "/elsewhere"))
			_, err := c.StartTask(context.Background(), "x", nil)
			want := byAnybody[status] || byCyberun[status] && strings.HasPrefix(body, "{")
			e, ok := errors.AsType[*APIError](err)
			if got := notStarted(t, err); got != want || !ok || e.Status != status {
				t.Errorf("%d %s: %v %v", status, body, got, err)
			}
			if len(s.asked) != 1 {
				t.Errorf("%d: asked %v", status, s.asked)
			}
		}
	}
	for status := 200; status < 207; status++ {
		if status == 204 || status == 205 {
			continue // these have no body
		}
		_, c := serve(t, raw(status, `{"task_id":7}`))
		if r, err := c.StartTask(context.Background(), "x", nil); err != nil || r != "7" {
			t.Errorf("%d: %v %v", status, r, err)
		}
	}
}

// plainTransport hides that it is net/http's, as a tracing wrapper would.
type plainTransport struct{ *http.Transport }

func (p plainTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return p.Transport.RoundTrip(r)
}

// A connection that the server closed while it lay idle is where net/http
// replays requests. The run has to arrive once at most.
func TestRunBesideAStaleConnection(t *testing.T) {
	closing := make(chan struct{})
	behaviours := map[string]func(w *wire, c *net.TCPConn, r *bufio.Reader){
		"closed while idle": func(w *wire, c *net.TCPConn, r *bufio.Reader) {
			if w.newRequest(r) && w.bodies.Load() == 0 {
				reply(c, "200 OK", workflowJSON) // promises to stay, and goes
				c.Close()
				closing <- struct{}{}
				return
			}
			reply(c, "202 Accepted", `{"task_id":"t-1"}`)
		},
		"closed on the request's arrival": func(w *wire, c *net.TCPConn, r *bufio.Reader) {
			if w.newRequest(r) && w.bodies.Load() == 0 {
				reply(c, "200 OK", workflowJSON)
				closing <- struct{}{}
				w.newRequest(r)
				return
			}
			reply(c, "202 Accepted", `{"task_id":"t-1"}`)
		},
	}
	for name, behaviour := range behaviours {
		for _, wrapped := range []bool{false, true} {
			for range 20 {
				w, c := listen(t, behaviour)
				if wrapped {
					c.HTTP = &http.Client{Transport: plainTransport{c.HTTP.Transport.(*http.Transport)}}
				}
				go func() { <-closing }()
				if _, err := c.Workflow(context.Background(), "x"); err != nil {
					t.Fatal(err)
				}
				r, err := c.StartTask(context.Background(), "x", map[string]any{"a": 1})
				switch {
				case w.bodies.Load() > 1:
					t.Fatalf("%s: the run arrived %d times", name, w.bodies.Load())
				case err == nil && r != "t-1":
					t.Errorf("%s: %v", name, r)
				case err != nil && !wrapped:
					t.Errorf("%s: a connection of its own would have spared this: %v", name, err)
				case err != nil && w.bodies.Load() == 1 && notStarted(t, err):
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
}

func TestRunOverHTTP2(t *testing.T) {
	abort := false
	var protos []string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protos = append(protos, r.Proto)
		io.Copy(io.Discard, r.Body)
		if abort {
			panic(http.ErrAbortHandler)
		}
		raw(202, `{"task_id":"t-1"}`)(w, r)
	}))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = quiet()
	s.StartTLS()
	defer s.Close()
	transport := s.Client().Transport.(*http.Transport)
	for _, hc := range []*http.Client{{Transport: transport}, {Transport: plainTransport{transport}}} {
		c := &Client{BaseURL: s.URL, Keys: StaticKey(testKey), HTTP: hc}
		abort = false
		if _, err := c.StartTask(context.Background(), "x", nil); err != nil {
			t.Error(err)
		}
		abort = true
		if _, err := c.StartTask(context.Background(), "x", nil); notStarted(t, err) {
			t.Error(err)
		}
	}
	if want := "HTTP/1.1 HTTP/1.1 HTTP/2.0 HTTP/2.0"; strings.Join(protos, " ") != want {
		t.Error(protos)
	}
	if !transport.ForceAttemptHTTP2 || transport.DisableKeepAlives {
		t.Error("the caller's transport was changed")
	}
	// A wrapped transport that fails in the handshake still says so.
	c := &Client{BaseURL: s.URL, Keys: StaticKey(testKey), HTTP: &http.Client{Transport: plainTransport{&http.Transport{TLSClientConfig: &tls.Config{}}}}}
	if _, err := c.StartTask(context.Background(), "x", nil); !notStarted(t, err) {
		t.Error(err)
	}
}

// A transport that does not tell what it does may have done anything.
func TestRunThroughAnUnknownTransport(t *testing.T) {
	broken := errors.New("broken")
	c := &Client{BaseURL: "http://cyberun.test", Keys: StaticKey(testKey), HTTP: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, broken })}}
	if _, err := c.StartTask(context.Background(), "x", nil); notStarted(t, err) || !errors.Is(err, broken) {
		t.Error(err)
	}
	// One that reports, fails, and would write later in a goroutine of its own:
	// what was said to be not started must not start.
	var late *http.Request
	c.HTTP.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		httptrace.ContextClientTrace(r.Context()).GetConn("cyberun.test:80")
		late = r
		return nil, broken
	})
	if _, err := c.StartTask(context.Background(), "x", nil); !notStarted(t, err) {
		t.Error(err)
	}
	if b, err := io.ReadAll(late.Body); err == nil || len(b) > 0 {
		t.Errorf("the body could still be sent: %q", b)
	}
	// What one tells, or does, before it fails.
	for name, did := range map[string]func(*http.Request, *httptrace.ClientTrace){
		"read the body":      func(r *http.Request, _ *httptrace.ClientTrace) { r.Body.Read(make([]byte, 1)) },
		"wrote the headers":  func(_ *http.Request, told *httptrace.ClientTrace) { told.WroteHeaders() },
		"got its connection": func(_ *http.Request, told *httptrace.ClientTrace) { told.GotConn(httptrace.GotConnInfo{}) },
	} {
		c.HTTP.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			told := httptrace.ContextClientTrace(r.Context())
			told.GetConn("cyberun.test:80")
			did(r, told)
			return nil, broken
		})
		if _, err := c.StartTask(context.Background(), "x", nil); notStarted(t, err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
