package run

import (
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

func TestPrefixes(t *testing.T) {
	tests := []struct {
		prefix string
		fault  string // empty: valid
	}{
		{DefaultPrefix, ""}, {"{run_id}/", ""}, {"{task_id}/", ""}, {"{workflow}/{date}/{run_id}/{task_id}/", ""},
		{"team a/größe/{run_id}-", ""}, {"{run_id}", ""}, {".hidden/{run_id}/", ""}, {`back\slash/{run_id}/`, ""}, {"a//{run_id}/", ""},
		{"", "must use {run_id} or {task_id}"},
		{"runs/", "must use {run_id} or {task_id}"},
		{"{date}/{workflow}/", "must use {run_id} or {task_id}"},
		{"/{run_id}/", "must not begin with '/'"},
		{"a/../{run_id}/", "must not contain '..'"},
		{"{run_id}/..", "must not contain '..'"},
		{"{run_id}/\n", "control characters"},
		{"{run_id}/\u0085", "control characters"},
		{"{run_id}/{user}/", "no other braces"},
		{"{run_id}/{", "no other braces"},
		{"{run_id}}/", "no other braces"},
		{"{{run_id}}/", "no other braces"},
		{"{RUN_ID}/{run_id}", "no other braces"},
		{"{run_id}" + strings.Repeat("x", 505), "is longer than 512 bytes"},
		{strings.Repeat("{run_id}", 60), "can become 4800 bytes long"},
		{strings.Repeat("{workflow}", 3) + "{task_id}/{run_id}/", "can become"},
	}
	for _, test := range tests {
		t.Run(test.prefix, func(t *testing.T) {
			var faults named.Violations
			checkPrefix(&faults, test.prefix)
			if ValidPrefix(test.prefix) != (test.fault == "") {
				t.Errorf("ValidPrefix says %v", ValidPrefix(test.prefix))
			}
			if test.fault == "" {
				if len(faults) > 0 {
					t.Errorf("faults %v", faults)
				}
				return
			}
			for _, f := range faults {
				if f.Parameter != "destination.prefix" {
					t.Errorf("told of %q", f.Parameter)
				}
				if strings.Contains(f.Message, test.fault) {
					return
				}
			}
			t.Errorf("faults %v, want %q", faults, test.fault)
		})
	}
}

func TestRenderPrefix(t *testing.T) {
	start := time.Date(2026, 11, 23, 23, 30, 0, 0, time.FixedZone("", -2*3600)) // the 24th in UTC
	tests := []struct{ name, prefix, run, task, slug, want string }{
		{"the default", DefaultPrefix, "run-1", "task-1", "w", "runs/run-1/"},
		{"every word", "{workflow}/{date}/{run_id}/{task_id}/", "run-1", "task-1", "text-to-image", "text-to-image/2026-11-24/run-1/task-1/"},
		{"a word twice", "{run_id}/{run_id}/", "run-1", "", "w", "run-1/run-1/"},
		{"no task yet: the run's own id", "t/{task_id}/", "run-1", "", "w", "t/run-1/"},
		{"a value is not filled in again", "{run_id}/{task_id}/", "run-1", "{date}", "w", "run-1/{date}/"},
		{"nothing to fill in", "plain", "run-1", "t", "w", "plain"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := RenderPrefix(test.prefix, test.run, test.task, test.slug, start); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	r := Record{RunID: "run-1", TaskID: "t-1", Workflow: "w@3", Prefix: "{workflow}/{date}/{task_id}/", StartedAt: start}
	if got := r.OutputPrefix(); got != "w/2026-11-24/t-1/" {
		t.Errorf("the record's prefix is %q", got)
	}
}

// No valid template and no output can make a key that S3 refuses for its length.
func FuzzPrefix(f *testing.F) {
	for _, s := range []string{DefaultPrefix, "{workflow}/{date}/{run_id}/{task_id}/", strings.Repeat("{run_id}", 12), strings.Repeat("x", 500) + "{task_id}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, prefix string) {
		if !ValidPrefix(prefix) {
			return
		}
		run, task, slug := strings.Repeat("r", 80), strings.Repeat("t", 200), strings.Repeat("w", 200)
		rendered := RenderPrefix(prefix, run, task, slug, time.Time{})
		if key := rendered + OutputName(strings.Repeat("o", 5000), "f."+strings.Repeat("e", maxExtension), ""); len(key) > 1024 {
			t.Fatalf("%q makes a key of %d bytes", prefix, len(key))
		}
		if !strings.Contains(rendered, run) && !strings.Contains(rendered, task) || strings.HasPrefix(rendered, "/") || strings.ContainsAny(rendered, "{}") {
			t.Fatalf("%q became %q", prefix, rendered)
		}
	})
}
