package cyberun

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

const (
	// maxAnswer bounds a decoded answer. The largest documented one is a list
	// of 100 workflows with their parameters; 100 KiB for each is ample.
	maxAnswer = 10 << 20
	// maxRedirects is more than the one that a moved path needs.
	maxRedirects = 3

	defaultUserAgent = "cyberun-relay"
)

// KeySource knows the API key. It is asked before every call.
type KeySource interface {
	Key(ctx context.Context) (string, error)
	// Refresh reads the secret again, after a 401 that the key `rejected` got.
	Refresh(ctx context.Context, rejected string) (string, error)
}

// Client calls the runtime API. It has no state of its own and may be copied
// and used by several goroutines.
type Client struct {
	BaseURL string // https://core.cyberun.cloud/api/v1
	Keys    KeySource
	// HTTP makes the calls; nil means net/http's default transport. Its
	// CheckRedirect is not used: what is followed is decided here.
	HTTP *http.Client
	// UploadHTTP makes the calls to the addresses that Presign hands out, whose
	// hosts are the remote's choice; nil means HTTP.
	UploadHTTP *http.Client
	UserAgent  string
	Now        func() time.Time // nil: time.Now; only for a Retry-After date in an answer without a Date
}

// call is one request to the API, in documented terms.
type call struct {
	method string
	path   string // escaped, below BaseURL
	query  url.Values
	body   []byte // JSON; nil: none
	accept string // a stream of this type; empty: JSON
	// container is set for a call to a container service: its method, headers,
	// query and body go out, and an answer of any status is handed back.
	container *ContainerCall
}

// answer is a 2xx whose body has been read.
type answer struct {
	call    call
	status  int
	date    time.Time
	age     time.Duration
	body    []byte
	secrets []string
}

// do makes a call and reads its 2xx answer whole.
func (c *Client) do(ctx context.Context, k call) (answer, error) {
	return c.doWith(ctx, k, c.api().Do)
}

// exchange is one request and its answer: http.Client.Do, or what Run puts
// around it.
type exchange func(*http.Request) (*http.Response, error)

func (c *Client) doWith(ctx context.Context, k call, x exchange) (answer, error) {
	res, secrets, err := c.open(ctx, k, x)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	a := answer{call: k, status: res.StatusCode, date: dateOf(res.Header), age: ageOf(res.Header), secrets: secrets}
	if a.age > 0 {
		a.date = time.Time{} // when a cache was filled is not the server's clock
	}
	a.body, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return a, a.bad("but the body broke off: %w", redact.UnwrapURLError(err))
	}
	if len(a.body) > maxAnswer {
		return a, a.bad("with more than %d MiB", maxAnswer>>20)
	}
	return a, nil
}

// open makes a call, once more with a new key after a 401, and returns a 2xx
// with its body unread. Anything else is an error and its body is closed; but
// to a container call any status is an answer.
func (c *Client) open(ctx context.Context, k call, x exchange) (*http.Response, []string, error) {
	if c.Keys == nil {
		return nil, nil, &unsentError{errors.New("cyberun: the client has no source of API keys")}
	}
	key, err := c.key(ctx, c.Keys.Key)
	if err != nil {
		return nil, nil, err
	}
	res, err := c.send(ctx, k, x, key)
	if !refused(res, err) {
		return res, []string{key}, err
	}
	fresh, keyErr := c.key(ctx, func(ctx context.Context) (string, error) { return c.Keys.Refresh(ctx, key) })
	if res != nil {
		// A container's own 401 looks the same as Cyberun's.
		if keyErr != nil || fresh == key {
			return res, []string{key}, nil
		}
		res.Body.Close()
	}
	if keyErr != nil {
		return nil, []string{key}, fmt.Errorf("%w; and a new one could not be had: %w", err, keyErr)
	}
	if fresh == key {
		return nil, []string{key}, err
	}
	res, err = c.send(ctx, k, x, fresh)
	return res, []string{fresh, key}, err
}

// refused says that the key was not let in, by an error or by a container
// call's answer.
func refused(res *http.Response, err error) bool {
	if apiErr, ok := errors.AsType[*APIError](err); ok {
		return apiErr.Status == http.StatusUnauthorized
	}
	return err == nil && res.StatusCode == http.StatusUnauthorized
}

