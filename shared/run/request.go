package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxRequestBytes is Step Functions' quota for an execution's input.
	MaxRequestBytes = 256 << 10
	// DefaultMaxSeconds is a day: longer than any image, shorter than a
	// forgotten task may cost.
	DefaultMaxSeconds = 86400
	// MaxMaxSeconds is the 7 days that Cyberun keeps outputs.
	MaxMaxSeconds = 604800
	// DefaultPrefix is where outputs land when the request does not say.
	DefaultPrefix = "runs/{run_id}/"
	// RescueSlug stands for {workflow} when only a task id was given.
	RescueSlug = "rescue"

	maxWorkflowRef = 200 // bytes; Cyberun documents no limit, ours keeps S3 keys short
	maxTaskID      = 128 // bytes; theirs are UUIDs (36)
	// startedByField is added to the input by a calling state machine.
	startedByField = "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"
)

// Request is what starts a run, through whichever door: the body of POST /runs,
// an execution's input, a job file.
type Request struct {
	Workflow         string         `json:"workflow,omitempty"`
	Parameters       map[string]any `json:"parameters,omitempty"`
	ParametersAsText bool           `json:"parameters_as_text,omitempty"` // strings, to be typed by the workflow's own parameters
	TaskID           string         `json:"task_id,omitempty"`            // instead of Workflow: rescue an existing task
	Destination      Destination    `json:"destination,omitzero"`
	MaxSeconds       int            `json:"max_seconds,omitempty"`
}

// Destination is where the outputs land, in the stack's own bucket.
type Destination struct {
	Prefix string `json:"prefix,omitempty"`
}

// Slug is the workflow without its version, or "rescue".
func (r Request) Slug() string {
	if r.Workflow == "" {
		return RescueSlug
	}
	slug, _, _ := strings.Cut(r.Workflow, "@")
	return slug
}

// Fault is one thing wrong with a request. Parameter is the workflow
// parameter's key, or the path of the document's own field.
type Fault struct {
	Parameter string `json:"parameter"`
	Message   string `json:"message"`
}

// Faults are all the things wrong with a request.
type Faults []Fault

// maxFaults bounds an answer: a request of 256 KiB has room for 40,000 faults,
// and an answer of Lambda for 6 MB.
const maxFaults = 500

func (f *Faults) add(parameter, format string, args ...any) {
	switch {
	case len(*f) == maxFaults:
		parameter, format, args = "request", "has more faults than these", nil
	case len(*f) > maxFaults:
		return
	}
	*f = append(*f, Fault{Parameter: parameter, Message: fmt.Sprintf(format, args...)})
}

// maxFaultText bounds what of the faults is told in an error's cause, in bytes:
// Step Functions cuts one at 32 KiB, and JSON that is cut is not read back.
const maxFaultText = 8 << 10

// Invalid makes the named error that lists every fault; nil if there is none.
func (f Faults) Invalid() *Error {
	if len(f) == 0 {
		return nil
	}
	var text strings.Builder
	for i, fault := range f {
		if text.Len() > maxFaultText {
			fmt.Fprintf(&text, "; and %d more", len(f)-i)
			break
		}
		if i > 0 {
			text.WriteString("; ")
		}
		text.WriteString(fault.Parameter + ": " + fault.Message)
	}
	e := Errorf(InvalidRequest, "%s", text.String())
	e.Faults = f
	return e
}

// ParseRequest reads a request and says everything that is wrong with it that
// can be told without the workflow. What it returns beside faults is as much of
// the request as could be read, so that the workflow's checks can add theirs.
func ParseRequest(raw []byte) (Request, Faults) {
	var faults Faults
	var r Request
	if len(raw) > MaxRequestBytes {
		faults.add("request", "is %d bytes; at most %d are accepted (put large inputs into S3 and pass s3://…)", len(raw), MaxRequestBytes)
		return r, faults
	}
	fields, err := decodeObject(raw)
	if err != nil {
		faults.add("request", "%v", err)
		return r, faults
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value := fields[name]
		switch name {
		case "workflow":
			r.Workflow = stringField(&faults, name, value)
			if r.Workflow != "" {
				checkWorkflowRef(&faults, r.Workflow)
			}
		case "task_id":
			r.TaskID = stringField(&faults, name, value)
			if r.TaskID != "" && !safeTaskID(r.TaskID) {
				faults.add(name, "is not a task id: letters, digits, '-', '_' and '.', at most %d", maxTaskID)
			}
		case "parameters":
			p, ok := value.(map[string]any)
			if !ok {
				faults.add(name, "must be an object, not %s", kindOf(value))
			}
			r.Parameters = p
		case "parameters_as_text":
			b, ok := value.(bool)
			if !ok {
				faults.add(name, "must be true or false, not %s", kindOf(value))
			}
			r.ParametersAsText = b
		case "destination":
			r.Destination = destinationField(&faults, value)
		case "max_seconds":
			r.MaxSeconds = maxSecondsField(&faults, value)
		case startedByField:
		default:
			faults.add(shortName(name), "is not a field of a request; known are workflow, parameters, destination, max_seconds and task_id")
		}
	}
	_, hasWorkflow := fields["workflow"]
	_, hasTask := fields["task_id"]
	_, hasParameters := fields["parameters"]
	switch {
	case hasWorkflow && hasTask:
		faults.add("task_id", "cannot stand beside workflow: a task is either started or rescued")
	case !hasWorkflow && !hasTask:
		faults.add("workflow", "is missing: name the workflow to run, as slug or slug@version")
	case hasTask && hasParameters:
		faults.add("parameters", "cannot stand beside task_id: that task has its parameters already")
	}
	if r.MaxSeconds == 0 {
		r.MaxSeconds = DefaultMaxSeconds
	}
	if r.Destination.Prefix == "" {
		r.Destination.Prefix = DefaultPrefix
	}
	return r, faults
}

