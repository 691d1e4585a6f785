package redact

import (
	"fmt"
	"io"
	"net/url"
)

// SignedURL is an address whose query is as good as a password. It prints, logs
// and marshals without its query, user and fragment, by whatever verb or
// encoder; string(u) is the address itself, for the request alone.
type SignedURL string

// String returns the address with [Mark] for its query; Mark alone if it cannot
// be read as an address, and nothing for none.
func (u SignedURL) String() string {
	if u == "" {
		return ""
	}
	p, err := url.Parse(string(u))
	if err != nil || p.Host == "" {
		return Mark
	}
	shown := p.Scheme + "://" + p.Host + p.EscapedPath()
	if p.RawQuery != "" || p.Fragment != "" || p.User != nil {
		shown += "?" + Mark
	}
	return shown
}

// MarshalText returns what encoders write, those of encoding/json and log/slog among
// them.
func (u SignedURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// Format prints the address for every verb: %x or %d of the bare string would
// print it whole.
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
