package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// tries counts failures in a row and waits after each, longer every time.
type tries struct {
	left int
	wait *backoff.ExponentialBackOff
}

func (c *Copier) newTries() *tries {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = c.Backoff
	wait.MaxInterval = maxBackoff
	return &tries{left: c.Attempts, wait: wait}
}

// again waits and returns nil when err is worth another try, else the error to
// end with.
func (t *tries) again(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var p *passing
	if !errors.As(err, &p) {
		return err
	}
	if t.left--; t.left <= 0 {
		return p.err
	}
	timer := time.NewTimer(max(t.wait.NextBackOff(), p.after))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// span reads one range of the remote file, and hides behind io.Reader that the
// origin broke off: it opens the range again from the byte it had reached,
// holding each answer against what is known of the file.
type span struct {
	c     *Copier
	ctx   context.Context
	from  *address
	known Remote
	count func(int) // told of every byte fetched

	next, end int64 // end -1: until the origin ends
	body      io.ReadCloser
	cancel    context.CancelCauseFunc
	idle      *time.Timer
	tries     *tries
	mark      int64 // where the last failure was
	cuts      *cuts
}

// cuts tells a file that ends too early from an origin that breaks off: only the
// first is cut at the very same byte, however often it is asked for.
type cuts struct {
	mu sync.Mutex
	at map[int64]int
}

// another counts a cut at that byte.
func (c *cuts) another(at int64) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == nil {
		c.at = map[int64]int{}
	}
	c.at[at]++
	return c.at[at]
}

// passed forgets the cuts at a byte that was given after all.
func (c *cuts) passed(at int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.at, at)
}

// freshAfter is the progress that makes a failure count as the first again: an
// origin that always breaks off is left in the end, a long copy over a poor
// line is not.
const freshAfter = 256 << 10

// attach gives the span an answer that is open already.
func (s *span) attach(resp *http.Response, cancel context.CancelCauseFunc) {
	s.body, s.cancel = resp.Body, cancel
	s.idle = time.AfterFunc(s.c.Stall, func() { cancel(errOriginStalled) })
	s.idle.Stop()
}

func (s *span) Read(p []byte) (int, error) {
	for {
		if s.next == s.end {
			return 0, s.finish()
		}
		n, err := s.readOnce(p)
		if n > 0 && s.tries != nil && s.next == s.mark {
			s.cuts.passed(s.next)
		}
		s.next += int64(n)
		if s.count != nil {
			s.count(n)
		}
		if n > 0 {
			return n, nil // a lasting failure shows at the next read
		}
		if err == nil {
			continue
		}
		if err == io.EOF && s.end < 0 {
			s.close()
			s.end = s.next
			return 0, io.EOF
		}
		if err = s.failed(err); err != nil {
			return 0, err
		}
	}
}

func (s *span) readOnce(p []byte) (int, error) {
	if s.body == nil {
		if err := s.reopen(); err != nil {
			return 0, err
		}
	}
	if s.end >= 0 {
		p = p[:min(int64(len(p)), s.end-s.next)]
	}
	s.idle.Reset(s.c.Stall)
	n, err := s.body.Read(p)
	s.idle.Stop()
	return n, err
}

func (s *span) reopen() error {
	ctx, cancel := context.WithCancelCause(s.ctx)
	resp, _, err := s.c.open(ctx, s.from, s.rest(), &s.known)
	if err != nil {
		cancel(nil)
		return err
	}
	s.attach(resp, cancel)
	return nil
}

func (s *span) rest() byteRange {
	if !s.known.Ranges {
		return byteRange{whole: true}
	}
	return byteRange{from: s.next, to: s.end}
}

// failed closes what is open and waits, or returns the error to end with.
func (s *span) failed(err error) error {
	again := false
	if s.body != nil {
		s.close()
		err, again = s.broken(err)
	}
	if !isPassing(err) {
		return err
	}
	if !s.known.Ranges && s.next > 0 {
		return err // only the whole can be asked for again: whoever began it begins anew
	}
	if s.tries == nil || s.next-s.mark >= freshAfter {
		s.tries = s.c.newTries()
	}
	if again {
		s.tries.left++
	}
	s.mark = s.next
	return s.tries.again(s.ctx, err)
}

// broken is what a body that broke off comes to; again, that it did so at this
// very byte before. Only an output that ends there does that for a minute, so
// these are not among the few tries that other troubles have. What can only be
// had whole is not fetched so often.
func (s *span) broken(err error) (_ error, again bool) {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		cuts, most := s.cuts.another(s.next), s.c.Cuts
		if !s.known.Ranges {
			most = s.c.Attempts
		}
		if cuts >= most {
			return named.Errorf(named.OutputTruncated, "the origin ended the output after %d bytes, %d times, and had announced more", s.next, cuts), false
		}
		again = cuts > 1
	}
	return &passing{err: fmt.Errorf("the origin broke off after %d bytes: %w", s.next, withoutURL(err))}, again
}

// finish demands the end where it was announced, which also frees the
// connection for the next part.
func (s *span) finish() error {
	if s.body == nil {
		return io.EOF
	}
	var extra [1]byte
	s.idle.Reset(s.c.Stall)
	n, err := s.body.Read(extra[:])
	s.close()
	if n > 0 {
		return named.Errorf(named.OutputTruncated, "the origin sent more bytes than it announced")
	}
	_ = err // all that was announced is here; how the connection ended does not matter
	return io.EOF
}

func (s *span) close() {
	if s.body == nil {
		return
	}
	s.idle.Stop()
	_ = s.body.Close()
	s.cancel(nil)
	s.body = nil
}
