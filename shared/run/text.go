package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// MaxTextBytes bounds a JSON document before it is decoded, in bytes: six times
// [MaxRequestBytes], since the escape \u0061 takes six bytes for a character of one. A
// longer document can be within MaxRequestBytes only by its blanks, and is refused.
const MaxTextBytes = 6 * MaxRequestBytes

// ReadText reads a JSON document that a user wrote, such as a job file. Of a document that is longer than [MaxTextBytes] it returns one
// byte more than that, by which [DecodeJSON] and [ParseRequest] see that it is too
// long.
func ReadText(r io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r, MaxTextBytes+1))
}

// DecodeJSON decodes one JSON document that a user wrote. Numbers are decoded as
// [json.Number], so that a 64-bit seed loses no digits to a float64.
//
// A UTF-8 byte order mark is skipped. What encoding/json would change or drop silently
// is a violation instead: bytes that are not UTF-8 and halves of surrogate pairs (both
// would become U+FFFD), and a name that stands twice in one object, at any depth (the
// last one would win). The violation of a document in UTF-16, UTF-32 or Latin-1, or of
// a compressed one, says which of them it is.
//
// subject is the parameter of a violation of the whole document, such as "request"; the
// violation of a repeated name has that name's path instead. value is nil if the
// document could not be decoded. It is set beside violations of half surrogates and
// repeated names, so that the caller can look for more.
func DecodeJSON(subject string, raw []byte) (value any, violations named.Violations) {
	text, problem := plainText(raw)
	if problem != "" {
		violations.Add(subject, "%s", problem)
		return nil, violations
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		if errors.Is(err, io.EOF) {
			violations.Add(subject, `is empty: send a JSON object such as {"workflow": "text-to-image"}`)
		} else {
			violations.Add(subject, "is not JSON: %s", syntaxProblem(text, err))
		}
		return nil, violations
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		violations.Add(subject, "has more after its JSON object")
		return nil, violations
	}
	if half, at := halfSurrogate(text); half != "" {
		violations.Add(subject, "has %s at byte %d, which is half of a surrogate pair and no character: send both halves, or the character itself", half, at)
	}
	seen := structure{decoder: json.NewDecoder(bytes.NewReader(text))}
	seen.decoder.UseNumber() // no number is too large to be passed over
	if seen.read("", 0); seen.deepest > maxLevels {
		violations.Add(subject, "is nested %d levels deep; at most %d are accepted", seen.deepest, maxLevels)
	}
	for _, path := range seen.repeated {
		violations.Add(named.Shorten(maxName, path), "is given twice: which value is meant?")
	}
	return value, violations
}

// syntaxProblem returns what is wrong with a document that is not JSON, and in which
// line. encoding/json would show one byte of a character outside ASCII, such as a
// word processor's quotes or a blank that does not break, as a letter of Latin-1.
func syntaxProblem(text []byte, err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends in the middle"
	}
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) || syntax.Offset < 1 || syntax.Offset > int64(len(text)) {
		return err.Error()
	}
	at := int(syntax.Offset) - 1
	line := 1 + bytes.Count(text[:at], []byte("\n"))
	if r, _ := utf8.DecodeRune(text[at:]); r >= utf8.RuneSelf {
		return fmt.Sprintf("line %d has %q (U+%04X), which may stand within quotes alone, and quotes are \"", line, r, r)
	}
	return fmt.Sprintf("%v, in line %d", err, line)
}

const utf8BOM = "\xef\xbb\xbf"

