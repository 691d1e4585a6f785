package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/retryafter"
)

// client calls the relay's API. Every call takes the one path through do.
type client struct {
	base    *url.URL
	http    *http.Client
	sign    func(ctx context.Context, r *http.Request, payloadHash string) error
	backoff func() backoff.BackOff
	now     func() time.Time
	notef   func(format string, args ...any) // says that a call is tried again
}

const (
	// maxAnswer bounds an answer: a manifest has at most 8 MiB, and each of its
	// outputs gets a signed address about thrice as long as its entry.
	maxAnswer = 32 << 20
	// callTimeout is for one try: an HTTP API gives up after 30 s.
	callTimeout = 35 * time.Second
	// patience is how long a command tries in all, patienceWatching while a run
	// is watched: that one goes on whatever becomes of our network.
	patience         = time.Minute
	patienceWatching = 10 * time.Minute
	// dialTries is how often an address is tried that nobody answers at, unless a
	// run is watched: it is mostly mistyped, and a minute is long to learn that.
	dialTries = 3
	// maxRetryAfter bounds what an answer can ask us to wait.
	maxRetryAfter = 30 * time.Second
	// maxExcerpt bounds what is shown of an answer that is not the relay's, in columns.
	maxExcerpt = 120
)

// apiHTTP follows no redirects: the API sends none, and a signed call must not
// be replayed to wherever a stranger at a mistyped address points.
func apiHTTP() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

type call struct {
	method   string
	path     string // escaped, with the query
	body     []byte
	key      string        // Idempotency-Key
	patience time.Duration // how long the call is tried; 0: [patience]
}

// problem is an answer that is not a success: the relay's own of RFC 9457, or, without
// a title, what stood in front of it.
type problem struct {
	Status int              `json:"status"`
	Title  string           `json:"title"`
	Detail string           `json:"detail"`
	Hint   string           `json:"hint"`
	Errors named.Violations `json:"errors"`

	skew time.Duration // how far this machine's clock was ahead of the answer's Date
}

func (p *problem) Error() string { return p.failure().what }

// retryable reports whether the same call may fare better in a while: of the relay's
// own answers the table of named errors says it.
func (p *problem) retryable() bool {
	if spec, ours := named.Lookup(p.Title); ours {
		return spec.Retried
	}
	return p.Status == http.StatusTooManyRequests || p.Status >= http.StatusInternalServerError
}

// do makes a call and decodes its answer into out; the raw answer is what --json
// prints. All calls can be repeated: POST /runs carries its Idempotency-Key.
func (c *client) do(ctx context.Context, k call, out any) (json.RawMessage, error) {
	if k.patience == 0 {
		k.patience = patience
	}
	var last error
	tries := 0
	raw, err := backoff.Retry(ctx, func() (json.RawMessage, error) {
		raw, wait, err := c.once(ctx, k, out)
		last = err
		tries++
		var p *problem
		switch {
		case err == nil:
			return raw, nil
		case ctx.Err() != nil, errors.As(err, &p) && !p.retryable(), isFailure(err):
			return nil, backoff.Permanent(err)
		case k.patience < patienceWatching && isUnreachable(err, tries):
			return nil, backoff.Permanent(err)
		case wait > 0:
			return nil, errors.Join(err, &backoff.RetryAfterError{Duration: wait})
		}
		return nil, err
	}, backoff.WithBackOff(c.backoff()), backoff.WithMaxElapsedTime(k.patience), backoff.WithNotify(func(_ error, wait time.Duration) {
		c.notef("%s; trying again in %s", failureFor(c.wrapUnreachable(last)).what, wait.Round(100*time.Millisecond))
	}))
	switch {
	case err == nil:
		return raw, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, c.wrapUnreachable(last)
}

// isUnreachable reports whether there is no such host, or after some tries none that
// answers.
func isUnreachable(err error, tries int) bool {
	var name *net.DNSError
	var op *net.OpError
	return errors.As(err, &name) && name.IsNotFound || errors.As(err, &op) && op.Op == "dial" && tries >= dialTries
}

func isFailure(err error) bool {
	var f *failure
	return errors.As(err, &f)
}

// wrapUnreachable makes a network's error the failure of a call to this API. Failures and
// problems stay as they are.
func (c *client) wrapUnreachable(err error) error {
	var p *problem
	if errors.As(err, &p) || isFailure(err) {
		return err
	}
	return unreachable("the API at "+c.base.Host+" cannot be reached", err, "check the network and --api-url (RELAY_API_URL): it must be the stack's output ApiUrl")
}

// once makes one try. It looks at the status before it decodes the body.
func (c *client) once(ctx context.Context, k call, out any) (raw json.RawMessage, wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request, err := c.request(ctx, k)
	if err != nil {
		return nil, 0, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, 0, err
	}
	if response.StatusCode/100 != 2 {
		return nil, retryafter.Wait(response.Header, c.now(), maxRetryAfter), problemOf(response, body, c.now())
	}
	if len(body) > maxAnswer {
		return nil, 0, notRelayAPI("the API's answer is larger than %s", formatBytes(maxAnswer))
	}
	if err := json.Unmarshal(body, out); err != nil {
		why := withoutURL(err)
		if !strings.Contains(response.Header.Get("Content-Type"), "json") {
			why = excerpt(response, body) // never of the relay's own: it may hold signed addresses
		}
		return nil, 0, notRelayAPI("the API's answer is not what the relay's would be: %s", why)
	}
	return bytes.TrimSpace(body), 0, nil
}

// notRelayAPI explains an answer that says success but is not the relay's.
func notRelayAPI(format string, args ...any) *failure {
	return &failure{code: codeUnreachable, what: fmt.Sprintf(format, args...), hint: "is --api-url (RELAY_API_URL) the stack's output ApiUrl, and this program as new as the stack?"}
}

func (c *client) request(ctx context.Context, k call) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, k.method, strings.TrimRight(c.base.String(), "/")+k.path, bytes.NewReader(k.body))
	if err != nil {
		return nil, &failure{code: codeUsage, what: withoutURL(err)}
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "relay/"+version())
	if k.body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if k.key != "" {
		request.Header.Set("Idempotency-Key", k.key)
	}
	hash := sha256.Sum256(k.body)
	return request, c.sign(ctx, request, hex.EncodeToString(hash[:]))
}

// problemOf reads an error's body: the relay's problem, the {"message": …} of the
// gateway before it, or neither, of which an excerpt is kept.
func problemOf(response *http.Response, body []byte, now time.Time) *problem {
	p := &problem{}
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if kind == "application/problem+json" && json.Unmarshal(body, p) == nil && p.Title != "" {
		p.Status = response.StatusCode
		return p
	}
	*p = problem{Status: response.StatusCode}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		p.skew = now.Sub(date)
	}
	var gateway struct{ Message string }
	if json.Unmarshal(body, &gateway) == nil && gateway.Message != "" {
		p.Detail = gateway.Message
	} else {
		p.Detail = excerpt(response, body)
	}
	return p
}

// excerpt shows what kind of answer came, without pages of HTML.
func excerpt(response *http.Response, body []byte) string {
	kind := response.Header.Get("Content-Type")
	if kind == "" {
		kind = "no content type"
	}
	text := oneLine(strings.ToValidUTF8(string(body[:min(len(body), 4*maxExcerpt)]), ""))
	if text == "" {
		return "an empty body"
	}
	return clip(text, maxExcerpt) + " (" + kind + ")"
}
