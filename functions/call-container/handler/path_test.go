package handler

import (
	"testing"
)

// The path is what the gateway's parameter says: rawPath may hold it undecoded,
// and the parameter may lack the slashes at its ends.
func TestPathOfParameterAndRawPath(t *testing.T) {
	for _, test := range []struct{ name, raw, parameter, exact, want string }{
		{"slashes at both ends", "/containers/echo//a/b//", "a/b", "", "//a/b//"},
		{"slashes alone", "/containers/echo///", "", "", "///"},
		{"slashes alone, in the parameter", "/containers/echo//", "/", "", "//"},
		{"rawPath as it came", "/containers/echo/a%2Fb", "a/b", "", "/a/b"},
		{"rawPath as it came, said", "/containers/echo/a%2Fb", "a/b", "/a%2Fb", "/a%2Fb"},
		{"escaped slug, and the container once more", "/containers/%65cho/a/containers/echo/b", "a/containers/echo/b", "", "/a/containers/echo/b"},
		{"part of a name", "/containers/echo/xa", "a", "", "/a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			e := event("GET", "/containers/echo/x", "", "", pathHeader, test.exact)
			e.RawPath, e.PathParameters["path"] = test.raw, test.parameter
			if a := w.handle(e); a.StatusCode != 200 || w.c.calls[0].Path != test.want {
				t.Errorf("%d %+v", a.StatusCode, w.c.calls)
			}
		})
	}
}

// What the container gets is what the caller sent.
func TestCallIsPassedOn(t *testing.T) {
	for _, test := range []struct {
		name, path, query string // as the gateway hands them over
		exact             string // the header relay-path
		wantPath          string
		wantQuery         string
	}{
		{"plain", "/v1/models", "a=1&b=%20+&b=2&&", "", "/v1/models", "a=1&b=%20+&b=2&&"},
		{"double slashes", "//a//b/", "", "", "//a//b/", ""},
		{"decoded by the gateway", "/ä ö/\"<>\\^`{|}#\x00\x7f", "", "", "/%C3%A4%20%C3%B6/%22%3C%3E%5C%5E%60%7B%7C%7D%23%00%7F", ""},
		{"what may stand", "/a;x=1,2:@!$&'()*+~-._", "", "", "/a;x=1,2:@!$&'()*+~-._", ""},
		{"a percent sign that the gateway kept escaped", "/50%25/a%252Fb", "", "", "/50%25/a%252Fb", ""},
		{"a percent sign that it decoded", "/50%/a%2Fb/%zz", "", "", "/50%25/a%252Fb/%25zz", ""},
		{"an encoded slash, said", "/a/b", "", "/a%2Fb", "/a%2Fb", ""},
		{"small hexadecimal digits, said", "/a/ä", "", "/a%2f%c3%a4", "/a%2f%c3%a4", ""},
		{"not UTF-8, said", "/\uFFFD\uFFFDx", "", "/%FF%FEx", "/%FF%FEx", ""},
		{"a percent sign, said, kept", "/a%25b c", "", "/a%25b%20c", "/a%25b%20c", ""},
		{"a percent sign, said, decoded", "/a%b c", "", "/a%25b%20c", "/a%25b%20c", ""},
		{"an escape that the gateway decoded, said", "/a%2Fb", "", "/a%252Fb", "/a%252Fb", ""},
		{"the container named once more", "/x/containers/echo/y", "", "", "/x/containers/echo/y", ""},
		{"the root, said", "//", "", "/", "/", ""},
		{"odd query", "/", "q=ä b\"#\x01%zz?/", "", "/", "q=%C3%A4%20b\"%23%01%zz?/"},
		{"a signature in the query", "/", "a=1&X-Amz-Signature=s&X%2DAmz%2DSecurity%2DToken=t&x-amz-date=d&b=X-Amz-Date", "", "/", "a=1&b=X-Amz-Date"},
		{"a signature in the query, its names escaped", "/", "%58-Amz-Signature=s&a=1&%78%2d%61mz-security-token=t", "", "/", "a=1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			e := event("PUT", "/containers/echo"+test.path, test.query, "a\x00body", pathHeader, test.exact)
			a := w.handle(e)
			if a.StatusCode != 200 || string(a.content) != "fine" {
				t.Fatalf("%+v", a)
			}
			k := w.c.calls[0]
			if k.Slug != "echo" || k.Method != "PUT" || k.Path != test.wantPath || k.Query != test.wantQuery || w.c.bodies[0] != "a\x00body" {
				t.Errorf("%+v %q", k, w.c.bodies)
			}
			// Behind a stage or a base path, and where the slug was escaped.
			for _, before := range []string{"/prod", "/containers/relay"} {
				e.RawPath = before + "/containers/echo" + test.path
				if w.handle(e); w.c.calls[len(w.c.calls)-1].Path != test.wantPath {
					t.Errorf("behind %s: %s", before, w.c.calls[len(w.c.calls)-1].Path)
				}
			}
			e.RawPath = "/containers/%65cho" + test.path
			if w.handle(e); w.c.calls[len(w.c.calls)-1].Path != test.wantPath {
				t.Errorf("escaped slug: %s", w.c.calls[len(w.c.calls)-1].Path)
			}
		})
	}
}

func TestPathsThatAreRefused(t *testing.T) {
	for _, test := range []struct{ name, path, exact string }{
		{"up", "/../x", ""}, {"up from within", "/a/../x", ""}, {"kept escapes", "/%252e%252e/x", ""}, {"decoded twice", "/%2e%2e/x", ""},
		{"backslash", `/..\x`, ""}, {"said", "/a/../x", "/a%2F..%2Fx"}, {"another path", "/a/b", "/a/c"}, {"another, escaped", "/a/b", "/a%2Fc"},
		{"another, alike as it stands", "/a%2Fb", "/a%2Fb"},
		{"cut at a question mark", "/a", "/a%3Fb"}, {"no address", "/a b", "/a b"}, {"no escape", "/a%zz", "/a%zz"}, {"no slash", "/a", "a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.problem(w.handle(event("POST", "/containers/echo"+test.path, "", "x", pathHeader, test.exact)), 400, "InvalidRequest")
			if len(w.c.calls) > 0 || w.c.lookUps > 0 {
				t.Errorf("Cyberun was called: %+v", w.c.calls)
			}
		})
	}
	w := newWorld(t)
	w.problem(w.handle(event("GET", "/containers/../x", "", "")), 400, "InvalidRequest")
	w.problem(w.handle(event("GET", "/containers/Echo/x", "", "")), 404, "ContainerNotFound")
	w.problem(w.handle(event("TRACE", "/containers/echo/x", "", "")), 400, "InvalidRequest")
	e := event("POST", "/containers/echo/x", "", "")
	e.Body, e.IsBase64Encoded = "*", true
	w.problem(w.handle(e), 400, "InvalidRequest")
	w.problem(w.handle(event("GET", "/containers/echo/x", "", "", "x-bad", "a\nb")), 400, "InvalidRequest")
	w.problem(w.handle(event("GET", "/containers/echo/x", "", "", "x bad", "a")), 400, "InvalidRequest")
	if len(w.c.calls) > 0 {
		t.Errorf("Cyberun was called: %+v", w.c.calls)
	}
}
