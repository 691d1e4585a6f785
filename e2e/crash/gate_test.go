package crash

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"
)

// kind is what happens at one call.
type kind string

const (
	none       kind = ""
	killBefore kind = "killed before"    // the process dies, the call never leaves
	killAfter  kind = "killed after"     // the work is done, the process dies without the reply
	lostBefore kind = "request lost"     // connection reset, nothing done
	lostAfter  kind = "reply lost"       // the work is done, connection reset
	wrong      kind = "500 once"         // the work is done, then a 500
	wrongAll   kind = "500, every try"   // the same for each try of the AWS client
	page       kind = "404 page"         // the work is done, then what a proxy would say: no JSON, and not Cyberun's word
	slow       kind = "slow"             // the work is done, the reply held beyond the function's time
	late       kind = "killed, sent"     // the process dies, its request arrives afterwards
	stopBefore kind = "stopped before"   // a person stops the run, close-run runs, then the call is done
	stopAfter  kind = "stopped after"    // the call is done, then the stop, then the reply
	stopKill   kind = "stopped + killed" // the stop, the call is done, the process dies
	// What happens meanwhile is a redrive, and Submit's first step after it.
	redriveBefore kind = "redriven before"
	redriveAfter  kind = "redriven after"
	redriveKill   kind = "redriven + killed"
)

// lateBy is how long after its sender's death a request arrives: within the
// scaled time of a POST, as the protocol assumes.
const lateBy = 500 * time.Millisecond

// call is one call of a function: the n-th of that name since the last fault.
type call struct {
	upstream string
	name     string
	n        int
	stage    int // how many faults had been played
}

type fault struct {
	name string
	n    int
	kind kind
}

// upstream is where calls go on to.
type upstream func(r *http.Request, body io.Reader) (*http.Response, error)

// maxNamed is how much of a body is looked at to name a call: a record is far
// smaller, and a file passes through without being held.
const maxNamed = 1 << 20

// gate is between one function and everything that it calls.
type gate struct {
	kill    func()
	other   func() // what a person and the other function do in the middle of a call
	named   func(upstream string, r *http.Request, body []byte) string
	servers []*httptest.Server
	pending sync.WaitGroup // late requests

	mu     sync.Mutex
	plan   []fault // the first one is waited for
	stage  int
	counts map[string]int
	calls  []call
	seen   map[string]bool // the AWS client's invocations: a further try is no new call
	broken string          // the invocation whose every try fails
}

func newGate() *gate { return &gate{counts: map[string]int{}, seen: map[string]bool{}} }

// open gives the address at which this gate stands for an upstream.
func (g *gate) open(name string, up upstream) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.pass(name, up, w, r) }))
	g.servers = append(g.servers, server)
	return server.URL
}

func (g *gate) close() {
	g.pending.Wait()
	for _, s := range g.servers {
		s.CloseClientConnections()
		s.Close()
	}
}

func (g *gate) arm(plan ...fault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.plan, g.stage, g.counts, g.calls = plan, 0, map[string]int{}, nil
}

// played reports whether every fault of the plan has happened.
func (g *gate) played() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.plan) == 0
}

// recorded are the calls since the given number of faults.
func (g *gate) recorded(stage int) []call {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(g.calls), func(c call) bool { return c.stage < stage })
}

// arrive counts a call and says what is to happen to it.
func (g *gate) arrive(upstream, name, invocation string) kind {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case invocation != "" && invocation == g.broken:
		return wrongAll
	case invocation != "" && g.seen[invocation]:
		return none
	}
	g.seen[invocation] = true
	g.counts[name]++
	n := g.counts[name]
	g.calls = append(g.calls, call{upstream, name, n, g.stage})
	if len(g.plan) == 0 || g.plan[0].name != name || g.plan[0].n != n {
		return none
	}
	k := g.plan[0].kind
	g.plan, g.counts = g.plan[1:], map[string]int{}
	g.stage++
	if k == wrongAll {
		g.broken = invocation
	}
	return k
}

