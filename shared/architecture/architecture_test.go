package architecture

import (
	"bytes"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const module = "github.com/cyberun-cloud/cyberun-relay"

// maxMain: a main.go loads, builds and starts; what needs more has its own file.
const maxMain = 39 // lines

// packages are the shared ones and what each may import beside the standard
// library: of the project, and of others. Nil: any other library.
var packages = map[string]struct{ ours, others []string }{
	"shared/architecture":    {},
	"shared/config":          {ours: []string{"shared/cyberun", "shared/named", "shared/store"}},
	"shared/cyberun":         {ours: []string{"shared/named"}, others: []string{"github.com/tmaxmax/go-sse"}},
	"shared/eventstest":      {},
	"shared/functiontest":    {ours: []string{"shared/cyberun", "shared/executions", "shared/lifecycle", "shared/named", "shared/store", "shared/store/storetest"}},
	"shared/media":           {others: []string{}},
	"shared/named":           {others: []string{}},
	"shared/observe":         {ours: []string{"shared/named"}},
	"shared/run":             {ours: []string{"shared/media", "shared/named"}, others: []string{}},
	"shared/s3errors":        {ours: []string{"shared/named"}, others: []string{"github.com/aws/smithy-go", "github.com/aws/smithy-go/transport/http"}},
	"shared/store":           {ours: []string{"shared/named", "shared/run"}},
	"shared/store/storetest": {},
	"shared/transfer":        {ours: []string{"shared/media", "shared/named", "shared/s3errors", "shared/transfer/bulk"}},
	"shared/transfer/bulk":   {others: []string{}},
	"shared/workflows":       {ours: []string{"shared/cyberun", "shared/named", "shared/run"}, others: []string{}},
}

// exceptions are arrows that are broken on purpose: from file to package. One
// that no file needs any more is told.
var exceptions = map[[2]string]string{
	{"e2e/crash/hundred_test.go", "local/standin/picture"}: "reads the prompt that the stand-in wrote into the picture, to see that no run got another's",
}

func TestArrows(t *testing.T) {
	house := os.DirFS("../..")
	mod, err := fs.ReadFile(house, "go.mod")
	if err != nil || !bytes.HasPrefix(mod, []byte("module "+module+"\n")) {
		t.Fatalf("the house is not at ../..: %v", err)
	}
	faults, files := check(t, house, exceptions)
	for _, fault := range faults {
		t.Error(fault)
	}
	if files < 50 {
		t.Errorf("only %d Go files were seen", files)
	}
}

func TestBrokenArrows(t *testing.T) {
	for _, tree := range brokenTrees {
		t.Run(tree.name, func(t *testing.T) {
			house := fstest.MapFS{}
			for name, source := range tree.files {
				house[name] = &fstest.MapFile{Data: []byte(source)}
			}
			got, _ := check(t, house, map[[2]string]string{{"e2e/allowed_test.go", "local/standin/picture"}: "as the tree needs it"})
			if diff := cmp.Diff(tree.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// check reads every Go file below the house's root, tests and other systems'
// files included, and returns what is wrong, sorted.
func check(t *testing.T, house fs.FS, exceptions map[[2]string]string) (faults []string, files int) {
	t.Helper()
	used := map[[2]string]bool{}
	err := fs.WalkDir(house, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if entry.IsDir() {
			if name != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules" || name == "out" || name == "bin") {
				return fs.SkipDir
			}
			if path.Dir(name) == "functions" {
				faults = append(faults, checkFunction(house, name)...)
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") {
			return nil
		}
		files++
		imports, err := importsOf(house, name)
		if err != nil {
			return err
		}
		for _, imported := range imports {
			fault := checkImport(name, imported)
			if fault == "" {
				continue
			}
			arrow := [2]string{name, strings.TrimPrefix(imported, module+"/")}
			if exceptions[arrow] != "" {
				used[arrow] = true
				continue
			}
			faults = append(faults, fmt.Sprintf("%s imports %s: %s", name, strings.TrimPrefix(imported, module+"/"), fault))
		}
		if fault := checkPlace(name); fault != "" {
			faults = append(faults, fault)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for arrow := range exceptions {
		if _, err := fs.Stat(house, arrow[0]); err == nil && !used[arrow] {
			faults = append(faults, fmt.Sprintf("%s no longer imports %s: take the exception away", arrow[0], arrow[1]))
		}
	}
	slices.Sort(faults)
	return slices.Compact(faults), files
}

func importsOf(house fs.FS, name string) ([]string, error) {
	source, err := fs.ReadFile(house, name)
	if err != nil {
		return nil, err
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var imports []string
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		imports = append(imports, imported)
	}
	return imports, nil
}

// part is the piece of the house that a folder belongs to: a function, a
// program, or one of the big rooms.
func part(folder string) string {
	elements := strings.Split(folder, "/")
	switch elements[0] {
	case "functions", "cmd", "local":
		return path.Join(elements[:min(2, len(elements))]...)
	}
	return elements[0]
}

// checkImport says what is wrong with an import; nothing, mostly.
func checkImport(file, imported string) string {
	folder, isTest := path.Dir(file), strings.HasSuffix(file, "_test.go")
	ours, isOurs := strings.CutPrefix(imported, module+"/")
	if imported == module {
		ours, isOurs = ".", true
	}
	if rule, known := packages[folder]; known && !isTest {
		switch {
		case isOurs && !slices.Contains(rule.ours, ours):
			return "the package may not"
		case !isOurs && strings.Contains(strings.Split(imported, "/")[0], ".") && rule.others != nil && !slices.Contains(rule.others, imported):
			return "the package may not"
		}
	}
	from, to := part(folder), part(ours)
	switch {
	case !isOurs:
		return ""
	case strings.HasPrefix(ours, "shared/") && strings.HasSuffix(ours, "test") && !isTest && !strings.HasSuffix(folder, "test"):
		return "it is for tests"
	case from == to:
		return ""
	case isTest && from == "e2e" && strings.HasPrefix(ours, "functions/") && strings.HasSuffix(ours, "/handler"):
		return "" // the explorer and the crash tests drive the real handlers
	case strings.HasPrefix(to, "functions") && strings.HasPrefix(from, "functions/"):
		return "no function imports another"
	case to != "shared":
		return "nothing imports " + strings.Split(to, "/")[0]
	case from == "local/standin":
		return "the stand-in shares nothing with the client, or one mistake would hide in both"
	}
	return ""
}

// checkPlace finds code where the house has no room for it.
func checkPlace(file string) string {
	folder := path.Dir(file)
	_, known := packages[folder]
	switch room, within, _ := strings.Cut(folder, "/"); {
	case room == "shared" && !known:
		return folder + " is not among the shared packages: say in the test what it may import"
	case room == "shared" || room == "e2e" || room == "bench":
		return ""
	case within != "" && (room == "functions" || room == "cmd" || room == "local"):
		return ""
	}
	return file + " has no place in the house"
}

// checkFunction holds what every function's folder has.
func checkFunction(house fs.FS, folder string) (faults []string) {
	for _, name := range []string{"main.go", "handler/handler.go"} {
		source, err := fs.ReadFile(house, path.Join(folder, name))
		if err != nil {
			faults = append(faults, folder+" has no "+name)
			continue
		}
		if lines := bytes.Count(source, []byte("\n")); name == "main.go" && lines > maxMain {
			faults = append(faults, fmt.Sprintf("%s/main.go has %d lines: at most %d", folder, lines, maxMain))
		}
	}
	return faults
}
