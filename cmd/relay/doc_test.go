package main

import (
	"os"
	"strings"
	"testing"
)

// The package's doc and --help list the same exit codes.
func TestExitCodesInDoc(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, codes, _ := strings.Cut(helpTail, "Exit codes:\n")
	for line := range strings.Lines(codes) {
		if line = strings.TrimSpace(line); !strings.Contains(string(doc), "//\t"+line) {
			t.Errorf("doc.go lacks %q", line)
		}
	}
}
