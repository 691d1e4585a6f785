package transfer

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// transientError is a failure that another attempt may cure.
type transientError struct {
	err   error
	after time.Duration // the least wait before it, from Retry-After
}

func (e *transientError) Error() string { return e.err.Error() }
func (e *transientError) Unwrap() error { return e.err }

func isTransient(err error) bool {
	_, ok := errors.AsType[*transientError](err)
	return ok
}

// maxBackoff bounds the wait between two attempts: with 8 of them and a first wait
// of 200 ms, trouble is waited out for some 6 s.
const maxBackoff = 5 * time.Second

// minProgress is how many bytes after a failure make the next one count as the
// first again: an origin that breaks off each time at once is given up, a long
// copy over a poor line is not.
const minProgress = 256 << 10

// retryPolicy says how often an operation is attempted, and with what first wait
// between two attempts; it grows by half each time, with jitter, up to maxBackoff.
type retryPolicy struct {
	attempts int
	backoff  time.Duration
}

// start returns the retries of one operation.
func (p retryPolicy) start() *retries {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = p.backoff
	wait.MaxInterval = maxBackoff
	return &retries{left: p.attempts, wait: wait}
}

// retries counts the attempts of one operation that failed.
type retries struct {
	left int
	wait *backoff.ExponentialBackOff
}

// next waits and returns nil if err is transient and an attempt is left. Else it
// returns the error to end with.
func (r *retries) next(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	transient, ok := errors.AsType[*transientError](err)
	if !ok {
		return err
	}
	if r.left--; r.left <= 0 {
		return transient.err
	}
	timer := time.NewTimer(max(r.wait.NextBackOff(), transient.after))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// do makes attempts until one succeeds or retries.next returns its error.
func (p retryPolicy) do(ctx context.Context, attempt func() error) error {
	for retries := p.start(); ; {
		err := attempt()
		if err == nil {
			return nil
		}
		if err = retries.next(ctx, err); err != nil {
			return err
		}
	}
}
