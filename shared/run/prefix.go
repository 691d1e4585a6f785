package run

import (
	"strings"
	"time"
	"unicode"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

const (
	// maxPrefix is of the template; it keeps records and faults short.
	maxPrefix = 512
	// maxRendered leaves room for an output's name in S3's 1,024 bytes of key. A
	// prefix that turned out too long would be told after the task was paid.
	maxRendered = 1024 - maxOutputName
	// maxRunID is Step Functions' limit for an execution's name.
	maxRunID = 80
	// maxRemoteID is the longest task id that shared/cyberun lets through.
	maxRemoteID = 200
)

// checkPrefix says what is wrong with a destination's template.
func checkPrefix(faults *named.Violations, prefix string) {
	const field = "destination.prefix"
	if strings.HasPrefix(prefix, "/") {
		faults.Add(field, "must not begin with '/': S3 keys have no root")
	}
	if strings.Contains(prefix, "..") {
		faults.Add(field, "must not contain '..'")
	}
	if strings.ContainsFunc(prefix, unicode.IsControl) {
		faults.Add(field, "must not contain control characters")
	}
	if len(prefix) > maxPrefix {
		faults.Add(field, "is longer than %d bytes", maxPrefix)
	}
	longest := RenderPrefix(prefix, strings.Repeat("r", maxRunID), strings.Repeat("t", maxRemoteID), strings.Repeat("w", maxWorkflowRef), time.Time{})
	if len(prefix) <= maxPrefix && len(longest) > maxRendered {
		faults.Add(field, "can become %d bytes long once it is filled in; at most %d leave room for the outputs' names", len(longest), maxRendered)
	}
	rest := prefix
	for _, name := range []string{"{run_id}", "{task_id}", "{workflow}", "{date}"} {
		rest = strings.ReplaceAll(rest, name, "")
	}
	if strings.ContainsAny(rest, "{}") {
		faults.Add(field, "may use {run_id}, {task_id}, {workflow} and {date}, and no other braces")
	}
	if !strings.Contains(prefix, "{run_id}") && !strings.Contains(prefix, "{task_id}") {
		faults.Add(field, "must use {run_id} or {task_id}, or a later run would write under this one's manifest")
	}
}

// ValidPrefix reports whether a template can be rendered. What has no valid
// prefix leaves no error.json.
func ValidPrefix(prefix string) bool {
	var faults named.Violations
	checkPrefix(&faults, prefix)
	return len(faults) == 0
}

// RenderPrefix fills a template in. A run that ended before it had a task uses
// its own id for {task_id}: its error.json must land somewhere of its own.
func RenderPrefix(prefix, runID, taskID, slug string, started time.Time) string {
	if taskID == "" {
		taskID = runID
	}
	return strings.NewReplacer(
		"{run_id}", runID,
		"{task_id}", taskID,
		"{workflow}", slug,
		"{date}", started.UTC().Format(time.DateOnly),
	).Replace(prefix)
}
