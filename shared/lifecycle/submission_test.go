package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
	"github.com/google/go-cmp/cmp"
)

const marker1 = "submitting/wf-1/r1/a1"

// TestMarks: the marker is there before the record has the mark, and only the
// call whose attempt stands in the record may post.
func TestMarks(t *testing.T) {
	w := newWorld(t)
	begun := w.begin("r1", 0)
	r := w.mark(begun, "a1")
	if got := w.get("r1"); got.Submission == nil || *got.Submission != w.submission("a1") || got.Posts != 1 || got.WorkflowID != "wf-1" || !got.InDoubt() || r.WriteID != got.WriteID {
		t.Errorf("%+v", got)
	}
	puts := w.s3.Calls("PutObject")
	if last := puts[len(puts)-2:]; last[0].Key != marker1 || last[1].Key != "runs/r1.json" {
		t.Errorf("wrote %v", last)
	}
	// The same call again: the same mark. Another one has lost, and leaves no marker.
	if again := w.mark(begun, "a1"); again.Posts != 1 {
		t.Errorf("counted twice: %+v", again)
	}
	_, err := w.runs.Mark(t.Context(), begun, "wf-1", w.submission("a2"))
	namedtest.Want(t, err, named.SubmitInDoubt, "")
	if keys := w.keys("submitting/"); !slices.Equal(keys, []string{marker1}) {
		t.Errorf("markers %v", keys)
	}
}

// TestMarkIsRefused to what must not post, and no marker of it is left.
func TestMarkIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(w *world)
		want    string
	}{
		"stopped": {func(w *world) {
			if _, _, err := w.runs.Stop(w.t.Context(), "r1", executions.Execution{}, outputBucket, ""); err != nil {
				w.t.Fatal(err)
			}
		}, named.RunCancelled},
		"closed":           {func(w *world) { w.closes(w.execution("r1", executions.Failed, 0, named.Unauthorized, "x")) }, named.Superseded},
		"of another life":  {func(w *world) { w.begin("r1", 1) }, named.Superseded},
		"it has its task":  {func(w *world) { w.submit("r1", "t1") }, named.SubmitInDoubt},
		"another call did": {func(w *world) { w.mark(w.begin("r1", 0), "a0") }, named.SubmitInDoubt},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r := w.begin("r1", 0)
			test.prepare(w)
			before := w.keys("submitting/")
			_, err := w.runs.Mark(t.Context(), r, "wf-1", w.submission("a9"))
			namedtest.Want(t, err, test.want, "")
			if keys := w.keys("submitting/"); !slices.Equal(keys, before) {
				t.Errorf("markers %v, before %v", keys, before)
			}
		})
	}
	// Where the record may have the mark, the marker stays: the next call looks.
	w := newWorld(t)
	r := w.begin("r1", 0)
	w.around = func(call string, do func() error) error {
		if call == "PutObject state/runs/r1.json" {
			_ = do()
			return errReset
		}
		return do()
	}
	_, err := w.runs.Mark(t.Context(), r, "wf-1", w.submission("a1"))
	namedtest.Want(t, err, named.Unavailable, "")
	if !w.get("r1").InDoubt() || len(w.keys("submitting/")) != 1 {
		t.Errorf("%+v, %v", w.get("r1"), w.keys("submitting/"))
	}
}

// TestUnmarks: what surely started nothing is taken back, and not counted as lost.
func TestUnmarks(t *testing.T) {
	w := newWorld(t)
	reason := named.Errorf(named.Unavailable, "429")
	for n := range 3 {
		r := w.mark(w.begin("r1", 0), fmt.Sprint("a", n))
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // the call's own time may be over by then
		if err := w.runs.Unmark(ctx, r, reason); err != reason {
			t.Errorf("got %v", err)
		}
		if got := w.get("r1"); got.InDoubt() || got.Posts != 0 || len(w.keys("submitting/")) > 0 {
			t.Errorf("%+v, %v", got, w.keys("submitting/"))
		}
	}
	// A mark that could not be taken back stands, and its own error is told.
	r := w.mark(w.begin("r1", 0), "a9")
	w.around = refuses("PutObject state/runs/", 503)
	namedtest.Want(t, w.runs.Unmark(t.Context(), r, reason), named.Unavailable, "could not write")
}

