package transfer

import (
	"context"
	"time"
)

// pool is what all copies of one [Copier] share: connections, stream buffers,
// and the time until which they may start something.
type pool struct {
	connections chan struct{} // one element for each in use
	buffers     chan []byte   // those that are free; nil ones are not allocated yet
	bufferSize  int64
	stopBefore  time.Time // zero: never
	now         func() time.Time
}

// acquire waits for a connection, which release gives back. ok is false, and none is
// taken, if the context ends first, which is the error, or if nothing more may be started.
func (b *pool) acquire(ctx context.Context) (ok bool, err error) {
	select {
	case b.connections <- struct{}{}:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	if b.stopped() { // while it waited
		b.release()
		return false, nil
	}
	return true, nil
}

func (b *pool) release() { <-b.connections }

// buffer waits for a buffer of bufferSize bytes; free gives it back.
func (b *pool) buffer(ctx context.Context) ([]byte, error) {
	select {
	case buffer := <-b.buffers:
		if buffer == nil {
			buffer = make([]byte, b.bufferSize)
		}
		return buffer, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (b *pool) free(buffer []byte) { b.buffers <- buffer }

// stopped reports that nothing more may be started.
func (b *pool) stopped() bool { return !b.stopBefore.IsZero() && !b.now().Before(b.stopBefore) }
