package transfer

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/retryafter"
)

// OriginFile is an output as the origin's answer describes it. Its JSON is a part of a
// [Checkpoint]'s.
type OriginFile struct {
	// Name is the file's name, from Content-Disposition or the URL. It has no
	// directory, and may be empty.
	Name            string `json:"-"`
	Total           int64  `json:"total"`                   // bytes of the file; -1: the origin does not say
	ETag            string `json:"etag,omitempty"`          // as sent, quotes and W/ included
	LastModified    string `json:"last_modified,omitempty"` // as sent
	ContentType     string `json:"content_type,omitempty"`
	ContentEncoding string `json:"content_encoding,omitempty"` // without "aws-chunked", which says nothing of the file
	// Ranges says that the origin serves ranges, and that an ETag or Last-Modified ties each
	// range to one content.
	Ranges bool `json:"-"`
}

// strongETag returns the ETag if If-Match can use it, else "": a weak one never
// matches (RFC 9110, 13.1.1), and one with nothing between its quotes is every
// file's.
func strongETag(etag string) string {
	if strings.HasPrefix(etag, `"`) && strings.Trim(etag, `"`) != "" {
		return etag
	}
	return ""
}

// check compares a later answer with r, the first one, unless that is nil. Ranges are
// joined only if they are of one content: where the validator differs, the error is a
// *oneStreamError, for only the whole in one answer will do. An answer that is the
// whole is joined to nothing, so its ETag may differ, as between the nodes of one
// storage system; another length, encoding or time of change is OutputChanged. The time may
// be the node's own, so that error is transient: the origin is asked again before
// it is believed.
func (r *OriginFile) check(later OriginFile, whole bool) error {
	if r == nil {
		return nil
	}
	sameTag := strongETag(r.ETag) != "" && r.ETag == later.ETag
	switch {
	case r.Total != later.Total && (!whole || r.Total >= 0 && later.Total >= 0):
		return named.Errorf(named.OutputChanged, "the output had %d bytes and now has %d", r.Total, later.Total)
	case r.ContentEncoding != later.ContentEncoding:
		return named.Errorf(named.OutputChanged, "the output's encoding was %q and is now %q", r.ContentEncoding, later.ContentEncoding)
	case sameTag:
		return nil
	case whole && r.LastModified != later.LastModified && r.LastModified != "" && later.LastModified != "":
		return &transientError{err: named.Errorf(named.OutputChanged, "the output was modified %q and now %q", r.LastModified, later.LastModified)}
	case whole:
		return nil
	case r.ETag != later.ETag:
		return &oneStreamError{why: fmt.Sprintf("its ETag was %s and is now %s", r.ETag, later.ETag)}
	case r.LastModified != later.LastModified:
		return &oneStreamError{why: fmt.Sprintf("it was modified %q and now %q", r.LastModified, later.LastModified)}
	}
	return nil
}

// errNoRange asks for the whole output: an empty file has no byte 0 and is
// answered with 416, and a 206 may not be usable.
var errNoRange = errors.New("the origin gives no usable range of the output")

// refusedError is an answer that a fresh URL may cure.
type refusedError struct{ status int }

func (e *refusedError) Error() string { return fmt.Sprintf("HTTP %d", e.status) }

// named returns the error for a refusal that no fresh URL has cured. A signed URL
// that has run out is refused with 401 or 403, and a file that the server has removed
// with 404: OutputExpired. Any other status is OutputUnavailable.
func (e *refusedError) named() error {
	status := strings.TrimSpace(fmt.Sprintf("HTTP %d %s", e.status, http.StatusText(e.status)))
	switch e.status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return named.Errorf(named.OutputExpired, "the origin refuses the output: %s", status)
	}
	return named.Errorf(named.OutputUnavailable, "the origin does not hand the output out: %s", status)
}

