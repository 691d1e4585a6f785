package run

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

const (
	// MaxRequestBytes bounds a request, as bytes of the UTF-8 of its canonical form:
	// that is what an execution gets as its input. Step Functions' quota for the data
	// of a state is 256 KiB, counted so; the state Submit adds at most 425 bytes of
	// names, ARN, time and counts to it, for which 512 are kept.
	MaxRequestBytes = 256<<10 - 512
	// DefaultMaxSeconds is the max_seconds of a request that names none, a day: longer
	// than a task that makes images takes, and a bound for a run that is forgotten.
	DefaultMaxSeconds = 86400
	// MaxMaxSeconds is the largest max_seconds of a request, 7 days: Cyberun keeps outputs
	// that long by default.
	MaxMaxSeconds = 604800
	// DefaultPrefix is the destination's template of a request that names none.
	DefaultPrefix = "runs/{run_id}/"
	// MaxInputFile is the size in bytes up to which a Cyberun deployment takes an input
	// file by default. A deployment may have a lower limit; it then refuses the file when
	// an address to upload it to is asked for.
	MaxInputFile = 500 << 20
	// RescueSlug fills in {workflow} in the destination's template of a request that names
	// a task and no workflow.
	RescueSlug = "rescue"

	maxWorkflowRef = 200 // bytes; Cyberun documents no limit, ours keeps S3 keys short
	maxTaskID      = 200 // bytes, as shared/cyberun takes; Cyberun's ids are UUIDs (36)
	// maxVersionID is S3's own bound of a version id, in bytes.
	maxVersionID = 1024
	// maxETag is in bytes. S3's have at most 38, an MD5 and a number of parts;
	// servers that are like S3 make longer ones.
	maxETag = 256
	// startedByField is added to the input by a calling state machine.
	startedByField = "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"
)

// Request is what starts a run: the body of POST /runs, an execution's input, or a
// job file.
type Request struct {
	Workflow         string         `json:"workflow,omitempty"`
	Parameters       map[string]any `json:"parameters,omitempty"`
	ParametersAsText bool           `json:"parameters_as_text,omitempty"` // every value is a string, which CheckParameters of shared/workflows converts
	TaskID           string         `json:"task_id,omitempty"`            // instead of Workflow: rescue an existing task
	Destination      Destination    `json:"destination,omitzero"`
	MaxSeconds       int            `json:"max_seconds,omitempty"`
	// Hash is the SHA-256 of the canonical document, in hex, by which two requests
	// are compared; empty if the document could not be decoded.
	Hash string `json:"-"`
	// InputVersions pins file parameters, by their names, whose value is s3://bucket/key.
	InputVersions map[string]InputVersion `json:"input_versions,omitempty"`
}

// InputVersion names one version of an S3 object, by exactly one of its fields. A
// run reads that version or ends as InputReplaced or InputGone; it never takes
// what was written to the key later.
type InputVersion struct {
	VersionID string `json:"version_id,omitempty"`
	ETag      string `json:"etag,omitempty"` // without its quotes
}

// Destination is where the outputs land, in the stack's own bucket.
type Destination struct {
	Prefix string `json:"prefix,omitempty"`
}

// Slug returns the workflow without its version, or "rescue" for a request that
// names a task only.
func (r Request) Slug() string {
	slug, _, _ := strings.Cut(cmp.Or(r.Workflow, RescueSlug), "@")
	return slug
}

