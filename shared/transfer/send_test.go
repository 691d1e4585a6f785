package transfer

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// waiting is a source that has nothing to give before its context ends.
type waiting struct {
	ctx   context.Context
	asked chan struct{}
}

func (w *waiting) Read([]byte) (int, error) {
	close(w.asked)
	<-w.ctx.Done()
	return 0, context.Cause(w.ctx)
}

func (w *waiting) Close() error { return nil }

// S3's refusal ends the request at once and under its own name, though a Read is
// waiting for the origin.
func TestRefusalEndsTheRequest(t *testing.T) {
	asked, refused := make(chan struct{}), errors.New("503 SlowDown")
	_, err := (&bucketClient{stall: time.Minute}).sendOnce(t.Context(), "UploadPart", 1000,
		func(ctx context.Context) io.ReadCloser { return &waiting{ctx, asked} },
		func(_ context.Context, body io.Reader, _ ...func(*s3.Options)) (*string, error) {
			go func() { _, _ = body.Read(make([]byte, 2000)) }()
			<-asked
			return nil, refused
		})
	if !isTransient(err) || !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
}

// TestShortSource: a source that ends too early breaks the request, and is the
// error that is reported.
func TestShortSource(t *testing.T) {
	_, err := (&bucketClient{stall: time.Minute}).sendOnce(t.Context(), "UploadPart", 1000, inMemory(make([]byte, 10)),
		func(_ context.Context, body io.Reader, _ ...func(*s3.Options)) (*string, error) {
			_, err := body.Read(make([]byte, 2000))
			return nil, err
		})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
}
