package main

import (
	"strings"
	"testing"
)

// No key may lead out of the folder, or be hidden in it.
func TestLocalName(t *testing.T) {
	for _, key := range []string{"", "/", ".", "..", "a/..", "a/.", "a/", `a/b\c`, "a/b:c", "a/\x00", "a/b\x1b[2J", "a/\u202egnp.exe", "a/\xff", "a/" + strings.Repeat("x", 300)} {
		if name, err := localName(key); err == nil {
			t.Errorf("%q became %q", key, name)
		}
	}
	for key, want := range map[string]string{"runs/1/a b.png": "a b.png", "~2E.txt": "~2E.txt", "x/日本.gz": "日本.gz"} {
		if name, err := localName(key); err != nil || name != want {
			t.Errorf("%q became %q, %v", key, name, err)
		}
	}
}
