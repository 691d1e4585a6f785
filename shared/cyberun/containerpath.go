package cyberun

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
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
// path has to be escaped and begin with a slash: without one the call would reach the
// route of the service's detail.
//
// A path with a .. segment could leave the container, and the call carries the API
// key to whatever route that is; and below the container it could pass a policy that
// grants one path and reach another. How often the servers between here and the
// container decode a path is not known, nor what they take for a dot, a separator or
// the path's end, so every reading counts: escapes within escapes, encoded slashes,
// backslashes, path parameters behind a semicolon, and characters in more bytes than
// UTF-8 allows.
func CheckContainerPath(path string) error {
	if path == "" || path[0] != '/' {
		return errNoSlash
	}
	if EscapePath(path, func(string) bool { return true }) != path {
		return errCharacter
	}
	text, err := decodeAll(path)
	if err != nil {
		return err
	}
	for _, reading := range []string{text, lenientUTF8(text, false), lenientUTF8(text, true)} {
		if reading, err = decodeAll(reading); err != nil {
			return err
		}
		for segment := range strings.FieldsFuncSeq(lookalikes.Replace(reading), func(r rune) bool { return r == '/' || r == '\\' }) {
			if leadsUp(segment) {
				return errDots
			}
		}
	}
	return nil
}

// leadsUp reports whether somebody could read a decoded segment as two dots. A
// reader that parses what it has decoded ends the name at a semicolon, a question
// mark or a number sign; another ends it at a NUL, as C does, or drops what cannot
// be seen.
func leadsUp(segment string) bool {
	name := segment
	if end := strings.IndexAny(segment, ";?#"); end >= 0 {
		name = segment[:end]
	}
	before, _, _ := strings.Cut(name, "\x00")
	return strings.Map(visible, name) == ".." || strings.Map(visible, before) == ".."
}

// visible drops blanks, control and format characters, and what is not UTF-8, for
// [strings.Map].
func visible(r rune) rune {
	if r == utf8.RuneError || unicode.IsSpace(r) || !unicode.IsGraphic(r) {
		return -1
	}
	return r
}

// lookalikes replaces the characters that Unicode's compatibility forms, or the best
// fit of a Windows code page, turn into dots, slashes and backslashes.
var lookalikes = strings.NewReplacer("\u2024", ".", "\ufe52", ".", "\uff0e", ".", "\u2025", "..", "\ufe30", "..",
	"\u2044", "/", "\u2215", "/", "\uff0f", "/", "\u2216", `\`, "\ufe68", `\`, "\uff3c", `\`)

// lenientUTF8 reads a text as a decoder does that takes an ASCII character in two
// to six bytes, which UTF-8 does not allow. With anyByte it is one that looks at no more
// than the low six bits of those behind the first.
func lenientUTF8(s string, anyByte bool) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		more, value := 0, uint64(0)
		switch c := s[i]; c {
		case 0xc0, 0xc1:
			more, value = 1, uint64(c&1)
		case 0xe0:
			more = 2
		case 0xf0:
			more = 3
		case 0xf8:
			more = 4
		case 0xfc:
			more = 5
		}
		if more > 0 && i+more < len(s) {
			overlong := true
			for _, c := range []byte(s[i+1 : i+1+more]) {
				overlong = overlong && (anyByte || c&0xc0 == 0x80)
				value = value<<6 | uint64(c&0x3f)
			}
			if overlong && value < utf8.RuneSelf {
				b.WriteByte(byte(value))
				i += more
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// decodeAll takes every layer of escapes off, up to maxNesting.
func decodeAll(s string) (string, error) {
	for range maxNesting + 1 {
		decoded := decodeOnce(s)
		if decoded == s {
			return s, nil
		}
		s = decoded
	}
	return "", errNested
}

// escapes are those of a byte and, of the form %u002E, of a character, which some servers
// read below a first layer.
var escapes = regexp.MustCompile(`%[0-9A-Fa-f]{2}|%[Uu][0-9A-Fa-f]{4}`)

// decodeOnce takes one layer of escapes off. A percent sign that begins none stays.
func decodeOnce(s string) string {
	return escapes.ReplaceAllStringFunc(s, func(escape string) string {
		n, _ := strconv.ParseUint(strings.TrimLeft(escape, "%Uu"), 16, 16)
		if len(escape) == len("%2E") {
			return string([]byte{byte(n)})
		}
		return string(rune(n))
	})
}

// isPathByte reports whether RFC 3986 lets a byte stand in a path unescaped.
func isPathByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("/-._~!$&'()*+,;=:@", c) >= 0
}

// EscapePath escapes every byte of a path that no address can hold as it is. An escape
// that is there already, such as %2F, stays if keep("2F") returns true; otherwise its
// percent sign is escaped.
func EscapePath(path string, keep func(digits string) bool) string {
	return escape(path, func(at int) bool {
		if path[at] != '%' {
			return isPathByte(path[at])
		}
		digits := path[at+1 : min(at+3, len(path))]
		_, err := strconv.ParseUint(digits, 16, 8)
		return len(digits) == 2 && err == nil && keep(digits)
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
