package named

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestErrorf(t *testing.T) {
	e := Errorf(Unavailable, "read %s: %w", "x", fs.ErrNotExist)
	if e.Name != Unavailable || e.Cause != "read x: file does not exist" || e.Hint != HintFor(Unavailable) {
		t.Errorf("got %+v", e)
	}
	if !errors.Is(e, fs.ErrNotExist) || !Is(e, Unavailable) || Is(e, TaskFailed) {
		t.Error("what it wraps is lost")
	}
	if text := e.Error(); !strings.HasPrefix(text, "Unavailable: read x") || !strings.Contains(text, e.Hint) {
		t.Errorf("its text is %q", text)
	}
}

// Wrapping a named error, or joining another to it, does not change its name.
func TestAsError(t *testing.T) {
	e := Errorf(TaskTaken, "taken")
	for name, err := range map[string]error{
		"bare": e, "wrapped": fmt.Errorf("settle: %w", e), "wrapped twice": fmt.Errorf("a: %w", fmt.Errorf("b: %w", e)),
		"joined": errors.Join(errors.New("other"), e), "within a named one": e,
	} {
		if got, ok := As(err); !ok || got != e || !Is(err, TaskTaken) {
			t.Errorf("%s: %v %v", name, got, ok)
		}
		if got := OrUnavailable(err); got != e {
			t.Errorf("%s became %v", name, got)
		}
	}
	if got := OrUnavailable(context.Canceled); got.Name != Unavailable || got.Cause != context.Canceled.Error() || !errors.Is(got, context.Canceled) {
		t.Errorf("an error without a name became %v", got)
	}
	if got := Within("output a", e); got.Cause != "output a: taken" || got.Name != TaskTaken || got.Hint != e.Hint || e.Cause != "taken" {
		t.Errorf("%+v, of %+v", got, e)
	}
	if outer := Errorf(Unavailable, "more: %w", e); !Is(outer, Unavailable) {
		t.Error("the outer name does not stand")
	}
	for _, err := range []error{nil, errors.New("x"), context.Canceled} {
		if _, ok := As(err); ok || Is(err, Unavailable) {
			t.Errorf("%v has a name", err)
		}
	}
}

func TestMessageRoundTrip(t *testing.T) {
	tests := []Error{
		*Errorf(TaskFailed, "the task t failed: out of memory"),
		{Name: RunRejected, Cause: "five submissions in a row", Hint: "look at Cyberun's own status"},
		{Name: TaskFailed, Cause: "Traceback:\n  line 1\n\nValueError", Hint: "h"},
		{Name: TaskFailed, Cause: "a remote's text\nHint: try harder", Hint: "h"},
		{Name: SubmitOutcomeUnknown, Cause: "candidates: a, b", Hint: HintFor(SubmitOutcomeUnknown)},
		{Name: TaskFailed, Cause: "", Hint: "h"},
	}
	for _, want := range tests {
		got := Parse(want.Name, want.Message())
		if diff := cmp.Diff(&want, got, cmpopts.IgnoreFields(Error{}, "Err", "Violations")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if got := Parse(TaskFailed, "no hint"); got.Cause != "no hint" || got.Hint != HintFor(TaskFailed) {
		t.Errorf("without a hint: %+v", got)
	}
}

func FuzzMessage(f *testing.F) {
	f.Add("TaskFailed", "cause", "hint")
	f.Add("TaskFailed", "a\nHint: b", "hint")
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, name, cause, hint string) {
		if hint == "" || strings.Contains(hint, hintSeparator) {
			return // hints are ours, and hold no mark
		}
		e := &Error{Name: name, Cause: cause, Hint: hint}
		if got := Parse(name, e.Message()); got.Cause != cause || got.Hint != hint {
			t.Fatalf("%+v became %+v", e, got)
		}
	})
}

// An error is written as a record, error.json and the API's answer have it, and
// nothing of what it wraps.
func TestErrorJSON(t *testing.T) {
	e := Errorf(OriginRefused, "refused: %w", errors.New("the chain"))
	e.Violations = Violations{{"a", "b"}}
	raw, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := json.Marshal(map[string]string{"name": OriginRefused, "cause": "refused: the chain", "hint": HintFor(OriginRefused)})
	var got, wanted map[string]any
	if json.Unmarshal(raw, &got) != nil || json.Unmarshal(want, &wanted) != nil || !reflect.DeepEqual(got, wanted) {
		t.Errorf("got %s", raw)
	}
}
