// Package bulk moves long bodies over TCP and TLS with few system calls.
//
// crypto/tls writes each TLS record of 16 KiB by a system call of its own and reads
// about one at a time, and io.Copy moves at most 32 KiB. At a gigabyte a second those
// calls cost more than the encryption. A [Conn] writes TLS records in batches, reads
// ahead, and copies through a larger buffer.
//
// It imports the standard library only.
package bulk

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
)

// chunk is how many bytes are read, written and copied at once. More were no faster
// when measured, and each connection holds up to three such buffers.
const chunk = 128 << 10

// recordOverhead is how many bytes TLS adds to the records of a chunk, and some more:
// 22 to each record of 16 KiB (RFC 8446, 5.2: header, type and tag).
const recordOverhead = 8 * 64

// buffers are shared by all connections: each needs one only while it sends a body.
var buffers = sync.Pool{New: func() any { b := make([]byte, chunk); return &b }}

// Conn is a connection that reads, writes and copies 128 KiB at a time.
type Conn struct {
	net.Conn               // the TLS connection, or the TCP one itself
	raw      *bufferedConn // the TCP connection under TLS, else nil
	writing  sync.Mutex    // held during a Write over TLS
}

// Plain returns a Conn over a connection without TLS.
func Plain(conn net.Conn) *Conn { return &Conn{Conn: conn} }

// Client returns a Conn over a new connection after a TLS handshake, in which it is the
// client. If the handshake fails, or the context ends during it, the connection is
// closed.
func Client(ctx context.Context, conn net.Conn, config *tls.Config) (*Conn, error) {
	raw := newBufferedConn(conn)
	secure := tls.Client(raw, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &Conn{Conn: secure, raw: raw}, nil
}

// Server returns a Conn over an accepted connection. Its TLS handshake takes place at
// the first read. Only test and benchmark servers use it.
func Server(conn net.Conn, config *tls.Config) *Conn {
	raw := newBufferedConn(conn)
	return &Conn{Conn: tls.Server(raw, config), raw: raw}
}

// Write sends p. Over TLS it makes one system call for each 128 KiB of records.
func (c *Conn) Write(p []byte) (int, error) {
	if c.raw == nil {
		return c.Conn.Write(p)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	c.raw.startBatch()
	n, err := c.Conn.Write(p)
	if flushed := c.raw.flush(); err == nil && flushed != nil {
		return 0, flushed
	}
	return n, err
}

// Close ends the connection at once, also during a Write. The Close of crypto/tls would
// first send a close_notify, behind the bytes of a Write that the peer does not read,
// and would wait up to 5 s for that.
func (c *Conn) Close() error {
	if c.raw != nil {
		if !c.writing.TryLock() {
			return c.raw.Conn.Close()
		}
		defer c.writing.Unlock()
	}
	return c.Conn.Close()
}

// ReadFrom sends everything that r has and returns the number of bytes. It writes what
// one Read of r gives, of at most 128 KiB: such a Read should give that much if it can.
// net/http calls it to send a body.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	// Without the structs io.CopyBuffer would call this method, or r's WriteTo.
	return io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{r}, *buffer)
}

// bufferedConn is the TCP connection that TLS reads from and writes to. It reads
// ahead, and writes what belongs to one batch by one call.
type bufferedConn struct {
	net.Conn
	ahead *bufio.Reader // used by one goroutine at a time: crypto/tls sees to that

	mu       sync.Mutex // an alert may be written while a body is
	batching bool
	pending  *bufio.Writer
}

func newBufferedConn(conn net.Conn) *bufferedConn {
	return &bufferedConn{
		Conn: conn, ahead: bufio.NewReaderSize(conn, chunk), pending: bufio.NewWriterSize(conn, chunk+recordOverhead),
	}
}

func (b *bufferedConn) Read(p []byte) (int, error) { return b.ahead.Read(p) }

func (b *bufferedConn) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.pending.Write(p)
	if err == nil && !b.batching {
		err = b.pending.Flush()
	}
	return n, err
}

// startBatch keeps what is written until flush, or until it is a chunk.
func (b *bufferedConn) startBatch() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.batching = true
}

// flush writes what is left of the batch, and ends it.
func (b *bufferedConn) flush() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.batching = false
	return b.pending.Flush()
}
