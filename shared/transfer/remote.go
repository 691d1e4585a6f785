package transfer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// Remote is what the origin says of an output.
type Remote struct {
	// Name is the remote file's name, from Content-Disposition or the address; it
	// has no directory, and may be empty.
	Name            string
	ContentType     string
	ContentEncoding string // without "aws-chunked", which is none
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

// sameAs reports what of a later answer contradicts the first. A range that is
// joined to others must be of the same content: where its validator is another,
// only the whole in one answer will do, which is an *oneStreamError. An answer
// that is the whole is joined to nothing, so that an ETag of its own, as nodes of
// one store have them, does not matter; a length, an encoding or a time of change
// of its own says that the output was replaced. The time may be the node's, so
// the origin is asked again before that is believed.
func (r Remote) sameAs(later Remote, whole bool) error {
	sameTag := strongETag(r.ETag) != "" && r.ETag == later.ETag
	switch {
	case r.Total != later.Total && (!whole || r.Total >= 0 && later.Total >= 0):
		return named.Errorf(named.OutputChanged, "the output had %d bytes and now has %d", r.Total, later.Total)
	case r.ContentEncoding != later.ContentEncoding:
		return named.Errorf(named.OutputChanged, "the output's encoding was %q and is now %q", r.ContentEncoding, later.ContentEncoding)
	case sameTag:
		return nil
	case whole && r.LastModified != later.LastModified && r.LastModified != "" && later.LastModified != "":
		return &passing{err: named.Errorf(named.OutputChanged, "the output was modified %q and now %q", r.LastModified, later.LastModified)}
	case whole:
		return nil
	case r.ETag != later.ETag:
		return &oneStreamError{why: fmt.Sprintf("its ETag was %s and is now %s", r.ETag, later.ETag)}
	case r.LastModified != later.LastModified:
		return &oneStreamError{why: fmt.Sprintf("it was modified %q and now %q", r.LastModified, later.LastModified)}
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
			return nil, Remote{}, refusedByOrigin(expired.status)
		}
		if err := a.renew(ctx, generation); err != nil {
			return nil, Remote{}, err
		}
		if _, now := a.current(); now == generation {
			return nil, Remote{}, refusedByOrigin(expired.status)
		}
	}
}

func (c *Copier) get(ctx context.Context, target string, want byteRange, known *Remote) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, browserAddress(target), nil)
	if err != nil {
		// The error quotes the URL, which is signed.
		return nil, named.Errorf(named.OriginRefused, "the download address is not a valid URL")
	}
	req.Header.Set("Accept-Encoding", "identity")
	if !want.whole {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", want.from, want.to-1))
	}
	if known != nil && !want.whole && strongETag(known.ETag) != "" {
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
	case status == http.StatusPreconditionFailed && !want.whole:
		return Remote{}, &oneStreamError{why: "its ETag is no longer " + known.etag()}
	case passingAtOrigin(status):
		return Remote{}, &passing{err: fmt.Errorf("the origin answered HTTP %d", status), after: retryAfter(resp.Header)}
	case status >= 400:
		return Remote{}, &expiredError{status: status}
	}
	return Remote{}, named.Errorf(named.Unavailable, "the origin answered HTTP %d", resp.StatusCode)
}

// passingAtOrigin holds for the statuses that speak of one attempt only.
func passingAtOrigin(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusMisdirectedRequest, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= http.StatusInternalServerError
}

// errNoRange is an answer to the first request after which the whole is asked
// for: a 416, since an empty file has no byte 0, or a 206 that cannot be used.
var errNoRange = errors.New("the origin gives no usable range of the output")

func examineWhole(resp *http.Response, want byteRange, known *Remote) (Remote, error) {
	if known != nil && !want.whole {
		return Remote{}, &passing{err: &oneStreamError{why: "the origin ignored the range it was asked for"}}
	}
	if resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 {
		return Remote{}, named.Errorf(named.OutputTruncated, "the origin tells neither the output's length nor its end, so that a cut could not be seen")
	}
	remote := describe(resp, resp.ContentLength)
	if known != nil {
		return remote, known.sameAs(remote, true)
	}
	return remote, nil
}

