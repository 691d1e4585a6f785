package main

import "testing"

// AWS checks the signature of a path without its dots and repeated slashes.
func TestNormalPath(t *testing.T) {
	for path, want := range map[string]string{"/": "/", "//": "/", "/a/b": "/a/b", "//a///b//": "/a/b/", "/./a/./b/.": "/a/b/", "/a/../b": "/a/../b", "/a%2F/": "/a%2F/", "/...": "/..."} {
		if got := normalPath(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}
