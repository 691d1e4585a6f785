package transfer

import (
	"fmt"
	"net/url"
	"strings"
)

// The bytes that a URL's path and query may not hold as they are, beside control
// characters, blanks and what is outside ASCII: the percent-encode sets of the
// WHATWG URL standard. '|' is in neither, but net/url would encode it, and with it
// write the rest of the path anew. '%' stays where it begins an escape.
const (
	notInPath  = "\"<>^`{|}%"
	notInQuery = `"<>`
)

// browserURL makes a URL fit to be requested, as browsers do: services put names
// into URLs as they are, with blanks and letters outside ASCII, which would break
// the request's first line or a proxy on the way. What is encoded already stays as
// it is, down to the case of its digits, so that a signature still fits. The
// fragment, which is never sent, is cut. raw may be a reference without scheme and
// host, as a redirect's Location is.
func browserURL(raw string) string {
	raw = strings.TrimFunc(raw, func(r rune) bool { return r <= ' ' })
	raw = strings.NewReplacer("\t", "", "\r", "", "\n", "").Replace(raw)
	raw, _, _ = strings.Cut(raw, "#")
	host, rest := "", raw
	if start := strings.Index(raw, "//"); start == 0 || start > 0 && raw[start-1] == ':' {
		end := strings.IndexAny(raw[start+2:], `/\?`)
		if end < 0 {
			return raw
		}
		host, rest = raw[:start+2+end], raw[start+2+end:]
	}
	path, query, hasQuery := strings.Cut(rest, "?")
	encoded := host + encode(strings.ReplaceAll(path, `\`, "/"), notInPath)
	if hasQuery {
		encoded += "?" + encode(query, notInQuery)
	}
	return encoded
}

// encode percent-encodes what no URL may hold, and the bytes of also, but no percent
// sign that begins an escape.
func encode(text, also string) string {
	var b strings.Builder
	for i, c := range []byte(text) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(also, c) >= 0 && !isEscape(text[i:min(i+3, len(text))]) {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// isEscape reports whether three bytes are a percent sign and two hexadecimal digits.
func isEscape(text string) bool {
	_, err := url.PathUnescape(text)
	return text[0] == '%' && err == nil
}
