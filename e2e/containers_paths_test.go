package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// TestContainerPaths: what arrives of a path by itself, and with the header
// relay-path, which makes up for what the gateway decodes. docs/containers.md
// has this table with the reasons.
func TestContainerPaths(t *testing.T) {
	s := open(t)
	t.Parallel()
	caller := s.checkedUser(t)
	for _, test := range []struct {
		name, path, query string
		arrives           string // without relay-path; empty: as it was sent
		exact             string // with relay-path; empty: as it was sent, "400": refused
	}{
		{name: "plain", path: "/v1/models"},
		{name: "two slashes", path: "//"},
		{name: "double slashes", path: "//a///b//"},
		{name: "what may stand", path: "/a;x=1,2/:@!$&'()*+~-._/..."},
		{name: "dots", path: "/./a/./.b"},
		{name: "UTF-8", path: "/%C3%A4/%E6%97%A5%E6%9C%AC"},
		{name: "UTF-8, small digits", path: "/%c3%a4", arrives: "/%C3%A4"},
		{name: "a blank", path: "/a%20b+c"},
		{name: "a percent sign", path: "/50%25/a%252Fb"},
		{name: "an encoded slash", path: "/a%2Fb", arrives: "/a/b"},
		{name: "encoded for no reason", path: "/%61%2E", arrives: "/a."},
		{name: "NUL", path: "/a%00b"},
		{name: "not UTF-8", path: "/a%FFb", arrives: "/a%EF%BF%BDb"},
		{name: "a number sign", path: "/a%23b"},
		{name: "a question mark", path: "/a%3Fb"},
		{name: "odd query", path: "/q", query: "b=%20+&a=1&b=2&&=&c=%2F%00?/:@'\"!"},
		{name: "8 KB of query", path: "/q", query: "q=" + strings.Repeat("%C3%A4x", 1170)},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, said := range []bool{false, true} {
				k := containerCall{method: "GET", path: test.path, query: test.query, identity: caller}
				want := test.arrives
				if said {
					k.header, want = http.Header{"Relay-Path": {test.path}}, test.exact
				}
				if want == "" {
					want = test.path
				}
				seen := s.echo(t, k)
				if seen.Path != want || seen.Query != test.query {
					t.Errorf("relay-path %v: arrived as %s ? %s", said, seen.Path, seen.Query)
				}
				if seen.Headers["Relay-Path"] != nil {
					t.Error("relay-path was passed on")
				}
			}
		})
	}
	if seen := s.echo(t, containerCall{method: "GET", path: "//", header: http.Header{"Relay-Path": {"/"}}}); seen.Path != "/" {
		t.Errorf("the root arrived as %s", seen.Path)
	}
	for _, path := range []string{"/..", "/../x", "/a/../../x", "/a/../x", "/%2e%2e/x", "/%2E%2E%2Fx", "/a%2f..%2f..%2fx", "/%252e%252e/x", "/..%5cx", "/%5c..%5cx", "/..;a/x",
		"/a/..%3Fx", "/..%23x", "/..%00x", "/%25c0%25ae./x", "/%25u002e%25u002e/x", "/%EF%BC%8E%EF%BC%8E/x"} {
		a := s.callContainer(t, containerCall{method: "GET", container: "files", path: path})
		isProblem(t, a, 400, "InvalidRequest")
		isProblem(t, s.callContainer(t, containerCall{method: "GET", container: "files", path: path, header: http.Header{"Relay-Path": {path}}}), 400, "InvalidRequest")
	}
	// What is not UTF-8 is no more than replacement characters behind the gateway:
	// relay-path alone could bring it to the container.
	for _, path := range []string{"/%C0%AE%C0%AE/x", "/.%E0%80%AE/x", "/.%FF./x"} {
		isProblem(t, s.callContainer(t, containerCall{method: "GET", container: "files", path: path, header: http.Header{"Relay-Path": {path}}}), 400, "InvalidRequest")
	}
	isProblem(t, s.callContainer(t, containerCall{method: "GET", container: "echo", path: "/a/b", header: http.Header{"Relay-Path": {"/a/c"}}}), 400, "InvalidRequest")
	// Slugs that would lead elsewhere, had they been put into an address.
	for _, test := range []struct {
		slug, path string
		status     int
		name       string
	}{
		{"..", "/workflows/x", 400, "InvalidRequest"},
		{"%2e%2e", "/workflows/x", 400, "InvalidRequest"},
		{"echo%2f..%2f..%2fworkflows", "/x", 400, "InvalidRequest"},
		{"echo%5c..%5c..%5cworkflows", "/x", 404, "ContainerNotFound"},
		{"echo%3Fx", "/x", 404, "ContainerNotFound"},
		{"echo%23", "/x", 404, "ContainerNotFound"},
		{"echo;x", "/x", 404, "ContainerNotFound"},
		{"%2565cho", "/x", 404, "ContainerNotFound"},
		{"echo%00", "/x", 404, "ContainerNotFound"},
	} {
		for _, method := range []string{"GET", "POST"} {
			isProblem(t, s.callContainer(t, containerCall{method: method, container: test.slug, path: test.path}), test.status, test.name)
		}
	}
	if seen := s.echo(t, containerCall{method: "GET", path: "/a/containers/echo/b"}); seen.Path != "/a/containers/echo/b" {
		t.Errorf("a path that names the container arrived as %s", seen.Path)
	}
}
