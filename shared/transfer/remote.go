package transfer

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// Remote is what the origin says of an output.
type Remote struct {
	// Name is the remote file's name, from Content-Disposition or the URL's path;
	// it may be empty, and is not to be trusted as a path.
	Name            string
	ContentType     string
	ContentEncoding string
	ETag            string // as sent, quotes and W/ included
	LastModified    string
	Total           int64 // -1: the origin does not say
	Ranges          bool  // the origin serves ranges, and a part can be tied to this very content
}

// strongETag is the ETag when If-Match can use it: a weak one never matches.
func strongETag(etag string) string {
	if strings.HasPrefix(etag, `"`) {
		return etag
	}
	return ""
}

// sameAs reports what of a later answer contradicts the first, so that a
// reopened stream never joins two different files.
func (r Remote) sameAs(later Remote) error {
	switch {
	case r.Total != later.Total:
		return named.Errorf(named.OutputChanged, "the output had %d bytes and now has %d", r.Total, later.Total)
	case r.ETag != later.ETag:
		return named.Errorf(named.OutputChanged, "the output's ETag was %s and is now %s", r.ETag, later.ETag)
	case r.LastModified != later.LastModified && strongETag(r.ETag) == "":
		return named.Errorf(named.OutputChanged, "the output was modified %q and now %q", r.LastModified, later.LastModified)
	case r.ContentEncoding != later.ContentEncoding:
		return named.Errorf(named.OutputChanged, "the output's encoding was %q and is now %q", r.ContentEncoding, later.ContentEncoding)
	}
	return nil
}

// address is the output's URL, which runs out and is asked for again, once for
// all the parts that met the 403.
type address struct {
	refresh func(context.Context) (string, error)

	mu         sync.Mutex
	url        string
	generation int
}

func (a *address) current() (string, int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.url, a.generation
}

func (a *address) renew(ctx context.Context, seen int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.generation != seen || a.refresh == nil {
		return nil
	}
	fresh, err := a.refresh(ctx)
	if err != nil {
		return err
	}
	a.url = fresh
	a.generation++
	return nil
}

// byteRange is what a GET asks for: [from, to), or everything.
type byteRange struct {
	from, to int64
	whole    bool
}

// open asks the origin once for a range, and a second time, with a fresh URL,
// when the first answer is that the URL no longer holds.
func (c *Copier) open(ctx context.Context, a *address, want byteRange, known *Remote) (*http.Response, Remote, error) {
	_, first := a.current()
	for {
		target, generation := a.current()
		resp, err := c.get(ctx, target, want, known)
		if err != nil {
			return nil, Remote{}, err
		}
		remote, err := examine(resp, want, known)
		if err == nil {
			return resp, remote, nil
		}
		_ = resp.Body.Close() // unread: a rest may be long, or never come
		var expired *expiredError
		if !errors.As(err, &expired) {
			return nil, Remote{}, err
		}
		if generation > first+1 || a.refresh == nil { // even a fresh one is refused
			return nil, Remote{}, named.Errorf(named.OutputExpired, "the origin refuses the output: HTTP %d", expired.status)
		}
		if err := a.renew(ctx, generation); err != nil {
			return nil, Remote{}, err
		}
		if _, now := a.current(); now == generation {
			return nil, Remote{}, named.Errorf(named.OutputExpired, "the origin refuses the output: HTTP %d", expired.status)
		}
	}
}

func (c *Copier) get(ctx context.Context, target string, want byteRange, known *Remote) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		// The error quotes the URL, which is signed.
		return nil, named.Errorf(named.OriginRefused, "the download address is not a valid URL")
	}
	req.Header.Set("Accept-Encoding", "identity")
	if !want.whole {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", want.from, want.to-1))
	}
	if known != nil && strongETag(known.ETag) != "" {
		req.Header.Set("If-Match", known.ETag)
	}
	resp, err := c.Origin.Do(req)
	if err != nil {
		if refused, ok := named.As(err); ok {
			return nil, refused
		}
		return nil, &passing{err: fmt.Errorf("the origin %s: %w", req.URL.Host, unsigned{withoutURL(err)})}
	}
	return resp, nil
}

// expiredError is an answer that a fresh URL may cure.
type expiredError struct{ status int }

