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

// packages says what each shared package may import beside the standard library: of
// the project, and of other libraries, where nil stands for any.
var packages = map[string]struct{ ours, others []string }{
	"shared/api":             {ours: []string{"shared/named", "shared/run"}, others: []string{}},
	"shared/architecture":    {},
	"shared/config":          {ours: []string{"shared/cyberun", "shared/executions", "shared/lifecycle", "shared/named", "shared/store"}},
	"shared/cyberun":         {ours: []string{"shared/named", "shared/redact", "shared/retryafter"}, others: []string{"github.com/tmaxmax/go-sse"}},
	"shared/doubt":           {ours: []string{"shared/cyberun", "shared/lifecycle", "shared/run", "shared/store"}, others: []string{}},
	"shared/eventstest":      {},
	"shared/executions":      {ours: []string{"shared/named"}},
	"shared/fanout":          {others: []string{"golang.org/x/sync/errgroup"}},
	"shared/function":        {ours: []string{"shared/config", "shared/observe"}, others: []string{"github.com/aws/aws-lambda-go/lambda", "github.com/aws/aws-sdk-go-v2/aws"}},
	"shared/functiontest":    {ours: []string{"shared/cyberun", "shared/executions", "shared/lifecycle", "shared/named", "shared/run", "shared/store", "shared/store/storetest"}},
	"shared/httpapi":         {ours: []string{"shared/named"}, others: []string{"github.com/aws/aws-lambda-go/events"}},
	"shared/lifecycle":       {ours: []string{"shared/cyberun", "shared/executions", "shared/fanout", "shared/named", "shared/observe", "shared/run", "shared/s3errors", "shared/store", "shared/transfer"}},
	"shared/media":           {others: []string{}},
	"shared/named":           {others: []string{}},
	"shared/named/namedtest": {ours: []string{"shared/named"}, others: []string{}},
	"shared/observe":         {ours: []string{"shared/named", "shared/redact"}},
	"shared/redact":          {ours: []string{"shared/named"}, others: []string{}},
	"shared/retryafter":      {others: []string{}},
	"shared/run":             {ours: []string{"shared/media", "shared/named"}, others: []string{}},
	"shared/s3errors":        {ours: []string{"shared/named"}, others: []string{"github.com/aws/smithy-go", "github.com/aws/smithy-go/transport/http"}},
	"shared/store":           {ours: []string{"shared/named", "shared/s3errors"}},
	"shared/store/storetest": {},
	"shared/transfer":        {ours: []string{"shared/media", "shared/named", "shared/redact", "shared/retryafter", "shared/s3errors", "shared/transfer/bulk"}},
	"shared/transfer/bulk":   {others: []string{}},
	"shared/workflows":       {ours: []string{"shared/cyberun", "shared/named", "shared/run"}, others: []string{}},
}

// exceptions are imports that break a rule on purpose: from file to package. One that
// no file needs any more is reported.
var exceptions = map[[2]string]string{
	{"e2e/crash/hundred_test.go", "local/standin/picture"}: "reads the prompt that the stand-in wrote into the picture, to see that no run got another's",
}

// stateKeys begin the keys of the objects that decide over a run: its record, who owns
// a task, what was announced of a submission, and what belongs to them. Only
// shared/lifecycle writes them, so only it knows their keys.
var stateKeys = []string{"runs/", "tasks/", "submitting/", "doubt/", "index/", "manifests/", "copies/", "progress/", "wake/"}

const (
	lifecycleFolder = "shared/lifecycle"
	// cancelFile has the one call of the client's Cancel, with the rules of who may
	// cancel a task, how long it is tried, and what is recorded of it.
	cancelFile = "shared/lifecycle/cancel.go"
)

// otherKeys are strings outside of shared/lifecycle that begin as a key of the
// state bucket does and are none: from file to string.
var otherKeys = map[[2]string]string{
	{"shared/run/request.go", "runs/{run_id}/"}: "the default prefix of a run's outputs, in another bucket",
}

func TestDependencies(t *testing.T) {
	root := os.DirFS("../..")
	mod, err := fs.ReadFile(root, "go.mod")
	if err != nil || !bytes.HasPrefix(mod, []byte("module "+module+"\n")) {
		t.Fatalf("the project is not at ../..: %v", err)
	}
	broken, files := check(t, root, exceptions)
	for _, wrong := range broken {
		t.Error(wrong)
	}
	if files < 50 {
		t.Errorf("only %d Go files were seen", files)
	}
}

