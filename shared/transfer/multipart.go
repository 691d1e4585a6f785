package transfer

import (
	"context"
	"sync/atomic"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
	"golang.org/x/sync/errgroup"
)

// maxRestarts is how many calls may meet another output than the one before. After
// that it is copied in one stream, or the calls would start again for ever.
const maxRestarts = 3

// multipart copies an output in parts, each from a range of its own. first is the
// open answer to the range of the first part, and holds a connection of the pool.
func (j *outputCopy) multipart(ctx context.Context, key string, first *rangeReader) (Result, error) {
	up, err := j.create(ctx, key, first.known, j.partSize)
	if err != nil {
		first.Close()
		j.release()
		return Result{}, err
	}
	up.plan()
	return j.copyAndComplete(ctx, up, first)
}

// resume copies the rest of an earlier call's upload. Each range is compared with
// the checkpoint: if the output has changed since, the upload is aborted and the
// error is errRestart, as it is for a checkpoint that nothing can resume.
func (j *outputCopy) resume(ctx context.Context, cp Checkpoint) (Result, error) {
	if cp.UploadID == "" {
		return Result{}, errRestart
	}
	up := &multipartUpload{bucketClient: j.bucket, Checkpoint: cp}
	j.restarts = cp.Restarts
	if cp.Stream {
		res, found, err := j.bucket.find(ctx, cp.Key, cp.Total)
		if err != nil || found && cp.Total >= 0 {
			return res, err
		}
		up.abort(ctx)
		return Result{}, errRestart
	}
	if !cp.resumable() {
		return Result{}, errRestart
	}
	up.Ranges = true // which no checkpoint says
	up.plan()
	if err := up.list(ctx); err != nil {
		return j.abandon(ctx, up, err)
	}
	res, err := j.copyAndComplete(ctx, up, nil)
	if !named.Is(err, named.OutputChanged) && !needsOneStream(err) {
		return res, err
	}
	if j.restarts++; j.restarts > maxRestarts {
		j.giveUpRanges()
	}
	return Result{}, errRestart
}

// copyAndComplete copies the parts that are missing and completes the upload. It
// does so again if S3 then misses a part, as when another call works on the same
// upload.
func (j *outputCopy) copyAndComplete(ctx context.Context, up *multipartUpload, first *rangeReader) (Result, error) {
	const rounds = 3 // two calls that meet need two; a bucket that never agrees is given up
	var err error
	for range rounds {
		if err = j.copyParts(ctx, up, first); err != nil {
			break
		}
		first = nil
		if len(up.missing()) > 0 {
			return Result{}, nil // out of time
		}
		var res Result
		if res, err = up.complete(ctx); err == nil {
			return res, nil
		}
		if code, _ := s3errors.Code(err); code != "InvalidPart" && code != "InvalidPartOrder" {
			break
		}
		if listErr := up.list(ctx); listErr != nil {
			err = listErr
			break
		}
	}
	return j.abandon(ctx, up, err)
}

// copyParts copies the missing parts, each over a connection of its own, until none is
// left or it is time to stop. The first one's is the probe's, with its open answer,
// unless that is nil.
func (j *outputCopy) copyParts(ctx context.Context, up *multipartUpload, first *rangeReader) error {
	group, ctx := errgroup.WithContext(ctx)
	var failed atomic.Bool // set before the connection of the part that failed is free
	for _, i := range up.missing() {
		mine := first
		first = nil
		if mine == nil {
			if ok, err := j.acquire(ctx); !ok {
				group.Go(func() error { return err })
				break
			}
			if failed.Load() {
				j.release()
				break
			}
		}
		group.Go(func() error {
			defer j.release()
			err := j.copyPart(ctx, up, i, mine)
			failed.CompareAndSwap(false, err != nil)
			return err
		})
	}
	return group.Wait()
}

// copyPart copies a range of the origin straight into part i. first is its open answer,
// or nil.
func (j *outputCopy) copyPart(ctx context.Context, up *multipartUpload, i int, first *rangeReader) error {
	if first != nil {
		defer first.Close()
	}
	from, size := int64(i)*up.PartSize, up.size(i)
	err := up.put(ctx, i, size, j.source(first, up.OriginFile, from, from+size))
	if err == nil {
		j.stored.Add(size)
	}
	return err
}
