package transfer

import (
	"context"
	"errors"
	"io"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// openBody opens the source of one attempt to send a body: a [rangeReader], or bytes
// in memory.
type openBody func(context.Context) io.ReadCloser

// bodyRequest makes one request of S3 with a body, and returns the CRC32 that S3
// says it stored, in its own encoding; nil if it says none.
type bodyRequest func(ctx context.Context, body io.Reader, options ...func(*s3.Options)) (stored *string, err error)

var errS3Stalled = errors.New("S3 neither read nor answered for too long")

// send makes a request with a body of that length and returns the CRC32 of what
// was sent. A request that fails is made again from the body's start: S3 keeps
// nothing of a body that broke off.
func (s *bucketClient) send(ctx context.Context, operation string, length int64, open openBody, request bodyRequest) (crc uint32, err error) {
	err = s.retry.do(ctx, func() (err error) {
		crc, err = s.sendOnce(ctx, operation, length, open, request)
		return err
	})
	return crc, err
}

func (s *bucketClient) sendOnce(ctx context.Context, operation string, length int64, open openBody, request bodyRequest) (uint32, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	source := open(ctx)
	defer source.Close()
	body := newChunkedBody(source, length, s.stall, func() { cancel(errS3Stalled) })
	stored, err := request(ctx, body, body.options)
	sourceErr := body.sourceError() // before the next line makes one
	if err != nil {
		cancel(err) // or a Read that still waits for the origin would hold up close
	}
	body.close()
	if sourceErr != nil {
		return 0, sourceErr
	}
	unavailable := func(why error) error {
		return &transientError{err: named.Errorf(named.Unavailable, "S3 %s: %w", operation, why)}
	}
	if errors.Is(context.Cause(ctx), errS3Stalled) {
		return 0, unavailable(errS3Stalled)
	}
	if err != nil {
		return 0, s3Error(s.bucket, operation, err)
	}
	crc, whole := body.sum()
	if !whole {
		return 0, unavailable(errors.New("it was answered before the body was sent"))
	}
	if theirs, ok := decodeCRC32(stored); ok && theirs != crc {
		return 0, unavailable(errors.New("other bytes are stored than were sent"))
	}
	return crc, nil
}
