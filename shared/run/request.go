package run

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
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

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
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
	// Hash tells two requests apart: SHA-256 of the canonical document, in hex;
	// empty if it has none.
	Hash string `json:"-"`
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

// ParseRequest reads a request and says everything that is wrong with it that
// can be told without the workflow. What it returns beside faults is as much of
// the request as could be read, so that the workflow's checks can add theirs.
func ParseRequest(raw []byte) (Request, named.Violations) {
	var faults named.Violations
	var r Request
	if len(raw) > MaxRequestBytes {
		faults.Add("request", "is %d bytes; at most %d are accepted (put large inputs into S3 and pass s3://…)", len(raw), MaxRequestBytes)
		return r, faults
	}
	fields, err := decodeObject(raw)
	if err != nil {
		faults.Add("request", "%v", err)
		return r, faults
	}
	if canonical, err := Canonical(raw); err == nil {
		sum := sha256.Sum256(canonical)
		r.Hash = hex.EncodeToString(sum[:])
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
			if r.TaskID != "" && !ValidTaskID(r.TaskID) {
				faults.Add(name, "is not a task id: letters, digits, '-', '_' and '.', at most %d", maxTaskID)
			}
		case "parameters":
			p, ok := value.(map[string]any)
			if !ok {
				faults.Add(name, "must be an object, not %s", named.KindOf(value))
			}
			r.Parameters = p
		case "parameters_as_text":
			b, ok := value.(bool)
			if !ok {
				faults.Add(name, "must be true or false, not %s", named.KindOf(value))
			}
			r.ParametersAsText = b
		case "destination":
			r.Destination = destinationField(&faults, value)
		case "max_seconds":
			r.MaxSeconds = maxSecondsField(&faults, value)
		case startedByField:
		default:
			faults.Add(named.Shorten(maxName, name), "is not a field of a request; known are workflow, parameters, destination, max_seconds and task_id")
		}
	}
	_, hasWorkflow := fields["workflow"]
	_, hasTask := fields["task_id"]
	_, hasParameters := fields["parameters"]
	switch {
	case hasWorkflow && hasTask:
		faults.Add("task_id", "cannot stand beside workflow: a task is either started or rescued")
	case !hasWorkflow && !hasTask:
		faults.Add("workflow", "is missing: name the workflow to run, as slug or slug@version")
	case hasTask && hasParameters:
		faults.Add("parameters", "cannot stand beside task_id: that task has its parameters already")
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
		return nil, fmt.Errorf("must be a JSON object, not %s", named.KindOf(v))
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

func stringField(faults *named.Violations, name string, value any) string {
	s, ok := value.(string)
	switch {
	case !ok:
		faults.Add(name, "must be a string, not %s", named.KindOf(value))
	case s == "":
		faults.Add(name, "must not be empty")
	}
	return s
}

func destinationField(faults *named.Violations, value any) Destination {
	fields, ok := value.(map[string]any)
	if !ok {
		faults.Add("destination", "must be an object such as {\"prefix\": %q}, not %s", DefaultPrefix, named.KindOf(value))
		return Destination{}
	}
	var d Destination
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name != "prefix" {
			faults.Add("destination."+named.Shorten(maxName, name), "is not a field of destination; known is prefix (the bucket is the stack's)")
			continue
		}
		d.Prefix = stringField(faults, "destination.prefix", fields[name])
		if d.Prefix != "" {
			checkPrefix(faults, d.Prefix)
		}
	}
	return d
}

func maxSecondsField(faults *named.Violations, value any) int {
	n, ok := value.(json.Number)
	if !ok {
		faults.Add("max_seconds", "must be a whole number, not %s", named.KindOf(value))
		return 0
	}
	f, err := strconv.ParseFloat(n.String(), 64)
	if err != nil || f < 1 || f > MaxMaxSeconds || f != math.Trunc(f) {
		faults.Add("max_seconds", "is %s; it must be a whole number from 1 to %d (7 days, as long as outputs live)", named.Quote(n.String()), MaxMaxSeconds)
		return 0
	}
	return int(f)
}

// checkWorkflowRef accepts what can stand in one path element. Cyberun does not
// document the alphabet of a slug.
func checkWorkflowRef(faults *named.Violations, ref string) {
	slug, version, pinned := strings.Cut(ref, "@")
	switch {
	case len(ref) > maxWorkflowRef:
		faults.Add("workflow", "is longer than %d bytes", maxWorkflowRef)
	case slug == "" || slug == "." || slug == ".." || strings.ContainsFunc(slug, unsafeInSlug):
		faults.Add("workflow", "%q is not a workflow: use slug or slug@version, such as text-to-image@2", named.Quote(ref))
	case pinned:
		if n, err := strconv.ParseUint(version, 10, 31); err != nil || n < 1 {
			faults.Add("workflow", "%q is not a version: it is a whole number from 1, such as %s@2", named.Quote(version), named.Quote(slug))
		}
	}
}

func unsafeInSlug(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(`/\?#%{}`, r)
}

// ValidTaskID reports whether a text can be the id of a task: letters, digits,
// '-', '_' and '.', at most 128 of them.
func ValidTaskID(id string) bool {
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

// maxName bounds what is told of a name that is not known: longer than any
// parameter's own, shorter than a request can make it.
const maxName = 200
