package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"golang.org/x/sync/errgroup"
)

// stream copies an output that can only be had in one answer: the origin has no
// ranges, or nothing that ties them to one content. A stream that breaks is read
// again from its start, and no later call can resume it.
func (j *outputCopy) stream(ctx context.Context, key string, first *rangeReader) (Result, error) {
	file := first.known
	file.Ranges = false
	if file.Total > j.bufferSize*maxParts {
		return Result{}, named.Errorf(named.Unavailable, "the output has %d bytes, more than can be copied from an origin without ranges", file.Total)
	}
	s := &streaming{outputCopy: j, key: key, file: file, open: j.source(first, file, 0, file.Total)}
	var res Result
	err := j.retry.do(ctx, func() (err error) {
		res, err = s.attempt(ctx)
		return err
	})
	if err == nil || s.up == nil {
		return res, err
	}
	if !errors.Is(err, errUploadGone) {
		s.up.abort(ctx) // nothing could resume it
	}
	return j.abandon(ctx, s.up, err)
}

// streaming is the copy of one stream over its attempts.
type streaming struct {
	*outputCopy
	key  string
	file OriginFile
	open openBody
	up   *multipartUpload // nil until a second part is needed

	// Of the attempt under way:
	total int64  // bytes read
	whole Result // is Done if they fitted into one part
}

// attempt reads the origin from its first byte to its end, and uploads one part
// while it reads the next. Reading and uploads end with the first that fails.
func (s *streaming) attempt(ctx context.Context) (Result, error) {
	s.total, s.whole = 0, Result{}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		source := s.open(groupCtx)
		defer source.Close()
		for i := 0; ; i++ {
			if ended, err := s.part(groupCtx, group, source, i); err != nil || ended {
				return err
			}
		}
	})
	if err := group.Wait(); err != nil {
		return Result{}, err
	}
	if s.whole.Done {
		if s.up != nil { // an earlier attempt was given more
			s.up.abort(ctx)
			s.up = nil
		}
		return s.whole, nil
	}
	s.up.Total = s.total
	return s.up.complete(ctx)
}

// part fills one buffer and starts its upload. If the stream ends within the first
// buffer it stores that as the whole object.
func (s *streaming) part(ctx context.Context, group *errgroup.Group, source io.Reader, i int) (ended bool, err error) {
	buffer, err := s.buffer(ctx)
	if err != nil {
		return false, err
	}
	n, err := io.ReadFull(source, buffer)
	s.total += int64(n)
	// ReadFull's own two ways to say that the source ended; a source that broke off
	// returns a transientError, never these.
	ended = err == io.EOF || err == io.ErrUnexpectedEOF && n > 0
	switch {
	case err != nil && !ended:
	case ended && s.file.Total >= 0 && s.total != s.file.Total:
		err = &transientError{err: io.ErrUnexpectedEOF}
	case i == 0 && ended:
		s.whole = newResult(s.key, s.file)
		s.whole.Bytes = s.total
		s.whole, err = s.bucket.put(ctx, s.whole, inMemory(buffer[:n]))
	case n == 0:
		err = nil
	case i == maxParts:
		err = named.Errorf(named.Unavailable, "the output is longer than %d bytes, more than can be copied from an origin without ranges", s.bufferSize*maxParts)
	default:
		if err = nil; s.up == nil {
			s.up, err = s.create(ctx, s.key, s.file, s.bufferSize)
		}
		if err != nil {
			break
		}
		s.up.reserve(i)
		group.Go(func() error {
			defer s.free(buffer)
			return s.up.put(ctx, i, int64(n), inMemory(buffer[:n]))
		})
		return ended, nil
	}
	s.free(buffer)
	return ended, err
}

// inMemory is a body of those bytes.
func inMemory(data []byte) openBody {
	return func(context.Context) io.ReadCloser { return io.NopCloser(bytes.NewReader(data)) }
}
