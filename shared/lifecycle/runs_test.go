package lifecycle

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestBegins(t *testing.T) {
	w := newWorld(t)
	r := w.begin("r1", 0)
	want := run.Record{
		RunID: "r1", ExecutionARN: arnPrefix + "r1", StartedAt: began, LifeStartedAt: began, Status: run.Submitting, Workflow: "text-to-image@2",
		RequestHash: w.request().Hash, Bucket: outputBucket, Prefix: "runs/r1/", MaxSeconds: run.DefaultMaxSeconds, WriteID: r.WriteID,
	}
	if diff := cmp.Diff(want, w.get("r1").Record); diff != "" || r.WriteID == "" || r.RequestHash == "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Its entry in the list comes first, so that no record is without one.
	puts := w.s3.Calls("PutObject")
	if len(puts) != 2 || puts[0].Key != "index/"+CursorOf(r.Record) || puts[1].Key != "runs/r1.json" {
		t.Errorf("wrote %v", puts)
	}
	w.around = refuses("PutObject state/index/", 503)
	if _, err := w.runs.Begin(t.Context(), call("r2", 0), w.request(), outputBucket, ""); !named.Is(err, named.Unavailable) {
		t.Errorf("without its entry: %v", err)
	}
	if _, err := w.runs.Get(t.Context(), "r2"); !errors.Is(err, ErrNoRecord) {
		t.Errorf("a record stands without its entry in the list: %v", err)
	}
}

