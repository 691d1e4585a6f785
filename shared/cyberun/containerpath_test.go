package cyberun

import (
	"net/url"
	"strings"
	"testing"
)

func TestCheckContainerPath(t *testing.T) {
	for path, want := range map[string]error{
		"": errNoSlash, "/": nil, "//": nil, "/v1/models": nil, "/a//b/": nil, "/a%2Fb": nil, "/%00": nil, "/%C3%A9": nil, "/a;b=1,2/c@d:e": nil, "/...": nil, "/..a": nil, "/a..": nil,
		"/./a/.": nil, "/%2e": nil, "/%252525": nil,
		"/..": errDots, "/../x": errDots, "/a/..": errDots, "/a/../b": errDots, "//../x": errDots, "/./../x": errDots,
		"/%2e%2e": errDots, "/%2E./x": errDots, "/a/.%2e/x": errDots, "/%252e%252e/x": errDots, "/%25252e%25252e/x": errDots, "/%25%32%65./x": errDots,
		"/%2f..": errDots, "/a%2f..%2fx": errDots, "/a%252f..%252fx": errDots, "/a%2f%2e%2e": errDots,
		"/..%5cx": errDots, "/%5c..%5cx": errDots, "/a/x%5c..": errDots, "/..;x=1/y": errDots, "/..%3bx/y": errDots, "/..%00/x": errDots, "/%00..": errDots, "/%20../x": errDots,
		// A reader that parses what it decoded ends the path there, or C does.
		"/a/..%3Fx": errDots, "/..%23/x": errDots, "/..%253fx": errDots, "/a/..%00x": errDots, "/..%00.txt": errDots, "/a%00..": nil, "/a%3F..": nil, "/..a%3F": nil,
		// Dropped by some: invalid bytes, and what cannot be seen.
		"/.%ff./x": errDots, "/..%C2%A0/x": errDots, "/.%E2%80%8B./x": errDots, "/%EF%BB%BF../x": errDots, "/..%C3%A4": nil,
		// More bytes than UTF-8 allows, with and without regard for what continues.
		"/%c0%ae%c0%ae/x": errDots, "/..%c0%afx": errDots, "/..%c1%9cx": errDots, "/%e0%80%ae%e0%80%ae/x": errDots, "/%f0%80%80%ae./x": errDots, "/.%f8%80%80%80%ae/x": errDots, "/.%fc%80%80%80%80%ae/x": errDots,
		"/%c0%2e%c0%6e/x": errDots, "/%e0%40%ae./x": errDots, "/%c1../x": errDots, "/%c1%2f%c0%ae%c0%ae/x": errDots, "/%25c0%25ae./x": errDots, "/%c0%a5%32e./x": errDots,
		"/%c0%af": nil, "/%E0%A4%85": nil, "/%F0%9F%98%80": nil, "/%C0": nil,
		// The escapes of JavaScript below a first layer, and characters that turn into dots.
		"/%25u002e%25u002E/x": errDots, "/..%25u2215x": errDots, "/%25uff0e%25uff0e/x": errDots, "/%25u00zz": nil, "/%25u": nil,
		"/%EF%BC%8E%EF%BC%8E/x": errDots, "/%E2%80%A5/x": errDots, "/..%EF%BC%8Fx": errDots, "/..%E2%88%96x": errDots, "/%E2%80%A6": nil,
		"x": errNoSlash, "..": errNoSlash, "/%": errCharacter, "/%2": errCharacter, "/%zz": errCharacter, "/a b": errCharacter, "/a?b": errCharacter, "/a#b": errCharacter, "/é": errCharacter, "/\\..": errCharacter, "/a\x00": errCharacter,
		"/%" + strings.Repeat("25", maxNesting-1) + "2e": nil, "/%" + strings.Repeat("25", maxNesting) + "2e": errNested,
	} {
		if got := CheckContainerPath(path); got != want {
			t.Errorf("%q: %v, want %v", path, got, want)
		}
	}
}

// FuzzContainerPath: whatever is let through has no .. for a reader that decodes
// it up to three times, and goes out as it was given.
func FuzzContainerPath(f *testing.F) {
	for _, seed := range []string{"/a/../b", "/%2e%2e/x", "/a%2f..%2f..", "//..//a", "/a/..;/..", "/a/..%3f", "/..%00x", "/%c0%ae./x", "/%252e./%5c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, given string) {
		path := EscapePath("/"+given, func(string) bool { return true })
		if CheckContainerPath(path) != nil {
			return
		}
		text := path
		for range 4 {
			readings := []string{text, strings.ReplaceAll(text, `\`, "/")}
			if end := strings.IndexAny(text, "?#\x00"); end >= 0 {
				readings = append(readings, text[:end])
			}
			for _, reading := range readings {
				for segment := range strings.SplitSeq(reading, "/") {
					if segment == ".." {
						t.Fatalf("%q climbs as %q", path, reading)
					}
				}
			}
			text = decodeOnce(text)
		}
		u, err := url.Parse("https://x.test/api" + path)
		if err != nil || u.EscapedPath() != "/api"+path {
			t.Errorf("%q goes out as %v (%v)", path, u, err)
		}
	})
}
