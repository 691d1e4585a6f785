package transfer

import (
	"context"
	"errors"
	"io"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// copyFrom resumes the checkpoint's upload, and starts again where that has become
// impossible: at most once since the upload was aborted or the origin has another
// file, and once since ranges cannot be joined.
func (j *outputCopy) copyFrom(ctx context.Context, from *Checkpoint) (Result, error) {
	if j.stopped() {
		return Result{}, nil
	}
	if from != nil {
		res, err := j.resume(ctx, *from)
		if !errors.Is(err, errRestart) {
			return res, err
		}
	}
	for restarted := false; ; {
		res, err := j.start(ctx)
		switch {
		case needsOneStream(err) && !j.oneStream:
			j.giveUpRanges()
		case errors.Is(err, errRestart) && !restarted:
			restarted = true
		case errors.Is(err, errRestart):
			return res, named.Errorf(named.Unavailable, "the multipart upload was aborted twice by somebody else")
		default:
			return res, err
		}
	}
}

// start asks the origin for the first part and copies by the way that its answer
// allows: in a single request, in parts from ranges, or in one stream.
func (j *outputCopy) start(ctx context.Context) (Result, error) {
	if ok, err := j.acquire(ctx); !ok {
		return Result{}, err
	}
	want, known := byteRange{to: j.partSize}, (*OriginFile)(nil)
	if j.oneStream {
		want, known = byteRange{whole: true}, j.known
	}
	first, err := j.origin.probe(ctx, want, known)
	if err != nil {
		j.release()
		return Result{}, err
	}
	file := first.known
	if !j.oneStream {
		j.known = &file
	}
	key := j.key(file)
	if res, found, err := j.bucket.find(ctx, key, file.Total); err != nil || found {
		first.Close()
		j.release()
		return res, err
	}
	if file.Ranges && file.Total > j.partSize {
		return j.multipart(ctx, key, first) // releases the connection with the first part
	}
	defer j.release()
	defer first.Close()
	if file.Total >= 0 && file.Total <= j.partSize {
		return j.single(ctx, key, first)
	}
	return j.stream(ctx, key, first)
}

// single stores an output of at most one part straight from the open answer.
func (j *outputCopy) single(ctx context.Context, key string, first *rangeReader) (Result, error) {
	if first.known.Total == 0 {
		if _, err := first.Read(make([]byte, 1)); err != io.EOF {
			return Result{}, err
		}
	}
	return j.bucket.put(ctx, newResult(key, first.known), j.source(first, first.known, 0, first.known.Total))
}
