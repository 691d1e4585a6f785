package transfer

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

func TestDispositionNames(t *testing.T) {
	tests := []struct{ name, header, want string }{
		{name: "as the standard has it", header: `attachment; filename="a b.webp"`, want: "a b.webp"},
		{name: "without a type", header: `filename="x.glb"`, want: "x.glb"},
		{name: "unquoted, with blanks", header: "attachment; filename=my model.glb", want: "my model.glb"},
		{name: "unquoted, without a type", header: "filename=x.glb", want: "x.glb"},
		{name: "without the first semicolon", header: `attachment filename="x.glb"`, want: "x.glb"},
		{name: "with a comma for it", header: `attachment, filename="x.glb"`, want: "x.glb"},
		{name: "in capitals", header: `ATTACHMENT; FILENAME="X.GLB"`, want: "X.GLB"},
		{name: "blanks around the sign", header: `attachment; filename = "x.glb"`, want: "x.glb"},
		{name: "a semicolon at the end", header: `attachment; filename="x.glb";`, want: "x.glb"},
		{name: "a semicolon inside", header: `attachment; filename="a;b.glb"`, want: "a;b.glb"},
		{name: "a quote inside", header: `attachment; filename="a\"b.glb"`, want: `a"b.glb`},
		{name: "a quote that is never closed", header: `attachment; filename="x.glb; size=5`, want: "x.glb"},
		{name: "single quotes", header: "attachment; filename='x.glb'", want: "x.glb"},
		{name: "raw UTF-8", header: `attachment; filename="größe 图.glb"`, want: "größe 图.glb"},
		{name: "raw Latin-1", header: "attachment; filename=\"gr\xf6\xdfe.glb\"", want: "größe.glb"},
		{name: "RFC 5987", header: `attachment; filename*=UTF-8''%C3%BC.glb`, want: "ü.glb"},
		{name: "RFC 5987, with a language", header: `attachment; filename*=utf-8'de'%C3%BC.glb`, want: "ü.glb"},
		{name: "RFC 5987, Latin-1", header: `attachment; filename*=iso-8859-1''%FC.glb`, want: "ü.glb"},
		{name: "RFC 5987, in quotes", header: `attachment; filename*="UTF-8''a%20b.glb"`, want: "a b.glb"},
		{name: "RFC 5987 before the plain one", header: `attachment; filename="u.bin"; filename*=UTF-8''u.glb`, want: "u.glb"},
		{name: "RFC 5987 that cannot be read", header: `attachment; filename*=UTF-8''%zz; filename="u.glb"`, want: "u.glb"},
		{name: "RFC 5987 without its charset", header: `attachment; filename*=a%20b.glb`, want: "a b.glb"},
		{name: "RFC 2231 in pieces", header: `attachment; filename*0="long "; filename*1="name.glb"`, want: "long name.glb"},
		{name: "RFC 2231 in encoded pieces", header: `attachment; filename*0*=UTF-8''%C3%BC; filename*1=.glb`, want: "ü.glb"},
		{name: "RFC 2047", header: `attachment; filename="=?UTF-8?B?w7wuZ2xi?="`, want: "ü.glb"},
		{name: "twice the same", header: `attachment; filename="x.glb"; filename="x.glb"`, want: "x.glb"},
		{name: "twice", header: `attachment; filename="x.glb"; filename="y.png"`, want: "x.glb"},
		{name: "a path", header: `attachment; filename="../../etc/x"`, want: "x"},
		{name: "a path of Windows", header: `attachment; filename="C:\dir\x.exe"`, want: "x.exe"},
		{name: "a path of Windows, escaped", header: `attachment; filename="..\\..\\x.exe"`, want: "x.exe"},
		{name: "control characters", header: "attachment; filename=\"a\x01\tb.glb\"", want: "ab.glb"},
		{name: "no name", header: "attachment"},
		{name: "an empty name", header: `attachment; filename=""`},
		{name: "a name that is none", header: `attachment; filename=".."`},
		{name: "nothing"},
		{name: "only signs", header: `;=;"=;filename`},
	}
	for _, test := range tests {
		if got := dispositionName([]string{test.header}); got != test.want {
			t.Errorf("%s: %q is %q, want %q", test.name, test.header, got, test.want)
		}
	}
	if got := dispositionName([]string{"inline", `attachment; filename="x.glb"`}); got != "x.glb" {
		t.Errorf("two headers: %q", got)
	}
}

