package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// rangeReader reads the bytes [next, end) of an output. When the origin breaks off
// it asks for the rest, from the byte that was reached, and compares the answer
// with what is known of the output: its caller sees no break.
type rangeReader struct {
	origin *origin
	ctx    context.Context
	known  OriginFile

	next, end int64         // end -1: where the origin ends
	body      io.ReadCloser // nil: none is open
	cancel    context.CancelCauseFunc
	idle      *time.Timer
	retries   *retries // nil before the first failure
	failedAt  int64    // where the last failure was
}

// probe is the first GET. Its answer says all there is to know of the output and
// is the first part already; a HEAD would be answered with 403 by a presigned GET.
// Where the range cannot be used it asks for the whole. known, unless it is nil,
// is what an earlier probe was told, and is compared with the answer.
func (o *origin) probe(ctx context.Context, want byteRange, known *OriginFile) (*rangeReader, error) {
	r := &rangeReader{origin: o, ctx: ctx}
	for retries := o.retry.start(); ; {
		var err error
		if r.known, err = r.connect(want, known); err == nil {
			if known != nil && r.known.Total < 0 {
				r.known.Total = known.Total // which its ranges said
			}
			r.end = r.known.Total
			return r, nil
		}
		if errors.Is(err, errNoRange) && !want.whole {
			want = byteRange{whole: true}
		} else if err = retries.next(ctx, err); err != nil {
			return nil, err
		}
	}
}

func (o *origin) newRangeReader(ctx context.Context, known OriginFile, from, to int64) *rangeReader {
	return &rangeReader{origin: o, ctx: ctx, known: known, next: from, end: to, failedAt: from}
}

var errOriginStalled = errors.New("the origin sent nothing for too long")

// connect opens the answer to one GET, and returns the output as it describes it.
func (r *rangeReader) connect(want byteRange, known *OriginFile) (OriginFile, error) {
	ctx, cancel := context.WithCancelCause(r.ctx)
	resp, file, err := r.origin.open(ctx, want, known)
	if err != nil {
		cancel(nil)
		return OriginFile{}, err
	}
	r.body, r.cancel = resp.Body, cancel
	r.idle = time.AfterFunc(r.origin.stall, func() { cancel(errOriginStalled) })
	r.idle.Stop()
	return file, nil
}

// bind makes a reader that was opened before the request it is the body of read up
// to end, and end with the request's context.
func (r *rangeReader) bind(ctx context.Context, end int64) {
	cancel := r.cancel
	r.ctx, r.end = ctx, end
	context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
}

func (r *rangeReader) Read(p []byte) (int, error) {
	for {
		if r.next == r.end {
			return 0, r.finish()
		}
		n, err := r.readOnce(p)
		if n > 0 && r.retries != nil && r.next == r.failedAt {
			r.origin.truncations.clear(r.next)
		}
		r.next += int64(n)
		r.origin.fetched.Add(int64(n))
		if n > 0 {
			return n, nil // a lasting failure shows at the next read
		}
		if err == nil {
			continue
		}
		if err == io.EOF && r.end < 0 {
			r.Close()
			r.end = r.next
			return 0, io.EOF
		}
		if err = r.retry(err); err != nil {
			return 0, err
		}
	}
}

func (r *rangeReader) readOnce(p []byte) (int, error) {
	if r.body == nil {
		if _, err := r.connect(byteRange{from: r.next, to: r.end, whole: !r.known.Ranges}, &r.known); err != nil {
			return 0, err
		}
	}
	if r.end >= 0 {
		p = p[:min(int64(len(p)), r.end-r.next)]
	}
	r.idle.Reset(r.origin.stall)
	n, err := r.body.Read(p)
	r.idle.Stop()
	return n, err
}

// retry closes the open answer and waits, or returns the error to end with.
func (r *rangeReader) retry(err error) error {
	repeated := false
	if r.body != nil {
		r.Close()
		err, repeated = r.classifyBreak(err)
	}
	if !isTransient(err) {
		return err
	}
	if !r.known.Ranges && r.next > 0 {
		return err // only the whole can be asked for again: stream starts again
	}
	if r.retries == nil || r.next-r.failedAt >= minProgress {
		r.retries = r.origin.retry.start()
	}
	if repeated {
		r.retries.left++
	}
	r.failedAt = r.next
	return r.retries.next(r.ctx, err)
}

// classifyBreak turns a body that ended early into an error. repeated reports that
// one ended at this byte before: that does not use up an attempt, for only an
// output that ends there does so for a minute. After maxTruncations of them, or as
// many as there are attempts if there are no ranges, it is OutputTruncated.
func (r *rangeReader) classifyBreak(err error) (_ error, repeated bool) {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		count, most := r.origin.truncations.record(r.next), r.origin.maxTruncations
		if !r.known.Ranges {
			most = r.origin.retry.attempts
		}
		if count >= most {
			return named.Errorf(named.OutputTruncated, "the origin ended the output after %d bytes, %d times, and had announced more", r.next, count), false
		}
		repeated = count > 1
	}
	return &transientError{err: fmt.Errorf("the origin broke off after %d bytes: %w", r.next, redact.Error(err))}, repeated
}

// finish demands that the body ends where it was announced to, by whatever error:
// every byte is here. That also frees the connection for the next part.
func (r *rangeReader) finish() error {
	if r.body == nil {
		return io.EOF
	}
	r.idle.Reset(r.origin.stall)
	n, _ := r.body.Read(make([]byte, 1))
	r.Close()
	if n > 0 {
		return named.Errorf(named.OutputTruncated, "the origin sent more bytes than it announced")
	}
	return io.EOF
}

// Close closes the open answer, if there is one. It never fails.
func (r *rangeReader) Close() error {
	if r.body != nil {
		r.idle.Stop()
		_ = r.body.Close()
		r.cancel(nil)
		r.body = nil
	}
	return nil
}
