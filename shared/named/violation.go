package named

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Violation is one thing that is wrong with a request.
type Violation struct {
	Parameter string `json:"parameter"` // the workflow parameter's key, or the path of the request's own field
	Message   string `json:"message"`   // what is wrong with it, such as "must be at most 100"
}

// Violations lists everything that is wrong with a request.
type Violations []Violation

const (
	// maxViolations bounds an answer: a request of 256 KiB has room for 40,000
	// of them, and an answer of Lambda for 6 MB.
	maxViolations = 500
	// maxViolationText bounds what an error's cause says of them, in bytes: Step
	// Functions cuts a cause at 32 KiB, and JSON that is cut is not read back.
	maxViolationText = 8 << 10
)

// Add appends a violation, whose message is formatted as by [fmt.Sprintf]. The 501st
// says that there are more, and further ones are dropped.
func (v *Violations) Add(parameter, format string, args ...any) {
	switch {
	case len(*v) == maxViolations:
		parameter, format, args = "request", "has more violations than these", nil
	case len(*v) > maxViolations:
		return
	}
	*v = append(*v, Violation{Parameter: parameter, Message: fmt.Sprintf(format, args...)})
}

// Err returns an InvalidRequest with every violation, or nil if there is none. Its
// cause lists those that fit into 8 KiB.
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

// KindOf returns the JSON kind of a decoded value in words, such as "a string" or
// "null".
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

// maxQuoted is how many bytes of a wrong value a message repeats: enough to
// recognise it.
const maxQuoted = 60

// Quote returns the first 60 bytes of a wrong value, as a message repeats it.
func Quote(s string) string { return Shorten(maxQuoted, s) }

// Shorten returns s if it has at most `most` bytes, else its first `most` bytes, cut
// between two characters, and an ellipsis of 3 more bytes.
func Shorten(most int, s string) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
