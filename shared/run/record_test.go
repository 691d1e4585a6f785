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
		if s.Open() != open[s] || s.Shown() != s {
			t.Errorf("%s: open %v, shown as %s", s, s.Open(), s.Shown())
		}
	}
	// Past the point of no return a run is open, and nobody outside is told of it.
	if !Delivering.Open() || Delivering.Shown() != Copying || slices.Contains(Statuses, Delivering) {
		t.Errorf("delivering: open %v, shown as %s", Delivering.Open(), Delivering.Shown())
	}
	if Status("").Open() || Status("new").Open() {
		t.Error("a status that is none is open")
	}
}

// TestDeadlines: the submission is bounded from the first start on, the waiting
// from the start of the life, and both by 7 days.
func TestDeadlines(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	tests := []struct {
		name           string
		maxSeconds     int
		lifeAfter      time.Duration
		submitBy, wait time.Duration
	}{
		{name: "the first life", maxSeconds: 60, submitBy: time.Minute, wait: time.Minute},
		{name: "a redrive an hour later", maxSeconds: 60, lifeAfter: time.Hour, submitBy: time.Minute, wait: time.Hour + time.Minute},
		{name: "a redrive on the seventh day", maxSeconds: 86400, lifeAfter: 6*day + 12*time.Hour, submitBy: day, wait: 7 * day},
		{name: "a redrive after the seventh day", maxSeconds: 60, lifeAfter: 8 * day, submitBy: time.Minute, wait: 7 * day},
		{name: "the longest", maxSeconds: MaxMaxSeconds, submitBy: 7 * day, wait: 7 * day},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := Record{StartedAt: start, LifeStartedAt: start.Add(test.lifeAfter), MaxSeconds: test.maxSeconds}
			if got := r.SubmitBy().Sub(start); got != test.submitBy {
				t.Errorf("may submit for %s, want %s", got, test.submitBy)
			}
			if got := r.Deadline().Sub(start); got != test.wait {
				t.Errorf("may wait for %s, want %s", got, test.wait)
			}
		})
	}
}

