package handler

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

func TestSubmits(t *testing.T) {
	w := newWorld(t)
	out, err := w.drive(w.input("r1", `{"workflow":"text-to-image@2","parameters":{"prompt":"r1","steps":30},"destination":{"prefix":"p/{task_id}/"},"max_seconds":60}`))
	if err != nil {
		t.Fatal(err)
	}
	w.checkSettled("r1", out)
	if got := w.service.tasks[0].parameters; fmt.Sprint(got) != "map[prompt:r1 steps:30]" {
		t.Errorf("sent %v", got)
	}
	record, _ := w.records().Get(t.Context(), "r1")
	if record.Adopted || record.Rescued || record.Posts != 1 || record.MaxSeconds != 60 || record.Prefix != "p/{task_id}/" || record.Workflow != workflowRef || record.WorkflowID != workflowID {
		t.Errorf("recorded %+v", record)
	}
}

func TestTextParameters(t *testing.T) {
	w := newWorld(t)
	if _, err := w.drive(w.input("r1", `{"workflow":"text-to-image","parameters":{"prompt":"007","steps":"30"},"parameters_as_text":true}`)); err != nil {
		t.Fatal(err)
	}
	if got := w.service.tasks[0].parameters; fmt.Sprintf("%T %T", got["prompt"], got["steps"]) != "string json.Number" {
		t.Errorf("sent %#v", got)
	}
}

func TestCalledTwice(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	first, err := w.drive(in)
	if err != nil {
		t.Fatal(err)
	}
	second, err := w.drive(in)
	if err != nil || second != first {
		t.Fatalf("%+v, then %+v, %v", first, second, err)
	}
	w.checkSettled("r1", second)
}

// TestNothingPaid are the ends that come before any POST.
func TestNothingPaid(t *testing.T) {
	tests := []struct {
		name, request string
		prepare       func(*world)
		want, text    string
	}{
		{"no object", `[]`, nil, named.InvalidRequest, "object"},
		{"null", `null`, nil, named.InvalidRequest, ""},
		{"empty object", `{}`, nil, named.InvalidRequest, "workflow: is missing"},
		{"five faults", `{"workflow":"text-to-image","parameters":{"steps":99,"seed":1},"max_seconds":0,"retries":3}`, nil, named.InvalidRequest,
			"max_seconds: is 0"},
		{"unknown workflow", `{"workflow":"nope"}`, nil, named.WorkflowNotFound, "nope"},
		{"unknown workflow and a fault", `{"workflow":"nope","max_seconds":0}`, nil, named.InvalidRequest, "max_seconds"},
		{"a slug that is no path", `{"workflow":".."}`, nil, named.InvalidRequest, "workflow"},
		{"a fault during an outage", `{"workflow":"text-to-image","max_seconds":0}`, func(w *world) {
			w.around = func(call string, do func() error) error {
				if call == "Workflow" {
					return errNetwork
				}
				return do()
			}
		}, named.InvalidRequest, "max_seconds"},
		{"disabled", prompted("r1"), func(w *world) { w.service.workflow.Status = cyberun.WorkflowDisabled }, named.WorkflowDisabled, "disabled"},
		{"disabled and a fault", `{"workflow":"text-to-image","parameters":{}}`, func(w *world) { w.service.workflow.Status = cyberun.WorkflowDisabled }, named.InvalidRequest, "prompt"},
		{"deadline passed", prompted("r1"), func(w *world) { w.now = w.now.Add(25 * time.Hour) }, named.RunTimedOut, "86400"},
		{"no Date header", prompted("r1"), func(w *world) { w.service.noDate = true }, named.Unavailable, "Date"},
		{"output bucket gone", prompted("r1"), func(w *world) {
			w.around = func(call string, do func() error) error {
				if strings.HasPrefix(call, "HeadBucket") {
					return storetest.Error(http.StatusForbidden, "AccessDenied")
				}
				return do()
			}
		}, named.Unavailable, "output bucket outputs"},
		{"no such task", `{"task_id":"t-9"}`, nil, named.InvalidRequest, "knows no task t-9"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			in := w.input("r1", test.request)
			if test.prepare != nil {
				test.prepare(w)
			}
			_, name, err, _ := w.once(in)
			wantName(t, err, test.want, test.text)
			if name != test.want {
				t.Errorf("Step Functions sees %q", name)
			}
			if len(w.service.tasks) > 0 {
				t.Error("paid")
			}
			if markers := w.s3.Keys(stateBucket, "submitting/"); len(markers) > 0 {
				t.Errorf("markers %v", markers)
			}
			// What failed has a record all the same: close-run closes it.
			record, err := w.records().Get(t.Context(), "r1")
			if err != nil || !record.Status.Open() || record.MaxSeconds == 0 || record.Prefix == "" {
				t.Errorf("record %+v, %v", record, err)
			}
		})
	}
}

