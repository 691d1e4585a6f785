package transfer

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer/bulk"
)

const (
	maxRedirects  = 5 // a presigned URL needs none; a self-hosted server may put one or two in front
	dialTimeout   = 10 * time.Second
	headerTimeout = 30 * time.Second // the same patience as for a byte of the body
	idleKept      = 16               // two outputs' worth of connections
	idleTimeout   = 20 * time.Second // below the minute after which stores and load balancers close
	readBuffer    = 16 << 10         // for headers: what is read of a body goes past it
	writeBuffer   = 4 << 10          // for headers: bodies are sent by the connection itself
)

// NewRestrictedClient returns the HTTP client to fetch outputs and send input files with.
// It checks each request and redirect against the policy, and each dial once more, by the
// address that the host's name was resolved to. What the policy refuses fails with
// OriginRefused. It uses no proxy, since the policy would be asked about the proxy's
// address; it asks for no compression; and it speaks HTTP/1.1, so that each range has a
// connection of its own. Call its CloseIdleConnections when it is no longer needed.
func NewRestrictedClient(policy Policy) *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		return policy.checkAddress(address)
	}}
	return &http.Client{
		Transport: &policyTransport{policy: policy, next: newTransport(dialer)},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			// net/http would send the signed URL to the next host as Referer.
			req.Header.Del("Referer")
			if len(via) > maxRedirects {
				return named.Errorf(named.OriginRefused, "more than %d redirects", maxRedirects)
			}
			return nil // policyTransport checks each request, redirects included
		},
	}
}

// policyTransport checks each request's URL before anything is sent, and makes
// that of a redirect fit to be sent: http.Client, which parses it, would write an
// escaped slash beside a raw blank anew.
type policyTransport struct {
	policy Policy
	next   *http.Transport
}

func (t *policyTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.policy.checkURL(req.URL); err != nil {
		return nil, err
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if location := resp.Header.Get("Location"); location != "" {
		resp.Header.Set("Location", browserURL(location))
	}
	return resp, nil
}

// CloseIdleConnections makes http.Client's method of that name reach the transport.
func (t *policyTransport) CloseIdleConnections() { t.next.CloseIdleConnections() }

// NewS3Client returns the HTTP client to give the S3 client as its HTTPClient. Its
// transport is made for long bodies, as that of [NewRestrictedClient] is, and it has no policy
// and uses the environment's proxy. Call its CloseIdleConnections when it is no longer
// needed.
func NewS3Client() *http.Client {
	transport := newTransport(&net.Dialer{Timeout: dialTimeout})
	transport.Proxy = http.ProxyFromEnvironment
	transport.ExpectContinueTimeout = time.Second // a refusal before the body costs nothing to try again
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// newTransport returns a transport that speaks HTTP/1.1 over [bulk] connections.
func newTransport(dialer *net.Dialer) *http.Transport {
	t := &http.Transport{
		ForceAttemptHTTP2:     false,
		DisableCompression:    true,
		MaxIdleConnsPerHost:   idleKept,
		IdleConnTimeout:       idleTimeout,
		ResponseHeaderTimeout: headerTimeout,
		ReadBufferSize:        readBuffer,
		WriteBufferSize:       writeBuffer,
	}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return bulk.Plain(conn), nil
	}
	t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		secure, err := bulk.Client(ctx, conn, clientConfig(t.TLSClientConfig, address))
		if err != nil {
			return nil, err
		}
		return secure, nil
	}
	return t
}

// clientConfig returns base with the name of the server that is dialled, and with
// full TLS records from the first byte on: these are long bodies, not pages to be
// rendered early.
func clientConfig(base *tls.Config, address string) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if base != nil {
		config = base.Clone()
	}
	if host, _, err := net.SplitHostPort(address); err == nil && config.ServerName == "" {
		config.ServerName = host
	}
	config.NextProtos = []string{"http/1.1"}
	config.DynamicRecordSizingDisabled = true
	return config
}
