package cyberun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// ContainerCall is an HTTP request to a container service itself. It goes out as it
// is, with the API key in the Authorization header and nothing else added.
type ContainerCall struct {
	Slug   string
	Method string
	// Path is what follows the slug, escaped and with its slash.
	// [CheckContainerPath] says what it may hold.
	Path  string
	Query string // escaped, without its question mark
	// Header is sent as it is: the caller takes hop-by-hop headers and credentials
	// out. Host, Authorization, Content-Length and Transfer-Encoding are this
	// client's own, and ignored here.
	Header http.Header
	// Body is read from its start each time that the call is sent; nil: none.
	Body   io.ReaderAt
	Length int64 // how many bytes of Body are sent
	// MaxAnswer bounds the answer's body, in bytes: reading past it fails with
	// [ErrContainerAnswerTooLarge].
	MaxAnswer int64
}

// ContainerAnswer is what came back of a [ContainerCall]: the container's own answer,
// or Cyberun's, which looks no different. [Client.Container] says whether the service
// exists and runs.
type ContainerAnswer struct {
	Status int
	Header http.Header
	Body   io.ReadCloser // to be read and closed by the caller
}

// ErrContainerAnswerTooLarge is the error of reading an answer's body past the
// MaxAnswer of its [ContainerCall].
var ErrContainerAnswerTooLarge = errors.New("the container's answer is larger than allowed")

// NeverSent reports whether an error of [Client.CallContainer] says that surely
// nothing of the call left this machine.
func NeverSent(err error) bool {
	_, ok := errors.AsType[*unsentError](err)
	return ok
}

// CallContainer sends a call to a container service. Whatever status comes back is
// an answer, redirects among them; an error says that there is none. The call is sent
// once. There are two exceptions, and neither lets a container see a call twice: a GET
// or HEAD whose connection could not be made is tried once more, and so is a call that
// Cyberun answered with 401 because of a key that has been replaced since. ctx bounds
// the call together with the reading of its answer.
func (c *Client) CallContainer(ctx context.Context, call ContainerCall) (*ContainerAnswer, error) {
	if !IsContainerSlug(call.Slug) {
		return nil, &unsentError{fmt.Errorf("cyberun: %q is no container's slug", call.Slug)}
	}
	if err := CheckContainerPath(call.Path); err != nil {
		return nil, &unsentError{fmt.Errorf("cyberun: the path of a container call %w", err)}
	}
	if slices.Contains(refusedMethods, strings.ToUpper(call.Method)) {
		return nil, &unsentError{fmt.Errorf("cyberun: %s is not passed on to containers", call.Method)}
	}
	out := request{method: call.Method, path: "/r/containers/" + call.Slug + call.Path, query: call.Query, container: &call}
	res, secrets, err := c.open(ctx, out, c.containerDo())
	_, tried := errors.AsType[*NetworkError](err)
	if tried && NeverSent(err) && ctx.Err() == nil && (call.Method == http.MethodGet || call.Method == http.MethodHead) {
		res, secrets, err = c.open(ctx, out, c.containerDo())
	}
	if err != nil {
		return nil, err
	}
	return &ContainerAnswer{Status: res.StatusCode, Header: res.Header,
		Body: &boundedBody{ReadCloser: http.MaxBytesReader(nil, res.Body, call.MaxAnswer), broke: func(err error) error {
			return networkError(out.method, out.printablePath(), fmt.Errorf("the answer's body broke off: %w", redact.UnwrapURLError(err)), secrets)
		}}}, nil
}

// refuses reports whether Cyberun itself refuses a key after a call to this container
// was answered with 401, by asking it for the container's detail. A container's own 401
// looks no different, and a call that it has answered must not reach it again. The result
// is false if this cannot be found out.
func (c Client) refuses(ctx context.Context, key, slug string) bool {
	c.Keys = StaticKey(key)
	_, err := c.Container(ctx, slug)
	return keyRejected(nil, err)
}

// refusedMethods are never sent: an answer to TRACE may repeat the key, and
// CONNECT asks for a tunnel.
var refusedMethods = []string{http.MethodTrace, http.MethodConnect}

// containerDo sends over a connection of its own, so that net/http has nothing to
// replay and it is known whether the call went out. It follows no redirect, and
// leaves compressed bodies as they are.
func (c *Client) containerDo() doFunc {
	p := c.poster()
	p.client.CheckRedirect = noRedirect
	if t, ok := p.client.Transport.(*http.Transport); ok && p.own {
		t.DisableCompression = true // it is a copy that this call alone uses
		return p.send
	}
	return func(req *http.Request) (*http.Response, error) {
		if req.Header.Get("Accept-Encoding") == "" {
			req.Header.Set("Accept-Encoding", "identity") // else net/http asks for gzip and unpacks it
		}
		return p.send(req)
	}
}

// fill gives a request the call's headers and body.
func (in *ContainerCall) fill(req *http.Request) {
	maps.Copy(req.Header, in.Header)
	for _, name := range []string{"Host", "Content-Length", "Transfer-Encoding"} {
		req.Header.Del(name)
	}
	if _, given := req.Header["User-Agent"]; !given {
		req.Header.Set("User-Agent", "") // net/http's own name otherwise
	}
	if in.Body != nil && in.Length > 0 {
		// No GetBody: see newRequest.
		req.Body = io.NopCloser(io.NewSectionReader(in.Body, 0, in.Length))
		req.ContentLength = in.Length
	}
}

// boundedBody is an answer's body up to a limit, whose errors are the package's.
type boundedBody struct {
	io.ReadCloser                   // of http.MaxBytesReader
	broke         func(error) error // makes the error of a body that broke off
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return n, ErrContainerAnswerTooLarge
	}
	if err != nil && err != io.EOF {
		err = b.broke(err)
	}
	return n, err
}

// printablePath returns the path for an error: of a container call only the part that
// names the service, since the rest is the caller's own.
func (r request) printablePath() string {
	if r.container != nil {
		return "/r/containers/" + url.PathEscape(r.container.Slug) + "/…"
	}
	return r.path
}
