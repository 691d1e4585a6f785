package cyberun

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var (
	errDots      = errors.New("holds a .. segment, which would lead to another path than the one that was asked for")
	errNoSlash   = errors.New("does not begin with /")
	errCharacter = errors.New("holds a character or an escape that no address can have")
	errNested    = fmt.Errorf("holds escapes within escapes, over %d deep", maxNesting)
)

// maxNesting is how many layers of escapes a path may have. Two occur where an
// address is part of another one's path; the rest leaves room, and bounds the work
// that a made-up path can cause.
const maxNesting = 8

// CheckContainerPath returns an error for a path of a [ContainerCall] that could lead
// elsewhere than where it points; its text continues the sentence "the path …". The
// path has to be empty, or escaped and begin with a slash.
//
// A path with a .. segment could leave the container, and the call carries the API
// key to whatever route that is; and below the container it could pass a policy that
// grants one path and reach another. How often the servers between here and the
// container decode a path is not known, nor what they take for a separator, so every
// reading counts: escapes within escapes, encoded slashes, backslashes, and path
// parameters behind a semicolon.
func CheckContainerPath(path string) error {
	if path == "" {
		return nil
	}
	if path[0] != '/' {
		return errNoSlash
	}
	for i := 0; i < len(path); i++ {
		if _, escaped := escapeAt(path, i); !escaped && !isPathByte(path[i]) {
			return errCharacter
		}
	}
	text := path
	for layers := 0; ; layers++ {
		decoded := decodeOnce(text)
		if decoded == text {
			break
		}
		if layers == maxNesting {
			return errNested
		}
		text = decoded
	}
	for segment := range strings.FieldsFuncSeq(overlong.Replace(text), func(r rune) bool { return r == '/' || r == '\\' }) {
		name, _, _ := strings.Cut(segment, ";")
		// Some readers stop at a NUL, or drop blanks and control characters.
		if strings.Map(printable, name) == ".." {
			return errDots
		}
	}
	return nil
}

// printable drops blanks and control characters, for [strings.Map].
func printable(r rune) rune {
	if r <= ' ' || r == 0x7f {
		return -1
	}
	return r
}

// overlong replaces a dot, a slash and a backslash that are written in more bytes than
// UTF-8 allows, which lenient decoders take for the character itself.
var overlong = strings.NewReplacer("\xc0\xae", ".", "\xc0\xaf", "/", "\xc1\x9c", `\`, "\xe0\x80\xae", ".", "\xe0\x80\xaf", "/", "\xe0\x81\x9c", `\`)

// decodeOnce takes one layer of escapes off. A percent sign that begins none stays.
func decodeOnce(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if decoded, escaped := escapeAt(s, i); escaped {
			c = decoded
			i += 2
		}
		b.WriteByte(c)
	}
	return b.String()
}

// escapeAt returns the byte that an escape at s[i] stands for; false if there is none.
func escapeAt(s string, i int) (byte, bool) {
	if s[i] != '%' || i+2 >= len(s) {
		return 0, false
	}
	n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
	return byte(n), err == nil
}

// isPathByte reports whether RFC 3986 lets a byte stand in a path unescaped.
func isPathByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("/-._~!$&'()*+,;=:@", c) >= 0
}

// EscapePath escapes every byte of a path that no address can hold as it is. Of the
// escapes that are there already those stay for whose two hexadecimal digits keep
// returns true; of any other the percent sign is escaped.
func EscapePath(path string, keep func(digits string) bool) string {
	return escape(path, func(at int) bool {
		_, escaped := escapeAt(path, at)
		return escaped && keep(path[at+1:at+3]) || isPathByte(path[at])
	})
}

// EscapeQuery escapes what cannot stand in the first line of a request, and leaves
// the rest of a query as it is, wrong escapes among it.
func EscapeQuery(query string) string {
	return escape(query, func(at int) bool { return query[at] > ' ' && query[at] < 0x7f && query[at] != '#' })
}

// escape writes a percent escape for each byte for whose place stays returns false.
func escape(s string, stays func(at int) bool) string {
	var b strings.Builder
	for i := range len(s) {
		if stays(i) {
			b.WriteByte(s[i])
			continue
		}
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}
