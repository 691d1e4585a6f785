package architecture

import (
	"fmt"
	"strings"
)

// source returns a Go file of a package that imports others: those that begin with
// ./ are the project's.
func source(name string, imports ...string) string {
	text := "package " + name + "\n"
	for _, imported := range imports {
		text += fmt.Sprintf("import _ %q\n", strings.Replace(imported, "./", module+"/", 1))
	}
	return text
}

// brokenTrees are trees of Go files that each break one rule, but for the first,
// which breaks none.
var brokenTrees = []struct {
	name  string
	files map[string]string
	want  []string // what is reported, sorted
}{
	{
		name: "sound",
		files: map[string]string{
			".aws-sam/build/x/main.go":                 source("main", "./functions/submit"),
			"bench/main.go":                            source("main", "./shared/transfer"),
			"cmd/relay/main.go":                        source("main", "github.com/alecthomas/kong", "./shared/cyberun"),
			"e2e/allowed_test.go":                      source("e2e", "./local/standin/picture"),
			"functions/submit/files.go":                source("main", "./functions/submit/inner"),
			"functions/submit/handler/handler.go":      source("handler", "./shared/store"),
			"functions/submit/handler/handler_test.go": source("handler", "./shared/store/storetest"),
			"functions/submit/inner/inner.go":          source("inner", "./shared/run"),
			"functions/submit/main.go":                 source("main", "context", "./shared/run"),
			"local/stack/main.go":                      source("main", "./shared/run"),
			"local/standin/main.go":                    source("main", "./local/standin/picture"),
			"local/standin/picture/draw.go":            source("picture", "image"),
			"shared/run/run.go":                        source("run", "encoding/json", "./shared/named"),
			"shared/run/run_test.go":                   source("run", "github.com/google/go-cmp/cmp"),
			"shared/run/testdata/strange.go":           source("strange", "./functions/submit"),
			"shared/store/store.go":                    source("store", "github.com/aws/aws-sdk-go-v2/service/s3", "./shared/named"),
			"shared/lifecycle/runs.go":                 "package lifecycle\n\nconst records = \"runs/\"\n",
			"shared/lifecycle/cancel.go":               "package lifecycle\n\nfunc (s *Runs) cancel() { s.Cyberun.Cancel(nil, \"t\") }\n",
			"shared/run/request.go":                    "package run\n\n// The key of a record is \"runs/\" and its id.\nconst DefaultPrefix = \"runs/{run_id}/\"\n",
			"shared/run/keys_test.go":                  "package run\n\nconst record = \"runs/r1.json\"\n",
			"shared/functiontest/world.go":             "package functiontest\n\nconst record = \"runs/r1.json\"\n",
		},
		want: []string{},
	},
	{
		name: "a fake outside a test",
		files: map[string]string{
			"functions/submit/handler/handler.go": source("handler"),
			"functions/submit/main.go":            source("main", "./shared/store/storetest"),
		},
		want: []string{"functions/submit/main.go imports shared/store/storetest: it is for tests"},
	},
	{
		name: "a function imports another",
		files: map[string]string{
			"functions/api/handler/handler.go":    source("handler"),
			"functions/api/main.go":               source("main"),
			"functions/submit/handler/handler.go": source("handler", "./functions/api"),
			"functions/submit/main.go":            source("main"),
		},
		want: []string{"functions/submit/handler/handler.go imports functions/api: no function imports another"},
	},
	{
		name: "a function imports the command",
		files: map[string]string{
			"functions/submit/handler/handler.go": source("handler"),
			"functions/submit/main.go":            source("main", "./cmd/relay"),
		},
		want: []string{"functions/submit/main.go imports cmd/relay: nothing imports cmd"},
	},
	{
		name: "a function without a handler",
		files: map[string]string{
			"functions/submit/main.go": source("main"),
		},
		want: []string{"functions/submit has no handler/handler.go"},
	},
	{
		name: "a functions test imports another",
		files: map[string]string{
			"functions/api/handler/handler.go":         source("handler"),
			"functions/api/inner/inner.go":             source("inner"),
			"functions/api/main.go":                    source("main"),
			"functions/submit/handler/handler.go":      source("handler"),
			"functions/submit/handler/handler_test.go": source("handler", "./functions/api/inner"),
			"functions/submit/main.go":                 source("main"),
		},
		want: []string{"functions/submit/handler/handler_test.go imports functions/api/inner: no function imports another"},
	},
	{
		name: "a key of a run's state outside of its home",
		files: map[string]string{
			"functions/api/handler/handler.go": "package handler\n\nfunc f(id string) string { return `runs/` + id }\n",
			"functions/api/main.go":            source("main"),
			"shared/doubt/doubt.go":            "package doubt\n\nconst marker = \"submitting/\"\n",
			"shared/run/request.go":            "package run\n\nconst owner = \"tasks/\"\n",
		},
		want: []string{
			"functions/api/handler/handler.go has the key \"runs/\": records, ownerships and markers are shared/lifecycle's alone",
			"shared/doubt/doubt.go has the key \"submitting/\": records, ownerships and markers are shared/lifecycle's alone",
			"shared/run/request.go has the key \"tasks/\": records, ownerships and markers are shared/lifecycle's alone",
		},
	},
	{
		name: "a task is cancelled elsewhere",
		files: map[string]string{
			"functions/api/handler/handler.go": "package handler\n\nfunc (h *Handler) f() { h.Cyberun.Cancel(nil, \"t\") }\n",
			"functions/api/main.go":            source("main"),
			"shared/lifecycle/close.go":        "package lifecycle\n\nfunc (c Closer) f() { c.Cyberun.Cancel(nil, \"t\") }\n",
		},
		want: []string{
			"functions/api/handler/handler.go calls Cancel: tasks are cancelled in shared/lifecycle/cancel.go alone",
			"shared/lifecycle/close.go calls Cancel: tasks are cancelled in shared/lifecycle/cancel.go alone",
		},
	},
	{
		name: "a long main",
		files: map[string]string{
			"functions/submit/handler/handler.go": source("handler"),
			"functions/submit/main.go":            "package main\n" + strings.Repeat("// A line.\n", 39),
		},
		want: []string{"functions/submit/main.go has 40 lines: at most 39"},
	},
	{
		name: "a shared test imports a function",
		files: map[string]string{
			"shared/store/store_test.go": source("store", "./functions/submit"),
		},
		want: []string{"shared/store/store_test.go imports functions/submit: nothing imports functions"},
	},
	{
		name: "an exception that nobody needs",
		files: map[string]string{
			"e2e/allowed_test.go": source("e2e"),
		},
		want: []string{"e2e/allowed_test.go no longer imports local/standin/picture: take the exception away"},
	},
	{
		name: "another systems file",
		files: map[string]string{
			"shared/run/run_windows.go": "//go:build windows && ignore\n\n" + source("run", "./shared/transfer"),
		},
		want: []string{"shared/run/run_windows.go imports shared/transfer: the package may not"},
	},
	{
		name: "code without a place",
		files: map[string]string{
			"functions/loose.go":      source("functions"),
			"internal/utils/utils.go": source("utils"),
			"root.go":                 source("root"),
			"shared/common/common.go": source("common"),
		},
		want: []string{"functions/loose.go is in none of the project's folders for code", "internal/utils/utils.go is in none of the project's folders for code", "root.go is in none of the project's folders for code", "shared/common is not among the shared packages: say in the test what it may import"},
	},
	{
		name: "one local program imports another",
		files: map[string]string{
			"local/stack/main.go": source("main", "./local/standin"),
		},
		want: []string{"local/stack/main.go imports local/standin: nothing imports local"},
	},
	{
		name: "shared imports a function",
		files: map[string]string{
			"shared/store/store.go": source("store", "./functions/submit"),
		},
		want: []string{"shared/store/store.go imports functions/submit: the package may not"},
	},
	{
		name: "something imports the tests",
		files: map[string]string{
			"cmd/relay/main.go": source("main", "./bench", "./e2e"),
		},
		want: []string{"cmd/relay/main.go imports bench: nothing imports bench", "cmd/relay/main.go imports e2e: nothing imports e2e"},
	},
	{
		name: "the client imports the rules",
		files: map[string]string{
			"shared/cyberun/client.go": source("cyberun", "./shared/run"),
		},
		want: []string{"shared/cyberun/client.go imports shared/run: the package may not"},
	},
	{
		name: "the command imports a function",
		files: map[string]string{
			"cmd/relay/main.go": source("main", "./functions/submit"),
		},
		want: []string{"cmd/relay/main.go imports functions/submit: nothing imports functions"},
	},
	{
		name: "the command imports the stand in",
		files: map[string]string{
			"cmd/relay/main.go": source("main", "./local/standin/picture"),
		},
		want: []string{"cmd/relay/main.go imports local/standin/picture: nothing imports local"},
	},
	{
		name: "the rules import a library",
		files: map[string]string{
			"shared/run/run.go": source("run", "github.com/aws/aws-sdk-go-v2/aws"),
		},
		want: []string{"shared/run/run.go imports github.com/aws/aws-sdk-go-v2/aws: the package may not"},
	},
	{
		name: "the rules import the store",
		files: map[string]string{
			"shared/run/run.go": source("run", "./shared/store"),
		},
		want: []string{"shared/run/run.go imports shared/store: the package may not"},
	},
	{
		name: "the stand in imports the client",
		files: map[string]string{
			"local/standin/main.go": source("main", "./shared/cyberun"),
		},
		want: []string{"local/standin/main.go imports shared/cyberun: the stand-in shares nothing with the client, or one mistake would hide in both"},
	},
}
