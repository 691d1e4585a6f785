package architecture

import "strings"

// brokenTrees each break one rule, but for the first, which breaks none.
var brokenTrees = []struct {
	name  string
	files map[string]string
	want  []string // what is reported, sorted
}{
	{
		name: "sound",
		files: map[string]string{
			".aws-sam/build/x/main.go":                 "package main\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/functions/submit\"\n)\n",
			"bench/main.go":                            "package main\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/shared/transfer\"\n)\n",
			"cmd/relay/main.go":                        "package main\n\nimport (\n\t_ \"github.com/alecthomas/kong\"\n\t_ \"github.com/cyberun-cloud/cyberun-relay/shared/cyberun\"\n)\n",
			"e2e/allowed_test.go":                      "package e2e\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/local/standin/picture\"\n)\n",
			"functions/submit/files.go":                "package main\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/functions/submit/inner\"\n)\n",
			"functions/submit/handler/handler.go":      "package handler\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/shared/store\"\n)\n",
			"functions/submit/handler/handler_test.go": "package handler\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest\"\n)\n",
			"functions/submit/inner/inner.go":          "package inner\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/shared/run\"\n)\n",
			"functions/submit/main.go":                 "package main\n\nimport (\n\t_ \"context\"\n\t_ \"github.com/cyberun-cloud/cyberun-relay/shared/run\"\n)\n",
			"local/stack/main.go":                      "package main\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/shared/run\"\n)\n",
			"local/standin/main.go":                    "package main\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/local/standin/picture\"\n)\n",
			"local/standin/picture/draw.go":            "package picture\n\nimport (\n\t_ \"image\"\n)\n",
			"shared/run/run.go":                        "package run\n\nimport (\n\t_ \"encoding/json\"\n\t_ \"github.com/cyberun-cloud/cyberun-relay/shared/named\"\n)\n",
			"shared/run/run_test.go":                   "package run\n\nimport (\n\t_ \"github.com/google/go-cmp/cmp\"\n)\n",
			"shared/run/testdata/strange.go":           "package strange\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/functions/submit\"\n)\n",
			"shared/store/store.go":                    "package store\n\nimport (\n\t_ \"github.com/aws/aws-sdk-go-v2/service/s3\"\n\t_ \"github.com/cyberun-cloud/cyberun-relay/shared/named\"\n)\n",
			"shared/lifecycle/runs.go":                 "package lifecycle\n\nconst records = \"runs/\"\n",
			"shared/lifecycle/cancel.go":               "package lifecycle\n\nfunc (s *Runs) cancel() { s.Cyberun.Cancel(nil, \"t\") }\n",
			"shared/run/request.go":                    "package run\n\n// The key of a record is \"runs/\" and its id.\nconst DefaultPrefix = \"runs/{run_id}/\"\n",
			"shared/run/keys_test.go":                  "package run\n\nconst record = \"runs/r1.json\"\n",
		},
		want: []string{},
	},
	{
		name: "a fake outside a test",
		files: map[string]string{
			"functions/submit/handler/handler.go": "package handler\n",
			"functions/submit/main.go":            "package main\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest\"\n)\n",
		},
		want: []string{"functions/submit/main.go imports shared/store/storetest: it is for tests"},
	},
	{
		name: "a function imports another",
		files: map[string]string{
			"functions/api/handler/handler.go":    "package handler\n",
			"functions/api/main.go":               "package main\n",
			"functions/submit/handler/handler.go": "package handler\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/functions/api\"\n)\n",
			"functions/submit/main.go":            "package main\n",
		},
		want: []string{"functions/submit/handler/handler.go imports functions/api: no function imports another"},
	},
	{
		name: "a function imports the command",
		files: map[string]string{
			"functions/submit/handler/handler.go": "package handler\n",
			"functions/submit/main.go":            "package main\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/cmd/relay\"\n)\n",
		},
		want: []string{"functions/submit/main.go imports cmd/relay: nothing imports cmd"},
	},
	{
		name: "a function without a handler",
		files: map[string]string{
			"functions/submit/main.go": "package main\n",
		},
		want: []string{"functions/submit has no handler/handler.go"},
	},
	{
		name: "a functions test imports another",
		files: map[string]string{
			"functions/api/handler/handler.go":         "package handler\n",
			"functions/api/inner/inner.go":             "package inner\n",
			"functions/api/main.go":                    "package main\n",
			"functions/submit/handler/handler.go":      "package handler\n",
			"functions/submit/handler/handler_test.go": "package handler\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/functions/api/inner\"\n)\n",
			"functions/submit/main.go":                 "package main\n",
		},
		want: []string{"functions/submit/handler/handler_test.go imports functions/api/inner: no function imports another"},
	},
	{
		name: "a key of a run's state outside of its home",
		files: map[string]string{
			"functions/api/handler/handler.go": "package handler\n\nfunc f(id string) string { return `runs/` + id }\n",
			"functions/api/main.go":            "package main\n",
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
			"functions/api/main.go":            "package main\n",
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
			"functions/submit/handler/handler.go": "package handler\n",
			"functions/submit/main.go":            "package main\n" + strings.Repeat("// A line.\n", 39),
		},
		want: []string{"functions/submit/main.go has 40 lines: at most 39"},
	},
	{
		name: "a shared test imports a function",
		files: map[string]string{
			"shared/store/store_test.go": "package store\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/functions/submit\"\n)\n",
		},
		want: []string{"shared/store/store_test.go imports functions/submit: nothing imports functions"},
	},
	{
		name: "an exception that nobody needs",
		files: map[string]string{
			"e2e/allowed_test.go": "package e2e\n",
		},
		want: []string{"e2e/allowed_test.go no longer imports local/standin/picture: take the exception away"},
	},
	{
		name: "another systems file",
		files: map[string]string{
			"shared/run/run_windows.go": "//go:build windows && ignore\n\npackage run\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/shared/transfer\"\n)\n",
		},
		want: []string{"shared/run/run_windows.go imports shared/transfer: the package may not"},
	},
	{
		name: "code without a place",
		files: map[string]string{
			"functions/loose.go":      "package functions\n",
			"internal/utils/utils.go": "package utils\n",
			"root.go":                 "package root\n",
			"shared/common/common.go": "package common\n",
		},
		want: []string{"functions/loose.go has no place in the house", "internal/utils/utils.go has no place in the house", "root.go has no place in the house", "shared/common is not among the shared packages: say in the test what it may import"},
	},
	{
		name: "one local program imports another",
		files: map[string]string{
			"local/stack/main.go": "package main\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/local/standin\"\n)\n",
		},
		want: []string{"local/stack/main.go imports local/standin: nothing imports local"},
	},
	{
		name: "shared imports a function",
		files: map[string]string{
			"shared/store/store.go": "package store\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/functions/submit\"\n)\n",
		},
		want: []string{"shared/store/store.go imports functions/submit: the package may not"},
	},
	{
		name: "something imports the tests",
		files: map[string]string{
			"cmd/relay/main.go": "package main\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/bench\"\n\t_ \"github.com/cyberun-cloud/cyberun-relay/e2e\"\n)\n",
		},
		want: []string{"cmd/relay/main.go imports bench: nothing imports bench", "cmd/relay/main.go imports e2e: nothing imports e2e"},
	},
	{
		name: "the client imports the rules",
		files: map[string]string{
			"shared/cyberun/client.go": "package cyberun\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/shared/run\"\n)\n",
		},
		want: []string{"shared/cyberun/client.go imports shared/run: the package may not"},
	},
	{
		name: "the command imports a function",
		files: map[string]string{
			"cmd/relay/main.go": "package main\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/functions/submit\"\n)\n",
		},
		want: []string{"cmd/relay/main.go imports functions/submit: nothing imports functions"},
	},
	{
		name: "the command imports the stand in",
		files: map[string]string{
			"cmd/relay/main.go": "package main\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/local/standin/picture\"\n)\n",
		},
		want: []string{"cmd/relay/main.go imports local/standin/picture: nothing imports local"},
	},
	{
		name: "the rules import a library",
		files: map[string]string{
			"shared/run/run.go": "package run\n\nimport (\n\t_ \"github.com/aws/aws-sdk-go-v2/aws\"\n)\n",
		},
		want: []string{"shared/run/run.go imports github.com/aws/aws-sdk-go-v2/aws: the package may not"},
	},
	{
		name: "the rules import the store",
		files: map[string]string{
			"shared/run/run.go": "package run\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/shared/store\"\n)\n",
		},
		want: []string{"shared/run/run.go imports shared/store: the package may not"},
	},
	{
		name: "the stand in imports the client",
		files: map[string]string{
			"local/standin/main.go": "package main\n\nimport (\n\t_ \"github.com/cyberun-cloud/cyberun-relay/shared/cyberun\"\n)\n",
		},
		want: []string{"local/standin/main.go imports shared/cyberun: the stand-in shares nothing with the client, or one mistake would hide in both"},
	},
}
