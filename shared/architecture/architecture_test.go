package architecture

import (
	"bytes"
	"fmt"
	"go/ast"
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
	"shared/config":          {ours: []string{"shared/cyberun", "shared/executions", "shared/lifecycle", "shared/named", "shared/observe", "shared/store"}},
	"shared/cyberun":         {ours: []string{"shared/named", "shared/redact", "shared/retryafter"}, others: []string{"github.com/tmaxmax/go-sse"}},
	"shared/doubt":           {ours: []string{"shared/cyberun", "shared/lifecycle", "shared/run", "shared/store"}, others: []string{}},
	"shared/eventstest":      {},
	"shared/executions":      {ours: []string{"shared/named"}},
	"shared/fanout":          {others: []string{"golang.org/x/sync/errgroup"}},
	"shared/function":        {ours: []string{"shared/config", "shared/observe"}, others: []string{"github.com/aws/aws-lambda-go/lambda", "github.com/aws/aws-sdk-go-v2/aws"}},
	"shared/functiontest":    {ours: []string{"shared/cyberun", "shared/executions", "shared/lifecycle", "shared/named", "shared/run", "shared/store", "shared/store/storetest"}},
	"shared/httpapi":         {ours: []string{"shared/named"}, others: []string{"github.com/aws/aws-lambda-go/events"}},
	"shared/lifecycle":       {ours: []string{"shared/cyberun", "shared/executions", "shared/named", "shared/observe", "shared/run", "shared/s3errors", "shared/store", "shared/transfer"}},
	"shared/media":           {others: []string{}},
	"shared/named":           {others: []string{}},
	"shared/observe":         {ours: []string{"shared/named", "shared/redact"}},
	"shared/redact":          {ours: []string{"shared/named"}, others: []string{}},
	"shared/retryafter":      {others: []string{}},
	"shared/run":             {ours: []string{"shared/media", "shared/named"}, others: []string{}},
	"shared/s3errors":        {ours: []string{"shared/named"}, others: []string{"github.com/aws/smithy-go", "github.com/aws/smithy-go/transport/http"}},
	"shared/store":           {ours: []string{"shared/named"}},
	"shared/store/storetest": {},
	"shared/transfer":        {ours: []string{"shared/media", "shared/named", "shared/redact", "shared/retryafter", "shared/s3errors", "shared/transfer/bulk"}},
	"shared/transfer/bulk":   {others: []string{}},
	"shared/workflows":       {ours: []string{"shared/cyberun", "shared/named", "shared/run"}, others: []string{}},
}

// exceptions are arrows that are broken on purpose: from file to package. One
// that no file needs any more is told.
var exceptions = map[[2]string]string{
	{"e2e/crash/hundred_test.go", "local/standin/picture"}: "reads the prompt that the stand-in wrote into the picture, to see that no run got another's",
}

// stateKeys begin the keys of the objects that say what becomes of a run: its
// record, who owns a task, what was announced of a submission, and what goes with
// them. Only shared/lifecycle writes them, so only it knows their keys.
var stateKeys = []string{"runs/", "tasks/", "submitting/", "doubt/", "index/", "manifests/", "copies/", "progress/", "wake/"}

const (
	lifecycleFolder = "shared/lifecycle"
	// cancelFile has the one call of the client's Cancel: the rules of who may
	// cancel a task, how long it is tried, and what is recorded of it stand there.
	cancelFile = "shared/lifecycle/cancel.go"
)

// otherKeys are strings outside of shared/lifecycle that begin as a key of the
// state bucket does and are none: from file to string.
var otherKeys = map[[2]string]string{
	{"shared/run/request.go", "runs/{run_id}/"}: "the default prefix of a run's outputs, in another bucket",
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
		lives, err := checkLifecycle(house, name)
		if err != nil {
			return err
		}
		faults = append(faults, lives...)
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

// checkLifecycle finds code that decides over a run beside shared/lifecycle: by
// the key of a record, an ownership or a marker, or by a call that cancels a task.
func checkLifecycle(house fs.FS, name string) (faults []string, err error) {
	if strings.HasSuffix(name, "_test.go") {
		return nil, nil
	}
	source, err := fs.ReadFile(house, name)
	if err != nil {
		return nil, err
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, source, 0)
	if err != nil {
		return nil, err
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.BasicLit:
			text, err := strconv.Unquote(node.Value)
			if node.Kind != token.STRING || err != nil || path.Dir(name) == lifecycleFolder || otherKeys[[2]string{name, text}] != "" {
				return true
			}
			for _, key := range stateKeys {
				if strings.HasPrefix(text, key) {
					faults = append(faults, fmt.Sprintf("%s has the key %q: records, ownerships and markers are shared/lifecycle's alone", name, text))
				}
			}
		case *ast.CallExpr:
			if called, ok := node.Fun.(*ast.SelectorExpr); ok && called.Sel.Name == "Cancel" && name != cancelFile {
				faults = append(faults, name+" calls Cancel: tasks are cancelled in "+cancelFile+" alone")
			}
		}
		return true
	})
	return faults, nil
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
