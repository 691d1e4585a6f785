package cyberun

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// RunReceipt is an accepted run.
type RunReceipt struct {
	TaskID string
	Date   time.Time // the server's clock
}

// Outcome is what is known of a run that failed to start.
type Outcome int

const (
	// InDoubt says that the task may have started and be paid for. Look before you post
	// again. It is the zero value, so that a forgotten case is the careful one.
	InDoubt Outcome = iota
	// NotStarted says that there is surely no task. The request's headers were never written, or
	// the remote refused it.
	NotStarted
)

func (o Outcome) String() string {
	if o == NotStarted {
		return "not started"
	}
	return "in doubt"
}

// MarshalText keeps a log from showing a bare 0 or 1.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// RunError is every error that Run returns; errors.As finds the APIError,
// AnswerError or NetworkError in it.
type RunError struct {
	Outcome Outcome
	Err     error `json:"-"`
}

func (e *RunError) Error() string {
	if e.Outcome == NotStarted {
		return "the run was not started: " + e.Err.Error()
	}
	return "it is in doubt whether the run was started: " + e.Err.Error()
}

func (e *RunError) Unwrap() error    { return e.Err }
func (e *RunError) GoString() string { return fmt.Sprintf("&cyberun.RunError{%q}", e.Error()) }

// refusals are the statuses that surely started nothing where Cyberun itself
// says them, in a JSON object: a firewall may block the answer of a task that was
// started. 408, 409 and every 5xx may come after the work was done.
var refusals = []int{400, 401, 402, 403, 404, 405, 415, 422}

// refusedBefore are the statuses that are said before a request reaches the
// application, whoever says them: too large, and too many. ADR 4 lists this
// among its assumptions.
var refusedBefore = []int{413, 429}

// Run posts once. No redirect is followed and net/http cannot replay: there is
// no GetBody, and the POST has a connection of its own, so that one which the
// server closed while it lay idle leaves nothing in doubt. Only after a 401 is
// it posted again, once, if the key has changed since.
func (c *Client) Run(ctx context.Context, ref string, parameters map[string]any) (RunReceipt, error) {
	k, err := runCall(ref, parameters)
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return RunReceipt{}, &RunError{NotStarted, err}
	}
	a, err := c.doWith(ctx, k, c.poster().send)
	if err != nil {
		return RunReceipt{}, &RunError{outcome(err), err}
	}
	receipt, err := a.receipt()
	if err != nil {
		return RunReceipt{}, &RunError{InDoubt, err}
	}
	return receipt, nil
}

func runCall(ref string, parameters map[string]any) (call, error) {
	slug, err := element("workflow", ref)
	if err != nil {
		return call{}, err
	}
	if parameters == nil {
		parameters = map[string]any{} // {} and not null
	}
	body, err := json.Marshal(map[string]any{"parameters": parameters})
	if err != nil {
		return call{}, fmt.Errorf("cyberun: the parameters cannot be written as JSON: %w", err)
	}
	return call{method: http.MethodPost, path: "/r/workflows/slug/" + slug + "/run", body: body}, nil
}

// receipt is strict about the id alone: it is all that ties the run to what it
// pays for.
func (a answer) receipt() (RunReceipt, error) {
	var o object
	if err := a.decode(&o); err != nil {
		return RunReceipt{}, err
	}
	id := o.id("task_id")
	if id == "" {
		return RunReceipt{}, a.bad("but without a readable task_id")
	}
	return RunReceipt{TaskID: id, Date: a.date}, nil
}

func outcome(err error) Outcome {
	if _, ok := errors.AsType[*unsentError](err); ok {
		return NotStarted
	}
	if e, ok := errors.AsType[*APIError](err); ok && (e.JSON && slices.Contains(refusals, e.Status) || slices.Contains(refusedBefore, e.Status)) {
		return NotStarted
	}
	return InDoubt
}

// unsentError marks what went wrong before a request's headers were written.
type unsentError struct{ err error }

func (e *unsentError) Error() string { return e.err.Error() }
func (e *unsentError) Unwrap() error { return e.err }

// poster sends requests of which one has to know whether they went out.
type poster struct {
	client *http.Client
	// own: a fresh HTTP/1.1 connection of net/http's for each request. Its
	// WroteHeaders comes before the headers leave the buffer. Over HTTP/2 it
	// comes after, and a call that is cancelled in between would look unsent.
	own bool
}

func (c *Client) poster() poster {
	hc := c.api() // which follows no redirect of a POST
	if hc.Transport == nil {
		hc.Transport = http.DefaultTransport
	}
	t, ok := hc.Transport.(*http.Transport)
	// Who dials TLS on their own may have settled on HTTP/2 there.
	//lint:ignore SA1019 deprecated, but net/http still obeys it
	ok = ok && t.DialTLSContext == nil && t.DialTLS == nil
	if ok {
		hc.Transport = freshHTTP1(t)
	}
	return poster{client: hc, own: ok}
}

func freshHTTP1(t *http.Transport) *http.Transport {
	t = t.Clone()
	t.DisableKeepAlives = true
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	// A transport that has been used carries HTTP/2 in its TLS settings, and its
	// clone would go on offering it to the server.
	t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	if t.TLSClientConfig != nil {
		t.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	return t
}

func (p poster) send(req *http.Request) (*http.Response, error) {
	w := &watchedBody{body: req.Body, own: p.own}
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), w.trace()))
	if req.Body != nil {
		req.Body = w
	}
	res, err := p.client.Do(req)
	if err != nil && w.seal() {
		err = &unsentError{redact.UnwrapURLError(err)}
	}
	return res, err
}

// watchedBody tells whether a request went out, and keeps one that did not from
// going out later: net/http writes in a goroutine that may outlive the call by
// a moment, and in HTTP/1.1 nothing leaves the buffer before the body is read
// (but for headers longer than the buffer, which are then not all of them).
type watchedBody struct {
	body io.ReadCloser
	own  bool

	mu     sync.Mutex
	seen   bool // by a transport that tells what it does
	out    bool
	sealed bool
}

func (w *watchedBody) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:      func(string) { w.note(&w.seen) },
		WroteHeaders: func() { w.note(&w.out) },
		GotConn: func(httptrace.GotConnInfo) {
			if !w.own {
				w.note(&w.out) // see poster.own: from here on it may go out
			}
		},
	}
}

func (w *watchedBody) note(flag *bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*flag = true
}

// seal says whether the request surely did not go out, and will not.
func (w *watchedBody) seal() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sealed = w.seen && !w.out
	return w.sealed
}

func (w *watchedBody) Read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sealed {
		return 0, errors.New("the call has ended before its request was sent")
	}
	w.out = true
	return w.body.Read(p)
}

func (w *watchedBody) Close() error { return w.body.Close() }
