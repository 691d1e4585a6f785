package main

import (
	"bytes"
	"cmp"
	"context"
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

// client calls the relay's API. Every call but those of containers takes the one path
// through [do].
type client struct {
	app  *app
	base *url.URL
	sign func(ctx context.Context, r *http.Request, body []byte) error
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

type apiCall struct {
	method   string
	path     string        // escaped, with the query
	body     any           // to be sent as JSON; nil: none
	key      string        // Idempotency-Key
	patience time.Duration // how long the call is tried; 0: [patience]
}

// do makes a call and decodes its answer; the raw answer is what --json prints. It repeats
// a call after a failure that may pass. POST /runs carries its Idempotency-Key; and within
// [patience] no run that a decision set going has failed in doubt anew.
func do[T any](ctx context.Context, c *client, k apiCall) (answer T, raw json.RawMessage, err error) {
	var body []byte
	if k.body != nil {
		if body, err = json.Marshal(k.body); err != nil {
			return answer, nil, err
		}
	}
	k.patience = cmp.Or(k.patience, patience)
	var last *failure
	tries := 0
	raw, err = backoff.Retry(ctx, func() (json.RawMessage, error) {
		raw, err := c.once(ctx, k, body, &answer)
		if err == nil {
			return raw, nil
		}
		last = c.failure(err)
		tries++
		switch {
		case ctx.Err() != nil, !last.passing, k.patience < patienceWatching && isUnreachable(err, tries):
			return nil, backoff.Permanent(err)
		case last.wait > 0:
			return nil, &backoff.RetryAfterError{Duration: last.wait}
		}
		return nil, err
	}, backoff.WithBackOff(c.app.backoff()), backoff.WithMaxElapsedTime(k.patience), backoff.WithNotify(func(_ error, wait time.Duration) {
		c.app.console.notef("%s; trying again in %s", last.what, wait.Round(100*time.Millisecond))
	}))
	switch {
	case err == nil:
		return answer, raw, nil
	case ctx.Err() != nil:
		return answer, nil, context.Cause(ctx)
	}
	return answer, nil, last
}

// isUnreachable reports whether there is no such host, or after some tries none that
// answers.
func isUnreachable(err error, tries int) bool {
	name, noName := errors.AsType[*net.DNSError](err)
	op, noCall := errors.AsType[*net.OpError](err)
	return noName && name.IsNotFound || noCall && op.Op == "dial" && tries >= dialTries
}

// failure explains the error of a call: one that is no failure yet is the network's, and
// may pass.
func (c *client) failure(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	f := unreachable("the API at "+c.base.Host+" cannot be reached", err, "check the network and --api-url (RELAY_API_URL): it must be the stack's output ApiUrl")
	f.passing = true
	return f
}

// once makes one try. It looks at the status before it decodes the answer into out.
func (c *client) once(ctx context.Context, k apiCall, body []byte, out any) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, k.method, strings.TrimRight(c.base.String(), "/")+k.path, bytes.NewReader(body))
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
	if err := c.sign(ctx, request, body); err != nil {
		return nil, err
	}
	response, content, err := exchange(c.app.api, request, maxAnswer+1)
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode/100 != 2:
		return nil, refusal(response, content, c.app.now())
	case len(content) > maxAnswer:
		return nil, notRelayAPI("the API's answer is larger than %s", formatBytes(maxAnswer))
	}
	if err := json.Unmarshal(content, out); err != nil {
		why := err.Error()
		if !strings.Contains(response.Header.Get("Content-Type"), "json") {
			why = excerpt(response, content) // never of the relay's own: it may hold signed addresses
		}
		return nil, notRelayAPI("the API's answer is not what the relay's would be: %s", why)
	}
	return bytes.TrimSpace(content), nil
}

// exchange sends a request and reads its answer, of the body at most so many bytes.
func exchange(client *http.Client, request *http.Request, most int64) (*http.Response, []byte, error) {
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, most))
	return response, content, err
}

// notRelayAPI explains an answer that says success but is not the relay's.
func notRelayAPI(format string, args ...any) *failure {
	return &failure{code: codeUnreachable, what: fmt.Sprintf(format, args...), hint: "is --api-url (RELAY_API_URL) the stack's output ApiUrl, and this program as new as the stack?"}
}

const wrongAPIHint = "this is not the relay's API: --api-url (RELAY_API_URL) must be the stack's output ApiUrl"

// refusal explains an answer that is not a success: the relay's problem document
// (RFC 9457), or what stood in front of the relay.
func refusal(response *http.Response, body []byte, now time.Time) *failure {
	var problem struct {
		Title, Detail, Hint string
		Errors              named.Violations
	}
	status := response.StatusCode
	passing := status == http.StatusTooManyRequests || status >= http.StatusInternalServerError
	var f *failure
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if kind == "application/problem+json" && json.Unmarshal(body, &problem) == nil && problem.Title != "" {
		f = namedFailure(problem.Title, problem.Detail, problem.Hint, problem.Errors)
		if spec, ours := named.Lookup(problem.Title); ours {
			passing = spec.Retried
		}
		switch {
		case problem.Title == named.NotFound && status == http.StatusNotFound:
			f.code, f.hint = codeUnreachable, wrongAPIHint
		case status >= http.StatusInternalServerError:
			f.code = codeUnreachable
		}
	} else {
		f = gatewayRefusal(response, body, now)
	}
	f.passing, f.wait = passing, retryafter.Wait(response.Header, now, maxRetryAfter)
	return f
}

// gatewayRefusal explains an answer that is not the relay's: the {"message": …} of the
// gateway before it, or another, of which an excerpt is shown.
func gatewayRefusal(response *http.Response, body []byte, now time.Time) *failure {
	var gateway struct{ Message string }
	_ = json.Unmarshal(body, &gateway)
	detail := cmp.Or(gateway.Message, excerpt(response, body))
	status := response.StatusCode
	f := &failure{code: codeUnreachable, what: fmt.Sprintf("the API answered %d %s", status, http.StatusText(status))}
	if detail != http.StatusText(status) {
		f.what += ": " + detail
	}
	var ahead time.Duration // of this machine's clock
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		ahead = now.Sub(date)
	}
	unsigned := status == http.StatusUnauthorized || status == http.StatusForbidden
	clock := clockHint(detail, ahead)
	switch {
	case status == http.StatusNotFound:
		f.hint = wrongAPIHint
	case unsigned && clock != "":
		f.hint = clock
	case unsigned && strings.Contains(detail, "expired"):
		f.hint = "sign in again (`aws sso login`), or choose another --profile"
	case unsigned:
		f.hint = "your AWS identity needs execute-api:Invoke on the stack's API; `aws sts get-caller-identity` says who you are, --profile and --region choose another"
	default:
		f.hint = "if it stays so: is --api-url (RELAY_API_URL) the stack's output ApiUrl? The function's logs are in CloudWatch"
	}
	return f
}

// excerpt shows what kind of answer came, without pages of HTML.
func excerpt(response *http.Response, body []byte) string {
	kind := cmp.Or(response.Header.Get("Content-Type"), "no content type")
	text := oneLine(strings.ToValidUTF8(string(body[:min(len(body), 4*maxExcerpt)]), ""))
	if text == "" {
		return "an empty body"
	}
	return clip(text, maxExcerpt) + " (" + kind + ")"
}
