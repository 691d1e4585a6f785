package transfer

import (
	"net/url"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

func TestCheckURL(t *testing.T) {
	tests := []struct {
		policy  Policy
		url     string
		allowed bool
	}{
		{policy: Policy{}, url: "https://files.example.com/x", allowed: true},
		{policy: Policy{}, url: "http://files.example.com/x"},
		{policy: Policy{}, url: "ftp://files.example.com/x"},
		{policy: Policy{}, url: "file:///etc/passwd"},
		{policy: Policy{}, url: "https:///x"},
		{policy: Policy{AllowInsecure: true}, url: "http://127.0.0.1:1/x", allowed: true},
		{policy: Policy{AllowInsecure: true}, url: "gopher://127.0.0.1:1/x"},
		{policy: Policy{Hosts: []string{"files.example.com"}}, url: "https://files.example.com/x", allowed: true},
		{policy: Policy{Hosts: []string{"files.example.com"}}, url: "https://FILES.example.com./x", allowed: true},
		{policy: Policy{Hosts: []string{" Files.Example.com. "}}, url: "https://files.example.com/x", allowed: true},
		{policy: Policy{Hosts: []string{"files.example.com"}}, url: "https://files.example.com:8443/x", allowed: true},
		{policy: Policy{Hosts: []string{"files.example.com"}}, url: "https://files.example.com.evil.net/x"},
		{policy: Policy{Hosts: []string{"files.example.com"}}, url: "https://evilfiles.example.com/x"},
		{policy: Policy{Hosts: []string{"files.example.com"}}, url: "https://files.example.com@evil.net/x"},
		{policy: Policy{Hosts: []string{"files.example.com:8443"}}, url: "https://files.example.com:8443/x", allowed: true},
		{policy: Policy{Hosts: []string{"files.example.com:8443"}}, url: "https://files.example.com/x"},
		{policy: Policy{Hosts: []string{"files.example.com:443"}}, url: "https://files.example.com/x", allowed: true},
		{policy: Policy{Hosts: []string{"*.example.com"}}, url: "https://a.b.example.com/x", allowed: true},
		{policy: Policy{Hosts: []string{"*.example.com"}}, url: "https://example.com/x"},
		{policy: Policy{Hosts: []string{"*.example.com"}}, url: "https://badexample.com/x"},
		{policy: Policy{Hosts: []string{"*.example.com:99"}}, url: "https://a.example.com:99/x", allowed: true},
		{policy: Policy{Hosts: []string{"other.net", "*.example.com"}}, url: "https://a.example.com/x", allowed: true},
		{policy: Policy{Hosts: []string{"[2606:4700::1]:443"}}, url: "https://[2606:4700::1]/x", allowed: true},
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
	local := Policy{AllowInsecure: true, LambdaRuntimeAPI: "127.0.0.1:9001"}
	for address, allowed := range map[string]bool{
		"127.0.0.1:9000": true, "[::1]:9000": true, "10.0.0.1:443": false, "169.254.169.254:80": false, "0.0.0.0:9000": false,
		"127.0.0.1:9001": false, "[::1]:9001": false, "127.9.9.9:9001": false, "0.0.0.0:9001": false, "[::ffff:127.0.0.1]:9001": false,
	} {
		if err := local.checkAddress(address); (err == nil) != allowed {
			t.Errorf("locally, %s: %v, want allowed %t", address, err, allowed)
		}
	}
}