// ParseRequest reads a request, a JSON document, and returns everything that is wrong
// with it as far as that shows without the workflow's declaration of its parameters.
// The request that comes with violations has the fields that could be read, so that
// CheckParameters of shared/workflows can add its own violations. MaxSeconds and
// Destination have their defaults where the document does not give them.
func ParseRequest(raw []byte) (Request, named.Violations) {
	var r Request
	document, violations := DecodeJSON("request", raw)
	if document == nil && len(violations) > 0 {
		return r, violations
	}
	fields := typed[map[string]any](&violations, "request", document, "a JSON object")
	if fields == nil {
		return r, violations
	}
	if input, err := canonicalForm(document); err != nil {
		violations.Add("request", "cannot be written as JSON: %v", err)
	} else {
		sum := sha256.Sum256(input)
		r.Hash = hex.EncodeToString(sum[:])
		if len(input) > MaxRequestBytes {
			violations.Add("request", "is %d bytes as UTF-8 without blanks; at most %d bytes are accepted (put large inputs into S3 and pass s3://…)", len(input), MaxRequestBytes)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value := fields[name]
		switch name {
		case "workflow":
			r.Workflow = stringField(&violations, name, value)
			if r.Workflow != "" {
				checkWorkflowRef(&violations, r.Workflow)
			}
		case "task_id":
			r.TaskID = stringField(&violations, name, value)
			if r.TaskID != "" && !ValidTaskID(r.TaskID) {
				violations.Add(name, "is not a task id: letters, digits, '-', '_' and '.', at most %d", maxTaskID)
			}
		case "parameters":
			r.Parameters = typed[map[string]any](&violations, name, value, "an object")
		case "parameters_as_text":
			r.ParametersAsText = typed[bool](&violations, name, value, "true or false")
		case "destination":
			r.Destination = destinationField(&violations, value)
		case "max_seconds":
			r.MaxSeconds = maxSecondsField(&violations, value)
		case "input_versions":
			r.InputVersions = inputVersionsField(&violations, value, fields["parameters"])
		case startedByField:
		default:
			violations.Add(named.Shorten(maxName, name), "is not a field of a request; known are workflow, parameters, parameters_as_text, input_versions, destination, max_seconds and task_id")
		}
	}
	_, hasWorkflow := fields["workflow"]
	_, hasTask := fields["task_id"]
	_, hasParameters := fields["parameters"]
	switch {
	case hasWorkflow && hasTask:
		violations.Add("task_id", "cannot stand beside workflow: a task is either started or rescued")
	case !hasWorkflow && !hasTask:
		violations.Add("workflow", "is missing: name the workflow to run, as slug or slug@version")
	case hasTask && hasParameters:
		violations.Add("parameters", "cannot stand beside task_id: that task has its parameters already")
	}
	if r.MaxSeconds == 0 {
		r.MaxSeconds = DefaultMaxSeconds
	}
	if r.Destination.Prefix == "" {
		r.Destination.Prefix = DefaultPrefix
	}
	return r, violations
}

// typed returns a value of the Go type that stands for what is wanted in JSON, such as "an
// object", else nothing and a violation.
func typed[T any](violations *named.Violations, name string, value any, wanted string) T {
	v, ok := value.(T)
	if !ok {
		violations.Add(name, "must be %s, not %s", wanted, named.KindOf(value))
	}
	return v
}

func stringField(violations *named.Violations, name string, value any) string {
	if value == "" {
		violations.Add(name, "must not be empty")
	}
	return typed[string](violations, name, value, "a string")
}

func destinationField(violations *named.Violations, value any) Destination {
	fields := typed[map[string]any](violations, "destination", value, `an object such as {"prefix": "`+DefaultPrefix+`"}`)
	var d Destination
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name != "prefix" {
			violations.Add("destination."+named.Shorten(maxName, name), "is not a field of destination; known is prefix (the bucket is the stack's)")
			continue
		}
		d.Prefix = stringField(violations, "destination.prefix", fields[name])
		if d.Prefix != "" {
			checkPrefix(violations, d.Prefix)
		}
	}
	return d
}

// inputVersionsField reads {PARAMETER: {"version_id": …} | {"etag": …}}. A pin of
// anything but an object in S3 would pin nothing, and is a violation.
func inputVersionsField(violations *named.Violations, value, parameters any) map[string]InputVersion {
	const field = "input_versions"
	fields := typed[map[string]any](violations, field, value, `an object such as {"image": {"etag": "…"}}`)
	given, _ := parameters.(map[string]any)
	versions := make(map[string]InputVersion, len(fields))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		path := named.Shorten(maxName, field+"."+name)
		if uri, _ := given[name].(string); !IsS3URI(uri) {
			violations.Add(path, "is not a parameter whose value is s3://bucket/key")
		}
		if v, ok := inputVersion(violations, path, fields[name]); ok {
			versions[name] = v
		}
	}
	return versions
}

func inputVersion(violations *named.Violations, path string, value any) (v InputVersion, ok bool) {
	before := len(*violations)
	fields := typed[map[string]any](violations, path, value, `an object, {"version_id": "…"} or {"etag": "…"}`)
	if fields == nil {
		return v, false
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		part := path + "." + named.Shorten(maxName, name)
		switch name {
		case "version_id":
			v.VersionID = versionField(violations, part, fields[name], maxVersionID)
		case "etag":
			v.ETag = versionField(violations, part, unquoted(fields[name]), maxETag)
		default:
			violations.Add(part, "is not a field of an input version; known are version_id and etag")
		}
	}
	_, byID := fields["version_id"]
	_, byETag := fields["etag"]
	if byID == byETag {
		violations.Add(path, "must have version_id or etag, and not both")
	}
	return v, len(*violations) == before
}

