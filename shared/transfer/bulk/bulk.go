// Package bulk moves long bodies over TCP and TLS with few system calls.
//
// crypto/tls writes each record of 16 KiB by a call of its own and reads about
// one at a time, and io.Copy brings 32 KiB at most. At a gigabyte a second those
// calls cost more than the encryption. Conn gathers records before it writes and
// reads ahead, and fills a whole buffer from whatever it is given to send.
//
// It imports the standard library only.
package bulk

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
)

// Chunk is what is read, written and copied at once: beyond it nothing more was
// gained, and each connection holds up to three of them.
const Chunk = 128 << 10

// recordOverhead is what TLS adds to each 16 KiB of a chunk, with some to spare.
const recordOverhead = 8 * 64

// buffers are shared by all connections: one is needed only while a body is sent.
var buffers = sync.Pool{New: func() any { b := make([]byte, Chunk); return &b }}

// Conn is a connection that takes and gives bytes in chunks.
type Conn struct {
	net.Conn            // the TLS connection, or the TCP one itself
	raw      *gathering // under TLS, else nil

	mu      sync.Mutex
	writing int
	closed  bool
}

// Plain makes a Conn of a connection without TLS.
func Plain(conn net.Conn) *Conn { return &Conn{Conn: conn} }

// Client makes a Conn of a new connection by a TLS handshake.
func Client(ctx context.Context, conn net.Conn, config *tls.Config) (*Conn, error) {
	raw := &gathering{Conn: conn}
	secure := tls.Client(raw, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	raw.readAhead()
	return &Conn{Conn: secure, raw: raw}, nil
}

// Server makes a Conn of an accepted connection; the handshake happens at the
// first read.
func Server(conn net.Conn, config *tls.Config) *Conn {
	raw := &gathering{Conn: conn}
	raw.readAhead()
	return &Conn{Conn: tls.Server(raw, config), raw: raw}
}

// Write sends p, all its records by as few calls as there are chunks in it.
func (c *Conn) Write(p []byte) (int, error) {
	if c.raw == nil {
		return c.Conn.Write(p)
	}
	if err := c.begin(); err != nil {
		return 0, err
	}
	defer c.end()
	c.raw.hold()
	n, err := c.Conn.Write(p)
	if flushed := c.raw.flush(); err == nil && flushed != nil {
		return 0, flushed
	}
	return n, err
}

// Close ends the connection at once, whatever is under way. crypto/tls takes
// leave of the peer first, but never behind a write that the peer holds up; it
// does not know of writes that wait in flush, and would wait for them for 5 s.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.closed = true
	heldUp := c.writing > 0
	c.mu.Unlock()
	if heldUp {
		return c.raw.Conn.Close()
	}
	return c.Conn.Close()
}

func (c *Conn) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.writing++
	return nil
}

func (c *Conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing--
}

// ReadFrom sends all that r gives, in whole chunks: net/http uses it for bodies.
func (c *Conn) ReadFrom(r io.Reader) (sent int64, err error) {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	for {
		n, readErr := fill(r, *buffer)
		if n > 0 {
			m, err := c.Write((*buffer)[:n])
			sent += int64(m)
			if err != nil {
				return sent, err
			}
		}
		if readErr == io.EOF {
			return sent, nil
		}
		if readErr != nil {
			return sent, readErr
		}
	}
}

// fill reads until the buffer is full or r has no more.
func fill(r io.Reader, buffer []byte) (n int, err error) {
	for n < len(buffer) && err == nil {
		var m int
		m, err = r.Read(buffer[n:])
		n += m
	}
	return n, err
}

// gathering is what TLS reads from and writes to.
type gathering struct {
	net.Conn

	// Reading, by one goroutine at a time: crypto/tls sees to that.
	ahead       []byte
	start, stop int

	mu      sync.Mutex // an alert may be written while a body is
	holding bool
	pending []byte
}

func (g *gathering) readAhead() { g.ahead = make([]byte, Chunk) }

func (g *gathering) Read(p []byte) (int, error) {
	if g.start == g.stop {
		if len(p) >= len(g.ahead) {
			return g.Conn.Read(p)
		}
		n, err := g.Conn.Read(g.ahead)
		g.start, g.stop = 0, n
		if n == 0 {
			return 0, err
		}
		// An error that came with bytes comes again with the next read.
	}
	n := copy(p, g.ahead[g.start:g.stop])
	g.start += n
	return n, nil
}

func (g *gathering) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holding = true
	if g.pending == nil {
		g.pending = make([]byte, 0, Chunk+recordOverhead)
	}
}

func (g *gathering) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.holding {
		return g.Conn.Write(p)
	}
	if len(g.pending)+len(p) > cap(g.pending) {
		if err := g.writePending(); err != nil {
			return 0, err
		}
		if len(p) > cap(g.pending) {
			return g.Conn.Write(p)
		}
	}
	g.pending = append(g.pending, p...)
	return len(p), nil
}

func (g *gathering) flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holding = false
	return g.writePending()
}

func (g *gathering) writePending() error {
	if len(g.pending) == 0 {
		return nil
	}
	_, err := g.Conn.Write(g.pending)
	g.pending = g.pending[:0]
	return err
}
