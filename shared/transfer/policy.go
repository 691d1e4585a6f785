package transfer

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// Policy says which servers outputs may be fetched from, and input files sent to.
// docs/copying.md says it to users. The zero value allows every
// server with a public address, over https.
type Policy struct {
	// Hosts are the names that are allowed: "files.example.com", or "*.example.com" for
	// all its subdomains; with ":port" only that port is. Empty: every name.
	Hosts []string
	// AllowInsecure allows plain http and loopback addresses too, for the local stack.
	AllowInsecure bool
	// LambdaRuntimeAPI is the "host:port" in AWS_LAMBDA_RUNTIME_API. Its port is refused on
	// every address that is not public, also with AllowInsecure: whoever reaches that API
	// can read the function's events and answer them.
	LambdaRuntimeAPI string
}

// checkURL refuses a URL by its scheme and host.
func (p Policy) checkURL(u *url.URL) error {
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	port := cmp.Or(u.Port(), defaultPorts[u.Scheme])
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || !p.AllowInsecure):
		return named.Errorf(named.OriginRefused, "the scheme %q of the address is not allowed: https only", u.Scheme)
	case host == "":
		return named.Errorf(named.OriginRefused, "the address names no host")
	case len(p.Hosts) > 0 && !slices.ContainsFunc(p.Hosts, func(allowed string) bool { return matchHost(allowed, host, port) }):
		return named.Errorf(named.OriginRefused, "the host %q is not among the download hosts", u.Host)
	}
	return nil
}

// matchHost reports that an entry of Policy.Hosts allows a host, in small letters,
// and port.
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

// defaultPorts are those of a URL that has none.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// checkAddress refuses an IP address and port that may not be dialled.
func (p Policy) checkAddress(address string) error {
	dialled, err := netip.ParseAddrPort(address)
	if err != nil {
		return named.Errorf(named.OriginRefused, "the address %q cannot be checked", address)
	}
	ip := dialled.Addr().Unmap().WithZone("")
	if isPublic(ip) {
		return nil
	}
	// Whatever name Lambda's runtime API has, only its port tells it from the local
	// stack's own servers.
	if _, port, err := net.SplitHostPort(p.LambdaRuntimeAPI); err == nil && port == fmt.Sprint(dialled.Port()) {
		return named.Errorf(named.OriginRefused, "the address leads to the Lambda runtime API")
	}
	if p.AllowInsecure && ip.IsLoopback() {
		return nil
	}
	return named.Errorf(named.OriginRefused, "the address leads to %s, which is not a public address", ip)
}

// isPublic reports that an address is one of the public internet.
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

// nat64 is the prefix of IPv4 addresses that are reached over IPv6 (RFC 6052).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// specialPurpose has the networks of IANA's registries of special-purpose addresses
// that netip's own predicates (loopback, link-local, multicast, private) leave out.
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
