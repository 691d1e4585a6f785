package cyberun

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// Status says how a task stands. The set is open: Cyberun may add others.
type Status string

// The documented statuses of a task.
const (
	StatusPending      Status = "pending"
	StatusWaiting      Status = "waiting" // for an eligible agent, which may never come
	StatusProvisioning Status = "provisioning"
	StatusQueued       Status = "queued"
	StatusRunning      Status = "running"
	StatusCompleted    Status = "completed"
	StatusFailed       Status = "failed"
	StatusCancelled    Status = "cancelled"
)

// Terminal reports whether the task will not change any more. An unknown status is
// not terminal.
func (s Status) Terminal() bool {
	return s == StatusCompleted || s == StatusFailed || s == StatusCancelled
}

// Time is a time as Cyberun may write it: in RFC 3339, in one of the other usual forms,
// or as seconds or milliseconds since 1970. One without a zone is taken as UTC.
type Time struct{ time.Time }

// UnmarshalJSON reads the time. It sets the zero time for one that is missing, null or
// cannot be read, and never fails.
func (t *Time) UnmarshalJSON(b []byte) error {
	t.Time = parseTime(b)
	return nil
}

// MarshalJSON writes the time in RFC 3339, and null for the zero time.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return t.Time.MarshalJSON()
}

// layouts are tried in order. A time without a zone is taken as UTC.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00",
	"2006-01-02 15:04:05.999999999 Z0700 MST", "2006-01-02 15:04:05.999999999 MST",
	"2006-01-02 15:04:05.999999999", time.RFC1123, time.RFC1123Z, time.DateOnly,
}

func parseTime(raw []byte) time.Time {
	s := looseJSON{"t": raw}.text("t")
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			return inRFC3339(t)
		}
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		if math.Abs(n) > 1e11 { // milliseconds: as seconds it would be past the year 5000
			n /= 1000
		}
		if n > 0 && n < 1e11 {
			whole, part := math.Modf(n)
			return inRFC3339(time.Unix(int64(whole), int64(part*1e9)))
		}
	}
	return time.Time{}
}

// inRFC3339 returns the time in UTC; zero for one that RFC 3339 cannot write, which
// would fail when marshalled.
func inRFC3339(t time.Time) time.Time {
	t = t.UTC()
	if y := t.Year(); y < 1 || y > 9999 {
		return time.Time{}
	}
	return t
}

// looseJSON is a JSON object of which each field is read for itself, so that one
// field of a wrong type costs that field and not the whole answer. A field that is
// missing, null or cannot be read is the zero value.
type looseJSON map[string]json.RawMessage

// parseLooseJSON reads an object; false for anything else.
func parseLooseJSON(raw []byte) (looseJSON, bool) {
	var o looseJSON
	if err := json.Unmarshal(raw, &o); err != nil || o == nil {
		return nil, false
	}
	return o, true
}

// present reports whether a field is there and not null.
func (o looseJSON) present(name string) bool {
	raw := bytes.TrimSpace(o[name])
	return len(raw) > 0 && !bytes.Equal(raw, []byte("null"))
}

// text reads a string, or a number or a boolean as it is written.
func (o looseJSON) text(name string) string {
	if !o.present(name) {
		return ""
	}
	raw := bytes.TrimSpace(o[name])
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	if raw[0] == '{' || raw[0] == '[' || !json.Valid(raw) {
		return ""
	}
	return string(raw)
}

// firstText reads the first of the fields whose text is not empty.
func firstText(o looseJSON, names ...string) string {
	for _, name := range names {
		if s := o.text(name); s != "" {
			return s
		}
	}
	return ""
}

// number reads a finite number, also one in a string.
func (o looseJSON) number(name string) *float64 {
	n, err := strconv.ParseFloat(strings.TrimSpace(o.text(name)), 64)
	if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
		return nil
	}
	return &n
}

// integer reads a whole number within 32 bits, which every documented one is;
// nil for anything else.
func (o looseJSON) integer(name string) *int {
	n := o.number(name)
	if n == nil || *n != math.Trunc(*n) || math.Abs(*n) > math.MaxInt32 {
		return nil
	}
	i := int(*n)
	return &i
}

// count reads a whole number; 0 for anything else.
func (o looseJSON) count(name string) int {
	if n := o.integer(name); n != nil {
		return *n
	}
	return 0
}

// boolean reads true, also as a string or a 1.
func (o looseJSON) boolean(name string) bool {
	b, _ := strconv.ParseBool(o.text(name))
	return b
}

func (o looseJSON) time(name string) Time { return Time{parseTime(o[name])} }

// list reads an array, or a single value as a list of one.
func (o looseJSON) list(name string) []json.RawMessage {
	if !o.present(name) {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(o[name], &list) != nil {
		return []json.RawMessage{o[name]}
	}
	return list
}

// texts reads a list of strings.
func (o looseJSON) texts(name string) []string {
	var texts []string
	for _, raw := range o.list(name) {
		if s := (looseJSON{"": raw}).text(""); s != "" {
			texts = append(texts, s)
		}
	}
	return texts
}

// value reads any value; one with a number that no float64 holds has json.Numbers.
func (o looseJSON) value(name string) any {
	if !o.present(name) {
		return nil
	}
	var v any
	if json.Unmarshal(o[name], &v) == nil {
		return v
	}
	d := json.NewDecoder(bytes.NewReader(o[name]))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil
	}
	return v
}

// maxTaskError bounds a task's error, in bytes, so that a run's own error with it
// fits Step Functions' 32 KiB.
const maxTaskError = 4 << 10

// errorText reads an error that may be a string, an object or null, as one redacted
// text of several lines, such as a traceback has.
func (o looseJSON) errorText(name string) string {
	if !o.present(name) {
		return ""
	}
	text := o.text(name)
	if inner, ok := parseLooseJSON(o[name]); ok {
		text = firstText(inner, "message", "error", "detail", "reason")
		if code := inner.text("code"); code != "" && text != "" {
			text = code + ": " + text
		}
	}
	if text == "" && string(o[name]) != `""` {
		var compact bytes.Buffer
		if json.Compact(&compact, o[name]) == nil {
			text = compact.String()
		}
	}
	return named.Shorten(maxTaskError, redact.Text(text))
}

// maxID bounds an id, in bytes: it is over four times a UUID and more than a slug
// should have. Ids become parts of object keys and file names.
const maxID = 200

// id reads the first of the fields that is there as an identifier; "" if it cannot
// be one.
func (o looseJSON) id(names ...string) string {
	s := firstText(o, names...)
	if len(s) > maxID || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\uFFFD' }) {
		return ""
	}
	return s
}
