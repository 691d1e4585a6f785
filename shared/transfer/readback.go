package transfer

import (
	"context"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
)

// readBack returns the CRC32 of an object by reading it, with nothing of it held
// in memory. A connection that breaks is opened again at the byte it had reached;
// an object that is not that ETag's any more is OutputChanged.
func (s *store) readBack(ctx context.Context, key, etag string, size int64) (uint32, error) {
	sum, next := crc32.NewIEEE(), int64(0)
	for retries := s.retry.start(); ; {
		n, err := s.readRest(ctx, key, etag, size, next, sum)
		if next += n; err == nil {
			return sum.Sum32(), nil
		}
		if n >= minProgress {
			retries = s.retry.start()
		}
		if err = retries.next(ctx, err); err != nil {
			return 0, err
		}
	}
}

// readRest adds the object's bytes from next on to sum, by one request, and
// returns how many they were.
func (s *store) readRest(ctx context.Context, key, etag string, size, next int64, sum hash.Hash) (int64, error) {
	input := &s3.GetObjectInput{Bucket: &s.bucket, Key: &key, IfMatch: orNil(etag)}
	if next > 0 {
		input.Range = aws.String(fmt.Sprintf("bytes=%d-", next))
	}
	out, err := s.s3.GetObject(ctx, input)
	if code, status := s3errors.Code(err); code == "PreconditionFailed" || status == http.StatusPreconditionFailed {
		return 0, named.Errorf(named.OutputChanged, "the object s3://%s/%s is no longer the one that was begun", s.bucket, key)
	}
	if err != nil {
		return 0, storeError(s.bucket, "GetObject", err)
	}
	defer out.Body.Close()
	part := contentRange{total: aws.ToInt64(out.ContentLength)}
	if next > 0 {
		part, err = parseContentRange(aws.ToString(out.ContentRange))
	}
	if err != nil || part.from != next || part.total != size || aws.ToString(out.ETag) != etag {
		return 0, &transientError{err: named.Errorf(named.Unavailable, "S3 GetObject answered with another range than asked")}
	}
	n, err := io.CopyN(sum, out.Body, size-next)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return n, &transientError{err: named.Errorf(named.Unavailable, "reading s3://%s/%s: %w", s.bucket, key, redact.Error(err))}
	}
	// At the end itself the SDK compares the bytes with the object's checksum, if it has one.
	if _, err := out.Body.Read(make([]byte, 1)); err != nil && err != io.EOF {
		return n, named.Errorf(named.Unavailable, "the end of s3://%s/%s: %w", s.bucket, key, redact.Error(err))
	}
	return n, nil
}