// TestNotStarted: a submission that was shown to have started nothing is over, and
// counted; another call's stays.
func TestNotStarted(t *testing.T) {
	w := newWorld(t)
	r := w.doubt("r1")
	r, err := w.runs.NotStarted(t.Context(), r)
	if err != nil || r.InDoubt() || r.Posts != 1 || len(w.keys("submitting/")) > 0 || len(w.keys("doubt/")) > 0 {
		t.Errorf("%+v, %v, %v", r, err, w.keys(""))
	}
	late := w.doubt("r2")
	now, err := w.runs.NotStarted(t.Context(), late)
	if err != nil {
		t.Fatal(err)
	}
	w.mark(now, "a2") // and another call has posted by now
	if got, err := w.runs.NotStarted(t.Context(), late); err != nil || !got.InDoubt() || !slices.Contains(w.keys(""), "submitting/wf-1/r2/a2") {
		t.Errorf("%+v, %v, %v", got, err, w.keys("submitting/"))
	}
	stopped := w.doubt("r3")
	if _, _, err := w.runs.Stop(t.Context(), "r3", executions.Execution{}, outputBucket, ""); err != nil {
		t.Fatal(err)
	}
	_, err = w.runs.NotStarted(t.Context(), stopped)
	namedtest.Want(t, err, named.RunCancelled, "before anything was submitted")
}

// TestCompletesSubmission: the ownership, then the markers' end; again and again.
func TestCompletesSubmission(t *testing.T) {
	w := newWorld(t)
	r := w.doubt("r1")
	if _, err := w.runs.find(t.Context(), r, "t1", run.ByExclusion, func(*run.Record) {}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := w.runs.CompleteSubmission(t.Context(), w.get("r1")); err != nil || got.TaskID != "t1" || len(w.keys("submitting/")) > 0 || len(w.keys("doubt/")) > 0 {
			t.Errorf("%+v, %v, %v", got, err, w.keys(""))
		}
	}
	if want := (run.Ownership{StartedBy: "r1", Evidence: run.ByExclusion, DeliveredBy: "r1"}); w.ownership("t1") != want {
		t.Errorf("owned %+v", w.ownership("t1"))
	}
}

// TestCompletesAStoppedSubmission: its task is cancelled before the markers go, and the
// step ends as RunCancelled.
func TestCompletesAStoppedSubmission(t *testing.T) {
	w := newWorld(t)
	r := w.submit("r1", "t1")
	w.s3.Set(stateBucket, marker1, storetest.Object{Body: []byte("{}")}) // Submit died before it went
	if _, _, err := w.runs.Stop(t.Context(), "r1", executions.Execution{}, outputBucket, ""); err != nil {
		t.Fatal(err)
	}
	w.around = func(call string, do func() error) error {
		if strings.HasPrefix(call, "DeleteObject state/submitting/") && w.tasks["t1"] != cyberun.StatusCancelled {
			t.Error("the marker went first: a sweep would no longer find the task")
		}
		return do()
	}
	_, err := w.runs.CompleteSubmission(t.Context(), w.get(r.RunID))
	namedtest.Want(t, err, named.RunCancelled, "t1")
	if w.tasks["t1"] != cyberun.StatusCancelled || len(w.keys("submitting/")) > 0 {
		t.Errorf("the task is %s, markers %v", w.tasks["t1"], w.keys("submitting/"))
	}
}

// TestMarkersOfAWorkflow: odd ids, the workflow's alone, and those of long ago are
// not read.
func TestMarkersOfAWorkflow(t *testing.T) {
	w := newWorld(t)
	put := func(workflowID, runID, attempt string) {
		t.Helper()
		if err := w.runs.put(t.Context(), markersOf(workflowID, runID)+attempt, w.submission(attempt).Marker(runID)); err != nil {
			t.Fatal(err)
		}
	}
	ids := func(workflowID string, since time.Time) (list []string) {
		t.Helper()
		markers, err := w.runs.Markers(t.Context(), workflowID, since)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range markers {
			if !m.Window.Contains(m.Window.From) {
				t.Errorf("its window is %+v", m.Window)
			}
			list = append(list, m.RunID+"/"+m.AttemptID)
		}
		slices.Sort(list)
		return list
	}
	put("wf", "old", "a1")
	w.advance(doubtLasts + time.Second)
	for _, workflowID := range []string{"wf", "wf/2", "wf-2", "..", "größe"} {
		put(workflowID, "r1", "a1")
		put(workflowID, "r1", "a2")
		put(workflowID, "r10", "a1")
		if got := ids(workflowID, w.clock()); !slices.Equal(got, []string{"r1/a1", "r1/a2", "r10/a1"}) {
			t.Errorf("%s: %v", workflowID, got)
		}
	}
	if got := ids("wf", began); !slices.Equal(got, []string{"old/a1", "r1/a1", "r1/a2", "r10/a1"}) {
		t.Errorf("since the beginning: %v", got)
	}
	// One that goes while they are read was settled; one that cannot be read is no
	// proof that there is none.
	w.around = func(call string, do func() error) error {
		if call == "GetObject state/submitting/wf/r1/a1" {
			w.s3.Remove(stateBucket, "submitting/wf/r1/a1")
		}
		return do()
	}
	if got := ids("wf", w.clock()); !slices.Equal(got, []string{"r1/a2", "r10/a1"}) {
		t.Errorf("one was settled: %v", got)
	}
	for name, fault := range map[string]func(){
		"away": func() { w.around = refuses("GetObject state/submitting/wf/r1/", 503) },
		"broken": func() {
			w.around = nil
			w.s3.Set(stateBucket, "submitting/wf/r1/a2", storetest.Object{Body: []byte("{")})
		},
	} {
		if fault(); true {
			if _, err := w.runs.Markers(t.Context(), "wf", w.clock()); err == nil {
				t.Errorf("%s, and passed over", name)
			}
		}
	}
}