func examinePart(resp *http.Response, want byteRange, known *Remote) (Remote, error) {
	part, err := parseContentRange(resp.Header.Get("Content-Range"))
	if err == nil {
		err = part.answers(want, resp.ContentLength)
	}
	switch {
	case err == nil:
	case want.whole:
		return Remote{}, &passing{err: err}
	case known == nil:
		return Remote{}, errNoRange
	default:
		return Remote{}, &passing{err: &oneStreamError{why: err.Error()}}
	}
	remote := describe(resp, part.total)
	remote.Ranges = !want.whole && (strongETag(remote.ETag) != "" || remote.LastModified != "")
	if known != nil {
		return remote, known.sameAs(remote, want.whole)
	}
	return remote, nil
}

// contentRange is what a 206 says that it holds: [from, to) of total.
type contentRange struct {
	from, to int64
	total    int64 // -1: the origin does not say
}

// parseContentRange reads "bytes 0-15/100" as [0, 16) of 100. The unit's name is
// in any case, as the standard has it, and some servers put other signs or none
// behind it; a total that is not known is "*".
func parseContentRange(value string) (r contentRange, err error) {
	malformed := errors.New("the origin's Content-Range cannot be read")
	rest := strings.TrimSpace(value)
	if unit := "bytes"; len(rest) > len(unit) && strings.EqualFold(rest[:len(unit)], unit) {
		rest = strings.TrimLeft(rest[len(unit):], " =:\t")
	}
	span, total, hasTotal := strings.Cut(rest, "/")
	first, last, isSpan := strings.Cut(span, "-")
	r.from, err = parseByte(first)
	if err != nil || !hasTotal || !isSpan {
		return r, malformed
	}
	if r.to, err = parseByte(last); err != nil || r.to < r.from || r.to == math.MaxInt64 {
		return r, malformed
	}
	r.to++
	if r.total = -1; strings.TrimSpace(total) == "*" {
		return r, nil
	}
	if r.total, err = parseByte(total); err != nil || r.total < r.to {
		return r, malformed
	}
	return r, nil
}

// parseByte reads a number of bytes: digits alone.
func parseByte(digits string) (int64, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 63)
	return int64(n), err // #nosec G115 -- 63 bits
}

// answers reports why the range is not what was asked for. Its length is the
// body's, where the answer tells that.
func (r contentRange) answers(want byteRange, length int64) error {
	switch {
	case r.total < 0:
		return errors.New("the origin does not tell the output's length")
	case want.whole && (r.from != 0 || r.to != r.total), !want.whole && (r.from != want.from || r.to > want.to):
		return errors.New("the origin answered with another range than asked")
	case length >= 0 && length != r.to-r.from:
		return errors.New("the origin's Content-Range and Content-Length disagree")
	}
	return nil
}

func describe(resp *http.Response, total int64) Remote {
	return Remote{
		Name: fileName(resp), Total: total,
		ContentType:     resp.Header.Get("Content-Type"),
		ContentEncoding: contentEncoding(resp.Header),
		ETag:            resp.Header.Get("ETag"),
		LastModified:    resp.Header.Get("Last-Modified"),
	}
}

// contentEncoding is how the bytes are encoded. "aws-chunked" is no encoding of
// them: it framed the request that once stored the file, and stores that kept it
// as a part of the object would make readers refuse the copy.
func contentEncoding(h http.Header) string {
	var encodings []string
	for _, line := range h.Values("Content-Encoding") {
		for token := range strings.SplitSeq(line, ",") {
			token = strings.TrimSpace(token)
			if token != "" && !strings.EqualFold(token, "aws-chunked") && !strings.EqualFold(token, "identity") {
				encodings = append(encodings, token)
			}
		}
	}
	return strings.Join(encodings, ", ")
}

func (r *Remote) etag() string {
	if r == nil {
		return "what it was"
	}
	return r.ETag
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
