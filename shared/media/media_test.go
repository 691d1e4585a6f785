package media

import (
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestTable holds the table to itself: nothing in capitals, no name twice, and
// each type's own extension leads back to it.
func TestTable(t *testing.T) {
	names := map[string]bool{}
	for _, k := range table {
		all := append([]string{k.name}, k.aliases...)
		if k.name == octetStream {
			all = k.aliases
		}
		for _, name := range all {
			if names[name] || name != base(name) || !strings.Contains(name, "/") {
				t.Errorf("%q stands twice, or is not written as a type", name)
			}
			names[name] = true
		}
		if len(k.exts) == 0 {
			t.Fatalf("%s has no extension", k.name)
		}
		for _, e := range k.exts {
			if e != ext("x"+e) || len(e) < 2 {
				t.Errorf("%s: %q is not an extension", k.name, e)
			}
		}
		if got := TypeByName("x" + k.exts[0]); got != k.name {
			t.Errorf("a %s is given %s, which says %s", k.name, k.exts[0], got)
		}
		for _, name := range all {
			if got := Extension(name); got != k.exts[0] {
				t.Errorf("%s is given %q, want %s", name, got, k.exts[0])
			}
		}
	}
}

// TestNoHostFiles: the standard library's table is another one on each host, so
// no program of the relay asks it.
func TestNoHostFiles(t *testing.T) {
	house, read := os.DirFS("../.."), 0
	for _, room := range []string{"cmd", "functions", "shared"} {
		err := fs.WalkDir(house, room, func(name string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return err
			}
			source, err := fs.ReadFile(house, name)
			for _, asks := range []string{"mime.TypeByExtension", "mime.ExtensionsByType", "mime.AddExtensionType"} {
				if strings.Contains(string(source), asks) {
					t.Errorf("%s uses %s: ask shared/media", name, asks)
				}
			}
			read++
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if read < 50 {
		t.Errorf("only %d files were read", read)
	}
}

func TestTypeByName(t *testing.T) {
	for name, want := range map[string]string{
		"clip.mov": "video/quicktime", "a.mkv": "video/x-matroska", "a.heic": "image/heic", "a.heif": "image/heif", "a.avif": "image/avif",
		"a.glb": "model/gltf-binary", "a.gltf": "model/gltf+json", "a.ply": "model/ply", "a.obj": "model/obj", "a.stl": "model/stl", "a.usdz": "model/vnd.usdz+zip",
		"a.ksplat": octetStream, "a.splat": octetStream, "a.safetensors": octetStream, "a.ckpt": octetStream,
		"a.webm": "video/webm", "a.tar": "application/x-tar", "a.tar.gz": "application/gzip", "a.7z": "application/x-7z-compressed",
		"a.m4a": "audio/mp4", "a.ogg": "audio/ogg", "a.opus": "audio/opus", "a.flac": "audio/flac", "a.exr": "image/x-exr", "a.hdr": "image/vnd.radiance",
		"a.psd": "image/vnd.adobe.photoshop", "a.svg": "image/svg+xml", "a.bmp": "image/bmp", "a.tif": "image/tiff", "a.ico": "image/vnd.microsoft.icon",
		"a.csv": "text/csv", "a.json": "application/json", "a.txt": "text/plain", "README.md": "text/markdown", "a.mp4": "video/mp4", "a.zip": "application/zip",
		"dir.d/IMG.JPG": "image/jpeg", "jpg": "", "": "", "a.": "", "a.exe": "", ".png": "image/png",
	} {
		if got := TypeByName(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestType(t *testing.T) {
	tests := []struct{ name, file, told, want string }{
		{"S3's default", "clip.mov", "binary/octet-stream", "video/quicktime"},
		{"a form's default", "photo.jpg", "application/x-www-form-urlencoded", "image/jpeg"},
		{"an editor's default", "photo.jpg", "text/plain; charset=utf-8", "image/jpeg"},
		{"no type", "a.glb", "", "model/gltf-binary"},
		{"no type, no name", "a", "", ""},
		{"S3's default, no name", "a", "binary/octet-stream", "binary/octet-stream"},
		{"text that is text", "a.txt", "text/plain; charset=latin1", "text/plain; charset=latin1"},
		{"text of no known name", "a", "text/plain; charset=utf-8", "text/plain; charset=utf-8"},
		{"another name of the type", "photo.jpg", "image/jpg", "image/jpeg"},
		{"another name, in capitals", "a", "Audio/X-WAV;codec=1", "audio/wav"},
		{"a type that says something", "photo.png", "image/jpeg", "image/jpeg"},
		{"with a parameter", "a.json", "application/json; charset=utf-8", "application/json; charset=utf-8"},
		{"weights", "a.safetensors", "application/x-safetensors", octetStream},
		{"unheard of", "a.png", "application/x-unheard-of", "application/x-unheard-of"},
	}
	for _, test := range tests {
		if got := Type(test.file, test.told); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestExtension(t *testing.T) {
	for told, want := range map[string]string{
		"image/png": ".png", "IMAGE/PNG": ".png", "video/mp4; codecs=avc1": ".mp4", "image/jpg": ".jpg", "image/jpeg": ".jpg", "audio/x-wav": ".wav",
		"video/quicktime": ".mov", "model/gltf-binary": ".glb", "image/heic": ".heic", "video/webm": ".webm", "audio/mp4": ".m4a",
		"application/x-zip-compressed": ".zip", "image/png, image/png": ".png", "application/x-safetensors": ".safetensors",
		"": "", ";;;": "", octetStream: "", "binary/octet-stream": "", "application/x-unheard-of": "", "png": "",
	} {
		if got := Extension(told); got != want {
			t.Errorf("%q: %q, want %q", told, got, want)
		}
	}
}

func TestAccepts(t *testing.T) {
	tests := []struct {
		name       string
		accept     []string
		file, told string
		want       bool
	}{
		{"no entries", nil, "x.exe", "application/x-msdownload", true},
		{"the type", []string{"image/png"}, "x", "image/png", true},
		{"the type, in capitals", []string{"IMAGE/PNG"}, "x", "image/png; charset=binary", true},
		{"another type", []string{"image/png"}, "x.png", "image/jpeg", false},
		{"a family", []string{"image/*"}, "x", "image/webp", true},
		{"no family", []string{"image/*"}, "x", "imagery/webp", false},
		{"an extension", []string{".png"}, "X.PNG", "application/zip", true},
		{"an extension without its dot", []string{"png", "jpg"}, "x.jpg", "", true},
		{"an extension with a star", []string{"*.png"}, "x.png", "", true},
		{"a name that is an extension", []string{"png"}, "png", "", false},
		{"two extensions", []string{".png"}, "x.png.exe", "", false},
		{"anything", []string{"*/*"}, "x", "a/b", true},
		{"anything, shorter", []string{"*"}, "x", "", true},
		{"blanks around", []string{" .glb "}, "x.glb", "model/gltf-binary", true},
		{"entries in one", []string{"image/png, .jpg"}, "x.jpg", "", true},
		{"an empty entry", []string{"", " "}, "x", "", false},

		{"image/jpg for image/jpeg", []string{"image/jpeg"}, "photo.jpg", "image/jpg", true},
		{"image/pjpeg for image/jpeg", []string{"image/jpeg"}, "photo.jpg", "image/pjpeg", true},
		{"image/jpeg for image/jpg", []string{"image/jpg"}, "photo", "image/jpeg", true},
		{"audio/x-wav for audio/wav", []string{"audio/wav"}, "a.wav", "audio/x-wav", true},
		{"audio/wave for audio/vnd.wave", []string{"audio/vnd.wave"}, "a.wav", "audio/wave", true},
		{"the zip of Windows", []string{"application/zip"}, "a.zip", "application/x-zip-compressed", true},
		{"a form's default", []string{"image/jpeg"}, "photo.jpg", "application/x-www-form-urlencoded", true},
		{"an editor's default", []string{"image/jpeg"}, "photo.jpg", "text/plain", true},
		{"an editor's default is no text", []string{"text/plain", ".txt"}, "photo.jpg", "text/plain", false},
		{"text by any name", []string{"text/plain"}, "notes", "text/plain", true},
		{"a table is text", []string{"text/plain"}, "a.csv", "text/plain", true},
		{"a table as a client's text", []string{"text/csv"}, "a.csv", "text/plain", true},
		{"S3's default, by name", []string{"video/mp4"}, "clip.mp4", "binary/octet-stream", true},
		{"a film", []string{"video/*"}, "clip.mov", "binary/octet-stream", true},
		{"a phone's picture", []string{"image/*"}, "a.heic", "binary/octet-stream", true},
		{"HEIC declared as HEIF", []string{"image/heic"}, "a.heic", "image/heif", true},
		{"webm is a film", []string{"video/*"}, "a.webm", "binary/octet-stream", true},
		{"webm declared as sound", []string{"video/webm"}, "a.webm", "audio/webm", true},
		{"webm for sound", []string{"audio/*"}, "a.webm", "", true},
		{"a model", []string{"model/*"}, "a.glb", "binary/octet-stream", true},
		{"a model, by both", []string{".glb", ".gltf"}, "a", "model/gltf-binary", true},
		{"weights by type", []string{"application/octet-stream"}, "a.safetensors", "binary/octet-stream", true},
		{"weights by extension", []string{".safetensors"}, "a.safetensors", "", true},
		{"other weights", []string{".safetensors"}, "a.ckpt", octetStream, false},
		{"no weights", []string{"application/octet-stream"}, "a.png", "image/png", false},
		{"a sister extension", []string{".jpg"}, "photo.JPEG", "", true},
		{"sound in a film's container", []string{".mp4"}, "a.m4a", "", false},
		{"an extension by type alone", []string{".jpg"}, "photo", "image/jpg", true},
		{"a csv as Windows sends it", []string{"text/csv"}, "a.csv", "application/vnd.ms-excel", true},
		{"a sheet is no csv", []string{"text/csv", ".csv"}, "a.xls", "application/vnd.ms-excel", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := Accepts(test.accept, test.file, test.told); got != test.want {
				t.Errorf("%q takes %s (%s): %v", test.accept, test.file, test.told, got)
			}
		})
	}
}

// FuzzAccepts: names and types come from outside. Whatever they are, a file of a
// known type is accepted by that type, and nothing by an entry that is empty.
func FuzzAccepts(f *testing.F) {
	f.Add("image/*", "a.png", "image/png")
	f.Add(".jpg", "a.JPEG", "text/plain; charset=utf-8")
	f.Add("*.", ".", ";,")
	f.Fuzz(func(t *testing.T, entry, name, contentType string) {
		Accepts([]string{entry}, name, contentType)
		if byName := TypeByName(name); byName != "" && !Accepts([]string{byName}, name, "") {
			t.Errorf("%q is no %s", name, byName)
		}
		if Accepts([]string{" "}, name, contentType) {
			t.Errorf("%q (%q) is accepted by nothing", name, contentType)
		}
		if e := Extension(contentType); e != "" && !slices.Contains(byType(base(contentType)).exts, e) {
			t.Errorf("%q is given %q", contentType, e)
		}
	})
}