func FuzzDispositionName(f *testing.F) {
	for _, header := range []string{`attachment; filename="x.glb"`, "filename*0*=utf-8''%00; filename*1=\\", `filename="a\`, "filename*=''", "filename==?utf-8?q?=00?="} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		name := dispositionName([]string{header})
		if strings.ContainsAny(name, "/\\\x00\r\n") || name == "." || name == ".." || strings.ToValidUTF8(name, "") != name {
			t.Fatalf("%q is %q", header, name)
		}
	})
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

// TestNamesOfURLs: where no header names the file, its address does.
func TestNamesOfURLs(t *testing.T) {
	tests := []struct{ name, address, disposition, contentType, want string }{
		{name: "the path", address: "/out/lora.safetensors?sig=1", contentType: "application/octet-stream", want: "lora.safetensors"},
		{name: "an encoded path", address: "/out/a%20b.glb", want: "a b.glb"},
		{name: "a path's parameters", address: "/out/a.glb;jsessionid=1", want: "a.glb"},
		{name: "a slash at the end", address: "/out/a.glb/", want: "a.glb"},
		{name: "a query that names it", address: "/view?filename=mesh.glb&type=output", want: "mesh.glb"},
		{name: "the header first", address: "/view?filename=mesh.png", disposition: `filename="x.glb"`, contentType: "application/octet-stream", want: "x.glb"},
		{name: "a header without an extension", address: "/out/lora.safetensors", disposition: "attachment; filename=download", contentType: "application/octet-stream", want: "lora.safetensors"},
		{name: "the same, and a type that tells", address: "/out/view.php", disposition: "attachment; filename=download", contentType: "image/png", want: "download"},
		{name: "no name anywhere", address: "/"},
		{name: "a name without an extension", address: "/view", want: "view"},
	}
	for _, test := range tests {
		origin := newFakeOrigin(10)
		origin.header = http.Header{"Content-Type": {test.contentType}, "Content-Disposition": {test.disposition}}
		if test.contentType == "" {
			origin.header.Set("Content-Type", "application/octet-stream")
		}
		server := httptest.NewServer(origin)
		_, res, err := copyOnce(t, origin, redact.SignedURL(server.URL+test.address))
		server.Close()
		if err != nil || res.Key != "runs/1/"+test.want {
			t.Errorf("%s: %q, %v, want %q", test.name, res.Key, err, test.want)
		}
	}
}

// TestNameBeforeRedirect: a front that is asked for a name leads to a store whose
// keys are none.
func TestNameBeforeRedirect(t *testing.T) {
	origin := newFakeOrigin(10)
	server := httptest.NewServer(origin)
	defer server.Close()
	front := httptest.NewServer(http.RedirectHandler(server.URL+"/3fa85f64", http.StatusFound))
	defer front.Close()
	_, res, err := copyOnce(t, origin, redact.SignedURL(front.URL+"/models/lora.safetensors"))
	if err != nil || res.Key != "runs/1/lora.safetensors" {
		t.Errorf("%q, %v", res.Key, err)
	}
}

// TestKeysOfOutputs follows a name from the origin's answer into the object's key.
func TestKeysOfOutputs(t *testing.T) {
	tests := []struct{ name, address, disposition, contentType, want string }{
		{name: "a header without a type", address: "/view", disposition: `filename="x.glb"`, contentType: "application/octet-stream", want: "output.glb"},
		{name: "a header with blanks", address: "/view", disposition: "attachment; filename=my model.glb", contentType: "application/octet-stream", want: "output.glb"},
		{name: "weights, by path", address: "/odd/lora.safetensors", contentType: "application/octet-stream", want: "output.safetensors"},
		{name: "weights, by header", address: "/view", disposition: `attachment; filename="lora.safetensors"`, contentType: "application/octet-stream", want: "output.safetensors"},
		{name: "a splat", address: "/odd/scene.ksplat", contentType: "binary/octet-stream", want: "output.ksplat"},
		{name: "a film, by its type alone", address: "/view", contentType: "video/quicktime", want: "output.mov"},
		{name: "another name of a type", address: "/view", contentType: "image/jpg", want: "output.jpg"},
		{name: "nothing", address: "/view", contentType: "application/octet-stream", want: "output.bin"},
	}
	for _, test := range tests {
		origin, store := newFakeOrigin(10), newFakeS3()
		origin.header = http.Header{"Content-Type": {test.contentType}, "Content-Disposition": {test.disposition}}
		server := httptest.NewServer(origin)
		dst := testTarget()
		dst.Key = func(r Remote) string { return run.OutputName("output", r.Name, r.ContentType) }
		res, err := testCopier(t, store.client(t)).Copy(t.Context(), Source{URL: redact.SignedURL(server.URL + test.address)}, dst, nil, nil)
		server.Close()
		if err != nil || res.Key != test.want {
			t.Errorf("%s: %q, %v, want %q", test.name, res.Key, err, test.want)
		}
	}
}
