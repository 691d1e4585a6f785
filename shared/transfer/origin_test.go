package transfer

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

func TestCheckURL(t *testing.T) {
	tests := []struct {
		policy  Policy
		url     string
		allowed bool
	}{
		{Policy{}, "https://files.example.com/x", true},
		{Policy{}, "http://files.example.com/x", false},
		{Policy{}, "ftp://files.example.com/x", false},
		{Policy{}, "file:///etc/passwd", false},
		{Policy{}, "https:///x", false},
		{Policy{AllowInsecure: true}, "http://127.0.0.1:1/x", true},
		{Policy{AllowInsecure: true}, "gopher://127.0.0.1:1/x", false},
		{Policy{Hosts: []string{"files.example.com"}}, "https://files.example.com/x", true},
		{Policy{Hosts: []string{"files.example.com"}}, "https://FILES.example.com./x", true},
		{Policy{Hosts: []string{" Files.Example.com. "}}, "https://files.example.com/x", true},
		{Policy{Hosts: []string{"files.example.com"}}, "https://files.example.com:8443/x", true},
		{Policy{Hosts: []string{"files.example.com"}}, "https://files.example.com.evil.net/x", false},
		{Policy{Hosts: []string{"files.example.com"}}, "https://evilfiles.example.com/x", false},
		{Policy{Hosts: []string{"files.example.com"}}, "https://files.example.com@evil.net/x", false},
		{Policy{Hosts: []string{"files.example.com:8443"}}, "https://files.example.com:8443/x", true},
		{Policy{Hosts: []string{"files.example.com:8443"}}, "https://files.example.com/x", false},
		{Policy{Hosts: []string{"files.example.com:443"}}, "https://files.example.com/x", true},
		{Policy{Hosts: []string{"*.example.com"}}, "https://a.b.example.com/x", true},
		{Policy{Hosts: []string{"*.example.com"}}, "https://example.com/x", false},
		{Policy{Hosts: []string{"*.example.com"}}, "https://badexample.com/x", false},
		{Policy{Hosts: []string{"*.example.com:99"}}, "https://a.example.com:99/x", true},
		{Policy{Hosts: []string{"other.net", "*.example.com"}}, "https://a.example.com/x", true},
		{Policy{Hosts: []string{"[2606:4700::1]:443"}}, "https://[2606:4700::1]/x", true},
	}
	for _, test := range tests {
		u, err := url.Parse(test.url)
		if err != nil {
			t.Fatal(err)
		}
		err = test.policy.checkURL(u)
		if (err == nil) != test.allowed || err != nil && !named.Is(err, named.OriginRefused) {
			t.Errorf("%v, %s: %v, want allowed %t", test.policy, test.url, err, test.allowed)
		}
	}
}

func TestCheckAddress(t *testing.T) {
	public := []string{"8.8.8.8:443", "52.95.110.1:443", "[2606:4700::1]:443", "[64:ff9b::8.8.8.8]:443", "[::ffff:8.8.8.8]:443"}
	private := []string{
		"127.0.0.1:443", "127.8.8.8:443", "[::1]:443", "[::ffff:127.0.0.1]:443", "0.0.0.0:443", "0.1.2.3:443", "[::]:443",
		"10.0.0.1:443", "172.16.0.1:443", "172.31.255.255:443", "192.168.1.1:443", "100.64.0.1:443", "100.127.255.255:443",
		"169.254.169.254:80", "169.254.170.2:80", "[fe80::1]:443", "[fe80::1%eth0]:443", "[fd00:ec2::254]:80", "[fc00::1]:443",
		"224.0.0.1:443", "239.1.1.1:443", "[ff02::1]:443", "255.255.255.255:443", "240.0.0.1:443", "198.18.0.1:443",
		"192.0.2.1:443", "198.51.100.1:443", "203.0.113.1:443", "192.0.0.1:443", "192.88.99.1:443",
		"[64:ff9b::10.0.0.1]:443", "[64:ff9b::169.254.169.254]:80", "[64:ff9b:1::1]:443", "[2002:a00:1::]:443", "[2001::1]:443",
		"[2001:db8::1]:443", "[::10.0.0.1]:443", "[fec0::1]:443", "[100::1]:443", "[::ffff:169.254.169.254]:80", "not an address",
	}
	for _, address := range public {
		if err := (Policy{}).checkAddress(address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range private {
		if err := (Policy{}).checkAddress(address); !named.Is(err, named.OriginRefused) {
			t.Errorf("%s: %v, want it refused", address, err)
		}
	}
	local := Policy{AllowInsecure: true, RuntimeAPI: "127.0.0.1:9001"}
	for address, allowed := range map[string]bool{
		"127.0.0.1:9000": true, "[::1]:9000": true, "10.0.0.1:443": false, "169.254.169.254:80": false, "0.0.0.0:9000": false,
		"127.0.0.1:9001": false, "[::1]:9001": false, "127.9.9.9:9001": false, "0.0.0.0:9001": false, "[::ffff:127.0.0.1]:9001": false,
	} {
		if err := local.checkAddress(address); (err == nil) != allowed {
			t.Errorf("locally, %s: %v, want allowed %t", address, err, allowed)
		}
	}
}

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

func TestFileName(t *testing.T) {
	for disposition, want := range map[string]string{
		"":                                      "picture.png",
		`attachment; filename="a b.webp"`:       "a b.webp",
		`attachment; filename*=UTF-8''%C3%BC.x`: "ü.x",
		`attachment; filename="../../etc/x"`:    "x",
		`attachment; filename="..\\..\\x.exe"`:  "x.exe",
		"attachment":                            "picture.png",
	} {
		origin, store := newFakeOrigin(10), newFakeS3()
		origin.header = http.Header{"Content-Disposition": {disposition}}
		res, err := testCopier(t, store.client(t)).Copy(context.Background(), Source{URL: origin.serve(t)}, testTarget(), nil, nil)
		if err != nil || res.Key != "runs/1/"+want {
			t.Errorf("%q: %q, %v, want %q", disposition, res.Key, err, want)
		}
	}
}
