// Package media has the relay's table of media types: their names, the other names that
// clients send for them, and the extensions of their files. It imports the standard
// library only.
//
// The table is the relay's own because no library gives the same answers on every host.
// The standard library's mime reads /etc/mime.types where there is one, which Lambda's
// image need not have, and its built-in table lacks .mov and .glb and takes .webm for
// audio. Libraries that look into the bytes (gabriel-vasile/mimetype) need the bytes,
// which HeadObject does not return.
package media

import (
	"path"
	"slices"
	"strings"
	"sync"
)

// kind is one media type. Two names of one kind compare equal everywhere.
type kind struct {
	name    string   // the one that the relay writes; octetStream: the kind has no registered type
	aliases []string // its other names
	exts    []string // extensions; an output of this type is given the first one
}

// octetStream is the media type of bytes of which nothing is known.
const octetStream = "application/octet-stream"

// index returns the table by its keys. It is built, in a tenth of a millisecond, at
// the first call: a cold start that needs no types does not spend it.
var index = sync.OnceValue(func() (x struct {
	byType map[string]*kind
	byExt  map[string][]*kind // the first is what the extension says by itself
}) {
	x.byType, x.byExt = map[string]*kind{}, map[string][]*kind{}
	for i := range table {
		k := &table[i]
		if k.name != octetStream {
			x.byType[k.name] = k
		}
		for _, alias := range k.aliases {
			x.byType[alias] = k
		}
		for _, ext := range k.exts {
			x.byExt[ext] = append(x.byExt[ext], k)
		}
	}
	return x
})

func byType(name string) *kind { return index().byType[name] }
func byExt(ext string) []*kind { return index().byExt[ext] }

// generic lists the types that clients send without having looked at the file: S3's
// own default, form posts, and what editors and libraries fall back to. The type of
// a file with one of them is looked up by its name.
var generic = []string{
	"", octetStream, "binary/octet-stream", "application/binary", "application/x-binary", "application/unknown", "unknown/unknown",
	"application/x-www-form-urlencoded", "multipart/form-data", "application/force-download", "application/x-force-download",
	"application/x-download", "application/download", "application/octetstream", "application/octet", "application/oct-stream",
	"application/x-octet-stream", "octet/stream", "content/unknown", "application/x-unknown", "text/plain",
}

// isGeneric reports whether a content type, in small letters and without its
// parameters, says nothing of the file: one of the list above, a family (image/*, as
// phones send for whatever was picked), or a word that is no type at all ("image",
// "undefined").
func isGeneric(contentType string) bool {
	return slices.Contains(generic, contentType) || strings.HasSuffix(contentType, "/*") || !strings.Contains(contentType, "/")
}

// base returns a content type without its parameters, in small letters. It reads
// what clients really send: a header that the standard's grammar refuses still
// begins with a type.
func base(contentType string) string {
	if end := strings.IndexAny(contentType, ";,"); end >= 0 {
		contentType = contentType[:end]
	}
	return strings.ToLower(strings.Trim(contentType, " \t\"'"))
}

// ext returns a name's extension in small letters, its dot included. Blanks and
// dots at the name's end are no part of it: Windows drops them.
func ext(name string) string { return strings.ToLower(path.Ext(strings.TrimRight(name, " ."))) }

// TypeByName returns the media type for the extension of a file's name, such as
// video/quicktime for "clip.MOV"; empty for an extension that is not in the table.
func TypeByName(name string) string {
	if kinds := byExt(ext(name)); len(kinds) > 0 {
		return kinds[0].name
	}
	return ""
}

// Type returns the media type of a file: that of its content type, or of its name if
// the content type is one that clients send without having looked at the file, such as
// S3's binary/octet-stream. If the type has several names it returns the usual one. A
// content type that is not in the table is returned as it is, with its parameters.
func Type(name, contentType string) string {
	declared := base(contentType)
	if isGeneric(declared) {
		if byName := TypeByName(name); byName != "" && byName != declared {
			return byName
		}
		return contentType
	}
	k := byType(declared)
	switch {
	case k == nil:
		return contentType
	case k.name == declared && strings.HasPrefix(contentType, declared):
		return contentType
	}
	return k.name
}

// Extension returns the extension for files of a content type, with its dot: ".jpg" for
// image/jpeg; empty for a type that is not in the table.
func Extension(contentType string) string {
	if k := byType(base(contentType)); k != nil {
		return k.exts[0]
	}
	return ""
}

// Accepts reports whether a file may be given for a parameter with these entries of
// accept. An entry is a media type, a family of them (image/*), an extension with or
// without its dot, or several of those between commas. They are compared as in HTML's
// accept attribute, except that all names of one type are equal. Without entries every
// file is accepted.
func Accepts(accept []string, name, contentType string) bool {
	if len(accept) == 0 {
		return true
	}
	f := newFile(name, contentType)
	return slices.ContainsFunc(accept, func(entries string) bool {
		return slices.ContainsFunc(strings.Split(entries, ","), f.matches)
	})
}

// file is a file by every name and kind that it may be accepted by.
type file struct {
	ext   string
	types []string
	kinds []*kind
}

// newFile collects what a file may be accepted by. Its name counts where the
// content type is generic, and where the two agree: a .webm declared as audio is a
// container that may hold a video as well.
func newFile(name, contentType string) file {
	f := file{ext: ext(name)}
	declared, byName := base(contentType), byExt(f.ext)
	declaredKind, specific := byType(declared), !isGeneric(declared)
	switch {
	case declared == "text/plain" && len(byName) > 0 && !byName[0].text():
		declaredKind = nil // a picture does not become text by its client's default
	case specific:
		f.types = append(f.types, declared)
	default:
		f.types = append(f.types, declared, octetStream)
	}
	if declaredKind != nil {
		f.kinds = append(f.kinds, declaredKind)
	}
	if !specific || declaredKind != nil && slices.Contains(byName, declaredKind) {
		f.kinds = append(f.kinds, byName...)
	}
	for _, k := range f.kinds {
		f.types = append(f.types, k.name)
	}
	return f
}

// text reports whether files of this kind are text, which a client may declare
// as text/plain and mean it.
func (k *kind) text() bool {
	return strings.HasPrefix(k.name, "text/") || slices.Contains(textTypes, k.name)
}

// textTypes are the types of text whose names do not say so.
var textTypes = []string{"application/json", "application/jsonl", "application/xml", "application/yaml", "application/x-subrip"}

// matches reports whether one accept entry names the file.
func (f file) matches(entry string) bool {
	entry = base(entry)
	family, anyOf := strings.CutSuffix(entry, "/*")
	switch {
	case entry == "":
		return false
	case entry == "*" || entry == "*/*":
		return true
	case anyOf:
		return slices.ContainsFunc(f.types, func(t string) bool { return strings.HasPrefix(t, family+"/") })
	case strings.Contains(entry, "/"):
		k := byType(entry)
		return slices.Contains(f.types, entry) || k != nil && slices.Contains(f.kinds, k)
	}
	wanted := "." + strings.TrimPrefix(strings.TrimPrefix(entry, "*"), ".")
	kinds := byExt(wanted)
	return f.ext == wanted || len(kinds) > 0 && slices.Contains(f.kinds, kinds[0])
}
