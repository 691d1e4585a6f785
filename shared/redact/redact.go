// Package redact keeps secrets out of logs, errors, records and answers. [Text] and
// [Line] replace the secrets in a text that a remote sent. [UnwrapURLError] removes the
// address that net/http puts into its errors, and [Error] makes such an error safe to
// show. [SignedURL] is an address that never prints its query.
//
// It imports shared/named and the standard library only.
package redact

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// Placeholder replaces a secret in a text.
const Placeholder = "[redacted]"

// rule replaces every match of a pattern.
type rule struct {
	pattern     *regexp.Regexp
	replacement string
}

// rules are compiled when the first text is redacted: a function that starts has
// no use for them.
var rules = sync.OnceValue(func() []rule {
	return []rule{
		// The query of any address, also of one inside JSON or percent-encoded.
		{regexp.MustCompile(`(?i)(https?:(?:\\?/){2}[^\s"'<>?#]*)[?#][^\s"'<>]*`), "$1?" + Placeholder},
		{regexp.MustCompile(`(?i)(https?%3A%2F%2F[^\s"'<>]*?)%3F[^\s"'<>]*`), "$1?" + Placeholder},
		// The query of a path alone, as a redirect has it.
		{regexp.MustCompile(`(^|[\s"'<>(])(/[^\s"'<>?#]*)\?[^\s"'<>]*=[^\s"'<>]*`), "$1$2?" + Placeholder},
		// The user and password of an address.
		{regexp.MustCompile(`(?i)(https?:(?:\\?/){2})[^\s"'<>/?#@\\]*@`), "$1" + Placeholder + "@"},
		// Pieces of a signed query that stand alone: in a query, in XML, in JSON.
		{regexp.MustCompile(`(?i)\b(X-Amz-(?:Signature|Credential|Security-Token)|Signature(?:Provided)?|AWSAccessKeyId|Key-Pair-Id)((?:=|:|%3D|>)\s*)[^\s&"'<>,}]+`), "$1$2" + Placeholder},
		{regexp.MustCompile(`(?i)\b(sig|token|policy|api_?key)(=|%3D)[^\s&"'<>,}]+`), "$1$2" + Placeholder},
		{regexp.MustCompile(`(?i)"(X-Amz-[a-z-]+|Signature|sig|token|policy|api_?key|authorization|secret)"\s*:\s*"[^"]*"?`), `"$1":"` + Placeholder + `"`},
		{regexp.MustCompile(`(?i)\bBearer\s+[^\s"'<>,]+`), "Bearer " + Placeholder},
		{regexp.MustCompile(`\b([sd]k-|whsec_)[A-Za-z0-9._~+/=-]+`), "$1" + Placeholder},
	}
})

// Text returns s with [Placeholder] in place of every secret: the given ones, also as
// JSON, Go or a URL would quote them, and whatever looks like one, such as the query of
// an address, a signature, a bearer token, or an sk-… key. Line breaks stay, and bytes
// that are not UTF-8 become question marks.
func Text(s string, secrets ...string) string {
	s = replaceAll(strings.ToValidUTF8(s, "?"), secrets)
	for _, r := range rules() {
		s = r.pattern.ReplaceAllString(s, r.replacement)
	}
	return replaceAll(s, secrets) // a replacement may have put one together
}

func replaceAll(s string, secrets []string) string {
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		inJSON, _ := json.Marshal(secret) // a string always marshals
		quoted := strconv.Quote(secret)
		for _, form := range []string{secret, string(inJSON[1 : len(inJSON)-1]), quoted[1 : len(quoted)-1], url.QueryEscape(secret), url.PathEscape(secret)} {
			s = strings.ReplaceAll(s, form, Placeholder)
		}
	}
	return s
}

// Line is [Text] on one line, for a log: control characters and runs of blanks become
// one blank, and the result is cut by [named.Shorten] to `most` bytes.
func Line(most int, s string, secrets ...string) string {
	return named.Shorten(most, strings.Join(strings.FieldsFunc(Text(s, secrets...), func(c rune) bool {
		return c <= ' ' || c == 0x7f || (c >= 0x80 && c <= 0xa0) || c == '\u2028' || c == '\u2029'
	}), " "))
}

// UnwrapURLError returns the error inside every *url.Error in the chain of err: the text of
// a *url.Error has the request's whole address, a signed query included. An error without
// one is returned as it is.
func UnwrapURLError(err error) error {
	for {
		wrapped, ok := errors.AsType[*url.Error](err)
		if !ok {
			return err
		}
		err = wrapped.Err
	}
}

// query matches the query of a URL, also of one without a host, as the first line of a
// request has it, and what begins with x-amz-, such as the name of a header with its
// value. net/http quotes an answer that it cannot parse, and the answer may repeat
// these from the request.
var query = regexp.MustCompile(`(\?|(?i:x-amz-))[^\s"]*`)

// Error returns an error of net/http, or of a client that uses it, with a text that is
// safe to show: without the address that [UnwrapURLError] removes, without any query,
// and after [Text]. errors.Is and errors.As find in it what they find in the error
// inside the url.Error. nil stays nil.
func Error(err error) error {
	if err = UnwrapURLError(err); err == nil {
		return nil
	}
	text := Text(query.ReplaceAllString(err.Error(), Placeholder))
	if text == err.Error() {
		return err
	}
	return &shownError{text: text, err: err}
}

// shownError is an error under a text of its own.
type shownError struct {
	text string
	err  error
}

func (e *shownError) Error() string    { return e.text }
func (e *shownError) Unwrap() error    { return e.err }
func (e *shownError) GoString() string { return e.text }

// SignedURL is an address whose query gives access, as a password does. It prints, logs
// and marshals without its query, user and fragment, with every verb and encoder.
// string(u) is the whole address: use it only to make the request.
type SignedURL string

// String returns the address with [Placeholder] for its query. It returns only
// Placeholder for what cannot be parsed as an address, and "" for "".
func (u SignedURL) String() string {
	if u == "" {
		return ""
	}
	p, err := url.Parse(string(u))
	if err != nil || p.Host == "" {
		return Placeholder
	}
	shown := p.Scheme + "://" + p.Host + p.EscapedPath()
	if p.RawQuery != "" || p.Fragment != "" || p.User != nil {
		shown += "?" + Placeholder
	}
	return shown
}

// MarshalText returns the text of String, for encoding/json, log/slog and other
// encoders.
func (u SignedURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// Format prints the text of String for every verb: without it %x and %d would print the
// whole address.
func (u SignedURL) Format(s fmt.State, verb rune) {
	switch {
	case verb == 'v' && s.Flag('#'):
		fmt.Fprintf(s, "redact.SignedURL(%q)", u.String())
	case verb == 'q':
		fmt.Fprintf(s, "%q", u.String())
	default:
		io.WriteString(s, u.String())
	}
}
