package doubt

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

var errNetwork = functiontest.ErrNetwork

// TestCandidates: whose a task of the submission's window can be.
func TestCandidates(t *testing.T) {
	theirs := func(how run.Evidence) run.Ownership {
		return run.Ownership{StartedBy: "other", Evidence: how, DeliveredBy: "other"}
	}
	tests := []struct {
		name    string
		prepare func(w *world) (tasks []string) // the candidates, the oldest first
		want    Verdict
		why     string
	}{
		{name: "one that nobody is known to have started", want: OnlyCandidate, prepare: func(w *world) []string { return []string{w.ours(time.Second)} }},
		{name: "at the window's beginning", want: OnlyCandidate, prepare: func(w *world) []string { return []string{w.ours(-5 * time.Second)} }},
		{name: "at the window's end", want: OnlyCandidate, prepare: func(w *world) []string { return []string{w.ours(30 * time.Second)} }},
		{name: "before the window", want: Absent, prepare: func(w *world) []string { w.ours(-6 * time.Second); return nil }},
		{name: "one that another run started by a receipt", want: Absent, prepare: func(w *world) []string { w.own(w.ours(time.Second), theirs(run.ByReceipt)); return nil }},
		{name: "one that another run started by exclusion", want: Absent, prepare: func(w *world) []string { w.own(w.ours(time.Second), theirs(run.ByExclusion)); return nil }},
		{name: "one that another run started, and a third delivers", want: Absent, prepare: func(w *world) []string {
			w.own(w.ours(time.Second), run.Ownership{StartedBy: "other", Evidence: run.ByReceipt, DeliveredBy: "third"})
			return nil
		}},
		{name: "one beside another run's", want: OnlyCandidate, prepare: func(w *world) []string {
			w.own(w.ours(time.Second), theirs(run.ByReceipt))
			return []string{w.ours(2 * time.Second)}
		}},
		{name: "two", want: Unclear, why: "2 tasks could be this run's", prepare: func(w *world) []string {
			return []string{w.ours(time.Second), w.ours(2 * time.Second)}
		}},
		{name: "two at one moment, told by their ids", want: Unclear, why: "2 tasks could be this run's", prepare: func(w *world) []string {
			ids := []string{w.ours(time.Second), w.ours(time.Second)}
			slices.Sort(ids)
			return ids
		}},
		{name: "one that another run in doubt named", want: Unclear, why: "a run in doubt has named one of them", prepare: func(w *world) []string {
			id := w.ours(time.Second)
			w.own(id, run.Ownership{StartedBy: "other", Evidence: run.AsCandidate})
			return []string{id}
		}},
		{name: "one that this run named itself", want: Unclear, why: "a run in doubt has named one of them", prepare: func(w *world) []string {
			id := w.ours(time.Second)
			w.own(id, run.Ownership{StartedBy: "mine", Evidence: run.AsCandidate})
			return []string{id}
		}},
		{name: "one that was rescued", want: Unclear, why: "1 tasks could be this run's", prepare: func(w *world) []string {
			id := w.ours(time.Second)
			w.own(id, run.Ownership{Evidence: run.ByRescue, DeliveredBy: "other"})
			return []string{id}
		}},
		{name: "of another workflow", want: Absent, prepare: func(w *world) []string { w.task("wf-2", marked.Add(time.Second)); return nil }},
		{name: "that does not say its workflow", want: OnlyCandidate, prepare: func(w *world) []string { return []string{w.task("", marked.Add(time.Second))} }},
		{name: "one, and a rival whose window holds it", want: OthersPosted, why: "posted at that time as well", prepare: func(w *world) []string {
			w.rival("other", marked.Add(10*time.Second))
			return []string{w.ours(10 * time.Second)}
		}},
		{name: "one, and a rival whose window begins with it", want: OthersPosted, why: "posted at that time as well", prepare: func(w *world) []string {
			w.rival("other", marked.Add(15*time.Second))
			return []string{w.ours(10 * time.Second)}
		}},
		{name: "one, and a rival whose window ends with it", want: OthersPosted, why: "posted at that time as well", prepare: func(w *world) []string {
			w.rival("other", marked.Add(-20*time.Second))
			return []string{w.ours(10 * time.Second)}
		}},
		{name: "one, and a rival that was earlier", want: OnlyCandidate, prepare: func(w *world) []string {
			w.rival("other", marked.Add(-21*time.Second))
			return []string{w.ours(10 * time.Second)}
		}},
		{name: "one, and a rival that was later", want: OnlyCandidate, prepare: func(w *world) []string {
			w.rival("other", marked.Add(16*time.Second))
			return []string{w.ours(10 * time.Second)}
		}},
		{name: "two, and a rival that may have one of them", want: OthersPosted, why: "posted at that time as well", prepare: func(w *world) []string {
			w.rival("other", marked.Add(25*time.Second))
			return []string{w.ours(time.Second), w.ours(25 * time.Second)}
		}},
		{name: "one, and a rival whose record has its attempt", want: OthersPosted, why: "posted at that time as well", prepare: func(w *world) []string {
			w.rival("other", marked)
			w.write(run.Record{RunID: "other", Status: run.Failed, WorkflowID: workflowID, Submission: w.submission(marked), Posts: 1})
			return []string{w.ours(time.Second)}
		}},
		{name: "one, and a rival that has its task", want: OthersPosted, why: "posted at that time as well", prepare: func(w *world) []string {
			w.rival("other", marked)
			w.write(run.Record{RunID: "other", Status: run.Waiting, WorkflowID: workflowID, TaskID: "task-of-other", Posts: 1})
			return []string{w.ours(time.Second)}
		}},
		{name: "one, and a run that was stopped between its marker and its mark", want: OnlyCandidate, prepare: func(w *world) []string {
			w.rival("other", marked)
			w.write(run.Record{RunID: "other", Status: run.Cancelled})
			return []string{w.ours(time.Second)}
		}},
		{name: "one, and a run that has submitted anew since", want: OnlyCandidate, prepare: func(w *world) []string {
			w.rival("other", marked)
			w.write(run.Record{RunID: "other", Status: run.Submitting, WorkflowID: workflowID, Submission: w.submission(marked.Add(time.Minute)), Posts: 1})
			return []string{w.ours(time.Second)}
		}},
		{name: "one, and this run's own markers", want: OnlyCandidate, prepare: func(w *world) []string {
			w.rival("mine", marked)
			w.rival("mine", marked.Add(3*time.Second))
			return []string{w.ours(time.Second)}
		}},
		{name: "none, and a rival", want: Absent, prepare: func(w *world) []string { w.rival("other", marked); return nil }},
	}
	for _, test := range tests {
		for _, ascending := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, ascending %v", test.name, ascending), func(t *testing.T) {
				w := witnessed(t)
				w.Cyberun.Ascending = ascending
				tasks := test.prepare(w)
				f := w.want(test.want, test.why)
				var got []string
				for _, c := range f.Candidates {
					got = append(got, c.TaskID)
					if task := w.Cyberun.Of(c.TaskID); !c.CreatedAt.Equal(task.CreatedAt.Time) || c.TaskStatus != string(task.Status) {
						t.Errorf("a person is told %+v of %+v", c, task)
					}
				}
				if !slices.Equal(got, tasks) {
					t.Errorf("candidates %v, want %v", got, tasks)
				}
				if test.want == OnlyCandidate && f.TaskID != tasks[0] {
					t.Errorf("found %s", f.TaskID)
				}
			})
		}
	}
}

