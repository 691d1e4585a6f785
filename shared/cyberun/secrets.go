package cyberun

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const redacted = "[redacted]"

// StaticKey is a key that never changes: for tests, and for a key that the
// environment holds.
type StaticKey string

func (k StaticKey) Key(context.Context) (string, error)             { return string(k), nil }
func (k StaticKey) Refresh(context.Context, string) (string, error) { return string(k), nil }

func (k StaticKey) String() string               { return redacted }
func (k StaticKey) Format(s fmt.State, _ rune)   { io.WriteString(s, redacted) }
func (k StaticKey) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (k StaticKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// SignedURL is an address whose query is as good as a password. It prints, logs
// and marshals without its query; string(u) is the address itself.
type SignedURL string

func (u SignedURL) String() string {
	if u == "" {
		return ""
	}
	p, err := url.Parse(string(u))
	if err != nil || p.Host == "" {
		return redacted
	}
	shown := p.Scheme + "://" + p.Host + p.EscapedPath()
	if p.RawQuery != "" || p.Fragment != "" || p.User != nil {
		shown += "?" + redacted
	}
	return shown
}

func (u SignedURL) GoString() string             { return fmt.Sprintf("cyberun.SignedURL(%q)", u.String()) }
func (u SignedURL) LogValue() slog.Value         { return slog.StringValue(u.String()) }
func (u SignedURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// Format covers every verb: %x or %d of the bare string would print it whole.
func (u SignedURL) Format(s fmt.State, verb rune) {
	switch {
	case verb == 'v' && s.Flag('#'):
		io.WriteString(s, u.GoString())
	case verb == 'q':
		fmt.Fprintf(s, "%q", u.String())
	default:
		io.WriteString(s, u.String())
	}
}

// UploadHeaders are the signed headers of an upload. Some stores put a token
// among them, so only the names print and marshal.
type UploadHeaders map[string]string

func (h UploadHeaders) String() string             { return fmt.Sprint(slices.Sorted(maps.Keys(h))) }
func (h UploadHeaders) Format(s fmt.State, _ rune) { io.WriteString(s, h.String()) }
func (h UploadHeaders) LogValue() slog.Value       { return slog.StringValue(h.String()) }
func (h UploadHeaders) MarshalJSON() ([]byte, error) {
	return json.Marshal(slices.Sorted(maps.Keys(h)))
}

// redactor takes the keys of a call, and whatever looks like a secret, out of a
// text that came from outside: a remote may quote a request in its error.
type redactor []string

var secretShapes = []struct {
	shape *regexp.Regexp
	with  string
}{
	// The query of any address, also of one inside JSON or percent-encoded.
	{regexp.MustCompile(`(?i)(https?:(?:\\?/){2}[^\s"'<>?#]*)[?#][^\s"'<>]*`), "$1?" + redacted},
	{regexp.MustCompile(`(?i)(https?%3A%2F%2F[^\s"'<>]*?)%3F[^\s"'<>]*`), "$1?" + redacted},
	// Userinfo of an address.
	{regexp.MustCompile(`(?i)(https?:(?:\\?/){2})[^\s"'<>/?#@\\]*@`), "$1" + redacted + "@"},
	// Pieces of a signed query that stand alone: in a query, in XML, in JSON.
	{regexp.MustCompile(`(?i)\b(X-Amz-(?:Signature|Credential|Security-Token)|Signature(?:Provided)?|AWSAccessKeyId|Key-Pair-Id)((?:=|:|%3D|>)\s*)[^\s&"'<>,}]+`), "$1$2" + redacted},
	{regexp.MustCompile(`(?i)\b(sig|token|policy|api_?key)(=|%3D)[^\s&"'<>,}]+`), "$1$2" + redacted},
	{regexp.MustCompile(`(?i)"(X-Amz-[a-z-]+|Signature|sig|token|policy|api_?key|authorization|secret)"\s*:\s*"[^"]*"?`), `"$1":"` + redacted + `"`},
	{regexp.MustCompile(`(?i)\bBearer\s+[^\s"'<>,]+`), "Bearer " + redacted},
	{regexp.MustCompile(`\b([sd]k-|whsec_)[A-Za-z0-9._~+/=-]+`), "$1" + redacted},
}

func (r redactor) hide(s string) string {
	s = r.hideKeys(strings.ToValidUTF8(s, "?"))
	for _, secret := range secretShapes {
		s = secret.shape.ReplaceAllString(s, secret.with)
	}
	return r.hideKeys(s) // a replacement may have put one together
}

func (r redactor) hideKeys(s string) string {
	for _, key := range r {
		if key == "" {
			continue
		}
		quoted, _ := json.Marshal(key) // a string always marshals
		for _, form := range []string{key, strings.Trim(string(quoted), `"`), url.QueryEscape(key), url.PathEscape(key)} {
			s = strings.ReplaceAll(s, form, redacted)
		}
	}
	return s
}

// clean makes a remote's text fit for one line of a log: secrets out, control
// characters and runs of space to one space, cut at limit bytes.
func (r redactor) clean(s string, limit int) string {
	s = strings.Join(strings.FieldsFunc(r.hide(s), func(c rune) bool {
		return c <= ' ' || c == 0x7f || (c >= 0x80 && c <= 0xa0) || c == '\u2028' || c == '\u2029'
	}), " ")
	return cut(s, limit)
}

// cut shortens to at most limit bytes and says so, on a rune's border.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit-len("…")], "") + "…"
}
