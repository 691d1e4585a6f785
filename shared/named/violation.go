package named

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Violation is one thing wrong with a request. Parameter is the workflow
// parameter's key, or the path of the document's own field.
type Violation struct {
	Parameter string `json:"parameter"`
	Message   string `json:"message"`
}

// Violations lists everything wrong with a request.
type Violations []Violation

const (
	// maxViolations bounds an answer: a request of 256 KiB has room for 40,000
	// of them, and an answer of Lambda for 6 MB.
	maxViolations = 500
	// maxViolationText bounds what an error's cause says of them, in bytes: Step
	// Functions cuts a cause at 32 KiB, and JSON that is cut is not read back.
	maxViolationText = 8 << 10
)

// Add appends a violation; past 500 it notes once that there are more.
func (v *Violations) Add(parameter, format string, args ...any) {
	switch {
	case len(*v) == maxViolations:
		parameter, format, args = "request", "has more violations than these", nil
	case len(*v) > maxViolations:
		return
	}
	*v = append(*v, Violation{Parameter: parameter, Message: fmt.Sprintf(format, args...)})
}

// Err returns an InvalidRequest that lists every violation, or nil if there is none.
func (v Violations) Err() error {
	if len(v) == 0 {
		return nil
	}
	var text strings.Builder
	for i, violation := range v {
		if text.Len() > maxViolationText {
			fmt.Fprintf(&text, "; and %d more", len(v)-i)
			break
		}
		if i > 0 {
			text.WriteString("; ")
		}
		text.WriteString(violation.Parameter + ": " + violation.Message)
	}
	e := Errorf(InvalidRequest, "%s", text.String())
	e.Violations = v
	return e
}

// KindOf names the JSON kind of a decoded value, as messages about it do: "a
// string", "null".
func KindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case json.Number, float64, int:
		return "a number"
	case []any:
		return "an array"
	default:
		return "an object"
	}
}

// maxQuoted is how many bytes of a bad value a message repeats: enough to
// recognise it.
const maxQuoted = 60

// Quote shortens a bad value to what a message repeats of it.
func Quote(s string) string { return Shorten(maxQuoted, s) }

// Shorten returns s if it has at most `most` bytes, else its first `most` bytes,
// never cut within a character, and an ellipsis.
func Shorten(most int, s string) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
