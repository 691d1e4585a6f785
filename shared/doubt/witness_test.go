package doubt

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

// TestNoWitness: without a task of this stack that the list must show, nothing is
// absent from it.
func TestNoWitness(t *testing.T) {
	change := func(w *world, runID string, do func(*run.Record)) {
		r := w.Run(runID).Record
		do(&r)
		w.write(r)
	}
	at := marked.Add(-10 * time.Minute)
	tests := []struct {
		name    string
		prepare func(w *world)
	}{
		{name: "a fresh stack", prepare: func(*world) {}},
		{name: "tasks of others alone", prepare: func(w *world) { w.Cyberun.Strangers(5, workflowID, at) }},
		{name: "a receipt of a moment ago", prepare: func(w *world) { w.accepted("earlier", workflow, marked.Add(61*time.Second)) }},
		{name: "a receipt of a moment ago that has ended", prepare: func(w *world) {
			w.accepted("earlier", workflow, marked.Add(61*time.Second))
			w.end("earlier")
		}},
		{name: "a receipt of six days ago", prepare: func(w *world) { w.accepted("earlier", workflow, marked.Add(-6*24*time.Hour)) }},
		{name: "a receipt of six days ago that has ended", prepare: func(w *world) {
			w.accepted("earlier", workflow, marked.Add(-6*24*time.Hour))
			w.end("earlier")
		}},
		{name: "an adopted task", prepare: func(w *world) {
			w.accepted("earlier", workflow, at)
			change(w, "earlier", func(r *run.Record) { r.Evidence = run.ByExclusion })
		}},
		{name: "an adopted task that has ended", prepare: func(w *world) {
			w.accepted("earlier", workflow, at)
			change(w, "earlier", func(r *run.Record) { r.Evidence = run.ByExclusion })
			w.end("earlier")
		}},
		{name: "a rescued task", prepare: func(w *world) {
			w.accepted("earlier", workflow, at)
			change(w, "earlier", func(r *run.Record) { r.Evidence, r.Submission = run.ByRescue, nil })
		}},
		{name: "a run without a task", prepare: func(w *world) {
			w.accepted("earlier", workflow, at)
			change(w, "earlier", func(r *run.Record) { r.TaskID, r.Evidence, r.TaskKnownAt = "", "", time.Time{} })
		}},
		{name: "a place in the list without a record", prepare: func(w *world) { w.put("index/0000000000001-gone", nil) }},
		{name: "itself", prepare: func(w *world) {
			w.record.TaskID, w.record.Evidence, w.record.TaskKnownAt = "t", run.ByReceipt, at
			w.write(w.record)
		}},
		{name: "behind fifty runs without a task", prepare: func(w *world) {
			w.accepted("earlier", workflow, at)
			for i := range maxLooked {
				w.write(run.Record{RunID: fmt.Sprint("r", i), StartedAt: marked.Add(-time.Minute), Workflow: workflow})
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			test.prepare(w)
			f := w.want(Unclear, "this stack has not yet seen a task of its own in the list")
			if !f.NoWitness || len(f.Candidates) > 0 {
				t.Errorf("%+v", f)
			}
		})
	}
}

// TestAdoptionNeedsNoWitness: that a task is the only one is shown by the list that
// has it.
func TestAdoptionNeedsNoWitness(t *testing.T) {
	w := newWorld(t)
	mine := w.ours(time.Second)
	if f := w.want(OnlyCandidate, ""); f.TaskID != mine {
		t.Errorf("found %s", f.TaskID)
	}
}

// TestWhichWitness: the newest of the same workflow, then the newest of any.
func TestWhichWitness(t *testing.T) {
	ago := func(minutes int) time.Time { return marked.Add(-time.Duration(minutes) * time.Minute) }
	tests := []struct {
		name    string
		prepare func(w *world) string
	}{
		{name: "the newest that ended", prepare: func(w *world) string {
			w.accepted("a", workflow, ago(30))
			want := w.accepted("b", workflow, ago(20))
			w.end("a")
			w.end("b")
			return want
		}},
		{name: "one that runs, and the newest that ended", prepare: func(w *world) string {
			ended := w.accepted("a", workflow, ago(30))
			runs := w.accepted("b", workflow, ago(20))
			w.end("a")
			return ended + " " + runs
		}},
		{name: "one that ended, and none of another workflow", prepare: func(w *world) string {
			want := w.accepted("a", workflow, ago(30))
			w.accepted("b", "upscale", ago(20))
			w.end("a")
			return want
		}},
		{name: "the newest that runs, of this workflow", prepare: func(w *world) string {
			w.accepted("a", workflow, ago(30))
			want := w.accepted("b", workflow, ago(20))
			w.accepted("c", "upscale", ago(10))
			return want
		}},
		{name: "the newest of another workflow", prepare: func(w *world) string {
			w.accepted("a", "upscale", ago(30))
			return w.accepted("b", "upscale", ago(10))
		}},
		{name: "of this workflow, not of another version of it", prepare: func(w *world) string {
			want := w.accepted("a", workflow, ago(30))
			w.accepted("b", "text-to-image", ago(10))
			return want
		}},
		{name: "of this version, with the workflow's id of now", prepare: func(w *world) string {
			want := w.accepted("a", workflow, ago(30))
			w.accepted("b", workflow, ago(20))
			r := w.Run("b").Record
			r.WorkflowID = "wf-older"
			w.write(r)
			w.end("b")
			return want
		}},
		{name: "not one whose note cannot be read", prepare: func(w *world) string {
			want := w.accepted("a", workflow, ago(30))
			w.end("a")
			w.put(fmt.Sprintf("ended/text-to-image@2/%s-0-0-x", store.DescendingKey(ago(5))), []byte("{"))
			return want
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			want := test.prepare(w)
			got, err := Investigator{Cyberun: w.Cyberun, Runs: w.Runs(), Now: w.Time}.witnesses(t.Context(), w.record)
			var ids []string
			for _, witness := range got {
				ids = append(ids, witness.TaskID)
			}
			if err != nil || strings.Join(ids, " ") != want {
				t.Errorf("%+v, %v, want %s", got, err, want)
			}
		})
	}
}

// TestLagBehindAnEnd: that an old task is listed as ended does not show that a list
// is up to date. A younger one that still runs does.
func TestLagBehindAnEnd(t *testing.T) {
	for _, lag := range []time.Duration{0, 5 * time.Minute} {
		w := newWorld(t)
		w.accepted("a", workflow, marked.Add(-30*time.Minute))
		w.end("a")
		w.accepted("b", workflow, marked.Add(-time.Second))
		w.ours(time.Second)
		w.Cyberun.Lag = lag
		if lag == 0 {
			w.want(OnlyCandidate, "")
		} else {
			w.want(Unclear, "does not show the task")
		}
	}
}

// TestWitnessOfAnotherWorkflow shows nothing of the form of this one's id. Then no
// row of any workflow may be open, or be from the window on and not another run's.
func TestWitnessOfAnotherWorkflow(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(w *world)
		why     string // "": absent
	}{
		{name: "nothing else"},
		{name: "an old task that has ended", prepare: func(w *world) {
			w.Cyberun.Of(w.task("wf-3", marked.Add(-5*time.Minute))).Status = cyberun.StatusFailed
		}},
		{name: "an old task that runs", prepare: func(w *world) { w.task("wf-3", marked.Add(-5*time.Minute)) },
			why: "this stack has not yet seen a task of this workflow in the list, and the task"},
		{name: "one of the window under another id that has ended", prepare: func(w *world) {
			w.Cyberun.Of(w.task("wf-1-v2", marked.Add(time.Second))).Status = cyberun.StatusCompleted
		}, why: "it is not known who started it"},
		{name: "another run's of the window", prepare: func(w *world) {
			id := w.accepted("other", "upscale", marked.Add(90*time.Second))
			w.Cyberun.Of(id).Status = cyberun.StatusCompleted
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.accepted("earlier", "upscale", marked.Add(-10*time.Minute))
			if test.prepare != nil {
				test.prepare(w)
			}
			if test.why == "" {
				w.want(Absent, "")
				return
			}
			w.want(Unclear, test.why)
		})
	}
}

