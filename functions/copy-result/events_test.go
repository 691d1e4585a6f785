package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// TestSamples puts each of events/copy-result*.json through the types and the handler.
func TestSamples(t *testing.T) {
	files, err := filepath.Glob("../../events/copy-result*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
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
		back, err := json.MarshalIndent(in, "", "  ")
		if err != nil || string(back)+"\n" != string(raw) {
			t.Errorf("%s came back as %s, %v", file, back, err)
		}
		w := newWorld(t).record(func(r *run.Record) { r.RunID = in.RunID })
		if out, err := w.h.Handle(t.Context(), in); err != nil || !out.Done || out.RunID != in.RunID {
			t.Errorf("%+v, %v", out, err)
		}
	}
}

// TestStateFits: every path that the state selects is there, done or not. One that
// is missing fails the run.
func TestStateFits(t *testing.T) {
	raw, err := os.ReadFile("../../statemachine/run.asl.json")
	if err != nil {
		t.Fatal(err)
	}
	var machine struct {
		States map[string]struct {
			ResultSelector map[string]any
		}
	}
	if err := json.Unmarshal(raw, &machine); err != nil {
		t.Fatal(err)
	}
	for _, out := range []Output{{}, {Done: true, RunID: "r", TaskID: "t", Bucket: "b", ManifestKey: "k"}} {
		raw, err := json.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		var there map[string]any
		if err := json.Unmarshal(raw, &there); err != nil {
			t.Fatal(err)
		}
		var check func(v any)
		check = func(v any) {
			switch v := v.(type) {
			case map[string]any:
				for _, inner := range v {
					check(inner)
				}
			case string:
				if _, ok := there[strings.TrimPrefix(v, "$.")]; !ok {
					t.Errorf("%s is not in %s", v, raw)
				}
			}
		}
		check(machine.States["CopyResult"].ResultSelector)
	}
}