// TestErrors: an outage is no finding, and it keeps its name.
func TestErrors(t *testing.T) {
	tests := []struct {
		name string
		call string
		err  error
		want string // "": no name
	}{
		{name: "the list", call: "Tasks", err: functiontest.Answered(http.StatusBadGateway)},
		{name: "the witness's run", call: "GetObject state/runs/", err: errNetwork, want: named.Unavailable},
		{name: "the list of runs", call: "ListObjectsV2 state/index/", err: errNetwork, want: named.Unavailable},
		{name: "what has ended", call: "ListObjectsV2 state/ended/", err: errNetwork, want: named.Unavailable},
		{name: "the markers", call: "ListObjectsV2 state/submitting/", err: errNetwork, want: named.Unavailable},
		{name: "a marker", call: "GetObject state/submitting/", err: errNetwork, want: named.Unavailable},
		{name: "an ownership", call: "GetObject state/tasks/", err: storetest.Error(http.StatusServiceUnavailable, "SlowDown"), want: named.Unavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := witnessed(t)
			w.rival("other", marked)
			w.ours(time.Second)
			w.Fails(test.call, test.err)
			f, err := w.look()
			if e, isNamed := named.As(err); err == nil || isNamed != (test.want != "") || isNamed && e.Name != test.want {
				t.Errorf("%+v, %v", f, err)
			}
			if f.Verdict == Absent || f.Verdict == OnlyCandidate {
				t.Errorf("%+v", f)
			}
		})
	}
	for name, spoil := range map[string]func(*cyberun.TaskList){
		"rows that are not shown": func(l *cyberun.TaskList) { l.Tasks, l.Page.TotalCount = nil, 3 },
		"a second page that is empty": func(l *cyberun.TaskList) {
			if l.Page.CurrentPage == 2 {
				l.Tasks = nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := witnessed(t)
			w.Cyberun.Strangers(250, "wf-2", marked.Add(-5*time.Minute))
			w.Cyberun.Spoil = spoil
			if f, err := w.look(); err == nil {
				t.Errorf("%+v", f)
			}
		})
	}
}