// TestSawEnd: once for all who look later; what says nothing is not written.
func TestSawEnd(t *testing.T) {
	w := newWorld(t)
	w.accepted("earlier", "a/b@2", marked.Add(-10*time.Minute))
	r := w.Run("earlier").Record
	task := w.Cyberun.Of(r.TaskID).Task
	moment := func(seconds int) cyberun.Time {
		return cyberun.Time{Time: task.CreatedAt.Add(time.Duration(seconds) * time.Second)}
	}
	task.Status, task.StartedAt, task.CompletedAt = cyberun.StatusCompleted, moment(3), moment(45)
	for range 2 {
		if err := RecordTaskEnd(t.Context(), w.Store(), r, task); err != nil {
			t.Fatal(err)
		}
	}
	keys := w.S3.Keys("state", "ended/")
	if len(keys) != 1 || !strings.HasPrefix(keys[0], "ended/a%2Fb@2/") || !strings.HasSuffix(keys[0], "-3000-42000-"+r.TaskID) {
		t.Fatalf("keys %v", keys)
	}
	var noted witness
	o, _ := w.S3.Object("state", keys[0])
	if err := json.Unmarshal(o.Body, &noted); err != nil || !noted.Ended || noted.Window != r.Submission.Window() || noted.Evidence != run.ByReceipt || noted.WorkflowID != r.WorkflowID || !noted.CreatedAt.Equal(task.CreatedAt.Time) {
		t.Errorf("%+v, %v", noted, err)
	}
	w.S3.Remove("state", keys[0])
	for name, change := range map[string]func(*run.Record, *cyberun.Task){
		"a task that does not say when it was created": func(_ *run.Record, t *cyberun.Task) { t.CreatedAt = cyberun.Time{} },
		"a rescued task": func(r *run.Record, _ *cyberun.Task) { r.Submission = nil },
	} {
		r, task := r, task
		change(&r, &task)
		if err := RecordTaskEnd(t.Context(), w.Store(), r, task); err != nil || len(w.S3.Keys("state", "ended/")) > 0 {
			t.Errorf("%s: %v, %v", name, err, w.S3.Keys("state", "ended/"))
		}
	}
	// Times that do not rise, or are not said, are 0 and no sign.
	task.StartedAt, task.CompletedAt = moment(-5), cyberun.Time{}
	if err := RecordTaskEnd(t.Context(), w.Store(), r, task); err != nil {
		t.Fatal(err)
	}
	if keys := w.S3.Keys("state", "ended/"); !strings.HasSuffix(keys[0], "-0-0-"+r.TaskID) {
		t.Errorf("keys %v", keys)
	}
}

// TestNewestFirst: the keys of younger tasks come first in a list.
func TestNewestFirst(t *testing.T) {
	var keys []string
	for _, ago := range []time.Duration{0, time.Millisecond, time.Second, time.Hour, 365 * 24 * time.Hour, 20 * 365 * 24 * time.Hour} {
		keys = append(keys, store.DescendingKey(marked.Add(-ago)))
	}
	if !slices.IsSorted(keys) || len(slices.Compact(keys)) != 6 {
		t.Errorf("%v", keys)
	}
}
