package run

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/media"
)

// The names of the relay's own files below a run's prefix, the id of an output without
// one, and the limits of names, in bytes.
const (
	// ManifestName is the last part of the key of a run's manifest, a [Manifest] as JSON.
	ManifestName = "manifest.json"
	// ErrorName is the last part of the key of the file that says why a run did not
	// succeed, a [Failure] as JSON.
	ErrorName = "error.json"
	// LoneOutputID is the id that the relay gives to an output without one: that of a
	// result which has a download_url beside, or instead of, its download_urls.
	LoneOutputID = "output"

	// maxSafeID and maxOutputName keep prefix, id and extension within S3's 1,024
	// bytes of key.
	maxSafeID     = 200
	maxOutputName = maxSafeID + 1 + maxExtension
	// unknownExtension: an output always has an extension, so that the outputs
	// "a" (a .png) and "a.png" (of no known type) can not share a key.
	unknownExtension = ".bin"
	// maxExtension counts without the dot: nearly three times the longest that
	// workflows are known to make (.safetensors). What is longer is rather a part
	// of a name, and would take from the prefix's room in the key.
	maxExtension = 32
)

// OutputName returns the file name of an output below the run's prefix, from the
// output's id, the file's name at its origin, and its content type. Two ids of one task
// never give the same name, and no id gives manifest.json or error.json.
func OutputName(id, originName, contentType string) string {
	return safeID(id) + extension(originName, contentType)
}

// safeID keeps letters, digits, '.', '-' and '_', and writes every other byte as
// ~XX: injective, without '/', and readable for the ids that occur.
func safeID(id string) string {
	var b strings.Builder
	reserved := id+".json" == ManifestName || id+".json" == ErrorName
	for i, c := range []byte(id) {
		plain := isAlnum(rune(c)) && !(reserved && i == 0) || c == '-' || c == '_' || c == '.' && i > 0
		if plain {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "~%02X", c)
		}
	}
	switch {
	case b.Len() == 0:
		return "~"
	case b.Len() > maxSafeID:
		sum := sha256.Sum256([]byte(id))
		return b.String()[:maxSafeID/2] + "~~" + hex.EncodeToString(sum[:8]) // "~~" is in no escaped id
	}
	return b.String()
}

// extension returns the extension of the origin's name for the file, else that of its type.
// Digits alone ("Model v1.5", "frames.001") are an extension only where the type
// tells none.
func extension(originName, contentType string) string {
	ext := path.Ext(originName)
	if !plainExtension(ext) {
		ext = ""
	} else if strings.Trim(ext, ".0123456789") != "" {
		return ext
	}
	return cmp.Or(media.Extension(contentType), ext, unknownExtension)
}

func plainExtension(ext string) bool {
	return len(ext) > 1 && len(ext) <= maxExtension+1 && !strings.ContainsFunc(ext[1:], func(c rune) bool { return !isAlnum(c) })
}

// maxMetadata bounds one of an object's three values: S3 takes 2 KB of metadata,
// names included, and refuses the object for more.
const maxMetadata = 600

// MetadataValue returns a string as an S3 metadata header can carry it: printable ASCII
// as it is, any other string percent-encoded, and at most 600 bytes of either. A string
// with blanks at its ends is percent-encoded as well, since a header loses them.
func MetadataValue(s string) string {
	escaped := s
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) || strings.TrimSpace(s) != s {
		escaped = url.PathEscape(s)
	}
	if len(escaped) <= maxMetadata {
		return escaped
	}
	escaped = escaped[:maxMetadata]
	if i := strings.LastIndexByte(escaped, '%'); i > maxMetadata-len("%XX") {
		escaped = escaped[:i] // never within an escape
	}
	return escaped
}

// OutputMetadata returns the S3 metadata of an object that a run writes to the output
// bucket: the ids of the run, of its task and of the output. outputID is empty for
// manifest.json and error.json.
func OutputMetadata(r Record, outputID string) map[string]string {
	m := map[string]string{}
	for name, id := range map[string]string{"cyberun-run-id": r.RunID, "cyberun-task-id": r.TaskID, "cyberun-output-id": outputID} {
		if id != "" {
			m[name] = MetadataValue(id)
		}
	}
	return m
}