func TestBrokenTrees(t *testing.T) {
	for _, tree := range brokenTrees {
		t.Run(tree.name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, source := range tree.files {
				root[name] = &fstest.MapFile{Data: []byte(source)}
			}
			got, _ := check(t, root, map[[2]string]string{{"e2e/allowed_test.go", "local/standin/picture"}: "as the tree needs it"})
			if diff := cmp.Diff(tree.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// check reads every Go file of the project, tests and other systems' files included,
// and returns which rules are broken, sorted, and how many files there were.
func check(t *testing.T, root fs.FS, exceptions map[[2]string]string) (broken []string, files int) {
	t.Helper()
	used := map[[2]string]bool{}
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if entry.IsDir() {
			if name != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules" || name == "out" || name == "bin") {
				return fs.SkipDir
			}
			if path.Dir(name) == "functions" {
				broken = append(broken, checkFunction(root, name)...)
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") {
			return nil
		}
		files++
		imports, err := importsOf(root, name)
		if err != nil {
			return err
		}
		for _, imported := range imports {
			wrong := checkImport(name, imported)
			if wrong == "" {
				continue
			}
			pair := [2]string{name, strings.TrimPrefix(imported, module+"/")}
			if exceptions[pair] != "" {
				used[pair] = true
				continue
			}
			broken = append(broken, fmt.Sprintf("%s imports %s: %s", name, strings.TrimPrefix(imported, module+"/"), wrong))
		}
		found, err := checkLifecycle(root, name)
		if err != nil {
			return err
		}
		broken = append(broken, found...)
		if wrong := checkPlace(name); wrong != "" {
			broken = append(broken, wrong)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pair := range exceptions {
		if _, err := fs.Stat(root, pair[0]); err == nil && !used[pair] {
			broken = append(broken, fmt.Sprintf("%s no longer imports %s: take the exception away", pair[0], pair[1]))
		}
	}
	slices.Sort(broken)
	return slices.Compact(broken), files
}

func importsOf(root fs.FS, name string) ([]string, error) {
	source, err := fs.ReadFile(root, name)
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

// isForTests reports whether a folder's package has fakes, which tests alone import.
func isForTests(folder string) bool {
	return strings.HasPrefix(folder, "shared/") && strings.HasSuffix(folder, "test")
}

// checkLifecycle returns where a file outside of shared/lifecycle decides over a run: by
// the key of a record, an ownership or a marker, or by a call that cancels a task. Tests,
// and the packages that are for them, may put such objects where they need them.
func checkLifecycle(root fs.FS, name string) (broken []string, err error) {
	if strings.HasSuffix(name, "_test.go") || isForTests(path.Dir(name)) {
		return nil, nil
	}
	source, err := fs.ReadFile(root, name)
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
					broken = append(broken, fmt.Sprintf("%s has the key %q: records, ownerships and markers are shared/lifecycle's alone", name, text))
				}
			}
		case *ast.CallExpr:
			if called, ok := node.Fun.(*ast.SelectorExpr); ok && called.Sel.Name == "Cancel" && name != cancelFile {
				broken = append(broken, name+" calls Cancel: tasks are cancelled in "+cancelFile+" alone")
			}
		}
		return true
	})
	return broken, nil
}

// component returns what a folder belongs to, such as functions/submit, cmd/relay,
// shared or e2e.
func component(folder string) string {
	elements := strings.Split(folder, "/")
	switch elements[0] {
	case "functions", "cmd", "local":
		return path.Join(elements[:min(2, len(elements))]...)
	}
	return elements[0]
}

// checkImport returns which rule an import breaks; empty for none.
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
	from, to := component(folder), component(ours)
	switch {
	case !isOurs:
		return ""
	case isForTests(ours) && !isTest && !isForTests(folder):
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

// checkPlace returns what is wrong with where a file lies; empty for nothing.
func checkPlace(file string) string {
	folder := path.Dir(file)
	_, known := packages[folder]
	switch top, below, _ := strings.Cut(folder, "/"); {
	case top == "shared" && !known:
		return folder + " is not among the shared packages: say in the test what it may import"
	case top == "shared" || top == "e2e" || top == "bench":
		return ""
	case below != "" && (top == "functions" || top == "cmd" || top == "local"):
		return ""
	}
	return file + " is in none of the project's folders for code"
}

// checkFunction returns what a function's folder lacks.
func checkFunction(root fs.FS, folder string) (broken []string) {
	for _, name := range []string{"main.go", "handler/handler.go"} {
		source, err := fs.ReadFile(root, path.Join(folder, name))
		if err != nil {
			broken = append(broken, folder+" has no "+name)
			continue
		}
		if lines := bytes.Count(source, []byte("\n")); name == "main.go" && lines > maxMain {
			broken = append(broken, fmt.Sprintf("%s/main.go has %d lines: at most %d", folder, lines, maxMain))
		}
	}
	return broken
}
