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
	// maxAnswer bounds the body of an answer, in bytes. The largest documented one is
	// a list of 100 workflows with their parameters; 100 KiB for each is ample.
	maxAnswer = 10 << 20
	// maxResult bounds a task's result, which is asked for by the copy alone: 30,000
	// outputs, about as many as a manifest of 8 MiB names, each with an address of
	// some 1,500 bytes, as long as S3's are when a role signs them.
	maxResult = 48 << 20
	// maxRedirects is more than the one that a moved path needs.
	maxRedirects = 3

	userAgent = "cyberun-relay"
)

// byteOrderMark may begin a UTF-8 text. encoding/json does not read it.
var byteOrderMark = []byte("\xef\xbb\xbf")

// KeySource has the API key. [StaticKey] is one whose key never changes.
type KeySource interface {
	// Key returns the key. It is called before every request.
	Key(ctx context.Context) (string, error)
	// Refresh reads the key again, after rejected was answered with a 401. It
	// returns rejected itself if there is no newer one.
	Refresh(ctx context.Context, rejected string) (string, error)
}

// StaticKey is a [KeySource] whose key never changes: for tests, and for a key that
// the environment holds. It prints, logs and marshals as [redact.Placeholder].
type StaticKey string

// Key returns the key.
func (k StaticKey) Key(context.Context) (string, error) { return string(k), nil }

// Refresh returns the same key, since there is no other.
func (k StaticKey) Refresh(context.Context, string) (string, error) { return string(k), nil }

// Format prints [redact.Placeholder] for every verb.
func (k StaticKey) Format(s fmt.State, _ rune) { io.WriteString(s, redact.Placeholder) }

// MarshalText returns [redact.Placeholder], for encoders.
func (k StaticKey) MarshalText() ([]byte, error) { return []byte(redact.Placeholder), nil }

// Client calls the runtime API. It has no state of its own and may be copied
// and used by several goroutines.
type Client struct {
	BaseURL string    // such as https://core.cyberun.cloud/api/v1
	Keys    KeySource // required
	// HTTP makes the calls; nil means net/http's default transport. Its
	// CheckRedirect is not used: see the package's limits for what is followed.
	HTTP *http.Client
	// UploadHTTP makes the calls of [Client.Upload], whose hosts the remote chooses;
	// nil means HTTP.
	UploadHTTP *http.Client
	Now        func() time.Time // nil: [time.Now]; used for a Retry-After in an answer without a Date alone
}

// request is one call of the API, in documented terms.
type request struct {
	method string
	path   string // escaped, below BaseURL
	query  string // escaped, without its question mark
	body   []byte // JSON; nil: none
	accept string // the type of the stream to be read; empty: JSON
	most   int64  // bytes of the answer; 0: maxAnswer
	// starts says that the call starts something. After a 401 it is made again only if that
	// was Cyberun's own, a JSON object: any other may stand in place of another answer.
	starts bool
	// container is set for a call to a container service: its method, headers,
	// query and body go out, and an answer of any status is handed back.
	container *ContainerCall
}

// response is an answer with a status of 2xx, whose body has been read.
type response struct {
	request request
	status  int
	date    time.Time
	age     time.Duration
	body    []byte
	secrets []string
}

// read sends a request and decodes its answer, a JSON object; v is of no use if there
// is an error.
func read[T any](ctx context.Context, c *Client, r request) (v T, a response, err error) {
	if a, err = c.do(ctx, r, c.api().Do); err == nil {
		err = a.decode(&v)
	}
	return v, a, err
}

// doFunc is [http.Client.Do], or what a call puts around it.
type doFunc func(*http.Request) (*http.Response, error)

// do sends a request and reads its answer, a 2xx, whole.
func (c *Client) do(ctx context.Context, r request, do doFunc) (response, error) {
	res, secrets, err := c.open(ctx, r, do)
	if err != nil {
		return response{}, err
	}
	defer res.Body.Close()
	a := response{request: r, status: res.StatusCode, date: dateOf(res.Header), age: ageOf(res.Header), secrets: secrets}
	if a.age > 0 {
		a.date = time.Time{} // when a cache was filled is not the server's clock
	}
	most := cmp.Or(r.most, maxAnswer)
	a.body, err = io.ReadAll(io.LimitReader(res.Body, most+1))
	a.body = bytes.TrimPrefix(a.body, byteOrderMark)
	if err != nil {
		return a, a.unusable("but the body broke off: %w", redact.UnwrapURLError(err))
	}
	if int64(len(a.body)) > most {
		return a, a.unusable("with more than %d MiB", most>>20)
	}
	return a, nil
}

