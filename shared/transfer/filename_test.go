package transfer

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

func TestDispositionNames(t *testing.T) {
	tests := []struct{ name, header, want string }{
		{"as the standard has it", `attachment; filename="a b.webp"`, "a b.webp"},
		{"without a type", `filename="x.glb"`, "x.glb"},
		{"unquoted, with blanks", "attachment; filename=my model.glb", "my model.glb"},
		{"unquoted, without a type", "filename=x.glb", "x.glb"},
		{"without the first semicolon", `attachment filename="x.glb"`, "x.glb"},
		{"with a comma for it", `attachment, filename="x.glb"`, "x.glb"},
		{"in capitals", `ATTACHMENT; FILENAME="X.GLB"`, "X.GLB"},
		{"blanks around the sign", `attachment; filename = "x.glb"`, "x.glb"},
		{"a semicolon at the end", `attachment; filename="x.glb";`, "x.glb"},
		{"a semicolon inside", `attachment; filename="a;b.glb"`, "a;b.glb"},
		{"a quote inside", `attachment; filename="a\"b.glb"`, `a"b.glb`},
		{"a quote that is never closed", `attachment; filename="x.glb; size=5`, "x.glb"},
		{"single quotes", "attachment; filename='x.glb'", "x.glb"},
		{"raw UTF-8", `attachment; filename="größe 图.glb"`, "größe 图.glb"},
		{"raw Latin-1", "attachment; filename=\"gr\xf6\xdfe.glb\"", "größe.glb"},
		{"RFC 5987", `attachment; filename*=UTF-8''%C3%BC.glb`, "ü.glb"},
		{"RFC 5987, with a language", `attachment; filename*=utf-8'de'%C3%BC.glb`, "ü.glb"},
		{"RFC 5987, Latin-1", `attachment; filename*=iso-8859-1''%FC.glb`, "ü.glb"},
		{"RFC 5987, in quotes", `attachment; filename*="UTF-8''a%20b.glb"`, "a b.glb"},
		{"RFC 5987 before the plain one", `attachment; filename="u.bin"; filename*=UTF-8''u.glb`, "u.glb"},
		{"RFC 5987 that cannot be read", `attachment; filename*=UTF-8''%zz; filename="u.glb"`, "u.glb"},
		{"RFC 5987 without its charset", `attachment; filename*=a%20b.glb`, "a b.glb"},
		{"RFC 2231 in pieces", `attachment; filename*0="long "; filename*1="name.glb"`, "long name.glb"},
		{"RFC 2231 in encoded pieces", `attachment; filename*0*=UTF-8''%C3%BC; filename*1=.glb`, "ü.glb"},
		{"RFC 2047", `attachment; filename="=?UTF-8?B?w7wuZ2xi?="`, "ü.glb"},
		{"twice the same", `attachment; filename="x.glb"; filename="x.glb"`, "x.glb"},
		{"twice", `attachment; filename="x.glb"; filename="y.png"`, "x.glb"},
		{"a path", `attachment; filename="../../etc/x"`, "x"},
		{"a path of Windows", `attachment; filename="C:\dir\x.exe"`, "x.exe"},
		{"a path of Windows, escaped", `attachment; filename="..\\..\\x.exe"`, "x.exe"},
		{"control characters", "attachment; filename=\"a\x01\tb.glb\"", "ab.glb"},
		{"no name", "attachment", ""},
		{"an empty name", `attachment; filename=""`, ""},
		{"a name that is none", `attachment; filename=".."`, ""},
		{"nothing", "", ""},
		{"only signs", `;=;"=;filename`, ""},
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

// TestNamesOfAddresses: where no header names the file, its address does.
func TestNamesOfAddresses(t *testing.T) {
	tests := []struct{ name, address, disposition, contentType, want string }{
		{"the path", "/out/lora.safetensors?sig=1", "", "application/octet-stream", "lora.safetensors"},
		{"an encoded path", "/out/a%20b.glb", "", "", "a b.glb"},
		{"a path's parameters", "/out/a.glb;jsessionid=1", "", "", "a.glb"},
		{"a slash at the end", "/out/a.glb/", "", "", "a.glb"},
		{"a query that names it", "/view?filename=mesh.glb&type=output", "", "", "mesh.glb"},
		{"the header first", "/view?filename=mesh.png", `filename="x.glb"`, "application/octet-stream", "x.glb"},
		{"a header without an extension", "/out/lora.safetensors", "attachment; filename=download", "application/octet-stream", "lora.safetensors"},
		{"the same, and a type that tells", "/out/view.php", "attachment; filename=download", "image/png", "download"},
		{"no name anywhere", "/", "", "", ""},
		{"a name without an extension", "/view", "", "", "view"},
	}
	for _, test := range tests {
		origin := newFakeOrigin(10)
		origin.header = http.Header{"Content-Type": {test.contentType}, "Content-Disposition": {test.disposition}}
		if test.contentType == "" {
			origin.header.Set("Content-Type", "application/octet-stream")
		}
		server := httptest.NewServer(origin)
		_, res, err := copyOnce(t, origin, server.URL+test.address)
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
	_, res, err := copyOnce(t, origin, front.URL+"/models/lora.safetensors")
	if err != nil || res.Key != "runs/1/lora.safetensors" {
		t.Errorf("%q, %v", res.Key, err)
	}
}

// TestKeysOfOutputs follows a name from the origin's answer into the object's key.
func TestKeysOfOutputs(t *testing.T) {
	tests := []struct{ name, address, disposition, contentType, want string }{
		{"a header without a type", "/view", `filename="x.glb"`, "application/octet-stream", "output.glb"},
		{"a header with blanks", "/view", "attachment; filename=my model.glb", "application/octet-stream", "output.glb"},
		{"weights, by path", "/odd/lora.safetensors", "", "application/octet-stream", "output.safetensors"},
		{"weights, by header", "/view", `attachment; filename="lora.safetensors"`, "application/octet-stream", "output.safetensors"},
		{"a splat", "/odd/scene.ksplat", "", "binary/octet-stream", "output.ksplat"},
		{"a film, by its type alone", "/view", "", "video/quicktime", "output.mov"},
		{"another name of a type", "/view", "", "image/jpg", "output.jpg"},
		{"nothing", "/view", "", "application/octet-stream", "output.bin"},
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
