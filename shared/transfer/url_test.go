package transfer

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// TestURLsOnTheWire: what a URL holds raw is encoded, and what it holds encoded
// arrives as it is.
func TestURLsOnTheWire(t *testing.T) {
	tests := []struct{ name, path, want string }{
		{name: "as it is", path: "/a%20b/c%2Fd.png?X-Amz-Signature=a%2fb+c&x", want: "/a%20b/c%2Fd.png?X-Amz-Signature=a%2fb+c&x"},
		{name: "blanks", path: "/my model.glb?filename=my model.glb", want: "/my%20model.glb?filename=my%20model.glb"},
		{name: "letters outside ASCII", path: "/größe/图.png?n=é", want: "/gr%C3%B6%C3%9Fe/%E5%9B%BE.png?n=%C3%A9"},
		{name: "both, beside an escaped slash", path: "/a%2Fb c{1}|2^3`.png", want: "/a%2Fb%20c%7B1%7D%7C2%5E3%60.png"},
		{name: "Latin-1", path: "/caf\xe9.png", want: "/caf%E9.png"},
		{name: "a percent sign alone", path: "/100%.png?p=100%", want: "/100%25.png?p=100%"},
		{name: "a fragment", path: "/a.png?x=1#part", want: "/a.png?x=1"},
		{name: "backslashes", path: `/a\b.png`, want: "/a/b.png"},
		{name: "line ends and outer blanks", path: "/a\r\n\tb.png \n", want: "/ab.png"},
		{name: "quotes", path: `/a"b'c<d>.png?q="<'>`, want: "/a%22b'c%3Cd%3E.png?q=%22%3C'%3E"},
		{name: "no path", path: "?x=a b", want: "/?x=a%20b"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, redirected := range []bool{false, true} {
				if redirected && strings.ContainsAny(test.path, "\r\n") {
					continue // not to be had in a header
				}
				f := newFixture(t, 100)
				var got string
				f.origin.fault = func(_ int, _ http.ResponseWriter, r *http.Request) bool {
					got = r.RequestURI
					return false
				}
				f.src.URL = f.at(test.path)
				if redirected {
					location := string(f.src.URL)
					front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						w.Header().Set("Location", location)
						w.WriteHeader(http.StatusFound)
					}))
					defer front.Close()
					f.src.URL = redact.SignedURL(front.URL)
				}
				_, err := f.copy()
				if err != nil || got != test.want {
					t.Errorf("redirected %t: asked for %q, want %q: %v", redirected, got, test.want, err)
				}
			}
		})
	}
}

func FuzzBrowserURL(f *testing.F) {
	for _, raw := range []string{"https://h/a b?c d#e", "https://h/%zz%2F|\\x", "https://ü.test/ä", "h", "://", "https://h?", "https://h/a%2fb?x=%2f"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got := browserURL(raw)
		u, err := url.Parse(got)
		if err != nil || u.Host == "" {
			return // a host or scheme that is none: told as such
		}
		if again := browserURL(got); again != got {
			t.Fatalf("%q becomes %q and then %q", raw, got, again)
		}
		_, sent, _ := strings.Cut(got, "://")
		if i := strings.IndexAny(sent, "/?"); i >= 0 && strings.TrimPrefix(u.RequestURI(), "/") != strings.TrimPrefix(sent[i:], "/") {
			t.Fatalf("%q becomes %q and is sent as %q", raw, got, u.RequestURI())
		}
		for _, c := range []byte(u.RequestURI()) {
			if c <= ' ' || c >= 0x7f {
				t.Fatalf("%q is sent as %q", raw, u.RequestURI())
			}
		}
	})
}
