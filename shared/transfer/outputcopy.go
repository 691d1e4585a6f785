package transfer

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
)

// Errors that direct the copy and never leave the package.
var (
	// errUploadGone: S3 no longer knows the multipart upload. Another call completed
	// it if the object is there; else somebody aborted it.
	errUploadGone = errors.New("the multipart upload no longer exists")
	// errRestart: nothing is left to resume; the copy starts again from byte 0.
	errRestart = errors.New("the copy has to start again")
)

// oneStreamError says why ranges of the output cannot be joined: the copy starts
// again with the whole in one answer.
type oneStreamError struct{ why string }

func (e *oneStreamError) Error() string { return "the output's ranges cannot be joined: " + e.why }

func needsOneStream(err error) bool {
	_, ok := errors.AsType[*oneStreamError](err)
	return ok
}

// outputCopy is the copy of one output in one call.
type outputCopy struct {
	*pool
	origin   *origin
	bucket   *bucketClient
	partSize int64
	retry    retryPolicy
	key      func(OriginFile) string
	save     Save
	stored   atomic.Int64 // bytes in whole parts, for Result.Stored

	restarts int // for Checkpoint.Restarts
	// oneStream: ranges cannot be joined, so the output is copied from one answer. It
	// is compared with known, the last answer to a probe for a range; nil: there is none.
	oneStream bool
	known     *OriginFile
}

// giveUpRanges makes the next start copy the output in one stream. The parts that
// were stored have been aborted: no later call can resume them.
func (j *outputCopy) giveUpRanges() {
	j.oneStream = true
	j.stored.Store(0)
}

// source returns what opens the bytes [from, to) for each attempt to send them:
// the probe's answer for the first one, unless it is nil, and then a range of its
// own.
func (j *outputCopy) source(first *rangeReader, known OriginFile, from, to int64) openBody {
	return func(ctx context.Context) io.ReadCloser {
		if first == nil {
			return j.origin.newRangeReader(ctx, known, from, to)
		}
		r := first
		first = nil
		r.bind(ctx, to)
		return r
	}
}

// create begins a multipart upload, of parts of the usual size if that will do, and
// has the caller save its checkpoint before the first byte: an upload that nobody
// knows is paid for until the bucket's rule for incomplete uploads ends it.
func (j *outputCopy) create(ctx context.Context, key string, file OriginFile, usual int64) (*multipartUpload, error) {
	partSize, err := partSizeFor(file.Total, usual)
	if err != nil {
		return nil, err
	}
	up, err := j.bucket.create(ctx, Checkpoint{
		Key: key, PartSize: partSize, OriginFile: file, Stream: !file.Ranges, Restarts: j.restarts,
	})
	if err != nil || j.save == nil {
		return up, err
	}
	if err := j.save(ctx, up.Checkpoint); err != nil {
		up.abort(ctx)
		return nil, err
	}
	return up, nil
}

// abandon decides what an upload that failed comes to. If another call has stored
// the object, which explains an upload that is gone, cannot be completed or, at
// some servers, only ever breaks the connection, that is the result. An upload that
// is gone without one is started again. Of the rest, what no later call could
// resume is aborted.
func (j *outputCopy) abandon(ctx context.Context, up *multipartUpload, err error) (Result, error) {
	if ctx.Err() != nil {
		return Result{}, err
	}
	gone := errors.Is(err, errUploadGone)
	res, found, findErr := j.bucket.find(ctx, up.Key, up.Total)
	switch {
	case found && findErr == nil:
		up.abort(ctx) // the object may have come by another upload, and this one is nobody's now
		return res, nil
	case gone && findErr != nil:
		return Result{}, findErr
	case gone:
		return Result{}, errRestart
	case endsUpload(err):
		up.abort(ctx)
	}
	return Result{}, err
}

// endsUpload reports that no later call could resume the upload after the error.
func endsUpload(err error) bool {
	code, _ := s3errors.Code(err)
	e, isNamed := named.As(err)
	return code == "BadDigest" || needsOneStream(err) || isNamed && slices.Contains(outputErrors, e.Name)
}

// outputErrors say that the origin does not give the output as it was announced.
var outputErrors = []string{named.OutputChanged, named.OutputTruncated, named.OutputExpired, named.OutputUnavailable}
