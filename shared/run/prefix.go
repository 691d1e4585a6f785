package run

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

const (
	// maxPrefix is the longest template, in bytes; it keeps records and violations short.
	maxPrefix = 512
	// maxRendered leaves room for an output's name in S3's 1,024 bytes of key. A
	// prefix that turned out too long would fail the run after its task was paid.
	maxRendered = 1024 - maxOutputName - maxOutputPrefix
	// maxOutputPrefix is the template's MaxLength of OutputPrefix, and its slash.
	maxOutputPrefix = 128 + 1
	// maxRunID is Step Functions' limit for an execution's name.
	maxRunID = 80
)

// checkPrefix adds what is wrong with a destination's template to violations.
func checkPrefix(violations *named.Violations, prefix string) {
	const field = "destination.prefix"
	if strings.HasPrefix(prefix, "/") {
		violations.Add(field, "must not begin with '/': S3 keys have no root")
	}
	if strings.Contains(prefix, "..") {
		violations.Add(field, "must not contain '..'")
	}
	if slices.Contains(strings.Split(prefix, "/"), ".") {
		violations.Add(field, "must not have '.' between slashes: browsers and curl drop it from the addresses of the outputs")
	}
	if strings.Contains(prefix, "://") {
		violations.Add(field, "is no address: it is the beginning of the outputs' keys, and the bucket is the stack's")
	}
	if strings.ContainsFunc(prefix, unicode.IsControl) {
		violations.Add(field, "must not contain control characters")
	}
	if len(prefix) > maxPrefix {
		violations.Add(field, "is longer than %d bytes", maxPrefix)
	}
	if longest := longestPrefix(prefix); len(prefix) <= maxPrefix && longest > maxRendered {
		violations.Add(field, "can become %d bytes long once it is filled in; at most %d leave room for the outputs' names", longest, maxRendered)
	}
	rest := prefix
	for _, name := range []string{"{run_id}", "{task_id}", "{workflow}", "{date}"} {
		rest = strings.ReplaceAll(rest, name, "")
	}
	if strings.ContainsAny(rest, "{}") {
		violations.Add(field, "may use {run_id}, {task_id}, {workflow} and {date}, and no other braces")
	}
	if !strings.Contains(prefix, "{run_id}") && !strings.Contains(prefix, "{task_id}") {
		violations.Add(field, "must use {run_id} or {task_id}, or a later run would write under this one's manifest")
	}
}

func longestPrefix(template string) int {
	return len(strings.NewReplacer(
		"{run_id}", strings.Repeat("r", maxRunID), taskPlaceholder, strings.Repeat("t", maxTaskID),
		"{workflow}", strings.Repeat("w", maxWorkflowRef), "{date}", time.DateOnly,
	).Replace(slashed(template)))
}

// validPrefix reports whether a destination's template is valid.
func validPrefix(prefix string) bool {
	var violations named.Violations
	checkPrefix(&violations, prefix)
	return len(violations) == 0
}

// taskPlaceholder is the one part of a prefix that is not known when a run starts.
const taskPlaceholder = "{task_id}"

// RenderPrefix returns the prefix of a run's keys: the stack's outputPrefix and the
// destination's template, each ended by a slash, with {run_id}, {workflow} and {date}
// filled in. {task_id} stays, since the task is not known when a run starts. It returns
// "" for an invalid template, and a run without a prefix leaves no error.json.
func RenderPrefix(outputPrefix, template, runID, slug string, started time.Time) string {
	if !validPrefix(template) {
		return ""
	}
	return slashed(outputPrefix) + slashed(strings.NewReplacer(
		"{run_id}", runID,
		"{workflow}", slug,
		"{date}", started.UTC().Format(time.DateOnly),
	).Replace(template))
}

func slashed(prefix string) string {
	if prefix == "" || strings.HasSuffix(prefix, "/") {
		return prefix
	}
	return prefix + "/"
}
