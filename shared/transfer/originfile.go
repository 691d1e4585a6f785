package transfer

import (
	"fmt"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// OriginFile is an output as the origin's answer describes it.
type OriginFile struct {
	// Name is the file's name, from Content-Disposition or the URL. It has no
	// directory, and may be empty.
	Name            string
	ContentType     string
	ContentEncoding string // without "aws-chunked", which says nothing of the file
	ETag            string // as sent, quotes and W/ included
	LastModified    string // as sent
	Total           int64  // bytes of the file; -1: the origin does not say
	Ranges          bool   // the origin serves ranges, and an ETag or Last-Modified ties each to one content
}

// strongETag returns the ETag if If-Match can use it, else "": a weak one never
// matches (RFC 9110, 13.1.1), and one with nothing between its quotes is every
// file's.
func strongETag(etag string) string {
	if strings.HasPrefix(etag, `"`) && strings.Trim(etag, `"`) != "" {
		return etag
	}
	return ""
}

// check compares a later answer with r, the first one, unless that is nil. Ranges are joined only if
// they are of one content: where the validator differs, the error is a
// *oneStreamError, for only the whole in one answer will do. An answer that is the
// whole is joined to nothing, so its ETag may differ, as between the nodes of one
// store; another length, encoding or time of change is OutputChanged. The time may
// be the node's own, so that error is transient: the origin is asked again before
// it is believed.
func (r *OriginFile) check(later OriginFile, whole bool) error {
	if r == nil {
		return nil
	}
	sameTag := strongETag(r.ETag) != "" && r.ETag == later.ETag
	switch {
	case r.Total != later.Total && (!whole || r.Total >= 0 && later.Total >= 0):
		return named.Errorf(named.OutputChanged, "the output had %d bytes and now has %d", r.Total, later.Total)
	case r.ContentEncoding != later.ContentEncoding:
		return named.Errorf(named.OutputChanged, "the output's encoding was %q and is now %q", r.ContentEncoding, later.ContentEncoding)
	case sameTag:
		return nil
	case whole && r.LastModified != later.LastModified && r.LastModified != "" && later.LastModified != "":
		return &transientError{err: named.Errorf(named.OutputChanged, "the output was modified %q and now %q", r.LastModified, later.LastModified)}
	case whole:
		return nil
	case r.ETag != later.ETag:
		return &oneStreamError{why: fmt.Sprintf("its ETag was %s and is now %s", r.ETag, later.ETag)}
	case r.LastModified != later.LastModified:
		return &oneStreamError{why: fmt.Sprintf("it was modified %q and now %q", r.LastModified, later.LastModified)}
	}
	return nil
}
