package architecture

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the project's, seen from this package.
const root = "../.."

// maxREADME keeps the README a page that is read from its beginning to its end:
// what is longer belongs into docs.
const maxREADME = 170 // lines

func readFile(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// pages returns the project's Markdown files by their paths.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || entry.Name() == "out" || entry.Name() == "node_modules"):
			return fs.SkipDir
		case strings.HasSuffix(name, ".md"):
			found[name] = readFile(t, name)
		}
		return nil
	})
	if err != nil || len(found) < 20 {
		t.Fatalf("%d pages were found: %v", len(found), err)
	}
	return found
}

var (
	fenced  = regexp.MustCompile("(?ms)^```.*?^```$")
	code    = regexp.MustCompile("`([^`\n]+)`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
)

// anchors returns the fragments that a page's headings can be linked by.
func anchors(page string) []string {
	var all []string
	for _, match := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		words := strings.ToLower(strings.ReplaceAll(match[1], " ", "-"))
		all = append(all, regexp.MustCompile(`[^\p{L}\p{N}_-]`).ReplaceAllString(words, ""))
	}
	return all
}

// Every relative link of a page leads to a file, and its fragment to a heading.
func TestLinks(t *testing.T) {
	all, seen := pages(t), 0
	for name, page := range all {
		for _, match := range link.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
			target, fragment, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			seen++
			file := name
			if target != "" {
				file = path.Join(path.Dir(name), target)
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s links %s, which does not exist", name, match[1])
			} else if fragment != "" && !slices.Contains(anchors(all[file]), fragment) {
				t.Errorf("%s links %s, and %s has no such heading", name, match[1], file)
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d links were seen", seen)
	}
}

// The README is short, and each place that its table names exists. A file without
// a folder is in a folder of its row. A name that is no place stands in one of the
// row's.
func TestREADME(t *testing.T) {
	readme := readFile(t, "README.md")
	if lines := strings.Count(readme, "\n"); lines > maxREADME {
		t.Errorf("README.md has %d lines, at most %d: move what is for some readers only into docs", lines, maxREADME)
	}
	_, table, found := strings.Cut(readme, "| to change | look at |\n")
	if !found {
		t.Fatal("README.md has no table of where things are")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")[1:]
	for _, row := range rows {
		cells := strings.Split(strings.Trim(row, "|"), "|")
		if len(cells) != 2 {
			t.Errorf("a row has %d cells: %s", len(cells), row)
			continue
		}
		var folders, others []string
		sources := "" // all that the row leads to, to look for names in
		places := code.FindAllStringSubmatch(cells[1], -1)
		for _, match := range link.FindAllStringSubmatch(cells[1], -1) {
			places = append(places, []string{"", path.Dir(match[1])})
		}
		for _, match := range places {
			switch info, err := os.Stat(filepath.Join(root, match[1])); {
			case err != nil:
				others = append(others, match[1])
			case info.IsDir():
				folders = append(folders, match[1])
				sources += sourcesIn(t, match[1])
			default:
				sources += readFile(t, match[1])
			}
		}
		for _, other := range others {
			inFolder := slices.ContainsFunc(folders, func(folder string) bool {
				_, err := os.Stat(filepath.Join(root, folder, other))
				return err == nil
			})
			switch {
			case inFolder:
			case strings.ContainsAny(other, "/."):
				t.Errorf("there is no %s: %s", other, row)
			case !strings.Contains(sources+readFile(t, "template.yaml")+readFile(t, "statemachine/run.asl.json"), other):
				t.Errorf("%s is neither a place nor in one: %s", other, row)
			}
		}
	}
	if len(rows) < 40 {
		t.Errorf("only %d rows were seen", len(rows))
	}
}

// sourcesIn returns the Go files of a folder, one after the other.
func sourcesIn(t *testing.T, folder string) (text string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text += readFile(t, strings.TrimPrefix(file, root+"/"))
	}
	return text
}

// Every place and every test that a page names exists. A place with a word in
// capitals, such as functions/NAME, stands for many.
func TestPlacesInPages(t *testing.T) {
	var tests strings.Builder
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && name != "." && strings.HasPrefix(entry.Name(), ".") {
			return fs.SkipDir
		}
		if strings.HasSuffix(name, "_test.go") {
			tests.WriteString(readFile(t, name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	place := regexp.MustCompile(`^(functions|shared|cmd|local|e2e|docs|events|statemachine|bench)/[a-zA-Z0-9_./-]+$`)
	test := regexp.MustCompile(`^Test[A-Z]\w+$`)
	placeholder := regexp.MustCompile(`[A-Z]{3}`)
	places, named := 0, 0
	for name, page := range pages(t) {
		for _, match := range code.FindAllStringSubmatch(page, -1) {
			switch said := match[1]; {
			case test.MatchString(said):
				if named++; !strings.Contains(tests.String(), "\nfunc "+said+"(") {
					t.Errorf("%s names the test %s, which there is not", name, said)
				}
			case place.MatchString(said) && (!placeholder.MatchString(said) || strings.HasSuffix(said, "README.md")):
				places++
				if _, err := os.Stat(filepath.Join(root, said)); err != nil {
					t.Errorf("%s names %s, which there is not", name, said)
				}
			}
		}
	}
	if places < 100 || named < 20 {
		t.Errorf("only %d places and %d tests were seen", places, named)
	}
}

// What pages tell a reader to type is there: targets of make, commands of relay.
func TestCommandsInPages(t *testing.T) {
	targets := regexp.MustCompile(`(?m)^([a-z0-9-]+):.*## `).FindAllStringSubmatch(readFile(t, "Makefile"), -1)
	commands := regexp.MustCompile("(?m)^\t([A-Z][a-z]+) +[a-z]+Cmd +`cmd:").FindAllStringSubmatch(readFile(t, "cmd/relay/app.go"), -1)
	known := map[string]bool{"make lock": true} // beside the list of `make help`: who changes tools knows it
	for _, match := range targets {
		known["make "+match[1]] = true
	}
	for _, match := range commands {
		known["relay "+strings.ToLower(match[1])] = true
	}
	if len(targets) < 10 || len(commands) < 8 {
		t.Fatalf("%d targets, %d commands were seen", len(targets), len(commands))
	}
	typed := regexp.MustCompile("(?m)(?:`|^|bin/)((?:make|relay) [a-z][a-z0-9-]*)")
	seen := 0
	for name, page := range pages(t) {
		for _, match := range typed.FindAllStringSubmatch(strings.ReplaceAll(page, "; relay", "\nrelay"), -1) {
			if seen++; !known[match[1]] {
				t.Errorf("%s says %q, which there is not", name, match[1])
			}
		}
	}
	if seen < 60 {
		t.Errorf("only %d commands were seen", seen)
	}
}

// docs/README.md leads to every page below docs, but for the decisions, which it
// leads to as a folder.
func TestIndexOfPages(t *testing.T) {
	index := readFile(t, "docs/README.md")
	for name := range pages(t) {
		within, ok := strings.CutPrefix(name, "docs/")
		if !ok || within == "README.md" || strings.HasPrefix(within, "adr/") {
			continue
		}
		if !strings.Contains(index, "]("+within+")") {
			t.Errorf("docs/README.md does not lead to %s", name)
		}
	}
}

// Each decision says when it was accepted, what was rejected and what follows, and
// their numbers have no gap.
func TestDecisions(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "docs/adr/*.md"))
	if err != nil || len(files) < 11 {
		t.Fatalf("%v, %v", files, err)
	}
	for i, file := range files {
		page := readFile(t, strings.TrimPrefix(file, root+"/"))
		if base := filepath.Base(file); !strings.HasPrefix(base, fmt.Sprintf("%04d-", i+1)) || !strings.HasPrefix(page, fmt.Sprintf("# %d. ", i+1)) {
			t.Errorf("%s is decision %d by its place, and says otherwise", base, i+1)
		}
		if !regexp.MustCompile(`(?m)^(Accepted|Superseded) on \d{4}-\d{2}-\d{2}`).MatchString(page) {
			t.Errorf("%s says neither its status nor its date", file)
		}
		for _, want := range []string{"\n## Context\n", "\n## Decision\n", "\n## Rejected\n- **", "\n## Consequences\n"} {
			if !strings.Contains(page, want) {
				t.Errorf("%s lacks %q", file, want)
			}
		}
	}
}
