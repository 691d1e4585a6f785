// Package mutants breaks the product on purpose, one patch at a time, and expects
// the explorer to notice: each NAME.patch names in its first line the scenario that
// must find it. A patch that no longer applies, or is not found, fails.
//
//	make mutants              all of them
//	make mutants ONLY=NAME    one of them
package mutants

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	all  = flag.Bool("all", false, "every mutant")
	half = flag.Bool("half", false, "the half that is tried with each change: those whose names come first")
	only = flag.String("only", "", "mutants of these names, separated by semicolons")
)

// header begins a patch's first line; the scenario's name follows.
const header = "Found by: "

// longest bounds one mutant's search: those that are found are so within seconds.
const longest = "120s"

func TestMutants(t *testing.T) {
	if !*all && !*half && *only == "" {
		t.Skip("mutants are tried by `make mutants`: each builds the explorer anew")
	}
	names, err := filepath.Glob("*.patch")
	if err != nil || len(names) == 0 {
		t.Fatalf("no patches: %v", err)
	}
	if *half {
		names = names[:(len(names)+1)/2]
	}
	tree := copyTree(t)
	for _, name := range names {
		name, _ := strings.CutSuffix(name, ".patch")
		if *only != "" && !slices.Contains(strings.Split(*only, ";"), name) {
			continue
		}
		t.Run(name, func(t *testing.T) { mutant(t, tree, name) })
	}
}

// mutant applies one patch to the copy, explores, and takes the patch back.
func mutant(t *testing.T, tree, name string) {
	patch, err := filepath.Abs(name + ".patch")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(patch)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	scenario, ok := strings.CutPrefix(first, header)
	if !ok {
		t.Fatalf("its first line is %q, not %q and a scenario", first, header)
	}
	if out, err := run(tree, "git", "apply", patch); err != nil {
		t.Fatalf("it no longer applies: %s", out)
	}
	defer func() {
		if out, err := run(tree, "git", "apply", "-R", patch); err != nil {
			t.Fatalf("it cannot be taken back: %s", out)
		}
	}()
	binary := filepath.Join(tree, "explore.test")
	if out, err := run(tree, "go", "test", "-c", "-ldflags=-s -w", "-o", binary, "./e2e/explore"); err != nil {
		t.Fatalf("the mutant does not build: %s", out)
	}
	began := time.Now()
	out, err := run(tree, binary, "-first", "-only", scenario, "-test.timeout", longest)
	found := bytes.Contains(out, []byte("replay: make explore"))
	if err == nil || !found {
		t.Fatalf("%q does not find it in %s:\n%s", scenario, time.Since(began).Round(time.Second), tail(out))
	}
	fmt.Printf("%-40s found by %q in %s\n", name, scenario, time.Since(began).Round(10*time.Millisecond))
}

func tail(out []byte) []byte { return out[max(0, len(out)-2000):] }

func run(dir, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	// Outside of any repository, or git would take the copy for a part of this one.
	cmd.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir), "GOGC=400")
	return cmd.CombinedOutput()
}

// copyTree copies the project's Go source to a place of its own.
func copyTree(t *testing.T) string {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	tree := t.TempDir()
	for _, top := range []string{"go.mod", "go.sum", "shared", "functions", "e2e/explore"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			within, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			body, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			to := filepath.Join(tree, within)
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				return err
			}
			return os.WriteFile(to, body, 0o644)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return tree
}
