// Package media is the relay's one table of media types: their names, the other
// names that clients send for them, and their files' extensions, in both
// directions. It is a leaf that imports the standard library only.
//
// It is a table of its own because no library answers these questions alike on
// every host. The standard library's mime reads /etc/mime.types where there is
// one, which Lambda's image need not have, and its built-in table knows neither
// .mov nor .glb and takes .webm for audio. Libraries that look into the bytes
// (gabriel-vasile/mimetype) need the bytes, which a HeadObject does not bring.
package media

import (
	"path"
	"slices"
	"strings"
	"sync"
)

// kind is one media type. Two names of one kind compare equal everywhere.
type kind struct {
	name    string   // what the relay calls it; octetStream: it has no registered type
	aliases []string // what else it is called
	exts    []string // the first is what an output of this type is given
}

// octetStream is the type that says nothing but "bytes".
const octetStream = "application/octet-stream"

// index is the table by its keys, built when it is first asked for: in a tenth of
// a millisecond, which a cold start that asks for nothing does not spend.
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

// generic are the types that clients send without having looked at the file:
// S3's own default, form posts, and what editors and libraries fall back to. A
// file that has one of them is known by its name, where the name says more.
var generic = []string{
	"", octetStream, "binary/octet-stream", "application/binary", "application/x-binary", "application/unknown", "unknown/unknown",
	"application/x-www-form-urlencoded", "multipart/form-data", "application/force-download", "application/x-download",
	"application/download", "text/plain", "*/*",
}

// base cuts a content type's parameters off, and lowers what is left. It reads
// what clients really send: a header that the standard's grammar refuses still
// begins with a type.
func base(contentType string) string {
	if end := strings.IndexAny(contentType, ";,"); end >= 0 {
		contentType = contentType[:end]
	}
	return strings.ToLower(strings.TrimSpace(contentType))
}

// ext is a name's extension in small letters, its dot included.
func ext(name string) string { return strings.ToLower(path.Ext(name)) }

// TypeByName returns the media type that a file's name tells by its extension;
// empty for one that is not in the table.
func TypeByName(name string) string {
	if kinds := byExt(ext(name)); len(kinds) > 0 {
		return kinds[0].name
	}
	return ""
}

// Type returns what a file is, from its content type and, where that is one that
// clients send without having looked, from its name. A type known under several
// names is returned under the usual one; a type that the table does not have is
// returned as it is.
func Type(name, contentType string) string {
	told := base(contentType)
	if slices.Contains(generic, told) {
		if byName := TypeByName(name); byName != "" && byName != told {
			return byName
		}
		return contentType
	}
	if k := byType(told); k != nil && k.name != told {
		return k.name
	}
	return contentType
}

// Extension returns the extension, its dot included, that a file of this content
// type is given; empty for a type that is not in the table.
func Extension(contentType string) string {
	if k := byType(base(contentType)); k != nil {
		return k.exts[0]
	}
	return ""
}

// Accepts reports whether a file may be given for a parameter that accepts what
// the entries name: a media type, a family of them (image/*), or an extension
// with or without its dot. It compares as a browser's file dialogue does, and
// takes different names of one type for the same. No entries accept everything.
func Accepts(accept []string, name, contentType string) bool {
	if len(accept) == 0 {
		return true
	}
	f := look(name, contentType)
	return slices.ContainsFunc(accept, func(entries string) bool {
		return slices.ContainsFunc(strings.Split(entries, ","), f.is)
	})
}

// file is what is known of one.
type file struct {
	ext   string
	types []string // each name that it may be accepted by
	kinds []*kind
}

// look collects what a file may be called. Its name counts where the content
// type says nothing, and where the two agree: a .webm declared as audio is a
// container that may hold a video as well.
func look(name, contentType string) file {
	f := file{ext: ext(name)}
	told, byName := base(contentType), byExt(f.ext)
	declared, says := byType(told), !slices.Contains(generic, told)
	switch {
	case told == "text/plain" && len(byName) > 0 && !byName[0].text():
		declared = nil // a picture does not become text by its client's default
	case says:
		f.types = append(f.types, told)
	default:
		f.types = append(f.types, told, octetStream)
	}
	if declared != nil {
		f.kinds = append(f.kinds, declared)
	}
	if !says || declared != nil && slices.Contains(byName, declared) {
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
	switch k.name {
	case "application/json", "application/jsonl", "application/xml", "application/yaml", "application/x-subrip":
		return true
	}
	return strings.HasPrefix(k.name, "text/")
}

// is reports whether one accept entry names the file.
func (f file) is(entry string) bool {
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