func (e *expiredError) Error() string { return fmt.Sprintf("HTTP %d", e.status) }

// examine holds an answer against what was asked and what is known already.
func examine(resp *http.Response, want byteRange, known *Remote) (Remote, error) {
	switch status := resp.StatusCode; {
	case status == http.StatusOK:
		return examineWhole(resp, want, known)
	case status == http.StatusPartialContent:
		return examinePart(resp, want, known)
	case status == http.StatusRequestedRangeNotSatisfiable && known == nil:
		return Remote{}, errNoRange
	case status == http.StatusRequestedRangeNotSatisfiable:
		return Remote{}, named.Errorf(named.OutputChanged, "the output no longer has the bytes from %d on", want.from)
	case status == http.StatusPreconditionFailed:
		return Remote{}, named.Errorf(named.OutputChanged, "the output's ETag is no longer %s", known.etag())
	case status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500:
		return Remote{}, &passing{err: fmt.Errorf("the origin answered HTTP %d", status), after: retryAfter(resp.Header)}
	case status >= 400:
		return Remote{}, &expiredError{status: status}
	}
	return Remote{}, named.Errorf(named.Unavailable, "the origin answered HTTP %d", resp.StatusCode)
}

// errNoRange is a 416 to the first request: an empty file has no byte 0.
var errNoRange = errors.New("the output has no byte range")

func examineWhole(resp *http.Response, want byteRange, known *Remote) (Remote, error) {
	if known != nil && !want.whole {
		return Remote{}, &passing{err: errors.New("the origin ignored the range it was asked for")}
	}
	if resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 {
		return Remote{}, named.Errorf(named.OutputTruncated, "the origin tells neither the output's length nor its end, so that a cut could not be seen")
	}
	remote := describe(resp, resp.ContentLength)
	if known != nil {
		return remote, known.sameAs(remote)
	}
	return remote, nil
}

func examinePart(resp *http.Response, want byteRange, known *Remote) (Remote, error) {
	from, to, total, err := parseContentRange(resp.Header.Get("Content-Range"))
	if err != nil || want.whole || from != want.from || to > want.to || to > total {
		return Remote{}, &passing{err: errors.New("the origin answered with another range than asked")}
	}
	if resp.ContentLength >= 0 && resp.ContentLength != to-from {
		return Remote{}, &passing{err: errors.New("the origin's Content-Range and Content-Length disagree")}
	}
	remote := describe(resp, total)
	remote.Ranges = strongETag(remote.ETag) != "" || remote.LastModified != ""
	if known != nil {
		return remote, known.sameAs(remote)
	}
	return remote, nil
}

// parseContentRange reads "bytes 0-15/100" as [0, 16) of 100.
func parseContentRange(value string) (from, to, total int64, err error) {
	var last int64
	if _, err = fmt.Sscanf(value, "bytes %d-%d/%d", &from, &last, &total); err != nil {
		return 0, 0, 0, fmt.Errorf("content range %q: %w", value, err)
	}
	if from < 0 || last < from {
		return 0, 0, 0, fmt.Errorf("content range %q", value)
	}
	return from, last + 1, total, nil
}

func describe(resp *http.Response, total int64) Remote {
	return Remote{
		Name: fileName(resp), Total: total,
		ContentType:     resp.Header.Get("Content-Type"),
		ContentEncoding: resp.Header.Get("Content-Encoding"),
		ETag:            resp.Header.Get("ETag"),
		LastModified:    resp.Header.Get("Last-Modified"),
	}
}

func (r *Remote) etag() string {
	if r == nil {
		return "what it was"
	}
	return r.ETag
}

func fileName(resp *http.Response) string {
	if _, params, err := mime.ParseMediaType(resp.Header.Get("Content-Disposition")); err == nil && params["filename"] != "" {
		return path.Base(strings.ReplaceAll(params["filename"], `\`, "/"))
	}
	if name := path.Base(resp.Request.URL.Path); name != "." && name != "/" {
		return name
	}
	return ""
}

// maxRetryAfter bounds what an origin may ask for: a copy has other parts to
// get on with, and its invocation ends.
const maxRetryAfter = 20 * time.Second

func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxRetryAfter)
}
