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

	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// StartError is the type of every error of [Client.StartTask].
type StartError struct {
	// NotStarted says that no task was started: the request's headers were never written;
	// or Cyberun itself answered 400 to 405, 415 or 422, with a JSON object; or anybody
	// answered 413 or 429 (ADR 4). If it is false, the zero value, a task may have been
	// started, and be billed: it has to be looked for in [Client.Tasks] before anybody
	// posts again.
	NotStarted bool
	Err        error `json:"-"` // the [*APIError], [*AnswerError], [*NetworkError], or what the key's source said
}

func (e *StartError) Error() string {
	if e.NotStarted {
		return "no task was started: " + e.Err.Error()
	}
	return "it is in doubt whether a task was started: " + e.Err.Error()
}

func (e *StartError) Unwrap() error { return e.Err }

// GoString returns what %#v prints: the text of Error, which holds no secret.
func (e *StartError) GoString() string { return fmt.Sprintf("&cyberun.StartError{%q}", e.Error()) }

// refusals are the statuses by which Cyberun says, in a JSON object, that it
// started nothing. Without the object they may be a firewall's, which blocks the
// answer of a task that was started. 408, 409 and every 5xx may come after the
// work was done. See ADR 4.
var refusals = []int{400, 401, 402, 403, 404, 405, 415, 422}

// refusedAnyway are the statuses that are given before a request reaches the
// application, by Cyberun or by what stands in front of it: too large, and too many.
// ADR 4 lists this among its assumptions.
var refusedAnyway = []int{413, 429}

// StartTask starts a task of a workflow, once, and returns its id: ref is the workflow's
// slug, or slug@version, and parameters are its inputs by their keys. Every error is a
// [*StartError], which says whether a task may have been started all the same.
//
// The request is posted once. No redirect is followed and net/http cannot replay it,
// since there is no GetBody, and it has a connection of its own, so that one which
// the server closed while it lay idle leaves nothing in doubt. Only after a 401 of
// Cyberun's own is it posted again, once, if the key has changed since.
func (c *Client) StartTask(ctx context.Context, ref string, parameters map[string]any) (taskID string, err error) {
	r, err := startRequest(ref, parameters)
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return "", &StartError{NotStarted: true, Err: err}
	}
	a, err := c.do(ctx, r, c.poster().send)
	var o looseJSON
	if err == nil {
		err = a.decode(&o)
	}
	// Without the id the answer is of no use: nothing else ties the run to what it
	// pays for.
	id := o.id("task_id")
	if err == nil && id == "" {
		err = a.unusable("but without a readable task_id")
	}
	if err != nil {
		return "", &StartError{NotStarted: startedNothing(err), Err: err}
	}
	return id, nil
}

func startRequest(ref string, parameters map[string]any) (request, error) {
	slug, err := escapeSegment("workflow", ref)
	if err != nil {
		return request{}, err
	}
	if parameters == nil {
		parameters = map[string]any{} // {} and not null
	}
	body, err := json.Marshal(map[string]any{"parameters": parameters})
	if err != nil {
		return request{}, fmt.Errorf("cyberun: the parameters cannot be written as JSON: %w", err)
	}
	return request{method: http.MethodPost, path: "/r/workflows/slug/" + slug + "/run", body: body, starts: true}, nil
}

// startedNothing reports whether an error of the POST rules out that a task was started.
func startedNothing(err error) bool {
	e, answered := errors.AsType[*APIError](err)
	return NeverSent(err) || slices.Contains(refusals, refusal(err)) || answered && slices.Contains(refusedAnyway, e.Status)
}

// unsentError marks what went wrong before a request's headers were written.
type unsentError struct{ err error }

func (e *unsentError) Error() string { return e.err.Error() }
func (e *unsentError) Unwrap() error { return e.err }

// poster sends requests of which it has to be known whether they went out.
type poster struct {
	client *http.Client
	// own says that each request has a fresh HTTP/1.1 connection of net/http's, whose
	// WroteHeaders comes before the headers leave the buffer. Over HTTP/2 it comes
	// after, and a call that is cancelled in between would look unsent.
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

// send sends a request. Its error wraps an [*unsentError] if nothing went out.
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

// watchedBody is a request's body that reports whether the request went out, and
// keeps one that did not from going out later: net/http writes in a goroutine that
// may outlive the call by a moment, and in HTTP/1.1 nothing leaves the buffer before
// the body is read (but for headers longer than the buffer, which are then not all
// of them).
type watchedBody struct {
	body io.ReadCloser
	own  bool // as poster.own

	mu     sync.Mutex
	seen   bool // the transport calls the trace at all
	out    bool // the request may have gone out
	sealed bool // it did not, and will not
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

// seal keeps a request that did not go out from going out, and reports whether it
// could.
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
