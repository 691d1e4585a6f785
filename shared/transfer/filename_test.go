package transfer

import (
	"cmp"
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
		{name: "quotes inside, not escaped", header: `attachment; filename="my "best" x.glb"`, want: `my "best" x.glb`},
		{name: "a quote inside, not escaped", header: `attachment; filename="12" x.glb"; size=5`, want: `12" x.glb`},
		{name: "two headers in one", header: `attachment; filename="x.glb", attachment; filename="y.png"`, want: "x.glb"},
		{name: "two names in one", header: `attachment; filename="x.glb", filename="y.png"`, want: "x.glb"},
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
		{name: "RFC 5987 that is not encoded", header: `attachment; filename*=UTF-8''100% x.glb`, want: "100% x.glb"},
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

// TestFileName: what an object is called after its header or, where there is none
// that tells a type, after its URL.
func TestFileName(t *testing.T) {
	tests := []struct{ name, path, disposition, contentType, want string }{
		{name: "the path", path: "/out/lora.safetensors?sig=1", contentType: "application/octet-stream", want: "lora.safetensors"},
		{name: "an encoded path", path: "/out/a%20b.glb", want: "a b.glb"},
		{name: "a path's parameters", path: "/out/a.glb;jsessionid=1", want: "a.glb"},
		{name: "a slash at the end", path: "/out/a.glb/", want: "a.glb"},
		{name: "a query that names it", path: "/view?filename=mesh.glb&type=output", want: "mesh.glb"},
		{name: "the header first", path: "/view?filename=mesh.png", disposition: `filename="x.glb"`, contentType: "application/octet-stream", want: "x.glb"},
		{name: "a header without an extension", path: "/out/lora.safetensors", disposition: "attachment; filename=download", contentType: "application/octet-stream", want: "lora.safetensors"},
		{name: "the same, and a type that tells", path: "/out/view.php", disposition: "attachment; filename=download", contentType: "image/png", want: "download"},
		{name: "a program, and a type that tells", path: "/download.php?id=7", contentType: "image/png"},
		{name: "a program, and no type", path: "/download.php?id=7", want: "download.php"},
		{name: "a header with a version", path: "/out/model.glb", disposition: `attachment; filename="Model v1.5"`, want: "model.glb"},
		{name: "no name anywhere", path: "/"},
		{name: "a name without an extension", path: "/view", want: "view"},
		{name: "no header but the type", path: "/outputs/picture.png", disposition: "attachment", want: "picture.png"},
		{name: "a header without its type", path: "/outputs/picture.png", disposition: `attachment; filename*=UTF-8''%C3%BC.x`, want: "ü.x"},
	}
	for _, test := range tests {
		f := newFixture(t, 10)
		f.origin.header = http.Header{"Content-Type": {cmp.Or(test.contentType, "application/octet-stream")}, "Content-Disposition": {test.disposition}}
		f.src.URL = f.at(test.path)
		if res, err := f.copy(); err != nil || res.Key != "runs/1/"+test.want {
			t.Errorf("%s: %q, %v, want %q", test.name, res.Key, err, test.want)
		}
	}
}

// TestNameBeforeRedirect: a URL that names the file may lead to one that does not.
func TestNameBeforeRedirect(t *testing.T) {
	f := newFixture(t, 10)
	front := httptest.NewServer(http.RedirectHandler(string(f.at("/3fa85f64")), http.StatusFound))
	defer front.Close()
	f.src.URL = redact.SignedURL(front.URL + "/models/lora.safetensors")
	if res, err := f.copy(); err != nil || res.Key != "runs/1/lora.safetensors" {
		t.Errorf("%q, %v", res.Key, err)
	}
}

// TestKeysOfOutputs follows a name from the origin's answer into the object's key.
func TestKeysOfOutputs(t *testing.T) {
	tests := []struct{ name, path, disposition, contentType, want string }{
		{name: "a header without a type", path: "/view", disposition: `filename="x.glb"`, contentType: "application/octet-stream", want: "output.glb"},
		{name: "a header with blanks", path: "/view", disposition: "attachment; filename=my model.glb", contentType: "application/octet-stream", want: "output.glb"},
		{name: "weights, by path", path: "/odd/lora.safetensors", contentType: "application/octet-stream", want: "output.safetensors"},
		{name: "weights, by header", path: "/view", disposition: `attachment; filename="lora.safetensors"`, contentType: "application/octet-stream", want: "output.safetensors"},
		{name: "a splat", path: "/odd/scene.ksplat", contentType: "binary/octet-stream", want: "output.ksplat"},
		{name: "a film, by its type alone", path: "/view", contentType: "video/quicktime", want: "output.mov"},
		{name: "another name of a type", path: "/view", contentType: "image/jpg", want: "output.jpg"},
		{name: "a version, and a type", path: "/v1.5", contentType: "image/png", want: "output.png"},
		{name: "a version in the header, and a type", path: "/view", disposition: `attachment; filename="Model v1.5"`, contentType: "model/gltf-binary", want: "output.glb"},
		{name: "a number, and no type", path: "/frames.001", contentType: "application/octet-stream", want: "output.001"},
		{name: "a program", path: "/get.aspx", contentType: "video/mp4", want: "output.mp4"},
		{name: "nothing", path: "/view", contentType: "application/octet-stream", want: "output.bin"},
	}
	for _, test := range tests {
		f := newFixture(t, 10)
		f.origin.header = http.Header{"Content-Type": {test.contentType}, "Content-Disposition": {test.disposition}}
		target := testTarget()
		target.Key = func(r OriginFile) string { return run.OutputName("output", r.Name, r.ContentType) }
		res, err := f.copier.Copy(t.Context(), Source{URL: f.at(test.path)}, target, nil, nil)
		if err != nil || res.Key != test.want {
			t.Errorf("%s: %q, %v, want %q", test.name, res.Key, err, test.want)
		}
	}
}
