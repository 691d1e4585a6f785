package redact

import (
	"fmt"
	"io"
	"net/url"
)

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