// decodeObject reads exactly one JSON object, its numbers kept as they were
// written: a 64-bit seed must not lose its last digits to a float.
func decodeObject(raw []byte) (map[string]any, error) {
	v, err := decodeJSON(raw)
	if err != nil {
		return nil, err
	}
	fields, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("must be a JSON object, not %s", kindOf(v))
	}
	return fields, nil
}

func decodeJSON(raw []byte) (any, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("is empty: send a JSON object such as {\"workflow\": \"text-to-image\"}")
		}
		return nil, fmt.Errorf("is not JSON: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("has more after its JSON object")
	}
	return v, nil
}

func stringField(faults *Faults, name string, value any) string {
	s, ok := value.(string)
	switch {
	case !ok:
		faults.add(name, "must be a string, not %s", kindOf(value))
	case s == "":
		faults.add(name, "must not be empty")
	}
	return s
}

func destinationField(faults *Faults, value any) Destination {
	fields, ok := value.(map[string]any)
	if !ok {
		faults.add("destination", "must be an object such as {\"prefix\": %q}, not %s", DefaultPrefix, kindOf(value))
		return Destination{}
	}
	var d Destination
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name != "prefix" {
			faults.add("destination."+shortName(name), "is not a field of destination; known is prefix (the bucket is the stack's)")
			continue
		}
		d.Prefix = stringField(faults, "destination.prefix", fields[name])
		if d.Prefix != "" {
			checkPrefix(faults, d.Prefix)
		}
	}
	return d
}

func maxSecondsField(faults *Faults, value any) int {
	n, ok := value.(json.Number)
	if !ok {
		faults.add("max_seconds", "must be a whole number, not %s", kindOf(value))
		return 0
	}
	f, err := strconv.ParseFloat(n.String(), 64)
	if err != nil || f < 1 || f > MaxMaxSeconds || f != math.Trunc(f) {
		faults.add("max_seconds", "is %s; it must be a whole number from 1 to %d (7 days, as long as outputs live)", shorten(n.String()), MaxMaxSeconds)
		return 0
	}
	return int(f)
}

// checkWorkflowRef accepts what can stand in one path element. Cyberun does not
// document the alphabet of a slug.
func checkWorkflowRef(faults *Faults, ref string) {
	slug, version, pinned := strings.Cut(ref, "@")
	switch {
	case len(ref) > maxWorkflowRef:
		faults.add("workflow", "is longer than %d bytes", maxWorkflowRef)
	case slug == "" || slug == "." || slug == ".." || strings.ContainsFunc(slug, unsafeInSlug):
		faults.add("workflow", "%q is not a workflow: use slug or slug@version, such as text-to-image@2", shorten(ref))
	case pinned:
		if n, err := strconv.ParseUint(version, 10, 31); err != nil || n < 1 {
			faults.add("workflow", "%q is not a version: it is a whole number from 1, such as %s@2", shorten(version), shorten(slug))
		}
	}
}

func unsafeInSlug(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(`/\?#%{}`, r)
}

func safeTaskID(id string) bool {
	if len(id) > maxTaskID || strings.Trim(id, ".") == "" {
		return false
	}
	for _, c := range []byte(id) {
		if !isAlnum(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func kindOf(v any) string {
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

// maxName bounds what is told of a name that is not known: longer than any
// parameter's own, shorter than a request can make it.
const maxName = 200

func shortName(name string) string { return shortenTo(maxName, name) }

// maxQuoted bounds what of a bad value is told back: enough to recognise it.
const maxQuoted = 60

func shorten(s string) string { return shortenTo(maxQuoted, s) }

func shortenTo(most int, s string) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