// key asks the source and refuses what cannot be a header's value, so that
// net/http never gets to quote it.
func (c *Client) key(ctx context.Context, ask func(context.Context) (string, error)) (string, error) {
	key, err := ask(ctx)
	if err != nil {
		return "", &unsentError{fmt.Errorf("cyberun: reading the API key: %w", err)}
	}
	key = strings.TrimSpace(key)
	if key == "" {
		return "", &unsentError{errors.New("cyberun: the API key is empty")}
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", &unsentError{errors.New("cyberun: the API key holds characters that no key has")}
	}
	return key, nil
}

// send is one request and its status.
func (c *Client) send(ctx context.Context, k call, x exchange, key string) (*http.Response, error) {
	secrets := []string{key}
	req, err := c.request(ctx, k)
	if err != nil {
		return nil, &unsentError{err}
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := x(req)
	if err != nil {
		return nil, networkError(k.method, k.shownPath(), err, secrets)
	}
	if res.StatusCode/100 != 2 && k.container == nil {
		defer res.Body.Close()
		return nil, c.apiError(k.method, k.path, res, secrets)
	}
	return res, nil
}

func (c *Client) request(ctx context.Context, k call) (*http.Request, error) {
	base, err := url.Parse(c.BaseURL)
	if err != nil || (base.Scheme != "https" && base.Scheme != "http") || base.Host == "" || base.RawQuery != "" || base.Fragment != "" {
		// The address is not quoted: somebody may have put a password into it.
		return nil, errors.New("cyberun: the base URL is not an http(s) address such as https://core.cyberun.cloud/api/v1")
	}
	if k.container != nil {
		return c.containerRequest(ctx, k)
	}
	address := strings.TrimRight(c.BaseURL, "/") + k.path
	if len(k.query) > 0 {
		address += "?" + k.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.method, address, nil)
	if err != nil {
		return nil, fmt.Errorf("cyberun: %s %s: %w", k.method, k.path, redact.UnwrapURLError(err))
	}
	if k.body != nil {
		// No GetBody: without it net/http cannot send a body a second time,
		// neither after a redirect nor on a second connection.
		req.Body = io.NopCloser(bytes.NewReader(k.body))
		req.ContentLength = int64(len(k.body))
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", cmp.Or(k.accept, "application/json"))
	if k.accept != "" {
		// net/http would ask for gzip, and whoever compresses a stream holds it back.
		req.Header.Set("Accept-Encoding", "identity")
	}
	req.Header.Set("User-Agent", cmp.Or(c.UserAgent, defaultUserAgent))
	// A cached answer would bring an old state and an old Date.
	req.Header.Set("Cache-Control", "no-cache")
	return req, nil
}

// api is the HTTP client for calls that carry the key.
func (c *Client) api() *http.Client {
	hc := http.Client{}
	if c.HTTP != nil {
		hc = *c.HTTP
	}
	hc.CheckRedirect = sameOriginOnly
	return &hc
}

// sameOriginOnly hands any other redirect to the caller as the 3xx that it is:
// net/http would keep the Authorization header for a subdomain, and would turn
// a POST into a GET whose 200 looks like success.
func sameOriginOnly(req *http.Request, via []*http.Request) error {
	first := via[0]
	if first.Method != http.MethodGet || len(via) > maxRedirects ||
		req.URL.Scheme != first.URL.Scheme || req.URL.Host != first.URL.Host {
		return http.ErrUseLastResponse
	}
	return nil
}

// element escapes one element of a path. Dots alone are refused: a proxy would
// resolve them and the call would land elsewhere.
func element(what, s string) (string, error) {
	if s == "" || s == "." || s == ".." {
		return "", fmt.Errorf("cyberun: %q is no %s", s, what)
	}
	return url.PathEscape(s), nil
}

func dateOf(h http.Header) time.Time {
	t, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// ageOf returns how long an answer lay in a cache on its way; one that says so
// and not how long was there for a second at least.
func ageOf(h http.Header) time.Duration {
	value := h.Get("Age")
	if value == "" {
		return 0
	}
	seconds, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil {
		return time.Second
	}
	return max(0, time.Duration(seconds)*time.Second)
}

func (c *Client) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}