// TestInDoubt: a submission is kept after its task is known, and then it is in
// doubt no longer.
func TestInDoubt(t *testing.T) {
	r := Record{RunID: "run-1"}
	if r.InDoubt() || r.WasStopped() {
		t.Errorf("a new record: %+v", r)
	}
	r.Submission, r.Candidates = &Submission{AttemptID: "a"}, []Candidate{{TaskID: "t"}}
	if !r.InDoubt() {
		t.Error("a submission without a task is in doubt")
	}
	r.SetTask("t", ByReceipt, time.Unix(1, 0))
	if r.InDoubt() || r.Submission == nil || r.Candidates != nil || r.Evidence != ByReceipt || r.TaskID != "t" || !r.TaskKnownAt.Equal(time.Unix(1, 0)) {
		t.Errorf("with its task: %+v", r)
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
			if got := test.record.WasStopped(); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestPending: what a close left over is the sweep's for 7 days.
func TestPending(t *testing.T) {
	end := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name   string
		record Record
		after  time.Duration
		want   bool
	}{
		{name: "all done", record: Record{Status: Failed}},
		{name: "markers left", record: Record{Status: Failed, CleanUpDue: true}, want: true},
		{name: "a cancel that is not confirmed", record: Record{Status: Cancelled, Cancel: &Cancel{AcceptedAt: end}}, want: true},
		{name: "a cancel that is confirmed", record: Record{Status: Cancelled, Cancel: &Cancel{AcceptedAt: end, EndedAs: "cancelled"}}},
		{name: "open", record: Record{Status: Waiting, CleanUpDue: true}},
		{name: "succeeded", record: Record{Status: Succeeded, CleanUpDue: true}},
		{name: "7 days", record: Record{Status: Failed, CleanUpDue: true}, after: MaxRunTime, want: true},
		{name: "longer", record: Record{Status: Failed, CleanUpDue: true}, after: MaxRunTime + time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.record.EndedAt = end
			if got := test.record.WorkLeft(end.Add(test.after)); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestCancelText: a cancel is told as it went, and what can still be had is named.
func TestCancelText(t *testing.T) {
	now := time.Unix(1, 0)
	tests := []struct {
		name   string
		cancel *Cancel
		want   string
	}{
		{name: "never asked", want: "was not cancelled yet"},
		{name: "not accepted", cancel: &Cancel{AskedAt: now}, want: "could not be cancelled yet"},
		{name: "accepted", cancel: &Cancel{AskedAt: now, AcceptedAt: now}, want: "accepted the cancel"},
		{name: "confirmed", cancel: &Cancel{AskedAt: now, AcceptedAt: now, EndedAs: "cancelled"}, want: "was cancelled"},
		{name: "failed before it", cancel: &Cancel{AskedAt: now, AcceptedAt: now, EndedAs: "failed"}, want: "had ended as failed"},
		{name: "completed before it", cancel: &Cancel{AskedAt: now, AcceptedAt: now, EndedAs: "completed"}, want: "`relay rescue t-1`"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.cancel.Text("t-1"); !strings.Contains(got, test.want) || !strings.Contains(got, "t-1") {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestSameDecision: who said a decision, and when, does not make it another one.
func TestSameDecision(t *testing.T) {
	decision := Decision{AttemptID: "a", TaskID: "t", DecidedBy: "x"}
	tests := []struct {
		name  string
		other Decision
		want  bool
	}{
		{name: "by another", other: Decision{AttemptID: "a", TaskID: "t", DecidedBy: "y", DecidedAt: time.Unix(1, 0)}, want: true},
		{name: "of another attempt", other: Decision{AttemptID: "b", TaskID: "t"}},
		{name: "another task", other: Decision{AttemptID: "a", TaskID: "u"}},
		{name: "none started", other: Decision{AttemptID: "a", NotStarted: true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if decision.Same(test.other) != test.want || test.other.Same(decision) != test.want {
				t.Errorf("want %v", test.want)
			}
		})
	}
}

// A record is read back as it was written, each field of it.
func TestRecordRoundTrip(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	want := Record{
		RunID: "r", ExecutionARN: "arn", StartedAt: now, Life: 2, LifeStartedAt: now, Status: Failed, Workflow: "w@1", WorkflowID: "wf",
		RequestHash: "hash", Bucket: "outputs", Prefix: "runs/r/", MaxSeconds: 5,
		TaskID: "t", Evidence: ByReceipt, Adopted: true, TaskWorkflow: "w", TaskKnownAt: now,
		Submission: &Submission{AttemptID: "a", MarkedAt: now, PostUntil: now, LocalAt: now, EmptyAt: now}, Posts: 2, LastAnswer: "l",
		SentFiles:  map[string]SentFile{"image": {"s3://b/k", "e", "f", now}},
		Candidates: []Candidate{{TaskID: "t1", CreatedAt: now, TaskStatus: "running", DeliveredBy: "r2"}}, CandidatesAt: now,
		ExtraTasks: []ExtraTask{{TaskID: "t2", Cancelled: true}}, Decision: &Decision{AttemptID: "a", TaskID: "t", NotStarted: true, DecidedBy: "p", DecidedAt: now},
		Cancel:     &Cancel{AskedAt: now, AcceptedAt: now, EndedAs: "cancelled"},
		TaskStatus: "completed", CompletedAt: now, CopyStartedAt: now, CopyCalls: 3, CopyConnections: 4, StopRequestedAt: now, EndedAt: now,
		Error: &named.Error{Name: named.TaskFailed, Cause: "c", Hint: "h"}, ErrorKey: "e", ManifestKey: "k", ManifestBodyKey: "b", CleanUpDue: true, WriteID: "n",
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
	raw, err = json.Marshal(Record{RunID: "r", StartedAt: now, LifeStartedAt: now, Cancel: &Cancel{AskedAt: now}, Submission: &Submission{MarkedAt: now, PostUntil: now, LocalAt: now}})
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
		{"manifest of an adopted task", Manifest{Adopted: true, ExtraTasks: []ExtraTask{{}}}, []string{"run_id", "task_id", "workflow", "adopted", "outputs", "timings", "usage", "extra_tasks"}},
		{"failure", Failure{TaskID: "t"}, []string{"run_id", "task_id", "error"}},
		{"failure in doubt", Failure{Candidates: []Candidate{{}}, ExtraTasks: []ExtraTask{{}}}, []string{"run_id", "error", "candidates", "extra_tasks"}},
		{"candidate", Candidate{DeliveredBy: "r"}, []string{"task_id", "created_at", "task_status", "delivered_by"}},
		{"extra task", ExtraTask{}, []string{"task_id", "cancelled"}},
		{"ownership", Ownership{StartedBy: "r", DeliveredBy: "r"}, []string{"started_by", "how", "delivered_by"}},
		{"cancel", Cancel{AcceptedAt: time.Unix(1, 0), EndedAs: "x"}, []string{"asked_at", "accepted_at", "ended_as"}},
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
			if got := StateTransitions(test.polls, test.copies); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

// TestManifestSaysWhose: a rescue's workflow is its task's own.
func TestManifestSaysWhose(t *testing.T) {
	r := Record{RunID: "r", TaskID: "t", Workflow: RescueSlug, TaskWorkflow: "text-to-image", CopyCalls: 1, ExtraTasks: []ExtraTask{{TaskID: "t2"}}}
	m := NewManifest(r, Progress{Polls: 1, HeldSeconds: 2.5}, []Output{{Bytes: 3}, {Bytes: 4}}, time.Unix(9, 0))
	if m.Workflow != "text-to-image" || m.Usage.CopiedBytes != 7 || m.Usage.Transitions != 6 || m.Usage.HeldSeconds != 2.5 || len(m.ExtraTasks) != 1 || m.Timings.FinishedAt.Location() != time.UTC {
		t.Errorf("%+v", m)
	}
	r.TaskWorkflow, r.Workflow, r.Adopted = "", "w@2", true
	if m := NewManifest(r, Progress{}, nil, time.Unix(9, 0)); m.Workflow != "w@2" || !m.Adopted {
		t.Errorf("%+v", m)
	}
}
