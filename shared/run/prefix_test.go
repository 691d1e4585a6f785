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
		{"./{run_id}/", "must not have '.' between slashes"},
		{"a/./{run_id}/", "must not have '.' between slashes"},
		{"{run_id}/.", "must not have '.' between slashes"},
		{"a./.b/{run_id}/", ""},
		{"s3://bucket/{run_id}/", "the bucket is the stack's"},
		{"{run_id}/\n", "control characters"},
		{"{run_id}/\u0085", "control characters"},
		{"{run_id}/{user}/", "no other braces"},
		{"{run_id}/{", "no other braces"},
		{"{run_id}}/", "no other braces"},
		{"{{run_id}}/", "no other braces"},
		{"{RUN_ID}/{run_id}", "no other braces"},
		{"{da{run_id}te}/", "no other braces"},
		{"{run_id}" + strings.Repeat("x", 505), "is longer than 512 bytes"},
		{strings.Repeat("{run_id}", 60), "can become 4801 bytes long"},
		{strings.Repeat("{workflow}", 3) + "{task_id}/{run_id}/", "can become"},
	}
	for _, test := range tests {
		t.Run(test.prefix, func(t *testing.T) {
			var violations named.Violations
			checkPrefix(&violations, test.prefix)
			if test.fault == "" {
				if len(violations) > 0 {
					t.Errorf("violations %v", violations)
				}
				return
			}
			for _, f := range violations {
				if f.Parameter != "destination.prefix" {
					t.Errorf("told of %q", f.Parameter)
				}
				if strings.Contains(f.Message, test.fault) {
					return
				}
			}
			t.Errorf("violations %v, want %q", violations, test.fault)
		})
	}
}

func validPrefix(prefix string) bool {
	var violations named.Violations
	checkPrefix(&violations, prefix)
	return len(violations) == 0
}

func TestRenderPrefix(t *testing.T) {
	start := time.Date(2026, 11, 23, 23, 30, 0, 0, time.FixedZone("", -2*3600)) // the 24th in UTC
	tests := []struct{ name, outputPrefix, template, want string }{
		{name: "the default", template: DefaultPrefix, want: "runs/run-1/"},
		{name: "every word but the task", template: "{workflow}/{date}/{run_id}/{task_id}/", want: "text-to-image/2026-11-24/run-1/{task_id}/"},
		{name: "a word twice", template: "{run_id}/{run_id}/", want: "run-1/run-1/"},
		{name: "no slash at its end", template: "{run_id}", want: "run-1/"},
		{name: "below the stack's own", outputPrefix: "relay", template: "{run_id}/", want: "relay/run-1/"},
		{name: "below the stack's own with a slash", outputPrefix: "relay/x/", template: "{run_id}/", want: "relay/x/run-1/"},
		{name: "a template that is not valid", outputPrefix: "relay", template: "../{run_id}/", want: ""},
		{name: "no template", want: ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := RenderPrefix(test.outputPrefix, test.template, "run-1", "text-to-image", start); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestOutputPrefix: {task_id} is filled in when the task is known, and a value is
// not filled in again. A run without a task has its own id there.
func TestOutputPrefix(t *testing.T) {
	tests := []struct{ name, prefix, task, want, kept string }{
		{name: "no task yet", prefix: "t/{task_id}/", want: "t/run-1/"},
		{name: "with its task", prefix: "t/{task_id}/", task: "t-1", want: "t/t-1/", kept: "t/t-1/"},
		{name: "a task with a template for a name", prefix: "t/{task_id}/", task: "{date}", want: "t/{date}/", kept: "t/{date}/"},
		{name: "none to fill in", prefix: "runs/run-1/", task: "t-1", want: "runs/run-1/", kept: "runs/run-1/"},
		{name: "an invalid prefix", task: "t-1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := Record{RunID: "run-1", Prefix: test.prefix}
			if test.task != "" {
				r.SetTask(test.task, ByReceipt, time.Unix(1, 0))
				if r.Prefix != test.kept {
					t.Errorf("keeps %q, want %q", r.Prefix, test.kept)
				}
			}
			if got := r.KeyPrefix(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// No valid template and no output can make a key that S3 refuses for its length.
func FuzzPrefix(f *testing.F) {
	for _, s := range []string{DefaultPrefix, "{workflow}/{date}/{run_id}/{task_id}/", strings.Repeat("{run_id}", 12), strings.Repeat("x", 500) + "{task_id}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, prefix string) {
		if !validPrefix(prefix) {
			return
		}
		run, task, slug := strings.Repeat("r", 80), strings.Repeat("t", 200), strings.Repeat("w", 200)
		record := Record{RunID: run, Prefix: RenderPrefix(strings.Repeat("p", maxOutputPrefix-1), prefix, run, slug, time.Time{})}
		record.SetTask(task, ByReceipt, time.Time{})
		rendered := record.KeyPrefix()
		if key := rendered + OutputName(strings.Repeat("o", 5000), "f."+strings.Repeat("e", maxExtension), ""); len(key) > 1024 {
			t.Fatalf("%q makes a key of %d bytes", prefix, len(key))
		}
		if !strings.Contains(rendered, run) && !strings.Contains(rendered, task) || strings.HasPrefix(rendered, "/") || !strings.HasSuffix(rendered, "/") || strings.ContainsAny(rendered, "{}") {
			t.Fatalf("%q became %q", prefix, rendered)
		}
	})
}
