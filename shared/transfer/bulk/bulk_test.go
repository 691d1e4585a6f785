package bulk

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

// counting counts the calls that reach the network.
type counting struct {
	net.Conn
	writes atomic.Int64
}

func (c *counting) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

func random(size int) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	return data
}

// pair gives both ends of a connection over loopback, with TLS or without.
func pair(t *testing.T, secure bool) (client, server *Conn, wire *counting) {
	t.Helper()
	certificates := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate alone
	certificates.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialled, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = dialled.Close(), accepted.Close() })
	wire = &counting{Conn: dialled}
	if !secure {
		return Plain(wire), Plain(accepted), wire
	}
	server = Server(accepted, &tls.Config{Certificates: certificates.TLS.Certificates, DynamicRecordSizingDisabled: true})
	go func() { _ = server.Conn.(*tls.Conn).Handshake() }()
	roots := certificates.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	client, err = Client(t.Context(), wire, &tls.Config{RootCAs: roots, ServerName: "example.com", DynamicRecordSizingDisabled: true})
	if err != nil {
		t.Fatal(err)
	}
	return client, server, wire
}

func TestBothWays(t *testing.T) {
	for _, secure := range []bool{true, false} {
		for _, size := range []int{0, 1, 16 << 10, chunk - 1, chunk, chunk + 1, 5*chunk + 7} {
			client, server, wire := pair(t, secure)
			sent := random(size)
			before := wire.writes.Load()
			done := make(chan error, 1)
			go func() {
				n, err := client.ReadFrom(bytes.NewReader(sent))
				if err == nil && n != int64(size) {
					err = errors.New("another count than was sent")
				}
				done <- errors.Join(err, client.Close())
			}()
			got, err := io.ReadAll(server)
			if err := errors.Join(err, <-done); err != nil {
				t.Fatalf("TLS %t, %d bytes: %v", secure, size, err)
			}
			if !bytes.Equal(got, sent) {
				t.Errorf("TLS %t: %d bytes came, %d were sent", secure, len(got), size)
			}
			chunks := int64((size + chunk - 1) / chunk)
			if calls := wire.writes.Load() - before; calls > chunks+2 { // the close is one more
				t.Errorf("TLS %t, %d bytes: %d writes for %d chunks", secure, size, calls, chunks)
			}
		}
	}
}

func TestSourceFails(t *testing.T) {
	client, _, _ := pair(t, true)
	broken := errors.New("broken")
	n, err := client.ReadFrom(io.MultiReader(bytes.NewReader(random(10)), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || n != 10 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestWireFails(t *testing.T) {
	client, _, wire := pair(t, true)
	_ = wire.Close()
	if n, err := client.Write(random(3 * chunk)); err == nil {
		t.Errorf("%d bytes written to a closed connection", n)
	}
}

func TestHandshakeEnds(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Client(ctx, ours, &tls.Config{ServerName: "example.com", MinVersion: tls.VersionTLS12}); err == nil {
		t.Error("a handshake without the other side")
	}
	if _, err := ours.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the connection was left open: %v", err)
	}
}

// Close breaks off a write that the peer holds up, and at once: were it left to
// crypto/tls, the write would end by the deadline that its farewell sets.
func TestCloseBreaksOff(t *testing.T) {
	for _, secure := range []bool{true, false} {
		client, _, _ := pair(t, secure)
		written := make(chan error, 1)
		under := make(chan struct{}, 1)
		go func() {
			for {
				select {
				case under <- struct{}{}:
				default:
				}
				if _, err := client.Write(random(chunk)); err != nil { // nobody reads
					written <- err
					return
				}
			}
		}()
		<-under
		heldUp(client)
		_ = client.Close()
		if err := <-written; !errors.Is(err, net.ErrClosed) {
			t.Errorf("TLS %t: the write ended with %v", secure, err)
		}
		if _, err := client.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("TLS %t: written after Close: %v", secure, err)
		}
	}
}

// heldUp waits until the bytes on their way fill every buffer and no more go out.
func heldUp(c *Conn) {
	wire := c.Conn
	if c.raw != nil {
		wire = c.raw.Conn
	}
	sent, _ := wire.(*counting)
	for last := int64(-1); sent.writes.Load() != last; {
		last = sent.writes.Load()
		time.Sleep(100 * time.Millisecond)
	}
}
