package transfer

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// TestRefusedWhenDialled: a name proves nothing, so what it resolves to is checked
// when it is dialled.
func TestRefusedWhenDialled(t *testing.T) {
	reached := false
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	for _, policy := range []Policy{{}, {Hosts: []string{"localhost"}}, {AllowInsecure: true, LambdaRuntimeAPI: "localhost:" + port}} {
		f := newFixture(t, 0)
		f.src.URL = redact.SignedURL("https://localhost:" + port + "/x?X-Amz-Signature=secret")
		f.copier.Origin = NewRestrictedClient(policy)
		_, err := f.copy()
		if !named.Is(err, named.OriginRefused) || strings.Contains(err.Error(), "secret") || reached {
			t.Errorf("%+v: %v, reached %t", policy, err, reached)
		}
	}
}

// TestRedirects: a redirect is followed without the signed URL as its Referer, and
// to allowed hosts alone.
func TestRedirects(t *testing.T) {
	f := newFixture(t, 3*testPart)
	var referer atomic.Value // parts are fetched side by side
	f.origin.fault = func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		if sent := r.Header.Get("Referer"); sent != "" {
			referer.Store(sent)
		}
		return false
	}
	front := httptest.NewServer(http.RedirectHandler(string(f.src.URL), http.StatusTemporaryRedirect))
	defer front.Close()
	f.src.URL = redact.SignedURL(front.URL + "/x?signed=secret")
	if f.copied(); referer.Load() != nil {
		t.Errorf("the signed URL went to another host: %q", referer.Load())
	}
	f.saved = nil
	f.copier.Origin = NewRestrictedClient(Policy{AllowInsecure: true, Hosts: []string{strings.TrimPrefix(front.URL, "http://")}})
	if _, err := f.copy(); !named.Is(err, named.OriginRefused) {
		t.Errorf("redirected to a host not listed: %v", err)
	}
}
