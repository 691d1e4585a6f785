package cyberun

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStatus(t *testing.T) {
	for s, want := range map[Status]bool{
		StatusPending: false, StatusWaiting: false, StatusProvisioning: false, StatusQueued: false, StatusRunning: false,
		StatusCompleted: true, StatusFailed: true, StatusCancelled: true, "": false, "exploded": false,
	} {
		if s.Terminal() != want {
			t.Errorf("%q is terminal: %v", s, !want)
		}
	}
}

func TestTime(t *testing.T) {
	want := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for raw, want := range map[string]time.Time{
		`"2026-11-23T10:00:00Z"`: want, `"2026-11-23T11:00:00+01:00"`: want, `"2026-11-23T10:00:00"`: want,
		`"2026-11-23T10:00:00.500Z"`: want.Add(time.Second / 2), `"2026-11-23 10:00:00"`: want, `"2026-11-23 10:00:00+00:00"`: want,
		`"2026-11-23 10:00:00.5 +0000 UTC"`: want.Add(time.Second / 2), `"2026-11-23 10:00:00 UTC"`: want,
		`"Mon, 23 Nov 2026 10:00:00 GMT"`: want, `1795428000`: want, `1795428000000`: want, `"1795428000.5"`: want.Add(time.Second / 2),
		`"2026-11-23"`: want.Add(-10 * time.Hour),
		`null`:         {}, `""`: {}, `"soon"`: {}, `true`: {}, `{}`: {}, `[]`: {}, `-5`: {}, `1e300`: {}, `1e999`: {}, `"NaN"`: {}, `0`: {},
		`"0000-01-01T00:00:00Z"`: {},
	} {
		var got struct{ T Time }
		if err := json.Unmarshal([]byte(`{"T":`+raw+`}`), &got); err != nil || !got.T.Equal(want) {
			t.Errorf("%s: %v, %v", raw, got.T, err)
		}
		j, err := json.Marshal(got)
		if err != nil || got.T.IsZero() && string(j) != `{"T":null}` {
			t.Errorf("%s: %s, %v", raw, j, err)
		}
	}
}

// A field of a wrong type costs that field alone.
func TestTolerance(t *testing.T) {
	var w Workflow
	err := json.Unmarshal([]byte(`{"id":17,"slug":"x","version":"3","task_timeout":1e99,"max_retries":2.5,"tool_type":{"a":1},
	 "required_labels":"gpu","created_at":{},"description":true,
	 "parameters":[null,"x",{"type":"string"},{"key":"a","type":7,"required":"true","default":1e400,"min":"1","max":1e400,"options":{"value":1},"accept":".png"},
	  {"key":"b","options":[null,{},{"label":"no value"},true,"t",[1]],"default":{"deep":[1]},"min":"low"}]}`), &w)
	want := Workflow{ID: "17", Slug: "x", Version: 3, RequiredLabels: []string{"gpu"}, Description: "true", Parameters: []Parameter{
		{Key: "a", Type: "7", Required: true, Default: json.Number("1e400"), Min: ptr(1.0), Options: []Option{{1.0, "1"}}, Accept: []string{".png"}},
		{Key: "b", Default: map[string]any{"deep": []any{1.0}}, Options: []Option{{true, "true"}, {"t", "t"}, {[]any{1.0}, ""}}},
	}}
	if diff := cmp.Diff(want, w); err != nil || diff != "" {
		t.Error(err, diff)
	}
	var again Workflow
	j, err := json.Marshal(w)
	if err == nil {
		err = json.Unmarshal(j, &again)
	}
	if diff := cmp.Diff(w, again); err != nil || diff != "" {
		t.Errorf("what is handed on is not what came: %v\n%s", err, diff)
	}
	for raw, want := range map[string]string{
		`"out of memory\nat line 3"`: "out of memory\nat line 3", `null`: "", `{"message":"m"}`: "m", `{"code":3,"detail":"d"}`: "3: d",
		`{"error":"e"}`: "e", `{"a": [1, 2]}`: `{"a":[1,2]}`, `["a", "b"]`: `["a","b"]`, `7`: "7", `""`: "", `{}`: "{}",
		`"see https://s3.test/x?X-Amz-Signature=abc"`: "see https://s3.test/x?[redacted]",
		`"` + strings.Repeat("é", maxTaskError) + `"`: strings.Repeat("é", maxTaskError/2) + "…",
	} {
		var task Task
		if err := json.Unmarshal([]byte(`{"id":"t","task_error":`+raw+`}`), &task); err != nil || task.Error != want {
			t.Errorf("%s: %q, %v", raw, task.Error, err)
		}
	}
}
