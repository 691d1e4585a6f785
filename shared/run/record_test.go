package run

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/google/go-cmp/cmp"
)

func TestStatuses(t *testing.T) {
	open := map[Status]bool{Submitting: true, Waiting: true, Copying: true, Succeeded: false, Failed: false, Cancelled: false}
	if len(Statuses) != len(open) {
		t.Errorf("statuses %v", Statuses)
	}
	for _, s := range Statuses {
		if s.Open() != open[s] {
			t.Errorf("%s: open %v", s, s.Open())
		}
	}
	if Status("").Open() || Status("new").Open() {
		t.Error("a status that is none is open")
	}
}

// A run's life: submitted, waited for, copied, closed; failed and gone on with.
func TestRecordLife(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	r := Record{RunID: "run-1", StartedAt: start, Status: Submitting, MaxSeconds: 60}
	if got := r.Deadline(); !got.Equal(start.Add(time.Minute)) {
		t.Errorf("the deadline is %v", got)
	}
	if r.MayCancelTask() || r.InDoubt() || r.Stopping() {
		t.Errorf("a new record: %+v", r)
	}
	r.Submission = &Submission{Attempt: "a"}
	if !r.InDoubt() || r.MayCancelTask() {
		t.Error("a submission without a task is in doubt, and has nothing to cancel")
	}
	r.Close(Failed, start, named.Errorf(named.SubmitOutcomeUnknown, "x"))
	r.Reopen()
	if r.Status != Submitting || !r.InDoubt() {
		t.Errorf("a redrive in doubt: %+v", r)
	}
	r.TaskID, r.Submission, r.Status = "t", nil, Waiting
	if r.InDoubt() || !r.MayCancelTask() {
		t.Error("a task of the run's own may be cancelled")
	}
	at := start.Add(time.Minute)
	r.Close(Failed, at, named.Errorf(named.Unavailable, "gone"))
	if r.Status.Open() || !r.EndedAt.Equal(at) || !named.Is(r.Error, named.Unavailable) || r.Stopping() {
		t.Errorf("closed: %+v", r)
	}
	r.Reopen()
	if r.Status != Waiting || !r.Redriven || !r.EndedAt.IsZero() || r.Error != nil || r.TaskID != "t" {
		t.Errorf("reopened while it waited: %+v", r)
	}
	r.CopyStartedAt = at
	r.Close(Failed, at, named.Errorf(named.OutputChanged, "x"))
	r.Reopen()
	if r.Status != Copying {
		t.Errorf("reopened while it copied: %+v", r)
	}
	r.Close(Succeeded, at, nil)
	if r.Error != nil || r.Status.Open() || r.Stopping() {
		t.Errorf("succeeded: %+v", r)
	}
}

func TestStopping(t *testing.T) {
	now := time.Unix(1, 0)
	tests := []struct {
		name   string
		record Record
		want   bool
	}{
		{"running", Record{Status: Waiting}, false},
		{"failed", Record{Status: Failed}, false},
		{"asked to stop", Record{Status: Waiting, StopRequestedAt: now}, true},
		{"stopped", Record{Status: Cancelled}, true},
		{"stopped, and redriven all the same", Record{Status: Failed, StopRequestedAt: now}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.record.Stopping(); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestMayCancelTask(t *testing.T) {
	tests := []struct {
		name   string
		record Record
		want   bool
	}{
		{"no task", Record{}, false},
		{"its own", Record{TaskID: "t"}, true},
		{"adopted: it may be a colleague's", Record{TaskID: "t", Adopted: true}, false},
		{"rescued: it was there before", Record{TaskID: "t", Rescued: true}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.record.MayCancelTask(); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// A record is read back as it was written, each field of it.
func TestRecordRoundTrip(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	want := Record{
		RunID: "r", ExecutionARN: "arn", StartedAt: now, Status: Failed, Workflow: "w@1", WorkflowID: "wf", Prefix: DefaultPrefix, MaxSeconds: 5,
		TaskID: "t", Adopted: true, Rescued: true, AcceptedAt: now,
		Submission: &Submission{Attempt: "a", MarkedAt: now, PostUntil: now, EmptyAt: now}, Posts: 2,
		Uploads: map[string]Upload{"image": {"s3://b/k", "e", "f", now}}, Candidates: []string{"t1"},
		TaskStatus: "completed", CompletedAt: now, CopyStartedAt: now, Copies: 3, CopyConnections: 4, StopRequestedAt: now, Redriven: true, EndedAt: now,
		Error: &named.Error{Name: named.TaskFailed, Cause: "c", Hint: "h"}, ManifestKey: "k", Nonce: "n",
	}
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Record
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	fields := reflect.ValueOf(want)
	for i := range fields.NumField() {
		if fields.Field(i).IsZero() {
			t.Errorf("the sample lacks %s", fields.Type().Field(i).Name)
		}
	}
	// What never happened is not written as the year 1.
	raw, err = json.Marshal(Record{RunID: "r", StartedAt: now})
	if err != nil || strings.Contains(string(raw), "0001-01-01") {
		t.Errorf("an empty record is %s (%v)", raw, err)
	}
}

// The manifest's and error.json's fields are a contract with whoever reads them.
func TestDocumentsHaveTheDesignsFields(t *testing.T) {
	tests := []struct {
		name     string
		document any
		want     []string
	}{
		{"manifest", Manifest{}, []string{"run_id", "task_id", "workflow", "outputs", "timings", "usage"}},
		{"output", Output{}, []string{"id", "key", "bytes", "crc32", "content_type", "etag"}},
		{"usage", Usage{}, []string{"polls", "held_seconds", "transitions", "copied_bytes"}},
		{"failure", Failure{TaskID: "t"}, []string{"run_id", "task_id", "error"}},
		{"error", named.Error{Hint: "h"}, []string{"name", "cause", "hint"}},
	}
	for _, test := range tests {
		raw, err := json.Marshal(test.document)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(raw, &fields); err != nil {
			t.Fatal(err)
		}
		var got []string
		for name := range fields {
			got = append(got, name)
		}
		slices.Sort(got)
		slices.Sort(test.want)
		if !slices.Equal(got, test.want) {
			t.Errorf("%s has %v, want %v", test.name, got, test.want)
		}
	}
}

func TestTransitions(t *testing.T) {
	tests := []struct {
		name          string
		polls, copies int
		want          int
	}{
		{"never polled", 0, 0, 0},
		// Submit, PollStatus, IsTaskDone, CopyResult, IsCopied, Done
		{"done at the first look", 1, 1, 6},
		// and WaitToPoll, PollStatus, IsTaskDone
		{"done at the second", 2, 1, 9},
		{"copied in three calls", 1, 3, 10},
		{"a copy that was not counted", 1, 0, 6},
		{"a long run", 100, 1, 303},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := Transitions(test.polls, test.copies); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}
