package transfer

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// A name is nothing to go by: what it resolves to is checked when it is dialled.
func TestRefusedWhenDialled(t *testing.T) {
	reached := false
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	store := newFakeS3()
	client := store.client(t)
	for _, policy := range []Policy{{}, {Hosts: []string{"localhost"}}, {AllowInsecure: true, RuntimeAPI: "localhost:" + port}} {
		copier := testCopier(t, client)
		copier.Origin = NewOrigin(policy)
		_, err := copier.Copy(t.Context(), Source{URL: redact.SignedURL("https://localhost:" + port + "/x?X-Amz-Signature=secret")}, testTarget(), nil, nil)
		if !named.Is(err, named.OriginRefused) || strings.Contains(err.Error(), "secret") || reached {
			t.Errorf("%+v: %v, reached %t", policy, err, reached)
		}
	}
}

func TestRedirects(t *testing.T) {
	origin, store := newFakeOrigin(3*testPart), newFakeS3()
	var referer string
	origin.fault = func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		referer += r.Header.Get("Referer")
		return false
	}
	target := origin.serve(t)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, string(target), http.StatusTemporaryRedirect)
	}))
	defer front.Close()
	copier := testCopier(t, store.client(t))
	res, err := copier.Copy(t.Context(), Source{URL: redact.SignedURL(front.URL + "/x?signed=secret")}, testTarget(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkCopied(t, store, origin, res)
	if referer != "" {
		t.Errorf("the signed URL went to another host: %q", referer)
	}
	copier = testCopier(t, store.client(t))
	copier.Origin = NewOrigin(Policy{AllowInsecure: true, Hosts: []string{strings.TrimPrefix(front.URL, "http://")}})
	dst := testTarget()
	dst.Metadata["cyberun-run-id"] = "run-2"
	if _, err := copier.Copy(t.Context(), Source{URL: redact.SignedURL(front.URL)}, dst, nil, nil); !named.Is(err, named.OriginRefused) {
		t.Errorf("redirected to a host not listed: %v", err)
	}
}
