package handler

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
)

// findObject returns the object as it was uploaded: the version that the event names,
// or else the one that has the event's ETag. The upload that it returns has the
// object's own key and size. A version that is gone, or bytes that were replaced where
// no versions are kept, start nothing: a later upload has an event of its own.
//
// The key of an EventBridge event is taken raw first, then URL-decoded; the
// decoded one only if it leads to the event's own ETag.
func (h *Handler) findObject(ctx context.Context, u upload) (upload, *s3.HeadObjectOutput, error) {
	head, err := h.head(ctx, u)
	key, bad := url.QueryUnescape(u.key)
	if missing(err) && u.encoded && u.etag != "" && bad == nil && key != u.key && utf8.ValidString(key) {
		decoded := u
		decoded.key = key
		if found, again := h.head(ctx, decoded); !missing(again) {
			u, head, err = decoded, found, again
		}
	}
	switch {
	case missing(err) && u.version != "":
		return u, nil, skipWithWarning("its version was deleted, or is another object's")
	case missing(err):
		return u, nil, skipWithWarning("it was taken away or replaced since")
	case err != nil:
		return u, nil, named.Errorf(named.Unavailable, "S3 could not look up %s: %w", u, err)
	}
	if head.ContentLength != nil {
		u.size = head.ContentLength
	}
	return u, head, nil
}

func (h *Handler) head(ctx context.Context, u upload) (*s3.HeadObjectOutput, error) {
	in := &s3.HeadObjectInput{Bucket: &u.bucket, Key: &u.key}
	if u.version != "" {
		in.VersionId = &u.version
	} else if u.etag != "" {
		in.IfMatch = aws.String(quoted(u.etag))
	}
	head, err := h.Inbox.HeadObject(ctx, in)
	if err == nil && u.etag != "" && aws.ToString(head.ETag) != quoted(u.etag) {
		return nil, errOtherETag
	}
	return head, err
}

// errOtherETag says that the object under a key is not the one that was uploaded.
var errOtherETag = errors.New("the object has another ETag")

func quoted(etag string) string { return `"` + etag + `"` }

// missing reports whether an error says that the object, or its version, is not
// there, or is not the one that was uploaded. S3 answers 405 for a delete marker.
func missing(err error) bool {
	_, status := s3errors.Code(err)
	return status == http.StatusNotFound || status == http.StatusPreconditionFailed || status == http.StatusMethodNotAllowed ||
		errors.Is(err, errOtherETag)
}

// skipCopyOfItself returns why a copied object starts no run if it is what its key held
// before: the version before it has the same ETag and the same parameters in its
// metadata. It returns nil in a bucket that keeps no versions.
func (h *Handler) skipCopyOfItself(ctx context.Context, u upload, head *s3.HeadObjectOutput) error {
	in := &s3.ListObjectVersionsInput{Bucket: &u.bucket, Prefix: &u.key}
	wanted := 2 // this one and the one before
	if u.version != "" {
		in.KeyMarker, in.VersionIdMarker, wanted = &u.key, &u.version, 1
	}
	in.MaxKeys = aws.Int32(int32(wanted))
	list, err := h.Inbox.ListObjectVersions(ctx, in)
	if err != nil {
		return named.Errorf(named.Unavailable, "S3 could not list the versions of %s: %w", u, err)
	}
	other := func(v types.ObjectVersion) bool {
		return aws.ToString(v.Key) != u.key || aws.ToString(v.ETag) != aws.ToString(head.ETag)
	}
	if len(list.Versions) < wanted || slices.ContainsFunc(list.Versions[:wanted], other) {
		return nil // there was none before it, or other bytes, or a delete marker
	}
	before, err := h.Inbox.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &u.bucket, Key: &u.key, VersionId: list.Versions[wanted-1].VersionId})
	switch {
	case err != nil && !missing(err):
		return named.Errorf(named.Unavailable, "S3 could not look up an earlier version of %s: %w", u, err)
	case err == nil && maps.Equal(parametersOf(before), parametersOf(head)):
		return skip("it was copied onto itself, with the same bytes and the same parameters")
	}
	return nil
}
