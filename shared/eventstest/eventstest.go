// Package eventstest gives the tests of the functions what is sent to them: the
// samples in events/ and the states of the machine. It is for tests that run two
// folders below the project's root, as functions/submit/handler.
package eventstest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	samples = "../../../events"
	machine = "../../../statemachine/run.asl.json"
)

// Each checks every sample whose name matches the pattern. want says what is to
// become of each: one that it does not name, or names in vain, is an error.
func Each[W any](t *testing.T, pattern string, want map[string]W, check func(t *testing.T, want W, raw []byte)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(samples, pattern))
	if err != nil || len(files) != len(want) {
		t.Fatalf("%v, %v, want %d", files, err, len(want))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			outcome, known := want[filepath.Base(file)]
			if !known {
				t.Fatal("nobody knows what is to become of it")
			}
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			check(t, outcome, raw)
		})
	}
}

// RoundTrip reads a sample into in, which must know each of its fields and lose
// none of them.
func RoundTrip(t *testing.T, raw []byte, in any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(in); err != nil {
		t.Fatal(err)
	}
	back, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(decoded(t, raw), decoded(t, back)); diff != "" {
		t.Errorf("it came back as another: %s", diff)
	}
}

// State is what a function's types are held against.
type State struct {
	Parameters, ResultSelector map[string]any
	TimeoutSeconds             int
}

// Machine reads the states of the machine.
func Machine(t *testing.T) map[string]State {
	t.Helper()
	raw, err := os.ReadFile(machine)
	if err != nil {
		t.Fatal(err)
	}
	var m struct{ States map[string]State }
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return m.States
}

// Sent are the names of the fields that parameters give to a function.
func Sent(parameters map[string]any) map[string]bool {
	names := map[string]bool{}
	for key := range parameters {
		names[strings.TrimSuffix(key, ".$")] = true
	}
	return names
}

// Selected are the names of the fields that a state takes from the result.
func (s State) Selected() map[string]bool {
	names := map[string]bool{}
	collect(s.ResultSelector, names)
	return names
}

func collect(selector map[string]any, names map[string]bool) {
	for _, value := range selector {
		switch value := value.(type) {
		case map[string]any:
			collect(value, names)
		case string:
			names[strings.TrimPrefix(value, "$.")] = true
		}
	}
}

// Fields are the names that v has as JSON.
func Fields(t *testing.T, v any) map[string]bool {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	object, ok := decoded(t, raw).(map[string]any)
	if !ok {
		t.Fatalf("%s is no object", raw)
	}
	names := map[string]bool{}
	for name := range object {
		names[name] = true
	}
	return names
}

func decoded(t *testing.T, raw []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}
