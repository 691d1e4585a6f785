package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// settingRead finds the settings that a function's source asks for by name;
// test-only overrides (Duration) and the platform's own are not the template's.
var settingRead = regexp.MustCompile(`env\.(?:String|Optional|List|Bool|Seconds|Choice|URL)\("([A-Z_]+)"`)

// Two helpers of shared/config read settings for whoever calls them.
var settingsOf = map[string][]string{
	"env.Cyberun(": {"CYBERUN_BASE_URL", "API_KEY_SECRET_ARN", "ALLOW_INSECURE_ORIGINS"},
	"env.Runs(":    {"STATE_BUCKET"},
}

// TestTemplateGivesWhatFunctionsRead: a setting that is missing shows only when
// the deployed function starts, and one that nothing reads misleads.
func TestTemplateGivesWhatFunctionsRead(t *testing.T) {
	template, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	globals := settingsGiven(section(t, string(template), "\nGlobals:\n", "\nResources:\n"))
	for id, folder := range map[string]string{
		"SubmitFunction": "submit", "PollStatusFunction": "poll-status", "CopyResultFunction": "copy-result",
		"ApiFunction": "api", "OnUploadFunction": "on-upload", "OnWebhookFunction": "on-webhook", "CloseRunFunction": "close-run",
		"CallContainerFunction": "call-container",
	} {
		t.Run(folder, func(t *testing.T) {
			own := settingsGiven(section(t, string(template), "\n  "+id+":\n", "\n      Policies:\n"))
			read := settingsUsed(t, filepath.Join("../../functions", folder))
			for _, name := range read {
				if !slices.Contains(own, name) && !slices.Contains(globals, name) {
					t.Errorf("reads %s, which the template does not give to %s", name, id)
				}
			}
			for _, name := range own {
				if name == "GOMEMLIMIT" {
					continue // the Go runtime reads it
				}
				if !slices.Contains(read, name) {
					t.Errorf("the template gives %s to %s, which does not read it", name, id)
				}
			}
		})
	}
}

// memoryShare is the part of a function's memory that Go's collector is told to
// stay below; the rest is for the binary and the kernel's buffers.
const memoryShare = 0.8

// TestTemplateLimitsGoToTheFunctionsMemory: whoever gives a function another
// MemorySize must give it another GOMEMLIMIT as well.
func TestTemplateLimitsGoToTheFunctionsMemory(t *testing.T) {
	template, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	setting := func(text, pattern string) (int, bool) {
		match := regexp.MustCompile(pattern).FindStringSubmatch(text)
		if match == nil {
			return 0, false
		}
		n, err := strconv.Atoi(match[1])
		if err != nil {
			t.Fatal(err)
		}
		return n, true
	}
	const size, limit = `(?m)^ +MemorySize: (\d+)$`, `(?m)^ +GOMEMLIMIT: (\d+)MiB$`
	globals := section(t, string(template), "\nGlobals:\n", "\nResources:\n")
	everyMB, _ := setting(globals, size)
	everyLimit, _ := setting(globals, limit)
	if want := int(memoryShare * float64(everyMB)); everyMB == 0 || everyLimit != want {
		t.Errorf("Globals: MemorySize %d, GOMEMLIMIT %dMiB, want %d", everyMB, everyLimit, want)
	}
	functions := regexp.MustCompile(`(?m)^  (\w+Function):$`).FindAllStringSubmatch(string(template), -1)
	if len(functions) == 0 {
		t.Fatal("no function found in template.yaml")
	}
	for _, match := range functions {
		own := section(t, string(template), "\n  "+match[1]+":\n", "\n      Policies:\n")
		mb, given := setting(own, size)
		if !given {
			mb = everyMB
		}
		got, given := setting(own, limit)
		if !given {
			got = everyLimit
		}
		if want := int(memoryShare * float64(mb)); got != want {
			t.Errorf("%s: MemorySize %d, GOMEMLIMIT %dMiB, want %d", match[1], mb, got, want)
		}
	}
}

func section(t *testing.T, text, from, to string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, from)
	part, _, ended := strings.Cut(rest, to)
	if !found || !ended {
		t.Fatalf("template.yaml has nothing from %q to %q", from, to)
	}
	return part
}

var settingGiven = regexp.MustCompile(`(?m)^ +([A-Z][A-Z_]+): `)

func settingsGiven(text string) []string {
	var names []string
	for _, match := range settingGiven.FindAllStringSubmatch(text, -1) {
		names = append(names, match[1])
	}
	return names
}

func settingsUsed(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no source in %s: %v", folder, err)
	}
	var names []string
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, match := range settingRead.FindAllStringSubmatch(string(source), -1) {
			if !strings.HasPrefix(match[1], "AWS_") {
				names = append(names, match[1])
			}
		}
		for call, settings := range settingsOf {
			if strings.Contains(string(source), call) {
				names = append(names, settings...)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// TestStateMachineOnlyNamesWhatTheTemplateFills: an unfilled ${…} shows only when
// a real account refuses the deploy.
func TestStateMachineOnlyNamesWhatTheTemplateFills(t *testing.T) {
	template, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	machine, err := os.ReadFile("../../statemachine/run.asl.json")
	if err != nil {
		t.Fatal(err)
	}
	names := func(pattern, text string) []string {
		var list []string
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			list = append(list, match[1])
		}
		slices.Sort(list)
		return slices.Compact(list)
	}
	given := names(`(?m)^ {8}(\w+): `, section(t, string(template), "      DefinitionSubstitutions:\n", "      Logging:\n"))
	used := names(`\$\{(\w+)\}`, string(machine))
	if diff := cmp.Diff(given, used); diff != "" {
		t.Errorf("substitutions (-template +state machine):\n%s", diff)
	}
}