// TestFaultsTogether: what the document alone tells and what the workflow tells
// come in one error.
func TestFaultsTogether(t *testing.T) {
	w := newWorld(t)
	_, _, err, _ := w.once(w.input("r1", `{"workflow":"text-to-image","parameters":{"steps":99,"seed":1,"image":"s3://inbox/gone.png"},"retries":3}`))
	e, _ := named.As(err)
	var about []string
	for _, f := range e.Violations {
		about = append(about, f.Parameter)
	}
	slices.Sort(about)
	if fmt.Sprint(about) != "[image prompt retries seed steps]" {
		t.Errorf("%v: %v", about, err)
	}
}

func TestInvalidPrefix(t *testing.T) {
	w := newWorld(t)
	_, _, err, _ := w.once(w.input("r1", `{"workflow":"text-to-image","parameters":{"prompt":"x"},"destination":{"prefix":"../x"}}`))
	wantName(t, err, named.InvalidRequest, "destination.prefix")
	if record, _ := w.records().Get(t.Context(), "r1"); record.Prefix != "" {
		t.Errorf("%q would be rendered", record.Prefix)
	}
}

// TestRunIDUsedBefore: 90 days on, or in another stack's bucket, a name can come
// again. It must not go on from a stranger's record.
func TestRunIDUsedBefore(t *testing.T) {
	for name, change := range map[string]func(*Input){
		"another execution": func(in *Input) { in.ExecutionARN = strings.Replace(in.ExecutionARN, "relay", "other", 1) },
		"another start":     func(in *Input) { in.StartedAt = in.StartedAt.Add(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			in := w.input("r1", prompted("r1"))
			if _, err := w.drive(in); err != nil {
				t.Fatal(err)
			}
			change(&in)
			_, _, err, _ := w.once(in)
			wantName(t, err, named.InvalidRequest, "used before")
			if len(w.service.tasks) != 1 {
				t.Error("paid again")
			}
		})
	}
}

// TestStartsRoundedDifferently: the context object has milliseconds and
// DescribeExecution, which a tombstone is made from, may have others.
func TestStartsRoundedDifferently(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	if _, err := w.drive(in); err != nil {
		t.Fatal(err)
	}
	in.StartedAt = in.StartedAt.Add(999 * time.Millisecond)
	if _, err := w.drive(in); err != nil {
		t.Fatal(err)
	}
}

// TestRedrive goes on from where the run failed, with its record open again.
func TestRedrive(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	w.service.refuse = func() error {
		return &cyberun.RunError{Outcome: cyberun.NotStarted, Err: answered(http.StatusUnauthorized)}
	}
	_, err := w.drive(in)
	wantName(t, err, named.Unauthorized, "")
	closeFailed(w, "r1")
	w.service.refuse = nil
	w.now = w.now.Add(time.Hour)
	out, err := w.drive(in)
	if err != nil {
		t.Fatal(err)
	}
	w.checkSettled("r1", out)
	record, _ := w.records().Get(t.Context(), "r1")
	if !record.Redriven || record.Error != nil || !record.EndedAt.IsZero() {
		t.Errorf("%+v", record)
	}
}

// TestOutlivedItsExecution: the call was lost to Step Functions, which called
// again, failed and was closed. What the first one would start now nobody delivers.
func TestOutlivedItsExecution(t *testing.T) {
	w := newWorld(t)
	in := w.input("r1", prompted("r1"))
	w.around = func(call string, do func() error) error {
		if strings.HasPrefix(call, "HeadBucket") {
			closeFailed(w, "r1")
		}
		return do()
	}
	_, _, err, _ := w.once(in)
	if !errors.Is(err, errEnded) || len(w.service.tasks) > 0 {
		t.Errorf("%v, tasks %v", err, w.service.tasks)
	}
	if record, _ := w.records().Get(t.Context(), "r1"); record.Status != run.Failed || record.Submission != nil {
		t.Errorf("%+v", record)
	}
	if markers := w.s3.Keys(stateBucket, "submitting/"); len(markers) > 0 {
		t.Errorf("markers %v", markers)
	}
}

// TestEveryCallHasItsTime: no call to Cyberun but the POST and the uploads may take the
// function's own 15 minutes.
func TestEveryCallHasItsTime(t *testing.T) {
	w := newWorld(t)
	in := withFile(w, "r1")
	h := w.handler()
	h.Cyberun = timed{w.service, t}
	if _, err := h.Handle(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	in = w.input("r2", fmt.Sprintf(`{"task_id":%q}`, w.service.start(nil)))
	if _, err := h.Handle(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}
