package handler

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/httpapi"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// pathHeader is how a caller says which escapes the path had: an HTTP API hands
// it over decoded. It has to decode to the very path that was called, since
// that is what the caller was granted.
const pathHeader = "relay-path"

// target reads from an event where in which container a call goes: the path and
// the query as they are sent on, escaped.
func target(e httpapi.Request) (slug, path, query string, err error) {
	slug = e.PathParameters["slug"]
	var violations named.Violations
	if slug == "." || slug == ".." {
		violations.Add("path", "holds a .. segment, which would lead to another path than the one that was asked for")
		return "", "", "", violations.Err()
	}
	if !cyberun.IsContainerSlug(slug) {
		return "", "", "", notFound(slug)
	}
	handed := handedPath(e)
	// Of the escapes an HTTP API is known to keep only %25, as the local stack does; every
	// other percent sign was decoded from one, and is a sign of its own.
	path = cyberun.EscapePath(handed, func(digits string) bool { return digits == "25" })
	if exact := e.Headers[pathHeader]; exact != "" {
		if !samePath(exact, handed) {
			violations.Add(pathHeader, "is not the path that was called: decoded it has to be that path behind the container's slug")
		}
		path = exact
	}
	if err := cyberun.CheckContainerPath(path); err != nil {
		violations.Add("path", "%v", err)
	}
	if method := e.RequestContext.HTTP.Method; method == http.MethodTrace || method == http.MethodConnect {
		violations.Add("method", "%s is not passed on to containers", method)
	}
	return slug, path, escapeQuery(e.RawQueryString), violations.Err()
}

// handedPath returns the path behind the slug, as the gateway hands it over. The
// path parameter tells which part of rawPath that is: where it begins cannot be
// read from rawPath alone, which may have a stage or a base path in front of it, and
// may name the container once more further on. rawPath adds the slashes at either
// end, which the parameter may lack. Where the two do not agree, the parameter counts.
func handedPath(e httpapi.Request) string {
	inner := strings.Trim(e.PathParameters["path"], "/")
	raw := strings.TrimRight(e.RawPath, "/")
	end := e.RawPath[len(raw):]
	if inner == "" && end != "" {
		return end
	}
	head, found := strings.CutSuffix(raw, inner)
	start := head[len(strings.TrimRight(head, "/")):]
	if !found || start == "" {
		return "/" + e.PathParameters["path"]
	}
	return start + inner + end
}

// samePath reports whether an escaped path is the one that was handed over, decoded whole
// or decoded but for %25. That the two are alike as they stand does not do: a gateway
// that decodes all hands /a%252Fb over as /a%2Fb, and a policy that was asked about that
// did not grant what a container makes of an escaped slash. The container's root is also
// two slashes: an HTTP API has no route for a path that ends behind the slug's.
func samePath(escaped, handed string) bool {
	if escaped == "/" && handed == "//" {
		return true
	}
	whole, err := url.PathUnescape(escaped)
	if err != nil {
		return false
	}
	partly, err := url.PathUnescape(strings.ReplaceAll(escaped, "%25", "%2525"))
	return err == nil && (sameText(whole, handed) || sameText(partly, handed))
}

var replacements = regexp.MustCompile("\uFFFD+")

// sameText compares bytes with the text that they become in JSON, where what is
// not UTF-8 turns into replacement characters, one or several.
func sameText(bytes, text string) bool {
	one := func(s string) string { return replacements.ReplaceAllLiteralString(s, "\uFFFD") }
	return one(strings.ToValidUTF8(bytes, "\uFFFD")) == one(text)
}

// signatureParameters carry the caller's signature in a presigned address.
var signatureParameters = map[string]bool{
	"x-amz-algorithm": true, "x-amz-credential": true, "x-amz-date": true, "x-amz-expires": true,
	"x-amz-signedheaders": true, "x-amz-signature": true, "x-amz-security-token": true,
}

// escapeQuery passes a query on as it is, but for the caller's own signature and
// for bytes that cannot travel. How the name of a parameter is escaped makes no
// difference to what it is.
func escapeQuery(raw string) string {
	var kept []string
	for part := range strings.SplitSeq(raw, "&") {
		name, _, _ := strings.Cut(part, "=")
		if plain, err := url.QueryUnescape(name); err == nil && signatureParameters[strings.ToLower(plain)] {
			continue
		}
		kept = append(kept, part)
	}
	return cyberun.EscapeQuery(strings.Join(kept, "&"))
}