// pass plays one call.
func (g *gate) pass(name string, up upstream, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxNamed))
	if err != nil {
		return // the caller is gone
	}
	k := g.arrive(name, g.named(name, r, body), r.Header.Get("Amz-Sdk-Invocation-Id"))
	if k == none {
		stream(up, w, r, io.MultiReader(bytes.NewReader(body), r.Body))
		return
	}
	switch k {
	case killBefore, late:
		g.kill()
		if k == late {
			g.pending.Go(func() {
				time.Sleep(lateBy)
				g.forward(up, r, body)
			})
		}
		drop(w)
		return
	case lostBefore:
		drop(w)
		return
	case stopBefore, stopKill, redriveBefore, redriveKill:
		g.other()
	}
	res, answer, err := g.forward(up, r, body)
	if err != nil {
		drop(w)
		return
	}
	switch k {
	case killAfter, stopKill, redriveKill:
		g.kill()
		drop(w)
		return
	case lostAfter:
		drop(w)
		return
	case slow:
		<-r.Context().Done() // the caller gave up, or was killed at its deadline
		return
	case stopAfter, redriveAfter:
		g.other()
	case wrong, wrongAll:
		internalError(name, w)
		return
	case page:
		notFoundPage(w)
		return
	}
	begin(w, res)
	_, _ = w.Write(answer)
}

func begin(w http.ResponseWriter, res *http.Response) {
	for key, values := range res.Header {
		w.Header()[key] = values
	}
	w.WriteHeader(res.StatusCode)
}

// stream passes a call through as it comes; an answer that breaks off breaks off
// here, too.
func stream(up upstream, w http.ResponseWriter, r *http.Request, body io.Reader) {
	res, err := up(r, body)
	if err != nil {
		drop(w)
		return
	}
	defer res.Body.Close()
	begin(w, res)
	if _, err := io.Copy(w, res.Body); err != nil {
		drop(w)
	}
}

// forward does the work whether or not the caller still listens.
func (g *gate) forward(up upstream, r *http.Request, body []byte) (*http.Response, []byte, error) {
	rest, err := io.ReadAll(r.Body)
	if err != nil && len(body) == maxNamed { // a shorter body was here whole, whatever became of the caller
		return nil, nil, err
	}
	res, err := up(r, io.MultiReader(bytes.NewReader(body), bytes.NewReader(rest)))
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return res, answer, err
}

// drop resets the connection: the caller gets no answer.
func drop(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func internalError(upstream string, w http.ResponseWriter) {
	body := `{"__type":"InternalServerError","message":"played"}`
	if upstream == "s3" {
		w.Header().Set("Content-Type", "application/xml")
		body = `<?xml version="1.0"?><Error><Code>InternalError</Code><Message>played</Message></Error>`
	}
	w.WriteHeader(http.StatusInternalServerError)
	fmt.Fprint(w, body)
}

func notFoundPage(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(http.StatusNotFound)
	fmt.Fprint(w, "<html><body><h1>404 Not Found</h1></body></html>")
}

// proxied passes calls on as they are: the signature covers the Host header.
func proxied(transport http.RoundTripper, base string) upstream {
	return func(r *http.Request, body io.Reader) (*http.Response, error) {
		out, err := http.NewRequest(r.Method, strings.TrimSuffix(base, "/")+r.RequestURI, body)
		if err != nil {
			return nil, err
		}
		out.Header, out.Host, out.ContentLength = r.Header.Clone(), r.Host, r.ContentLength
		if r.ContentLength == 0 {
			out.Body = http.NoBody
		}
		return transport.RoundTrip(out)
	}
}

// served passes calls to a fake in this process.
func served(h http.Handler) upstream {
	return func(r *http.Request, body io.Reader) (*http.Response, error) {
		in := r.Clone(r.Context())
		in.Body = io.NopCloser(body)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, in)
		return w.Result(), nil
	}
}
