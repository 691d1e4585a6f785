package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/google/go-cmp/cmp"
)

// TestSamples puts each of events/submit*.json through the types and the handler.
func TestSamples(t *testing.T) {
	want := map[string]string{"submit.json": "", "submit-rescue.json": "", "submit-invalid.json": run.InvalidRequest}
	files, err := filepath.Glob("../../events/submit*.json")
	if err != nil || len(files) != len(want) {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var in Input
			d := json.NewDecoder(bytes.NewReader(raw))
			d.DisallowUnknownFields()
			if err := d.Decode(&in); err != nil {
				t.Fatal(err)
			}
			back, err := json.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(decoded(t, raw), decoded(t, back)); diff != "" {
				t.Error(diff)
			}
			w := newWorld(t)
			w.now = in.StartedAt
			w.service.tasks = []remoteTask{{Task: cyberun.Task{ID: "0b8f8a52-6f0e-4a3d-9d5c-2f7f6f1f7a11"}}}
			out, err := w.drive(in)
			name, ok := want[filepath.Base(file)]
			switch {
			case !ok:
				t.Error("nobody knows what is to become of it")
			case name != "":
				wantName(t, err, name, "")
			case err != nil || out.RunID != in.RunID || out.TaskID == "":
				t.Errorf("%+v, %v", out, err)
			}
		})
	}
}

func decoded(t *testing.T, raw []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestInputIsWhatTheStateSends: every field of Input, and no other, is in the
// state's Parameters; what it selects of the result is in Output.
func TestInputIsWhatTheStateSends(t *testing.T) {
	raw, err := os.ReadFile("../../statemachine/run.asl.json")
	if err != nil {
		t.Fatal(err)
	}
	var machine struct {
		States map[string]struct {
			Parameters, ResultSelector map[string]any
		}
	}
	if err := json.Unmarshal(raw, &machine); err != nil {
		t.Fatal(err)
	}
	sent, selected := map[string]any{}, map[string]any{}
	for key := range machine.States["Submit"].Parameters {
		sent[key[:len(key)-len(".$")]] = true
	}
	for _, path := range machine.States["Submit"].ResultSelector {
		selected[path.(string)[len("$."):]] = true
	}
	if diff := cmp.Diff(sent, fields(t, Input{Request: json.RawMessage("{}")})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(selected, fields(t, Output{})); diff != "" {
		t.Error(diff)
	}
}

func fields(t *testing.T, v any) map[string]any {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]any{}
	for name := range decoded(t, raw).(map[string]any) {
		names[name] = true
	}
	return names
}
