package run

import (
	"fmt"
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
	// maxOutputPrefix is the MaxLength of OutputPrefix in template.yaml, and a slash.
	maxOutputPrefix = 128 + 1
	// maxRunID is Step Functions' limit for an execution's name.
	maxRunID = 80
)

// taskPlaceholder is the one part of a prefix that is not known when a run starts.
const taskPlaceholder = "{task_id}"

// filled returns a destination's template with values in the place of its names.
func filled(template, runID, taskID, workflow, date string) string {
	return strings.NewReplacer("{run_id}", runID, taskPlaceholder, taskID, "{workflow}", workflow, "{date}", date).Replace(template)
}

// checkPrefix adds what is wrong with a destination's template to violations.
func checkPrefix(violations *named.Violations, prefix string) {
	longest := len(filled(slashed(prefix),
		strings.Repeat("r", maxRunID), strings.Repeat("t", maxTaskID), strings.Repeat("w", maxWorkflowRef), time.DateOnly))
	for _, rule := range []struct {
		broken  bool
		message string
	}{
		{strings.HasPrefix(prefix, "/"), "must not begin with '/': S3 keys have no root"},
		{strings.Contains(prefix, ".."), "must not contain '..'"},
		{slices.Contains(strings.Split(prefix, "/"), "."), "must not have '.' between slashes: browsers and curl drop it from the addresses of the outputs"},
		{strings.Contains(prefix, "://"), "is no address: it is the beginning of the outputs' keys, and the bucket is the stack's"},
		{strings.ContainsFunc(prefix, unicode.IsControl), "must not contain control characters"},
		{len(prefix) > maxPrefix, fmt.Sprintf("is longer than %d bytes", maxPrefix)},
		{len(prefix) <= maxPrefix && longest > maxRendered,
			fmt.Sprintf("can become %d bytes long once it is filled in; at most %d leave room for the outputs' names", longest, maxRendered)},
		{strings.ContainsAny(filled(prefix, "", "", "", ""), "{}"), "may use {run_id}, {task_id}, {workflow} and {date}, and no other braces"},
		{!strings.Contains(prefix, "{run_id}") && !strings.Contains(prefix, taskPlaceholder),
			"must use {run_id} or {task_id}, or a later run would write under this one's manifest"},
	} {
		if rule.broken {
			violations.Add("destination.prefix", "%s", rule.message)
		}
	}
}

// RenderPrefix returns the prefix of a run's keys: the stack's outputPrefix and the
// destination's template, each ended by a slash, with {run_id}, {workflow} and {date}
// filled in. {task_id} stays, since the task is not known when a run starts. It returns
// "" for an invalid template, and a run without a prefix leaves no error.json.
func RenderPrefix(outputPrefix, template, runID, slug string, started time.Time) string {
	var violations named.Violations
	if checkPrefix(&violations, template); len(violations) > 0 {
		return ""
	}
	return slashed(outputPrefix) + slashed(filled(template, runID, taskPlaceholder, slug, started.UTC().Format(time.DateOnly)))
}

func slashed(prefix string) string {
	if prefix == "" || strings.HasSuffix(prefix, "/") {
		return prefix
	}
	return prefix + "/"
}