// plainText returns the document without its byte order mark, or the problem that
// keeps it from being read as UTF-8 text.
func plainText(raw []byte) (text []byte, problem string) {
	switch {
	case len(raw) > MaxTextBytes:
		return nil, fmt.Sprintf("is more than %d bytes; at most %d are accepted, without blanks and escapes (put large inputs into S3 and pass s3://…)", MaxTextBytes, MaxRequestBytes)
	case packedWith(raw) != "":
		return nil, fmt.Sprintf("is compressed with %s: send it as it was before", packedWith(raw))
	case bytes.HasPrefix(raw, []byte("\xff\xfe\x00\x00")), bytes.HasPrefix(raw, []byte("\x00\x00\xfe\xff")),
		bytes.HasPrefix(raw, []byte("{\x00\x00\x00")), bytes.HasPrefix(raw, []byte("\x00\x00\x00{")):
		return nil, "is not UTF-8 but UTF-32 text: save it as UTF-8"
	case bytes.HasPrefix(raw, []byte("\xff\xfe")), bytes.HasPrefix(raw, []byte("\xfe\xff")),
		len(raw) > 1 && (raw[0] == 0 || raw[1] == 0): // JSON begins with ASCII, which UTF-16 pads with zeros
		return nil, "is not UTF-8 but UTF-16 text: save it as UTF-8 (PowerShell: Out-File -Encoding utf8)"
	}
	text = bytes.TrimPrefix(raw, []byte(utf8BOM))
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			return nil, fmt.Sprintf("is not UTF-8: line %d has the byte 0x%02X, as Latin-1 or Windows-1252 text has; save it as UTF-8",
				1+bytes.Count(text[:at], []byte("\n")), text[at])
		}
		at += size
	}
	return text, ""
}

// packedWith returns what a document was compressed with, by the bytes that it begins
// with; empty if it was not.
func packedWith(raw []byte) string {
	for begin, name := range map[string]string{"\x1f\x8b": "gzip", "\x28\xb5\x2f\xfd": "zstd", "\xfd7zXZ\x00": "xz", "BZh": "bzip2", "PK\x03\x04": "zip"} {
		if bytes.HasPrefix(raw, []byte(begin)) {
			return name
		}
	}
	return ""
}

// halfSurrogate finds the first \uXXXX that is half of a surrogate pair without
// its other half. The text is valid JSON: a backslash stands in strings only.
func halfSurrogate(text []byte) (half string, at int) {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		r := escaped(text[i:])
		switch {
		case r < 0:
			i++ // the character after the backslash, which may be one itself
		case !utf16.IsSurrogate(r):
			i += escapeLength - 1
		case utf16.DecodeRune(r, escaped(text[i+escapeLength:])) == utf8.RuneError:
			return string(text[i : i+escapeLength]), i
		default:
			i += 2*escapeLength - 1
		}
	}
	return "", 0
}

const escapeLength = len(`\ud83d`)

// escaped returns the code unit of the \uXXXX that text begins with; -1 if it
// begins with something else.
func escaped(text []byte) rune {
	if len(text) < escapeLength || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	unit, _ := strconv.ParseUint(string(text[2:escapeLength]), 16, 16) // valid JSON has digits there
	return rune(unit)
}

// maxLevels bounds how deep objects and arrays are nested. A request passes through
// several programs on its way to Cyberun, each of which puts it into something, and
// 1,000 levels are what many JSON libraries read (Python's and Java's Jackson among
// them): one that is refused on the way would be so after its 202.
const maxLevels = 500

// maxRepeated bounds the paths that are put together: one more than a list of
// violations holds, so that it says that there are more.
const maxRepeated = 500

// structure is what DecodeJSON looks at in a document beside its value.
type structure struct {
	decoder  *json.Decoder
	deepest  int      // how deep it is nested
	repeated []string // the path of each name that its object has had before: parameters.list[2].x
}

// read reads the next value of a valid document, which has this path and is in so many
// objects and arrays.
func (s *structure) read(path string, levels int) {
	token, _ := s.decoder.Token()
	delim, nested := token.(json.Delim)
	if !nested {
		return
	}
	levels++
	s.deepest = max(s.deepest, levels)
	path = path[:min(len(path), maxName+1)] // a violation repeats no more of it
	names := map[string]bool{}
	for i := 0; s.decoder.More(); i++ {
		if delim == '[' {
			s.read(path+"["+strconv.Itoa(i)+"]", levels)
			continue
		}
		token, _ := s.decoder.Token()
		name, _ := token.(string)
		inner := strings.TrimPrefix(path+"."+name, ".")
		if names[name] && len(s.repeated) <= maxRepeated {
			s.repeated = append(s.repeated, inner)
		}
		names[name] = true
		s.read(inner, levels)
	}
	_, _ = s.decoder.Token() // its end
}
