// Package eventstest reads, for the tests of the functions, what the functions are
// sent: the samples in events/, the states of the state machine, and the routes of the
// HTTP API. A test that uses it must lie three folders below the project's root, as
// functions/submit/handler does.
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

// Each calls check, in a subtest, for every sample in events/ whose file name matches
// the pattern, with the value of want for that name and the sample's bytes. The test
// fails unless the names in want are those of the samples.
func Each[W any](t *testing.T, pattern string, want map[string]W, check func(t *testing.T, want W, raw []byte)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(samples, pattern))
	if err != nil || len(files) != len(want) {
		t.Fatalf("%v, %v, want %d", files, err, len(want))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			expected, known := want[filepath.Base(file)]
			if !known {
				t.Fatal("the test does not say what is wanted of this sample")
			}
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			check(t, expected, raw)
		})
	}
}

// RoundTrip decodes a sample into in, a pointer. The test fails if the sample has a
// field that in lacks, or if in does not encode to the same JSON.
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

// State is the part of a state of the state machine that tests compare with the types
// of the functions.
type State struct {
	Parameters, ResultSelector map[string]any
	TimeoutSeconds             int
	Retry                      []Retrier
}

// Retrier says which errors of a state are retried, how often, and after how long.
type Retrier struct {
	ErrorEquals                                   []string
	IntervalSeconds, BackoffRate, MaxDelaySeconds float64
	MaxAttempts                                   int
	JitterStrategy                                string
}

// Machine returns the states of statemachine/run.asl.json by their names.
func Machine(t testing.TB) map[string]State {
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

// Sent returns the names of the fields that a [State]'s Parameters give to a function.
func Sent(parameters map[string]any) map[string]bool {
	names := map[string]bool{}
	for key := range parameters {
		names[strings.TrimSuffix(key, ".$")] = true
	}
	return names
}

// Selected returns the names of the fields that the state's ResultSelector takes from a
// function's answer.
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

// Fields returns the names of the fields of v, a struct, in JSON.
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
