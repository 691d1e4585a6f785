package main

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// settings are what each function reads, by its logical id.
var settings = map[string]reflect.Type{
	"ApiFunction":           reflect.TypeFor[config.API](),
	"CallContainerFunction": reflect.TypeFor[config.CallContainer](),
	"CloseRunFunction":      reflect.TypeFor[config.CloseRun](),
	"CopyResultFunction":    reflect.TypeFor[config.CopyResult](),
	"OnUploadFunction":      reflect.TypeFor[config.OnUpload](),
	"OnWebhookFunction":     reflect.TypeFor[config.OnWebhook](),
	"PollStatusFunction":    reflect.TypeFor[config.PollStatus](),
	"SubmitFunction":        reflect.TypeFor[config.Submit](),
}

// variables is the part of a template that gives variables to a function.
type variables struct {
	Environment struct {
		Variables map[string]yaml.Node `yaml:"Variables"`
	} `yaml:"Environment"`
}

// TestTemplateGivesWhatFunctionsRead: a setting that is missing shows only when
// the deployed function starts, and one that nothing reads misleads.
func TestTemplateGivesWhatFunctionsRead(t *testing.T) {
	raw, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var template struct {
		Globals struct {
			Function variables `yaml:"Function"`
		} `yaml:"Globals"`
		Resources map[string]struct {
			Type       string    `yaml:"Type"`
			Properties variables `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(raw, &template); err != nil {
		t.Fatal(err)
	}
	globals := template.Globals.Function.Environment.Variables
	read := map[string]bool{}
	for id, resource := range template.Resources {
		if resource.Type != "AWS::Serverless::Function" {
			continue
		}
		own := resource.Properties.Environment.Variables
		if settings[id] == nil {
			t.Errorf("nobody says what %s reads", id)
			continue
		}
		names := variablesOf(settings[id])
		for _, name := range names {
			read[name] = true
			_, given := own[name]
			if _, global := globals[name]; !given && !global {
				t.Errorf("%s reads %s, which the template does not give to it", id, name)
			}
		}
		for name := range own {
			if name != goMemory && !slices.Contains(names, name) {
				t.Errorf("the template gives %s to %s, which does not read it", name, id)
			}
		}
	}
	for name := range globals {
		if name != goMemory && !read[name] {
			t.Errorf("the template gives %s to every function, and none reads it", name)
		}
	}
	for id := range settings {
		if _, there := template.Resources[id]; !there {
			t.Errorf("the template has no %s", id)
		}
	}
}

// goMemory is the variable that the Go runtime reads, not the function.
const goMemory = "GOMEMLIMIT"

// variablesOf returns the variables that a struct of settings is read from, without
// the platform's own.
func variablesOf(t reflect.Type) []string {
	var names []string
	for _, field := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(field.Tag.Get("env"), ","); name != "" && !strings.HasPrefix(name, "AWS_") {
			names = append(names, name)
		}
	}
	return names
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
