package transfer

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer/bulk"
)

// Policy says which addresses outputs may be fetched from.
type Policy struct {
	// Hosts are the names allowed: "files.example.com", "*.example.com" for its
	// subdomains, with ":port" where only that port will do. Empty: any host.
	Hosts []string
	// AllowInsecure lets plain http and loopback through: the local stack alone.
	AllowInsecure bool
	// RuntimeAPI is AWS_LAMBDA_RUNTIME_API ("host:port"), refused whatever else is
	// allowed: whoever reaches it can read events and answer them.
	RuntimeAPI string
}

const (
	maxRedirects  = 5 // a presigned URL needs none; a self-hosted store may put one or two in front
	dialTimeout   = 10 * time.Second
	headerTimeout = 30 * time.Second // the same patience as for a byte of the body
	idleKept      = 16               // two outputs' worth of connections
	idleTimeout   = 20 * time.Second // below the minute after which stores and load balancers close
	readBuffer    = 16 << 10         // for headers: what is read of a body goes past it
	writeBuffer   = 4 << 10          // for headers: bodies are sent by the connection itself
)

// NewOrigin is the client to fetch outputs with. It asks the policy at each
// request and redirect, and once more at each dial, for the address that the
// name resolved to: a name alone proves nothing. It uses no proxy, for a proxy
// would be what is dialled; it asks for no compression, and speaks HTTP/1.1,
// where each range has a connection of its own.
func NewOrigin(policy Policy) *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		return policy.checkAddress(address)
	}}
	return &http.Client{
		Transport: &guard{policy: policy, next: newTransport(dialer)},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			// net/http would send the signed URL to the next host as Referer.
			req.Header.Del("Referer")
			if len(via) > maxRedirects {
				return named.Errorf(named.OriginRefused, "more than %d redirects", maxRedirects)
			}
			return nil // guard looks at each request, redirects included
		},
	}
}

// guard checks each request's address before anything is sent, and makes the
// address of a redirect one that can be sent: http.Client, which parses it, would
// write an escaped slash beside a raw blank anew.
type guard struct {
	policy Policy
	next   *http.Transport
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := g.policy.checkURL(req.URL); err != nil {
		return nil, err
	}
	resp, err := g.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if location := resp.Header.Get("Location"); location != "" {
		resp.Header.Set("Location", browserAddress(location))
	}
	return resp, nil
}

// CloseIdleConnections makes http.Client's method of that name reach the transport.
func (g *guard) CloseIdleConnections() { g.next.CloseIdleConnections() }

func (p Policy) checkURL(u *url.URL) error {
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || !p.AllowInsecure):
		return named.Errorf(named.OriginRefused, "the scheme %q of the download address is not allowed: https only", u.Scheme)
	case host == "":
		return named.Errorf(named.OriginRefused, "the download address names no host")
	case len(p.Hosts) > 0 && !slices.ContainsFunc(p.Hosts, func(allowed string) bool { return matchHost(allowed, host, portOf(u)) }):
		return named.Errorf(named.OriginRefused, "the host %q is not among the download hosts", u.Host)
	}
	return nil
}

func matchHost(allowed, host, port string) bool {
	allowed = strings.ToLower(strings.TrimSpace(allowed))
	if name, only, err := net.SplitHostPort(allowed); err == nil {
		if only != port {
			return false
		}
		allowed = name
	}
	allowed = strings.Trim(strings.TrimSuffix(allowed, "."), "[]")
	if domain, sub := strings.CutPrefix(allowed, "*."); sub {
		return strings.HasSuffix(host, "."+domain)
	}
	return host == allowed
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}

// checkAddress is asked with the address about to be dialled.
func (p Policy) checkAddress(address string) error {
	dialled, err := netip.ParseAddrPort(address)
	if err != nil {
		return named.Errorf(named.OriginRefused, "the address %q cannot be checked", address)
	}
	ip := dialled.Addr().Unmap().WithZone("")
	if isPublic(ip) {
		return nil
	}
	// Whatever name the runtime API has, only its port tells it from the local
	// stack's own servers.
	if _, port, err := net.SplitHostPort(p.RuntimeAPI); err == nil && port == fmt.Sprint(dialled.Port()) {
		return named.Errorf(named.OriginRefused, "the download address leads to the Lambda runtime API")
	}
	if p.AllowInsecure && ip.IsLoopback() {
		return nil
	}
	return named.Errorf(named.OriginRefused, "the download address leads to %s, which is not a public address", ip)
}

// isPublic holds for addresses of the public internet alone.
func isPublic(ip netip.Addr) bool {
	if nat64.Contains(ip) { // an IPv4 address in disguise
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return false
	}
	return !slices.ContainsFunc(specialPurpose, func(p netip.Prefix) bool { return p.Contains(ip) })
}

var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// specialPurpose: from IANA's registries of special-purpose addresses, what
// netip's own predicates (loopback, link-local, multicast, private) leave out.
var specialPurpose = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // this network
	netip.MustParsePrefix("100.64.0.0/10"),   // carrier-grade NAT
	netip.MustParsePrefix("192.0.0.0/24"),    // protocol assignments
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation
	netip.MustParsePrefix("192.88.99.0/24"),  // 6to4 relays
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"), // documentation
	netip.MustParsePrefix("203.0.113.0/24"),  // documentation
	netip.MustParsePrefix("240.0.0.0/4"),     // reserved
	netip.MustParsePrefix("::/96"),           // IPv4-compatible
	netip.MustParsePrefix("::ffff:0:0:0/96"), // IPv4-translated
	netip.MustParsePrefix("64:ff9b:1::/48"),  // local NAT64
	netip.MustParsePrefix("100::/64"),        // discard
	netip.MustParsePrefix("2001::/23"),       // protocol assignments, Teredo
	netip.MustParsePrefix("2001:db8::/32"),   // documentation
	netip.MustParsePrefix("2002::/16"),       // 6to4
	netip.MustParsePrefix("3fff::/20"),       // documentation
	netip.MustParsePrefix("5f00::/16"),       // segment routing
	netip.MustParsePrefix("fec0::/10"),       // site-local
}

// NewStoreClient is the HTTP client to give the S3 client: the same transport,
// tuned for long bodies, without the origin's policy.
func NewStoreClient() *http.Client {
	transport := newTransport(&net.Dialer{Timeout: dialTimeout})
	transport.Proxy = http.ProxyFromEnvironment
	transport.ExpectContinueTimeout = time.Second // a refusal before the body costs nothing to try again
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// newTransport speaks HTTP/1.1 over connections that move whole chunks.
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

// clientConfig names the server whose certificate is to be shown. Full records
// from the first byte on: these are long bodies, not pages to be rendered.
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