// open sends a request, once more with a new key after a 401, and returns the
// answer, a 2xx with its body unread, and the keys to be redacted from it. Any
// other status is an error, but for a container call, of which it is the answer.
func (c *Client) open(ctx context.Context, r request, do doFunc) (*http.Response, []string, error) {
	if c.Keys == nil {
		return nil, nil, &unsentError{errors.New("cyberun: the client has no source of API keys")}
	}
	key, err := checkKey(c.Keys.Key(ctx))
	if err != nil {
		return nil, nil, err
	}
	res, err := c.send(ctx, r, do, key)
	if !keyRejected(res, err) || r.starts && refusal(err) != http.StatusUnauthorized {
		return res, []string{key}, err
	}
	fresh, keyErr := checkKey(c.Keys.Refresh(ctx, key))
	if err != nil && keyErr != nil {
		err = fmt.Errorf("%w; and a new one could not be had: %w", err, keyErr)
	}
	if keyErr != nil || fresh == key || r.container != nil && !c.refuses(ctx, key, r.container.Slug) {
		return res, []string{key}, err
	}
	if res != nil { // of a container call
		res.Body.Close()
	}
	res, err = c.send(ctx, r, do, fresh)
	return res, []string{fresh, key}, err
}

// keyRejected reports whether a 401 came back, as an error or as the answer to a
// container call.
func keyRejected(res *http.Response, err error) bool {
	if apiErr, ok := errors.AsType[*APIError](err); ok {
		return apiErr.Status == http.StatusUnauthorized
	}
	return res != nil && res.StatusCode == http.StatusUnauthorized
}

// checkKey returns the key that a source gave, or an error for one that cannot be a
// header's value: net/http's own error would quote it.
func checkKey(key string, err error) (string, error) {
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

// send sends a request once, with one key, and checks the answer's status.
func (c *Client) send(ctx context.Context, r request, do doFunc, key string) (*http.Response, error) {
	secrets := []string{key}
	req, err := c.newRequest(ctx, r)
	if err != nil {
		return nil, &unsentError{err}
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := do(req)
	if err != nil {
		return nil, networkError(r.method, r.printablePath(), err, secrets)
	}
	if res.StatusCode/100 != 2 && r.container == nil {
		defer res.Body.Close()
		e, _ := c.apiError(r.method, r.path, res, secrets)
		return nil, e
	}
	return res, nil
}

func (c *Client) newRequest(ctx context.Context, r request) (*http.Request, error) {
	base, err := url.Parse(c.BaseURL)
	if err != nil || (base.Scheme != "https" && base.Scheme != "http") || base.Host == "" || base.RawQuery != "" || base.Fragment != "" {
		// The address is not quoted: somebody may have put a password into it.
		return nil, errors.New("cyberun: the base URL is not an http(s) address such as https://core.cyberun.cloud/api/v1")
	}
	// The address is put together as text, since the escapes in it have to stay as they are.
	address := strings.TrimRight(c.BaseURL, "/") + r.path
	if r.query != "" {
		address += "?" + r.query
	}
	req, err := http.NewRequestWithContext(ctx, r.method, address, nil)
	if err != nil {
		return nil, fmt.Errorf("cyberun: %s %s: %w", r.method, r.printablePath(), redact.UnwrapURLError(err))
	}
	if r.container != nil {
		r.container.fill(req)
		return req, nil
	}
	if r.body != nil {
		// No GetBody: without it net/http cannot send a body a second time,
		// neither after a redirect nor on a second connection.
		req.Body = io.NopCloser(bytes.NewReader(r.body))
		req.ContentLength = int64(len(r.body))
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", cmp.Or(r.accept, "application/json"))
	if r.accept != "" {
		// net/http would ask for gzip, and whoever compresses a stream holds it back.
		req.Header.Set("Accept-Encoding", "identity")
	}
	req.Header.Set("User-Agent", userAgent)
	// A cached answer would bring an old state and an old Date.
	req.Header.Set("Cache-Control", "no-cache")
	return req, nil
}

// api returns the HTTP client for calls that carry the key.
func (c *Client) api() *http.Client {
	hc := *cmp.Or(c.HTTP, &http.Client{})
	hc.CheckRedirect = sameServerOnly
	return &hc
}

// sameServerOnly follows the redirects of a GET within one scheme, host and port. Any
// other is returned as the 3xx that it is: net/http would keep the Authorization header for
// a subdomain, and would turn a POST into a GET whose 200 looks like success.
func sameServerOnly(req *http.Request, via []*http.Request) error {
	first := via[0]
	if first.Method != http.MethodGet || len(via) > maxRedirects ||
		req.URL.Scheme != first.URL.Scheme || req.URL.Host != first.URL.Host {
		return http.ErrUseLastResponse
	}
	return nil
}

// noRedirect returns every redirect as the 3xx that it is.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// escapeSegment escapes one segment of a path; what names it in the error. Dots
// alone are refused: a proxy would resolve them and the call would land elsewhere.
func escapeSegment(what, s string) (string, error) {
	if s == "" || s == "." || s == ".." {
		return "", fmt.Errorf("cyberun: %q is no %s", s, what)
	}
	return url.PathEscape(s), nil
}

// dateOf returns the server's clock in UTC, by the Date header; zero if there is none.
func dateOf(h http.Header) time.Time {
	t, _ := http.ParseTime(h.Get("Date")) // the zero time with an error
	return t.UTC()
}

// ageOf returns how long an answer lay in a cache, by the Age header; 0 if there is
// none, and a second if it cannot be read.
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
