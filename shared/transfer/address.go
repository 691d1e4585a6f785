package transfer

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// What an address's path and query may not hold as it is, beside control
// characters, blanks and bytes outside ASCII: the WHATWG URL standard's sets for
// path and query. '|' is in neither, but net/url would encode it, and with it
// write the rest of the path anew.
const (
	notInPath  = "\"<>^`{|}"
	notInQuery = `"<>`
)

// browserAddress makes an address fit to be requested, as browsers do: services
// put names into addresses as they are, with blanks and letters outside ASCII,
// which would break the request's first line or a proxy on the way. What is
// encoded already stays as it is, down to the case of its digits, so that a
// signature goes on fitting. A fragment is never sent. raw may be a reference
// without scheme and host, as a redirect's Location is.
func browserAddress(raw string) string {
	raw = strings.TrimFunc(raw, func(r rune) bool { return r <= ' ' })
	raw = strings.NewReplacer("\t", "", "\r", "", "\n", "").Replace(raw)
	raw, _, _ = strings.Cut(raw, "#")
	origin, rest := "", raw
	if start := strings.Index(raw, "//"); start == 0 || start > 0 && raw[start-1] == ':' {
		end := strings.IndexAny(raw[start+2:], `/\?`)
		if end < 0 {
			return raw
		}
		origin, rest = raw[:start+2+end], raw[start+2+end:]
	}
	path, query, hasQuery := strings.Cut(rest, "?")
	encoded := origin + browserPath(path)
	if hasQuery {
		encoded += "?" + encode(query, notInQuery)
	}
	return encoded
}

// browserPath encodes a path that may be encoded already. A percent sign that
// begins no escape stands for itself.
func browserPath(path string) string {
	var b strings.Builder
	path = strings.ReplaceAll(path, `\`, "/")
	for i := range len(path) {
		if path[i] == '%' && (i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2])) {
			b.WriteString("%25")
			continue
		}
		b.WriteByte(path[i])
	}
	return encode(b.String(), notInPath)
}

func encode(text, also string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(also, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// refusedByOrigin names an answer that no fresh address has cured. What a signed
// address is refused with when it has run out, and what a store says of a file
// that it has removed, is OutputExpired; the origin's other words are told as
// they are.
func refusedByOrigin(status int) error {
	told := strings.TrimSpace(fmt.Sprintf("HTTP %d %s", status, http.StatusText(status)))
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return named.Errorf(named.OutputExpired, "the origin refuses the output: %s", told)
	}
	return named.Errorf(named.OutputUnavailable, "the origin does not hand the output out: %s", told)
}
