// Package workflows has the rules about Cyberun's workflows that the client lacks:
// which parameters a workflow takes, which outputs a result has, and when a task that
// cannot be found is believed to be gone.
//
// It imports shared/cyberun, shared/named and shared/run.
package workflows

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// CheckParameters compares a request's parameters with those that the workflow
// declares. It returns the valid ones, as they are to be sent, in a new map, and
// everything that is wrong with the others. With ParametersAsText each value is
// converted to the type of its parameter first. A parameter of a type that is not one
// of those of shared/cyberun is not checked: Cyberun decides.
func CheckParameters(r run.Request, w cyberun.Workflow) (map[string]any, named.Violations) {
	var violations named.Violations
	checked := make(map[string]any, len(r.Parameters))
	declared := make(map[string]cyberun.Parameter, len(w.Parameters))
	for _, p := range w.Parameters {
		declared[p.Key] = p
	}
	parameters := r.Parameters
	if r.ParametersAsText {
		parameters = respelled(parameters, declared)
	}
	for _, p := range w.Parameters {
		if _, given := parameters[p.Key]; p.Required && !given && p.Default == nil {
			violations.Add(p.Key, "is required and missing%s", described(p))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(parameters)) {
		p, known := declared[key]
		if !known {
			has := cmp.Or(strings.Join(slices.Sorted(maps.Keys(declared)), ", "), "no parameters")
			violations.Add(named.Quote(key), "is not a parameter of %s; it has %s", named.Quote(r.Workflow), has)
			continue
		}
		value := parameters[key]
		if text, ok := value.(string); ok && r.ParametersAsText {
			value = typed(text, p)
		}
		if problem := checkValue(value, p); problem != "" {
			violations.Add(key, "%s", problem)
			continue
		}
		if n, ok := value.(json.Number); ok {
			value = plainNumber(n)
		}
		checked[key] = value
	}
	checkVersions(&violations, r, w)
	return checked, violations
}

// checkVersions adds the input versions that would pin nothing to violations: those
// of parameters that are no files. A parameter that the workflow does not have is
// among the violations already.
func checkVersions(violations *named.Violations, r run.Request, w cyberun.Workflow) {
	for _, name := range slices.Sorted(maps.Keys(r.InputVersions)) {
		for _, p := range w.Parameters {
			same := p.Key == name || r.ParametersAsText && strings.EqualFold(p.Key, name)
			if same && p.Type != cyberun.TypeFile {
				violations.Add("input_versions."+named.Quote(name), "pins nothing: %s is not a file parameter", named.Quote(p.Key))
			}
		}
	}
}

// respelled returns parameters that came as text under the workflow's own spelling of
// their names: S3 writes the names of metadata in lower case. A name that fits two
// parameters, and two names that fit one, stay as they are: they become violations.
func respelled(given map[string]any, declared map[string]cyberun.Parameter) map[string]any {
	own, askers := map[string][]string{}, map[string]int{} // by the name in lower case
	for key := range declared {
		own[strings.ToLower(key)] = append(own[strings.ToLower(key)], key)
	}
	for name := range given {
		askers[strings.ToLower(name)]++
	}
	spelled := make(map[string]any, len(given))
	for name, value := range given {
		lower := strings.ToLower(name)
		if len(own[lower]) == 1 && askers[lower] == 1 {
			name = own[lower][0]
		}
		spelled[name] = value
	}
	return spelled
}

// CheckWorkflow returns WorkflowDisabled for a workflow that takes no tasks, else nil.
// ref is the workflow as the request names it.
func CheckWorkflow(ref string, w cyberun.Workflow) error {
	if w.Status == cyberun.WorkflowDisabled {
		return named.Errorf(named.WorkflowDisabled, "the workflow %s is disabled at Cyberun and takes no new tasks", named.Quote(ref))
	}
	return nil
}

func described(p cyberun.Parameter) string {
	if p.Label == "" || strings.EqualFold(p.Label, p.Key) {
		return ""
	}
	return fmt.Sprintf(" (%s)", named.Quote(p.Label))
}

// typed returns text as a value of the parameter's type. What does not fit stays
// text, and becomes a violation.
func typed(text string, p cyberun.Parameter) any {
	switch p.Type {
	case cyberun.TypeNumber, cyberun.TypeInteger:
		n := json.Number(strings.TrimSpace(text))
		if _, err := json.Marshal(n); err == nil && n != "" {
			return n
		}
	case cyberun.TypeBoolean:
		if b, err := strconv.ParseBool(strings.ToLower(strings.TrimSpace(text))); err == nil {
			return b
		}
	case cyberun.TypeSelect:
		for _, o := range p.Options {
			if _, isText := o.Value.(string); !isText && sameValue(json.RawMessage(text), o.Value) {
				return o.Value
			}
		}
	}
	return text
}

func checkValue(value any, p cyberun.Parameter) string {
	switch p.Type {
	case cyberun.TypeString:
		if _, ok := value.(string); !ok {
			return "must be a string, not " + named.KindOf(value)
		}
	case cyberun.TypeBoolean:
		if _, ok := value.(bool); !ok {
			return "must be true or false, not " + describe(value)
		}
	case cyberun.TypeNumber, cyberun.TypeInteger:
		return checkNumber(value, p)
	case cyberun.TypeSelect:
		return checkOption(value, p.Options)
	case cyberun.TypeFile:
		return checkFile(value)
	}
	return ""
}

// plainNumber returns a number in its canonical form, 30 for 30.0 and 3e1: a service
// that reads whole numbers strictly takes no other.
func plainNumber(n json.Number) json.Number {
	if written, err := run.Canonical([]byte(n)); err == nil {
		return json.Number(written)
	}
	return n
}

// isWhole reports whether a number has no fraction, by its digits: a float64 would
// lose that of 9007199254740993.5.
func isWhole(n json.Number) bool {
	mantissa, exponent, scaled := strings.Cut(string(plainNumber(n)), "e")
	if scaled {
		return !strings.HasPrefix(exponent, "-")
	}
	return !strings.Contains(mantissa, ".")
}

func checkNumber(value any, p cyberun.Parameter) string {
	n, ok := value.(json.Number)
	if !ok {
		return "must be a number, not " + describe(value)
	}
	f, err := n.Float64()
	if err != nil {
		return "is a number too large to send"
	}
	switch {
	case p.Type == cyberun.TypeInteger && !isWhole(n):
		return fmt.Sprintf("is %s; it must be a whole number", named.Quote(n.String()))
	case p.Min != nil && f < *p.Min:
		return fmt.Sprintf("is %s; it must be at least %s", named.Quote(n.String()), plainly(*p.Min))
	case p.Max != nil && f > *p.Max:
		return fmt.Sprintf("is %s; it must be at most %s", named.Quote(n.String()), plainly(*p.Max))
	}
	return ""
}

func checkOption(value any, options []cyberun.Option) string {
	if len(options) == 0 {
		return ""
	}
	names := make([]string, len(options))
	for i, o := range options {
		if sameValue(value, o.Value) {
			return ""
		}
		names[i] = plainly(o.Value)
	}
	return fmt.Sprintf("is %s; it must be one of %s", describe(value), strings.Join(names, ", "))
}

// plainly writes a bound or an option as a person would: 1000000, not 1e+06.
func plainly(value any) string {
	if f, ok := value.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return fmt.Sprint(value)
}

// sameValue reports whether two JSON values are equal: 2 and 2.0 are, 2 and "2" are
// not.
func sameValue(a, b any) bool {
	rawA, _ := json.Marshal(a) // what cannot be written stays empty, which is no JSON
	rawB, _ := json.Marshal(b)
	x, errA := run.Canonical(rawA)
	y, errB := run.Canonical(rawB)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}

func checkFile(value any) string {
	s, ok := value.(string)
	switch {
	case !ok:
		return "must be a string: s3://bucket/key, or the file_key of an upload, not " + named.KindOf(value)
	case s == "":
		return "must not be empty: give s3://bucket/key, or the file_key of an upload"
	case run.IsS3URI(s): // a key may have blanks at its end
		if _, _, err := run.ParseS3URI(s); err != nil {
			return err.Error()
		}
	case strings.TrimSpace(s) != s:
		return "begins or ends with a blank: give s3://bucket/key, or the file_key of an upload, and nothing around it"
	case len(s) > maxFileKey:
		return fmt.Sprintf("is %d bytes long, and a file_key has at most %d: if this is the file itself, put it into S3 and write s3://bucket/key", len(s), maxFileKey)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "has control characters, which no file_key has: give s3://bucket/key, or the file_key of an upload"
	case address.MatchString(s):
		return fmt.Sprintf("is the address %q, which is not fetched: put the file into S3 and write s3://bucket/key, or give the file_key of an upload", named.Quote(s))
	case localPath.MatchString(s):
		return fmt.Sprintf("is the path %q of a file that only your machine has: put it into S3 and write s3://bucket/key, or give the file_key of an upload", named.Quote(s))
	}
	return ""
}

// A file_key is the key of an object, so neither of these can be one. S3:// is an
// address too: schemes are written in lower case. @ before a path is how curl and the
// command line mark a file to be uploaded.
var (
	address   = regexp.MustCompile(`^(?i:[a-z][a-z0-9+.-]*://|data:|blob:|file:|s3:|arn:aws[a-z-]*:)`)
	localPath = regexp.MustCompile(`^(@|/|~|\\\\|\.{1,2}[\\/]|[A-Za-z]:[\\/])`)
)

// maxFileKey bounds a file_key, in bytes: it is the key of an object, of which S3 takes
// 1,024. What is longer is a file's content, in base64 mostly.
const maxFileKey = 1024

// describe names a value for a message: a string in quotes, a number, a boolean, or
// only the kind of what has parts.
func describe(value any) string {
	switch v := value.(type) {
	case string:
		return fmt.Sprintf("the string %q", named.Quote(v))
	case json.Number:
		return named.Quote(v.String())
	case bool:
		return strconv.FormatBool(v)
	}
	return named.KindOf(value)
}
