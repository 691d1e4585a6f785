package handler

import (
	"net/http"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/httpapi"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// hopByHop are headers between two neighbours on the way, besides those that
// Connection names.
var hopByHop = map[string]bool{
	"connection": true, "keep-alive": true, "proxy-authenticate": true, "proxy-authorization": true, "proxy-connection": true,
	"te": true, "trailer": true, "transfer-encoding": true, "upgrade": true,
}

// callersOwn are headers of a request that concern the caller and the gateway:
// credentials and signature, who forwarded the call, and how long it is.
var callersOwn = map[string]bool{
	"authorization": true, "cookie": true, "host": true, "content-length": true,
	"expect":               true, // the gateway has answered it with 100 Continue
	"x-amz-date":           true,
	"x-amz-security-token": true, "x-amz-content-sha256": true, "x-amzn-trace-id": true,
	"forwarded": true, "via": true, "x-real-ip": true,
	// Proxies tell the application behind them which path was asked for, and some
	// applications route by it: the call would reach another route with the key.
	"x-original-url": true, "x-original-uri": true, "x-original-host": true, "x-rewrite-url": true,
	pathHeader: true,
}

// requestHeader returns the headers of a request that go on to the container, as
// docs/containers.md lists them.
func requestHeader(given map[string]string) (http.Header, error) {
	dropped := namedByConnection(given["connection"])
	out := http.Header{}
	var violations named.Violations
	for name, value := range given {
		lower := strings.ToLower(name)
		if hopByHop[lower] || callersOwn[lower] || dropped[lower] || strings.HasPrefix(lower, "x-forwarded-") {
			continue
		}
		if !isToken(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			violations.Add("headers", "one cannot be sent on: its name or value holds a character that no header can have")
			continue
		}
		out.Set(name, value)
	}
	return out, violations.Err()
}

// responseHeader returns the headers of a container's answer that go back to the caller,
// as an HTTP API takes them: one value a name, and cookies apart, which cannot be joined.
// The relay's own header is not among them, so that no container speaks for the relay.
func responseHeader(given http.Header, isHead bool) (header map[string]string, cookies []string) {
	dropped := namedByConnection(strings.Join(given["Connection"], ","))
	header = map[string]string{}
	for name, values := range given {
		lower := strings.ToLower(name)
		switch {
		case hopByHop[lower], dropped[lower], lower == httpapi.ErrorHeader:
		case !isToken(name): // such as one with a blank, which net/http reads and a gateway refuses
		case lower == "content-length" && !isHead: // the gateway counts
		case lower == "set-cookie":
			cookies = values
		default:
			header[lower] = strings.Join(values, ", ")
		}
	}
	return header, cookies
}

// namedByConnection returns the names, in lower case, that a Connection header
// makes hop-by-hop.
func namedByConnection(value string) map[string]bool {
	list := map[string]bool{}
	for name := range strings.SplitSeq(value, ",") {
		list[strings.ToLower(strings.TrimSpace(name))] = true
	}
	return list
}

// isToken reports whether RFC 9110 allows the name for a header.
func isToken(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}
