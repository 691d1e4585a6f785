package transfer

import "strings"

// Result is the result of a [Copier.Copy].
type Result struct {
	// Done reports that the object is stored. Without Done and without an error time ran
	// out: call Copy again with the checkpoint that save got. Only Copied and Stored are
	// set then.
	Done            bool
	Skipped         bool   // the object was stored already, by an earlier call or by another one at the same time
	Key             string // of the object
	Bytes           int64
	CRC32           uint32 // IEEE, of the whole object
	ETag            string // as S3 gave it
	ContentType     string // as stored
	ContentEncoding string // as stored; empty: none

	Fetched int64 // bytes that this call fetched from the origin, repeated ones included
	Stored  int64 // bytes that this call stored as whole parts, which the next call need not fetch
}

func newResult(key string, file OriginFile) Result {
	return Result{
		Done: true, Key: key, Bytes: file.Total,
		ContentType: contentType(file.ContentType), ContentEncoding: file.ContentEncoding,
	}
}

// maxContentType bounds the type that an object is stored with, in bytes. S3 takes
// 8 KB of headers in all; a type with its parameters has some 50.
const maxContentType = 1 << 10

// contentType returns the type that an object is stored with. A header that is
// not printable ASCII (a file's name among its parameters, mostly) would break the
// signature of the request to S3, and a very long one be refused: its parameters
// are left out, or all of it.
func contentType(header string) string {
	printable := func(s string) bool {
		return s != "" && len(s) <= maxContentType && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
	}
	base, _, _ := strings.Cut(header, ";")
	for _, usable := range []string{header, strings.TrimSpace(base)} {
		if printable(usable) {
			return usable
		}
	}
	return "application/octet-stream"
}