// TestManyMarkers: those that runs closed in doubt left behind hold up nothing;
// more fresh ones than can be are not taken for all of them.
func TestManyMarkers(t *testing.T) {
	w := newWorld(t)
	set := func(n int, at time.Time) {
		for i := range n {
			w.s3.Set(stateBucket, fmt.Sprintf("submitting/wf/%s-%d/a", at.Format("15"), i), storetest.Object{Body: []byte("{}"), Modified: at})
		}
	}
	set(maxMarkers+500, began.Add(-24*time.Hour))
	set(3, began)
	if got, err := w.runs.Markers(t.Context(), "wf", began); err != nil || len(got) != 3 {
		t.Errorf("%d markers, %v", len(got), err)
	}
	set(maxMarkers+1, began.Add(time.Hour))
	if got, err := w.runs.Markers(t.Context(), "wf", began); err == nil {
		t.Errorf("got %d", len(got))
	}
}

// TestDoubtsHoldUpOthers of the workflow for ten minutes, and never the run itself.
func TestDoubtsHoldUpOthers(t *testing.T) {
	w := newWorld(t)
	r := w.doubt("r1")
	other := func(workflowID, runID string) string {
		t.Helper()
		id, err := w.runs.OtherInDoubt(t.Context(), workflowID, runID)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	if got := []string{other("wf-1", "r2"), other("wf-1", "r1"), other("wf-10", "r2"), other("wf", "r2")}; !slices.Equal(got, []string{"r1", "", "", ""}) {
		t.Errorf("in doubt: %q", got)
	}
	w.advance(doubtLasts - time.Second)
	if err := w.runs.AnnounceDoubt(t.Context(), r.Record); err != nil { // said again: its age is that of the doubt
		t.Fatal(err)
	}
	if got := other("wf-1", "r2"); got != "r1" {
		t.Errorf("just before ten minutes: %q", got)
	}
	w.advance(time.Second)
	if got := other("wf-1", "r2"); got != "" {
		t.Errorf("after ten minutes: %q", got)
	}
	w.around = refuses("ListObjectsV2 state/doubt/", 503)
	if _, err := w.runs.OtherInDoubt(t.Context(), "wf-1", "r2"); !named.Is(err, named.Unavailable) {
		t.Errorf("what cannot be listed is no proof that there is none: %v", err)
	}
}

// TestLeaveToPerson: the candidates are the run's to be decided on, and no other
// run's to adopt.
func TestLeaveToPerson(t *testing.T) {
	w := newWorld(t)
	r := w.doubt("r1")
	candidates := []run.Candidate{{TaskID: "t7", CreatedAt: began, TaskStatus: "running"}, {TaskID: "t8", CreatedAt: began}}
	if err := w.runs.LeaveToPerson(t.Context(), r, candidates); err != nil {
		t.Fatal(err)
	}
	if got := w.get("r1"); !got.CandidatesAt.Equal(began) || !cmp.Equal(got.Candidates, candidates) || !got.InDoubt() {
		t.Errorf("%+v", got)
	}
	for _, c := range candidates {
		if o := w.ownership(c.TaskID); o != (run.Ownership{StartedBy: "r1", Evidence: run.AsCandidate}) {
			t.Errorf("%s: %+v", c.TaskID, o)
		}
	}
}
