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

// TestNoHostFiles: the standard library's table differs from host to host, so
// no program of the relay asks it.
func TestNoHostFiles(t *testing.T) {
	root, read := os.DirFS("../.."), 0
	for _, folder := range []string{"cmd", "functions", "shared"} {
		err := fs.WalkDir(root, folder, func(name string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return err
			}
			source, err := fs.ReadFile(root, name)
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
	tests := []struct{ name, file, declared, want string }{
		{name: "S3's default", file: "clip.mov", declared: "binary/octet-stream", want: "video/quicktime"},
		{name: "a form's default", file: "photo.jpg", declared: "application/x-www-form-urlencoded", want: "image/jpeg"},
		{name: "an editor's default", file: "photo.jpg", declared: "text/plain; charset=utf-8", want: "image/jpeg"},
		{name: "no type", file: "a.glb", want: "model/gltf-binary"},
		{name: "no type, no name", file: "a"},
		{name: "S3's default, no name", file: "a", declared: "binary/octet-stream", want: "binary/octet-stream"},
		{name: "text that is text", file: "a.txt", declared: "text/plain; charset=latin1", want: "text/plain; charset=latin1"},
		{name: "text of no known name", file: "a", declared: "text/plain; charset=utf-8", want: "text/plain; charset=utf-8"},
		{name: "another name of the type", file: "photo.jpg", declared: "image/jpg", want: "image/jpeg"},
		{name: "another name, in capitals", file: "a", declared: "Audio/X-WAV;codec=1", want: "audio/wav"},
		{name: "a type that says something", file: "photo.png", declared: "image/jpeg", want: "image/jpeg"},
		{name: "with a parameter", file: "a.json", declared: "application/json; charset=utf-8", want: "application/json; charset=utf-8"},
		{name: "in capitals", file: "a.png", declared: "IMAGE/PNG", want: "image/png"},
		{name: "in quotes", file: "a.png", declared: `"image/png"`, want: "image/png"},
		{name: "a family", file: "a.png", declared: "image/*", want: "image/png"},
		{name: "a family, no name", file: "a", declared: "image/*", want: "image/*"},
		{name: "no type at all", file: "clip.mov", declared: "undefined", want: "video/quicktime"},
		{name: "weights", file: "a.safetensors", declared: "application/x-safetensors", want: octetStream},
		{name: "unheard of", file: "a.png", declared: "application/x-unheard-of", want: "application/x-unheard-of"},
	}
	for _, test := range tests {
		if got := Type(test.file, test.declared); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestExtension(t *testing.T) {
	for declared, want := range map[string]string{
		"image/png": ".png", "IMAGE/PNG": ".png", "video/mp4; codecs=avc1": ".mp4", "image/jpg": ".jpg", "image/jpeg": ".jpg", "audio/x-wav": ".wav",
		"video/quicktime": ".mov", "model/gltf-binary": ".glb", "image/heic": ".heic", "video/webm": ".webm", "audio/mp4": ".m4a",
		"application/x-zip-compressed": ".zip", "image/png, image/png": ".png", "application/x-safetensors": ".safetensors",
		"": "", ";;;": "", octetStream: "", "binary/octet-stream": "", "application/x-unheard-of": "", "png": "",
	} {
		if got := Extension(declared); got != want {
			t.Errorf("%q: %q, want %q", declared, got, want)
		}
	}
}

func TestAccepts(t *testing.T) {
	tests := []struct {
		name           string
		accept         []string
		file, declared string
		want           bool
	}{
		{name: "no entries", file: "x.exe", declared: "application/x-msdownload", want: true},
		{name: "the type", accept: []string{"image/png"}, file: "x", declared: "image/png", want: true},
		{name: "the type, in capitals", accept: []string{"IMAGE/PNG"}, file: "x", declared: "image/png; charset=binary", want: true},
		{name: "another type", accept: []string{"image/png"}, file: "x.png", declared: "image/jpeg"},
		{name: "a family", accept: []string{"image/*"}, file: "x", declared: "image/webp", want: true},
		{name: "no family", accept: []string{"image/*"}, file: "x", declared: "imagery/webp"},
		{name: "an extension", accept: []string{".png"}, file: "X.PNG", declared: "application/zip", want: true},
		{name: "an extension without its dot", accept: []string{"png", "jpg"}, file: "x.jpg", want: true},
		{name: "an extension with a star", accept: []string{"*.png"}, file: "x.png", want: true},
		{name: "a name that is an extension", accept: []string{"png"}, file: "png"},
		{name: "two extensions", accept: []string{".png"}, file: "x.png.exe"},
		{name: "anything", accept: []string{"*/*"}, file: "x", declared: "a/b", want: true},
		{name: "anything, shorter", accept: []string{"*"}, file: "x", want: true},
		{name: "blanks around", accept: []string{" .glb "}, file: "x.glb", declared: "model/gltf-binary", want: true},
		{name: "entries in one", accept: []string{"image/png, .jpg"}, file: "x.jpg", want: true},
		{name: "an empty entry", accept: []string{"", " "}, file: "x"},

		{name: "image/jpg for image/jpeg", accept: []string{"image/jpeg"}, file: "photo.jpg", declared: "image/jpg", want: true},
		{name: "image/pjpeg for image/jpeg", accept: []string{"image/jpeg"}, file: "photo.jpg", declared: "image/pjpeg", want: true},
		{name: "image/jpeg for image/jpg", accept: []string{"image/jpg"}, file: "photo", declared: "image/jpeg", want: true},
		{name: "audio/x-wav for audio/wav", accept: []string{"audio/wav"}, file: "a.wav", declared: "audio/x-wav", want: true},
		{name: "audio/wave for audio/vnd.wave", accept: []string{"audio/vnd.wave"}, file: "a.wav", declared: "audio/wave", want: true},
		{name: "the zip of Windows", accept: []string{"application/zip"}, file: "a.zip", declared: "application/x-zip-compressed", want: true},
		{name: "a form's default", accept: []string{"image/jpeg"}, file: "photo.jpg", declared: "application/x-www-form-urlencoded", want: true},
		{name: "an editor's default", accept: []string{"image/jpeg"}, file: "photo.jpg", declared: "text/plain", want: true},
		{name: "an editor's default is no text", accept: []string{"text/plain", ".txt"}, file: "photo.jpg", declared: "text/plain"},
		{name: "text by any name", accept: []string{"text/plain"}, file: "notes", declared: "text/plain", want: true},
		{name: "a table is text", accept: []string{"text/plain"}, file: "a.csv", declared: "text/plain", want: true},
		{name: "a table as a client's text", accept: []string{"text/csv"}, file: "a.csv", declared: "text/plain", want: true},
		{name: "S3's default, by name", accept: []string{"video/mp4"}, file: "clip.mp4", declared: "binary/octet-stream", want: true},
		{name: "a film", accept: []string{"video/*"}, file: "clip.mov", declared: "binary/octet-stream", want: true},
		{name: "a phone's picture", accept: []string{"image/*"}, file: "a.heic", declared: "binary/octet-stream", want: true},
		{name: "HEIC declared as HEIF", accept: []string{"image/heic"}, file: "a.heic", declared: "image/heif", want: true},
		{name: "a family for a type", accept: []string{"image/png"}, file: "photo.png", declared: "image/*", want: true},
		{name: "a word for a type", accept: []string{"image/jpeg"}, file: "photo.jpg", declared: "image", want: true},
		{name: "an octet stream, misspelled", accept: []string{"image/jpeg"}, file: "photo.jpg", declared: "application/octetstream", want: true},
		{name: "a type in quotes", accept: []string{"image/png"}, file: "photo", declared: `"image/png"`, want: true},
		{name: "a blank at the name's end", accept: []string{"image/jpeg"}, file: "photo.jpg ", declared: "binary/octet-stream", want: true},
		{name: "a dot at the name's end", accept: []string{".jpg"}, file: "photo.jpg.", declared: "binary/octet-stream", want: true},
		{name: "a page for a picture", accept: []string{"image/jpeg"}, file: "photo.jpg", declared: "text/html"},
		{name: "webm is a film", accept: []string{"video/*"}, file: "a.webm", declared: "binary/octet-stream", want: true},
		{name: "webm declared as sound", accept: []string{"video/webm"}, file: "a.webm", declared: "audio/webm", want: true},
		{name: "webm for sound", accept: []string{"audio/*"}, file: "a.webm", want: true},
		{name: "a model", accept: []string{"model/*"}, file: "a.glb", declared: "binary/octet-stream", want: true},
		{name: "a model, by both", accept: []string{".glb", ".gltf"}, file: "a", declared: "model/gltf-binary", want: true},
		{name: "weights by type", accept: []string{"application/octet-stream"}, file: "a.safetensors", declared: "binary/octet-stream", want: true},
		{name: "weights by extension", accept: []string{".safetensors"}, file: "a.safetensors", want: true},
		{name: "other weights", accept: []string{".safetensors"}, file: "a.ckpt", declared: octetStream},
		{name: "no weights", accept: []string{"application/octet-stream"}, file: "a.png", declared: "image/png"},
		{name: "a sister extension", accept: []string{".jpg"}, file: "photo.JPEG", want: true},
		{name: "sound in a film's container", accept: []string{".mp4"}, file: "a.m4a"},
		{name: "an extension by type alone", accept: []string{".jpg"}, file: "photo", declared: "image/jpg", want: true},
		{name: "a csv as Windows sends it", accept: []string{"text/csv"}, file: "a.csv", declared: "application/vnd.ms-excel", want: true},
		{name: "a sheet is no csv", accept: []string{"text/csv", ".csv"}, file: "a.xls", declared: "application/vnd.ms-excel"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := Accepts(test.accept, test.file, test.declared); got != test.want {
				t.Errorf("%q takes %s (%s): %v", test.accept, test.file, test.declared, got)
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
