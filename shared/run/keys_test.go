package run

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestOutputName(t *testing.T) {
	tests := []struct{ name, id, remote, contentType, want string }{
		{"the lone output", "output", "image.png", "image/png", "output.png"},
		{"an id of a cloud task", "9.images.0", "ComfyUI_00001_.png", "image/png", "9.images.0.png"},
		{"the remote's extension first", "a", "b.webp", "image/png", "a.webp"},
		{"its case stays", "a", "IMG.JPG", "", "a.JPG"},
		{"only the last of two", "a", "b.tar.gz", "", "a.gz"},
		{"a name without one", "a", "b", "image/jpeg", "a.jpg"},
		{"no name", "a", "", "video/mp4; codecs=avc1", "a.mp4"},
		{"a content type in capitals", "a", "", "IMAGE/PNG", "a.png"},
		{"a content type that is not known", "a", "", "application/x-unheard-of", "a.bin"},
		{"none at all", "a", "", "", "a.bin"},
		{"a content type that is none", "a", "", ";;;", "a.bin"},
		{"weights", "a", "lora.safetensors", "application/octet-stream", "a.safetensors"},
		{"a splat", "a", "scene.ksplat", "", "a.ksplat"},
		{"the longest extension", "a", "b." + strings.Repeat("e", 32), "image/png", "a." + strings.Repeat("e", 32)},
		{"an extension that is too long", "a", "b." + strings.Repeat("e", 33), "image/png", "a.png"},
		{"a film by its type", "a", "", "video/quicktime", "a.mov"},
		{"another name of a type", "a", "", "image/jpg", "a.jpg"},
		{"an extension with a blank", "a", "b.p g", "image/png", "a.png"},
		{"an extension with a path", "a", "b.x/../y", "", "a.bin"},
		{"a point at the end", "a", "b.", "image/png", "a.png"},
		{"a path", "a/../b", "x.png", "", "a~2F..~2Fb.png"},
		{"a leading point", ".env", "x.txt", "", "~2Eenv.txt"},
		{"points alone", "..", "x.txt", "", "~2E..txt"},
		{"blanks and umlauts", "ü 1", "x.png", "", "~C3~BC~201.png"},
		{"the escape itself", "~41", "x.png", "", "~7E41.png"},
		{"nothing", "", "x.png", "", "~.png"},
		{"the manifest", "manifest", "x.json", "", "~6Danifest.json"},
		{"the error", "error", "", "application/json", "~65rror.json"},
		{"the manifest's whole name", "manifest.json", "x", "", "manifest.json.bin"},
		{"an id that looks like a file", "a.png", "x.png", "", "a.png.png"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := OutputName(test.id, test.remote, test.contentType); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// Outputs of one task, at every pair of extensions, never share a key.
func TestOutputNamesDiffer(t *testing.T) {
	ids := []string{"", "~", "a", "A", "a.png", "a.bin", "a.png.bin", "a/b", "a~2Fb", "a~b", ".a", "~2Ea", "..", ".", "ä", "a\u0308", "manifest", "~6Danifest", "error", "manifest.json", "error.json", "output", "output_"}
	long := strings.Repeat("x", 250)
	ids = append(ids, long, long+"y", "y"+long, strings.Repeat("ä", 100), strings.Repeat("ä", 101), strings.Repeat("x", 200), strings.Repeat("x", 201), strings.Repeat("x", 99)+strings.Repeat("/", 100))
	// An id that spells a cut-off one's name, without what marks it as cut off.
	cut := strings.TrimSuffix(OutputName(long, "f.png", ""), ".png")
	ids = append(ids, cut, strings.ReplaceAll(cut, "~", ""))
	remotes := []string{"", "f.png", "f.bin", "f.json", "f.PNG", "f.safetensors", "f." + strings.Repeat("e", 32)}
	seen := map[string]string{}
	for _, id := range ids {
		for _, remote := range remotes {
			name := OutputName(id, remote, "")
			if other, there := seen[name]; there && other != id {
				t.Errorf("%q and %q are both %q", id, other, name)
			}
			seen[name] = id
			if name == ManifestName || name == ErrorName || len(name) > maxOutputName {
				t.Errorf("%q is %q", id, name)
			}
		}
	}
}

func FuzzOutputName(f *testing.F) {
	f.Add("output", "9.images.0", "a.png", "b.png", "image/png")
	f.Add("manifest", "error", "x.json", "", "application/json")
	f.Add("a", "a.png", "x.png", "x", "")
	f.Add(".", "~2E", "x.bin", "", "text/plain")
	f.Add(strings.Repeat("x", 300), strings.Repeat("x", 301), "", "", "")
	f.Add("\xff", "\xfe", "\xff.\xff", "..", "\xff")
	f.Fuzz(func(t *testing.T, a, b, remoteA, remoteB, contentType string) {
		x, y := OutputName(a, remoteA, contentType), OutputName(b, remoteB, contentType)
		if a != b && x == y {
			t.Fatalf("%q and %q are both %q", a, b, x)
		}
		for _, name := range []string{x, y} {
			if name == ManifestName || name == ErrorName || len(name) > maxOutputName || name[0] == '.' {
				t.Fatalf("the name %q", name)
			}
			for _, c := range []byte(name) {
				if !isAlnum(rune(c)) && !strings.ContainsRune("-_.~", rune(c)) {
					t.Fatalf("the name %q", name)
				}
			}
		}
	})
}

func TestMetadataValue(t *testing.T) {
	tests := []struct{ name, value, want string }{
		{"plain", "9.images.0", "9.images.0"},
		{"printable", "a b/c%d~!", "a b/c%d~!"},
		{"umlauts", "größe 1", "gr%C3%B6%C3%9Fe%201"},
		{"a line end", "a\r\nX-Evil: 1", "a%0D%0AX-Evil:%201"},
		{"no text", "\xff\x00", "%FF%00"},
		{"a blank before it", " a", "%20a"},
		{"a blank after it", "a ", "a%20"},
		{"nothing", "", ""},
		{"delete", "\x7f", "%7F"},
		{"cut between two escapes", "x" + strings.Repeat("ä", 400), "x" + strings.Repeat("%C3%A4", 99) + "%C3"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := MetadataValue(test.value); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	// S3 refuses an object with more than 2 KB of metadata: names and values.
	total := 0
	for _, name := range []string{"cyberun-task-id", "cyberun-run-id", "cyberun-output-id"} {
		total += len(name) + len(MetadataValue(strings.Repeat("ä", 5000)))
	}
	if total > 2048 {
		t.Errorf("metadata of %d bytes", total)
	}
}

func FuzzMetadataValue(f *testing.F) {
	for _, s := range []string{"a", " ", "ä", "\r\n", "\x00", "%zz", " a "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := MetadataValue(s)
		var wire strings.Builder
		if err := (http.Header{"X": {got}}).Write(&wire); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("X: %s\r\n", got); wire.String() != want || strings.TrimSpace(got) != got {
			t.Fatalf("%q became %q, on the wire %q", s, got, wire.String())
		}
	})
}
