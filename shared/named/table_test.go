package named

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// Each row is complete, and a hint that tells to start a run anew stands only
// where nothing that was paid can still be delivered.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range Table {
		if row.Name == "" || seen[row.Name] {
			t.Errorf("%q stands twice, or has no name", row.Name)
		}
		seen[row.Name] = true
		if row.Hint == "" || strings.Contains(row.Hint, hintSeparator) || strings.HasSuffix(row.Hint, ".") {
			t.Errorf("the hint of %s is %q", row.Name, row.Hint)
		}
		if !strings.HasSuffix(row.Meaning, ".") {
			t.Errorf("the meaning of %s is no sentence: %q", row.Name, row.Meaning)
		}
		if row.Retried && row.HTTPStatus != 503 {
			t.Errorf("%s is retried by the state machine and is no 503", row.Name)
		}
		if anew := strings.Contains(row.Hint, "start a new run"); anew && row.Redrivable {
			t.Errorf("%s can be redriven, and its hint tells to pay again: %q", row.Name, row.Hint)
		}
		if got, ok := Lookup(row.Name); !ok || got != row {
			t.Errorf("Lookup(%s) = %+v, %v", row.Name, got, ok)
		}
	}
	if _, ok := Lookup("Lambda.Unknown"); ok {
		t.Error("a name of the platform is in the table")
	}
}

// The state machine retries exactly the names that the table says are retried,
// in each state that can meet them.
func TestTableAndStateMachine(t *testing.T) {
	raw, err := os.ReadFile("../../statemachine/run.asl.json")
	if err != nil {
		t.Fatal(err)
	}
	var machine struct {
		States map[string]struct {
			Type  string
			Retry []struct{ ErrorEquals []string }
		}
	}
	if err := json.Unmarshal(raw, &machine); err != nil {
		t.Fatal(err)
	}
	retried := map[string]bool{}
	for name, state := range machine.States {
		if state.Type != "Task" {
			continue
		}
		var all []string
		for _, r := range state.Retry {
			all = append(all, r.ErrorEquals...)
		}
		for _, e := range all {
			if row, ours := Lookup(e); ours {
				retried[e] = true
				if !row.Retried {
					t.Errorf("the state %s retries %s, which the table does not", name, e)
				}
			}
		}
		if !slices.Contains(all, Unavailable) {
			t.Errorf("the state %s does not retry %s", name, Unavailable)
		}
	}
	for _, row := range Table {
		if row.Retried && !retried[row.Name] {
			t.Errorf("no state retries %s; it retries %v", row.Name, slices.Sorted(maps.Keys(retried)))
		}
	}
}