// checkResponse compares an answer with what was asked for and with what is known
// of the output, which is nil before the first answer; now is for a Retry-After
// that is a date. Its errors are errNoRange, a *refusedError, a *oneStreamError,
// transient ones, and named ones.
func checkResponse(resp *http.Response, now time.Time, want byteRange, known *OriginFile) (OriginFile, error) {
	switch status := resp.StatusCode; {
	case status == http.StatusOK:
		return checkWhole(resp, want, known)
	case status == http.StatusPartialContent:
		return checkPart(resp, want, known)
	case status == http.StatusRequestedRangeNotSatisfiable && known == nil:
		return OriginFile{}, errNoRange
	case status == http.StatusRequestedRangeNotSatisfiable:
		return OriginFile{}, named.Errorf(named.OutputChanged, "the output no longer has the bytes from %d on", want.from)
	case status == http.StatusPreconditionFailed && !want.whole:
		return OriginFile{}, &oneStreamError{why: "it no longer has the ETag of the first answer"}
	case status >= http.StatusInternalServerError || slices.Contains(transientStatuses, status):
		return OriginFile{}, &transientError{err: fmt.Errorf("the origin answered HTTP %d", status), after: retryafter.Wait(resp.Header, now, maxRetryAfter)}
	case status >= http.StatusBadRequest:
		return OriginFile{}, &refusedError{status: status}
	}
	return OriginFile{}, named.Errorf(named.Unavailable, "the origin answered HTTP %d", resp.StatusCode)
}

// transientStatuses are those below 500 after which another attempt may be answered
// differently.
var transientStatuses = []int{
	http.StatusRequestTimeout, http.StatusMisdirectedRequest, http.StatusTooEarly, http.StatusTooManyRequests,
}

func checkWhole(resp *http.Response, want byteRange, known *OriginFile) (OriginFile, error) {
	if known != nil && !want.whole {
		return OriginFile{}, &transientError{err: &oneStreamError{why: "the origin ignored the range it was asked for"}}
	}
	if resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 {
		return OriginFile{}, named.Errorf(named.OutputTruncated, "the origin tells neither the output's length nor its end, so that a cut could not be seen")
	}
	file := originFileOf(resp, resp.ContentLength)
	return file, known.check(file, true)
}

func checkPart(resp *http.Response, want byteRange, known *OriginFile) (OriginFile, error) {
	part, err := parseContentRange(resp.Header.Get("Content-Range"))
	if err == nil {
		err = part.check(want, resp.ContentLength)
	}
	switch {
	case err == nil:
	case want.whole:
		return OriginFile{}, &transientError{err: err}
	case known == nil:
		return OriginFile{}, errNoRange
	default:
		return OriginFile{}, &transientError{err: &oneStreamError{why: err.Error()}}
	}
	file := originFileOf(resp, part.total)
	file.Ranges = !want.whole && (strongETag(file.ETag) != "" || file.LastModified != "")
	if known == nil && !want.whole && !file.Ranges && file.Total > want.to {
		return OriginFile{}, errNoRange // nothing ties a range to one content
	}
	return file, known.check(file, want.whole)
}

func originFileOf(resp *http.Response, total int64) OriginFile {
	return OriginFile{
		Name: fileName(resp), Total: total,
		ContentType:     resp.Header.Get("Content-Type"),
		ContentEncoding: contentEncoding(resp.Header),
		ETag:            resp.Header.Get("ETag"),
		LastModified:    resp.Header.Get("Last-Modified"),
	}
}

// contentEncoding returns how the bytes are encoded. "aws-chunked" is not among
// them: it framed the request that once stored the file, and where the server kept it
// as a part of the object, readers would refuse the copy. Nor are words that say
// that nothing was encoded, or name a charset, and what no header of the request to
// S3 could carry.
func contentEncoding(h http.Header) string {
	var encodings []string
	for token := range strings.SplitSeq(strings.Join(h.Values("Content-Encoding"), ","), ",") {
		token = strings.TrimSpace(token)
		if isToken(token) && !slices.Contains(noEncodings, strings.ToLower(token)) {
			encodings = append(encodings, token)
		}
	}
	return strings.Join(encodings, ", ")
}

// noEncodings are the words, in small letters, that stand in Content-Encoding
// without an encoding of the bytes.
var noEncodings = []string{"aws-chunked", "identity", "none", "null", "binary", "7bit", "8bit", "utf-8", "utf8"}

// isToken reports whether a text is one of HTTP's tokens (RFC 9110, 5.6.2).
func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// maxRetryAfter bounds what an origin may ask for: a copy has other parts to get
// on with, and its call ends.
const maxRetryAfter = 20 * time.Second
