package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSamples puts each of events/poll-status*.json through the types and the handler.
func TestSamples(t *testing.T) {
	files, err := filepath.Glob("../../events/poll-status*.json")
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
		w := newWorld(t, look{status: "running"}).record(nil)
		w.now = w.now.Add(time.Minute)
		in.RunID = "r1" // the record's
		if _, err := w.h.Handle(t.Context(), in); err != nil {
			t.Error(err)
		}
	}
}

// TestStatesFit: what the states send is Input, and what they select is in Output.
func TestStatesFit(t *testing.T) {
	raw, err := os.ReadFile("../../statemachine/run.asl.json")
	if err != nil {
		t.Fatal(err)
	}
	var machine struct {
		States map[string]struct {
			Parameters     map[string]any
			ResultSelector map[string]any
			TimeoutSeconds int
		}
	}
	if err := json.Unmarshal(raw, &machine); err != nil {
		t.Fatal(err)
	}
	sent := map[string]bool{}
	for key := range machine.States["AwaitWebhook"].Parameters["Payload"].(map[string]any) {
		sent[strings.TrimSuffix(key, ".$")] = true
	}
	if diff := cmp.Diff(sent, fields(t, Input{RunID: "r", TaskToken: "t"})); diff != "" {
		t.Error(diff)
	}
	if got := time.Duration(machine.States["AwaitWebhook"].TimeoutSeconds) * time.Second; got != parkTime {
		t.Errorf("AwaitWebhook waits for %s", got)
	}
	selected := map[string]bool{}
	for _, path := range machine.States["PollStatus"].ResultSelector {
		selected[strings.TrimPrefix(path.(string), "$.")] = true
	}
	if diff := cmp.Diff(selected, fields(t, Output{})); diff != "" {
		t.Error(diff)
	}
}

func fields(t *testing.T, v any) map[string]bool {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(raw, &object); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for name := range object {
		names[name] = true
	}
	return names
}