// TestBeginsOnce: of many calls of one step that begin the run at once, all go on
// with one record; and one whose reply was lost knows it as its own.
func TestBeginsOnce(t *testing.T) {
	w := newWorld(t)
	var group sync.WaitGroup
	var mu sync.Mutex
	writes := map[string]int{}
	for range 20 {
		group.Go(func() {
			r, err := w.runs.Begin(t.Context(), call("r1", 0), w.request(), outputBucket, "")
			mu.Lock()
			defer mu.Unlock()
			if writes[r.WriteID]++; err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if stands := w.get("r1").WriteID; len(writes) != 1 || writes[stands] != 20 {
		t.Errorf("%s stands, the calls have %v", stands, writes)
	}
	w = newWorld(t)
	w.around = func(call string, do func() error) error {
		err := do()
		if err == nil && call == "PutObject state/runs/r1.json" {
			w.around = nil
			return storetest.Error(412, "PreconditionFailed") // the SDK sent it twice
		}
		return err
	}
	if r := w.begin("r1", 0); r.WriteID != w.get("r1").WriteID {
		t.Errorf("%s was returned, %s stands", r.WriteID, w.get("r1").WriteID)
	}
}

// TestPrefixes: what a request leaves open is filled in, under the stack's own prefix.
func TestPrefixes(t *testing.T) {
	for name, test := range map[string]struct{ stack, request, want, output string }{
		"by default":          {"", "", "runs/r1/", "runs/r1/"},
		"below the stack's":   {"ads/", "", "ads/runs/r1/", "ads/runs/r1/"},
		"all that there is":   {"", "{workflow}/{date}/{run_id}", "text-to-image/2026-11-23/r1/", "text-to-image/2026-11-23/r1/"},
		"by task, none known": {"ads/", "by/{task_id}/", "ads/by/{task_id}/", "ads/by/r1/"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			request := w.request()
			request.Destination.Prefix = test.request
			r, err := w.runs.Begin(t.Context(), call("r1", 0), request, outputBucket, test.stack)
			if err != nil || r.Prefix != test.want || r.KeyPrefix() != test.output {
				t.Errorf("%s, %s, %v", r.Prefix, r.KeyPrefix(), err)
			}
		})
	}
	w := newWorld(t)
	r, err := w.runs.Begin(t.Context(), call("r1", 0), run.Request{TaskID: "t1"}, outputBucket, "")
	if err != nil || r.Workflow != run.RescueSlug {
		t.Errorf("a rescue's workflow is %s, %v", r.Workflow, err)
	}
}

// TestAnotherExecution of the same name: within the 80 days it is refused and the
// record stands; after that it takes the name over.
func TestAnotherExecution(t *testing.T) {
	other := strings.Replace(arnPrefix, "relay-run", "another", 1) + "r1"
	tests := []struct {
		name    string
		call    Call
		open    bool
		after   time.Duration
		refused bool
	}{
		{name: "the same, its start rounded", call: Call{ExecutionARN: arnPrefix + "r1", StartedAt: began.Add(-time.Minute)}, open: true},
		{name: "another start", call: Call{ExecutionARN: arnPrefix + "r1", StartedAt: began.Add(time.Minute + 1)}, refused: true},
		{name: "another state machine", call: Call{ExecutionARN: other, StartedAt: began}, refused: true},
		{name: "just before 80 days", call: Call{ExecutionARN: arnPrefix + "r1"}, after: 80*24*time.Hour - time.Second, refused: true},
		{name: "after 80 days", call: Call{ExecutionARN: arnPrefix + "r1"}, after: 80 * 24 * time.Hour},
		{name: "after 80 days, of a record that is open", call: Call{ExecutionARN: arnPrefix + "r1"}, open: true, after: 80 * 24 * time.Hour, refused: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.submit("r1", "t1")
			if !test.open {
				if closed, _, _ := w.closes(w.execution("r1", executions.Failed, 0, named.TaskFailed, "x")); !closed {
					t.Fatal("not closed")
				}
			}
			if err := w.runs.PutProgress(t.Context(), run.Progress{RunID: "r1", Polls: 7}); err != nil {
				t.Fatal(err)
			}
			before := w.get("r1")
			w.advance(test.after)
			if test.call.StartedAt.IsZero() {
				test.call.StartedAt = w.clock()
			}
			life := 0
			test.call.RunID, test.call.Redrives = "r1", &life
			r, err := w.runs.Begin(t.Context(), test.call, w.request(), "new-bucket", "")
			stands := w.get("r1")
			switch {
			case test.refused:
				namedtest.Want(t, err, named.InvalidRequest, "was used before")
				if stands.WriteID != before.WriteID {
					t.Errorf("the record was changed: %+v", stands)
				}
			case err != nil:
				t.Fatal(err)
			case test.after == 0:
				if r.TaskID != "t1" {
					t.Errorf("it did not go on: %+v", r)
				}
			default:
				p, err := w.runs.Progress(t.Context(), "r1")
				if stands.TaskID != "" || stands.Status != run.Submitting || stands.Error != nil || stands.Bucket != "new-bucket" || !stands.StartedAt.Equal(w.clock()) || p.Polls != 0 || err != nil {
					t.Errorf("%+v, progress %+v, %v", stands, p, err)
				}
				if _, err := w.runs.Note(t.Context(), r, func(r *run.Record) { r.CopyCalls++ }); err != nil {
					t.Errorf("it cannot go on with the name: %v", err)
				}
			}
		})
	}
}

// TestReusedByTwo: two calls take an old name over at once; one of them begins.
func TestReusedByTwo(t *testing.T) {
	w := newWorld(t)
	w.submit("r1", "t1")
	w.closes(w.execution("r1", executions.Failed, 0, named.TaskFailed, "x"))
	w.advance(reusable)
	c := call("r1", 0)
	c.StartedAt = w.clock()
	w.around = func(name string, do func() error) error {
		if name == "PutObject state/runs/r1.json" {
			w.around = nil
			if _, err := w.runs.Begin(t.Context(), c, w.request(), outputBucket, ""); err != nil {
				t.Error(err)
			}
		}
		return do()
	}
	_, err := w.runs.Begin(t.Context(), c, w.request(), outputBucket, "")
	namedtest.Want(t, err, named.Unavailable, "another call begins")
	if r, err := w.runs.Begin(t.Context(), c, w.request(), outputBucket, ""); err != nil || r.Status != run.Submitting {
		t.Errorf("the next try: %+v, %v", r, err)
	}
}

// TestChecks: a call at work hears of whatever would refuse its first step now.
func TestChecks(t *testing.T) {
	w := newWorld(t)
	r := w.copied("r1", "t1")
	if _, err := w.runs.Reread(t.Context(), r); err != nil {
		t.Error(err)
	}
	if _, _, err := w.runs.Stop(t.Context(), "r1", executions.Execution{}, outputBucket, ""); err != nil {
		t.Fatal(err)
	}
	_, err := w.runs.Reread(t.Context(), r)
	namedtest.Want(t, err, named.RunCancelled, "")
}

func TestNoRecord(t *testing.T) {
	w := newWorld(t)
	for name, body := range map[string]string{"nothing": "", "no JSON": "<html>", "another shape": "[]", "a field of another type": `{"run_id":7}`} {
		w.s3.Set(stateBucket, "runs/r1.json", storetest.Object{Body: []byte(body)})
		if _, err := w.runs.Get(t.Context(), "r1"); err == nil || errors.Is(err, ErrNoRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"run_id":"r1","status":"waiting","life":1}`))
	f.Add([]byte(`{"submission":{"attempt":"a"},"cancel":{}}`))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, body []byte) {
		s3 := &storetest.S3{}
		s3.Set(stateBucket, "runs/r1.json", storetest.Object{Body: body})
		w := newWorld(t)
		w.runs.Store.S3 = s3
		r, err := w.runs.Get(t.Context(), "r1")
		if err != nil {
			return
		}
		_ = fmt.Sprint(r.Deadline(), r.KeyPrefix(), r.WorkLeft(began), stoppedCause(r.Record))
	})
}

// TestNewest lists the runs, the newest first, whatever their ids and pages are.
func TestNewest(t *testing.T) {
	w := newWorld(t)
	w.s3.PageSize = 3
	var want []string
	for i := range 10 {
		id := fmt.Sprintf("run-with-dashes-%d", i)
		c := call(id, 0)
		c.StartedAt = began.Add(time.Duration(i*i) * time.Millisecond) // from the same moment to far apart
		if _, err := w.runs.Begin(t.Context(), c, w.request(), outputBucket, ""); err != nil {
			t.Fatal(err)
		}
		want = append([]string{id}, want...)
	}
	list := func(cursor string, most int) (ids []string, next string) {
		t.Helper()
		if err := w.runs.EachNewestFirst(t.Context(), cursor, func(id, cursor string) bool {
			ids, next = append(ids, id), cursor
			return len(ids) < most
		}); err != nil {
			t.Fatal(err)
		}
		return ids, next
	}
	for _, size := range []int{1, 3, 4, 10, 100} {
		var got []string
		cursor := ""
		for range 20 {
			ids, next := list(cursor, size)
			if len(ids) == 0 {
				break
			}
			got, cursor = append(got, ids...), next
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("by %d (-want +got):\n%s", size, diff)
		}
	}
	if ids, _ := list("no such cursor/../", 10); len(ids) > 0 {
		t.Errorf("after a cursor that is none: %v", ids)
	}
	ahead := call("ahead", 0) // by a clock so wrong that its place in the list has a digit less
	ahead.StartedAt = time.Date(2256, 10, 1, 0, 0, 0, 0, time.UTC)
	if _, err := w.runs.Begin(t.Context(), ahead, w.request(), outputBucket, ""); err != nil {
		t.Fatal(err)
	}
	if ids, _ := list("", 100); ids[0] != "ahead" {
		t.Errorf("the newest is not first: %v", ids)
	}
}

// TestRecordsRoundTrip: what was written is what is read, every field of it.
func TestRecordsRoundTrip(t *testing.T) {
	w := newWorld(t)
	r := w.doubt("r1")
	r, err := w.runs.Note(t.Context(), r, func(rec *run.Record) {
		rec.SentFiles = map[string]run.SentFile{"image": {Source: "s3://b/größe +1.png", ETag: `"e"`, FileKey: "f", At: began}}
		rec.Candidates = []run.Candidate{{TaskID: "t7", CreatedAt: began, TaskStatus: "running"}}
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Record, w.get("r1").Record, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
	// A note that changes nothing writes nothing.
	if again, err := w.runs.Note(t.Context(), r, func(*run.Record) {}); err != nil || again.WriteID != r.WriteID || w.get("r1").WriteID != r.WriteID {
		t.Errorf("%s after %s, %v", again.WriteID, r.WriteID, err)
	}
}

// TestRecordsOutlastReuse: S3 keeps a record for longer than a closed one holds its name, or
// the name would be taken over without the checks of a record.
func TestRecordsOutlastReuse(t *testing.T) {
	template, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rule := regexp.MustCompile(`Id: forget-old-runs\s+Status: Enabled\s+ExpirationInDays: (\d+)`).FindSubmatch(template)
	if rule == nil {
		t.Fatal("the template has no rule forget-old-runs")
	}
	days, _ := strconv.Atoi(string(rule[1]))
	if kept := time.Duration(days) * 24 * time.Hour; kept <= reusable {
		t.Errorf("records are kept %s, and hold their name for %s", kept, reusable)
	}
}
