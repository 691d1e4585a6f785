package transfer

import (
	"cmp"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cyberun-cloud/cyberun-relay/shared/media"
)

// fileName returns the name of the file that an answer serves: that in
// Content-Disposition, unless it has no extension and the content type gives none
// either. Then come a query parameter "filename", as ComfyUI's /view has it, and the
// path, of the URL that was answered and of those that were redirected to it. The first
// of these names with an extension is taken, since an output's key needs one; else the
// first name.
func fileName(resp *http.Response) string {
	first := dispositionName(resp.Header.Values("Content-Disposition"))
	typed := media.Extension(resp.Header.Get("Content-Type")) != ""
	if first != "" && (hasExtension(first) || typed) {
		return first
	}
	for req := resp.Request; req != nil; req = req.Response.Request {
		byPath := pathName(req.URL.Path)
		if typed && slices.Contains(programs, strings.ToLower(path.Ext(byPath))) {
			byPath = ""
		}
		for _, name := range []string{cleanName(req.URL.Query().Get("filename")), byPath} {
			if hasExtension(name) {
				return name
			}
			first = cmp.Or(first, name)
		}
		if req.Response == nil {
			break
		}
	}
	return first
}

// hasExtension reports whether a name ends in a dot, letters and digits. What follows
// the dot in "Model v1.5 (final)" is no extension, and neither are digits alone.
func hasExtension(name string) bool {
	ext := path.Ext(name)
	return strings.Trim(ext, ".0123456789") != "" && !strings.ContainsFunc(ext[1:], func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// programs are the extensions of what makes an answer on the server, as in
// /download.php?id=7, and is not the file itself.
var programs = []string{".php", ".asp", ".aspx", ".ashx", ".cgi", ".fcgi", ".jsp", ".jspx", ".do", ".action", ".cfm"}

// pathName returns a path's last element, without the parameters that some servers
// put behind it (";jsessionid=…").
func pathName(p string) string {
	name := cleanName(p)
	ext, _, _ := strings.Cut(path.Ext(name), ";")
	return strings.TrimSuffix(name, path.Ext(name)) + ext
}

// cleanName returns the last element of a name that may be a path of any system, in
// UTF-8, without control characters and outer blanks; empty if nothing is left.
func cleanName(name string) string {
	if !utf8.ValidString(name) {
		name = fromLatin1(name)
	}
	name = strings.Map(func(r rune) rune {
		switch {
		case r == '\\':
			return '/'
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, name)
	name = strings.TrimSpace(path.Base(strings.TrimSpace(name)))
	if name == "." || name == ".." || name == "/" {
		return ""
	}
	return name
}

// fromLatin1 reads bytes as ISO 8859-1, which is what a header was before UTF-8.
func fromLatin1(text string) string {
	runes := make([]rune, len(text))
	for i, b := range []byte(text) {
		runes[i] = rune(b)
	}
	return string(runes)
}

// dispositionName reads a file's name from Content-Disposition headers, in every
// form that servers send: with a type before it or none, quoted or not, with
// blanks, in raw UTF-8 or Latin-1, as RFC 5987's filename*, in RFC 2231's pieces,
// as RFC 2047's encoded words, with a semicolon at the end, or twice. filename*
// wins over filename, and the first of several over the rest.
//
// mime.ParseMediaType is stricter and refuses the whole header where one
// character is out of place.
func dispositionName(headers []string) string {
	var plain, extended, asItIs string
	pieces := map[string]string{}
	for _, header := range headers {
		for _, parameter := range splitParameters(header) {
			key, value, ok := strings.Cut(parameter, "=")
			words := strings.FieldsFunc(key, func(r rune) bool { return unicode.IsSpace(r) || r == ',' })
			if !ok || len(words) == 0 {
				continue
			}
			switch key = strings.ToLower(words[len(words)-1]); {
			case key == "filename" && plain == "":
				plain = cleanName(decodeWords(unquote(value)))
			case key == "filename*" && extended == "":
				value = unquote(value)
				extended = cleanName(decodeExtended(value))
				asItIs = cleanName(value[strings.LastIndexByte(value, '\'')+1:])
			case strings.HasPrefix(key, "filename*"):
				addPiece(pieces, strings.TrimPrefix(key, "filename*"), unquote(value))
			}
		}
	}
	return cmp.Or(extended, plain, cleanName(joinPieces(pieces)), asItIs)
}

// splitParameters cuts a header at the semicolons outside quotes; at all of them
// where a quote is never closed.
func splitParameters(header string) (parameters []string) {
	from, quoted, escaped := 0, false, false
	for i, c := range []byte(header) {
		switch {
		case escaped:
			escaped = false
		case c == '\\' && quoted:
			escaped = true
		case c == '"':
			quoted = !quoted
		case c == ';' && !quoted:
			parameters = append(parameters, header[from:i])
			from = i + 1
		}
	}
	if quoted {
		return strings.Split(header, ";")
	}
	return append(parameters, header[from:])
}

// unquote takes a value out of its quotes, double as in the standard or single.
// A backslash escapes only a quote or a backslash: some servers put the paths of
// Windows there as they are. A quote inside that was not escaped is a part of the
// value: only one that ends it, or that a comma follows, closes it.
func unquote(value string) string {
	value = strings.TrimSpace(value)
	if len(value) > 1 && value[0] == '\'' && value[len(value)-1] == '\'' {
		return value[1 : len(value)-1]
	}
	inner, quoted := strings.CutPrefix(value, `"`)
	if !quoted {
		return value
	}
	var b strings.Builder
	for i := 0; i < len(inner); i++ {
		if inner[i] == '"' {
			if rest := strings.TrimSpace(inner[i+1:]); rest == "" || rest[0] == ',' {
				break
			}
		}
		if inner[i] == '\\' && i+1 < len(inner) && (inner[i+1] == '"' || inner[i+1] == '\\') {
			i++
		}
		b.WriteByte(inner[i])
	}
	return b.String()
}

// decodeExtended reads RFC 5987's charset'language'percent-encoded; empty where
// it cannot be read, so that a plain filename beside it counts.
func decodeExtended(value string) string {
	charset, rest, ok := strings.Cut(value, "'")
	if !ok {
		charset, rest = "utf-8", value
	} else if _, rest, ok = strings.Cut(rest, "'"); !ok {
		return ""
	}
	raw, err := url.PathUnescape(rest)
	if err != nil {
		return ""
	}
	switch strings.ToLower(charset) {
	case "iso-8859-1", "latin1", "windows-1252":
		return fromLatin1(raw)
	}
	return raw
}

// decodeWords reads RFC 2047's "=?UTF-8?B?…?=", which belongs into mail alone.
func decodeWords(value string) string {
	if decoded, err := new(mime.WordDecoder).DecodeHeader(value); err == nil {
		return decoded
	}
	return value
}

// addPiece keeps one of RFC 2231's pieces under its number. It is given that as "0", or
// "0*" if the value is percent-encoded.
func addPiece(pieces map[string]string, number, value string) {
	number, encoded := strings.CutSuffix(number, "*")
	if encoded && number == "0" {
		value = decodeExtended(value)
	} else if encoded {
		if raw, err := url.PathUnescape(value); err == nil {
			value = raw
		}
	}
	if _, there := pieces[number]; !there {
		pieces[number] = value
	}
}

// joinPieces returns the pieces from 0 on, up to the first that is missing.
func joinPieces(pieces map[string]string) string {
	var b strings.Builder
	for n := 0; ; n++ {
		piece, there := pieces[strconv.Itoa(n)]
		if !there {
			return b.String()
		}
		b.WriteString(piece)
	}
}