// TestCrowds: more tasks than are asked for one by one prove nothing.
func TestCrowds(t *testing.T) {
	t.Run("in the window", func(t *testing.T) {
		w := witnessed(t)
		for range maxOwned + 1 {
			w.own(w.ours(time.Second), run.Ownership{StartedBy: "other", Evidence: run.ByReceipt, DeliveredBy: "other"})
		}
		w.want(Unclear, "over 300 tasks were created in the submission's window")
	})
	t.Run("since the submission", func(t *testing.T) {
		w := witnessed(t)
		for range maxOwned + 1 {
			w.own(w.ours(time.Minute), run.Ownership{StartedBy: "other", Evidence: run.ByReceipt, DeliveredBy: "other"})
		}
		w.want(Unclear, "over 300 tasks were created since the submission")
	})
}

// TestOldMarkers of runs that closed in doubt hold up no later doubt, however many
// there are. As many of this moment do.
func TestOldMarkers(t *testing.T) {
	w := witnessed(t)
	mine := w.ours(time.Second)
	now := w.Now
	w.Now = marked.Add(-time.Hour)
	for i := range 1500 {
		w.rival(fmt.Sprint("old-", i), marked.Add(-time.Hour))
	}
	w.Now = now
	reads := 0
	w.Around = func(call string, do func() error) error {
		if len(call) > 27 && call[:27] == "GetObject state/submitting/" {
			reads++
		}
		return do()
	}
	if f := w.want(OnlyCandidate, ""); f.TaskID != mine || reads > 0 {
		t.Errorf("found %s, read %d old markers", f.TaskID, reads)
	}
	for i := range 1001 {
		w.rival(fmt.Sprint("new-", i), marked.Add(-time.Hour))
	}
	if f, err := w.look(); err == nil {
		t.Errorf("%+v", f)
	}
}

// TestClosedCandidates: what a closed run's doubt names, for the person who decides.
func TestClosedCandidates(t *testing.T) {
	w := witnessed(t)
	i := Investigator{Cyberun: w.Cyberun, Runs: w.Runs(), Now: w.Time}
	ours := []string{w.ours(time.Second), w.ours(2 * time.Second)}
	f, err := i.Investigate(t.Context(), w.record)
	got := f.Candidates
	if err != nil || len(got) != 2 || got[0].TaskID != ours[0] || got[1].TaskID != ours[1] {
		t.Errorf("%v, %v", got, err)
	}
	w.own(ours[1], run.Ownership{StartedBy: "mine", Evidence: run.ByReceipt, DeliveredBy: "mine"})
	f, err = i.Investigate(t.Context(), w.record)
	got = f.Candidates
	if err != nil || len(got) != 1 || got[0].TaskID != ours[1] || !got[0].CreatedAt.Equal(w.Cyberun.Of(ours[1]).CreatedAt.Time) || got[0].TaskStatus == "" {
		t.Errorf("%v, %v", got, err)
	}
	w.Fails("Tasks", errNetwork)
	if f, err = i.Investigate(t.Context(), w.record); err == nil {
		t.Errorf("%v", f)
	}
}
