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

// Status is a task's state. The set is open: a new one may appear.
type Status string

const (
	StatusPending      Status = "pending"
	StatusWaiting      Status = "waiting" // no eligible agent yet; may last for ever
	StatusProvisioning Status = "provisioning"
	StatusQueued       Status = "queued"
	StatusRunning      Status = "running"
	StatusCompleted    Status = "completed"
	StatusFailed       Status = "failed"
	StatusCancelled    Status = "cancelled"
)

// Terminal says that the task will not change any more. An unknown state is
// not terminal.
func (s Status) Terminal() bool {
	return s == StatusCompleted || s == StatusFailed || s == StatusCancelled
}

// Time is a time that the remote may leave out, null, or write oddly: it is
// zero then, and decoding never fails. Marshalled it is RFC 3339 or null.
type Time struct{ time.Time }

func (t *Time) UnmarshalJSON(b []byte) error {
	t.Time = parseTime(b)
	return nil
}

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
	s := object{"t": raw}.text("t")
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			return sane(t)
		}
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		if math.Abs(n) > 1e11 { // milliseconds: as seconds it would be past the year 5000
			n /= 1000
		}
		if n > 0 && n < 1e11 {
			whole, part := math.Modf(n)
			return sane(time.Unix(int64(whole), int64(part*1e9)))
		}
	}
	return time.Time{}
}

// sane drops what RFC 3339 cannot write: it would fail when marshalled.
func sane(t time.Time) time.Time {
	t = t.UTC()
	if y := t.Year(); y < 1 || y > 9999 {
		return time.Time{}
	}
	return t
}

// object is a JSON object of which each field is read for itself, so that one
// field of a wrong type costs that field and not the whole answer.
type object map[string]json.RawMessage

func parseObject(raw []byte) (object, bool) {
	var o object
	if err := json.Unmarshal(raw, &o); err != nil || o == nil {
		return nil, false
	}
	return o, true
}

// present says whether a field is there and not null.
func (o object) present(name string) bool {
	raw := bytes.TrimSpace(o[name])
	return len(raw) > 0 && !bytes.Equal(raw, []byte("null"))
}

// text reads a string; a number or a boolean is taken as it is written.
func (o object) text(name string) string {
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

func firstText(o object, names ...string) string {
	for _, name := range names {
		if s := o.text(name); s != "" {
			return s
		}
	}
	return ""
}

// number reads a finite number, also one in a string.
func (o object) number(name string) *float64 {
	n, err := strconv.ParseFloat(strings.TrimSpace(o.text(name)), 64)
	if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
		return nil
	}
	return &n
}

// integer reads a whole number within 32 bits, which every documented one is;
// nil for anything else.
func (o object) integer(name string) *int {
	n := o.number(name)
	if n == nil || *n != math.Trunc(*n) || math.Abs(*n) > math.MaxInt32 {
		return nil
	}
	i := int(*n)
	return &i
}

func (o object) count(name string) int {
	if n := o.integer(name); n != nil {
		return *n
	}
	return 0
}

func (o object) truth(name string) bool {
	b, _ := strconv.ParseBool(o.text(name))
	return b
}

func (o object) time(name string) Time { return Time{parseTime(o[name])} }

// list reads an array; a single value is a list of one.
func (o object) list(name string) []json.RawMessage {
	if !o.present(name) {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(o[name], &list) != nil {
		return []json.RawMessage{o[name]}
	}
	return list
}

func (o object) texts(name string) []string {
	var texts []string
	for _, raw := range o.list(name) {
		if s := (object{"": raw}).text(""); s != "" {
			texts = append(texts, s)
		}
	}
	return texts
}

// value reads anything. A number that no float64 holds stays a json.Number.
func (o object) value(name string) any {
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

// maxTaskError keeps a task's error small enough for a run's own error, which
// has to fit Step Functions' 32 KiB.
const maxTaskError = 4 << 10

// fault reads an error that may be a string, an object or null, as one text.
func (o object) fault(name string) string {
	if !o.present(name) {
		return ""
	}
	text := o.text(name)
	if inner, ok := parseObject(o[name]); ok {
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
	// Lines stay: a task's error is often a traceback.
	return named.Shorten(maxTaskError, redact.Text(text))
}

// maxID is four times a uuid and more than any slug should be. Ids become parts
// of object keys and file names.
const maxID = 200

// id reads a required identifier: "" if it is missing or cannot be one.
func (o object) id(names ...string) string {
	s := firstText(o, names...)
	if len(s) > maxID || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\uFFFD' }) {
		return ""
	}
	return s
}