// unquoted takes the quotes off an ETag: S3's answers have them, its events do not.
func unquoted(value any) any {
	if s, ok := value.(string); ok && len(s) > 1 && strings.HasPrefix(s, `"`) && strings.HasSuffix(s, `"`) {
		return s[1 : len(s)-1]
	}
	return value
}

// versionField reads what is sent to S3 in a header or a query: visible ASCII
// without quotes.
func versionField(violations *named.Violations, path string, value any, most int) string {
	s := stringField(violations, path, value)
	switch {
	case len(s) > most:
		violations.Add(path, "is longer than %d bytes", most)
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }):
		violations.Add(path, "must be visible ASCII characters without quotes")
	}
	return s
}

func maxSecondsField(violations *named.Violations, value any) int {
	n := typed[json.Number](violations, "max_seconds", value, "a whole number")
	if n == "" {
		return 0
	}
	f, err := strconv.ParseFloat(n.String(), 64)
	if err != nil || f < 1 || f > MaxMaxSeconds || f != math.Trunc(f) {
		violations.Add("max_seconds", "is %s; it must be a whole number from 1 to %d (7 days, as long as outputs live)", named.Quote(n.String()), MaxMaxSeconds)
		return 0
	}
	return int(f)
}

// checkWorkflowRef accepts what can stand in one path element. Cyberun does not
// document the alphabet of a slug.
func checkWorkflowRef(violations *named.Violations, ref string) {
	slug, version, pinned := strings.Cut(ref, "@")
	switch {
	case len(ref) > maxWorkflowRef:
		violations.Add("workflow", "is longer than %d bytes", maxWorkflowRef)
	case slug == "" || slug == "." || slug == ".." || strings.ContainsFunc(slug, unsafeInSlug):
		violations.Add("workflow", "%q is not a workflow: use slug or slug@version, such as text-to-image@2", named.Quote(ref))
	case pinned:
		if n, err := strconv.ParseUint(version, 10, 31); err != nil || n < 1 || version[0] == '0' {
			violations.Add("workflow", "%q is not a version: it is a whole number from 1, such as %s@2", named.Quote(version), named.Quote(slug))
		}
	}
}

// ValidWorkflowRef reports whether a text can be a request's workflow: slug or
// slug@version, at most 200 bytes.
func ValidWorkflowRef(ref string) bool {
	var violations named.Violations
	checkWorkflowRef(&violations, ref)
	return len(violations) == 0
}

// unsafeInSlug reports whether a character can be in no slug. Cf has what is not seen:
// a zero-width blank that was copied along, and what turns the direction of writing.
// The two joiners are letters' parts in some scripts.
func unsafeInSlug(r rune) bool {
	const zeroWidthNonJoiner, zeroWidthJoiner = '\u200c', '\u200d'
	unseen := unicode.Is(unicode.Cf, r) && r != zeroWidthNonJoiner && r != zeroWidthJoiner
	return unicode.IsSpace(r) || unicode.IsControl(r) || unseen || strings.ContainsRune(`/\?#%{}`, r)
}

// ValidTaskID reports whether a text can be the id of a task: letters, digits,
// '-', '_' and '.', at most 200 of them.
func ValidTaskID(id string) bool {
	return len(id) <= maxTaskID && strings.Trim(id, ".") != "" &&
		!strings.ContainsFunc(id, func(c rune) bool { return !isAlnum(c) && c != '-' && c != '_' && c != '.' })
}

func isAlnum(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

const s3Scheme = "s3://"

// IsS3URI reports whether the value of a file parameter is the address of an S3 object,
// which submit uploads to Cyberun, and not the file_key of an upload.
func IsS3URI(s string) bool { return strings.HasPrefix(s, s3Scheme) }

// bucketName is S3's rule for the names of buckets. An access point's ARN does not
// fit: behind it lies a bucket that no check of names would recognise.
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// ParseS3URI returns the bucket and the key of s3://bucket/key. Nothing in the key is
// decoded: blanks, plus signs and percent signs are part of it. The text of the error
// is the message of a violation.
func ParseS3URI(s string) (bucket, key string, err error) {
	bucket, key, found := strings.Cut(strings.TrimPrefix(s, s3Scheme), "/")
	if !found || bucket == "" || key == "" {
		return "", "", fmt.Errorf("%q does not name an S3 object: write s3://bucket/key", named.Quote(s))
	}
	if !bucketName.MatchString(bucket) {
		return "", "", fmt.Errorf("%q is not the name of a bucket: write s3://bucket/key, with a bucket's own name and no ARN", named.Quote(bucket))
	}
	return bucket, key, nil
}

// maxName bounds how much of an unknown name a violation repeats, in bytes: longer
// than any parameter's own, shorter than a request can make it.
const maxName = 200
