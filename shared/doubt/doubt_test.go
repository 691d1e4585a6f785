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
	theirs := func(how run.How) run.Ownership {
		return run.Ownership{StartedBy: "other", How: how, DeliveredBy: "other"}
	}
	tests := []struct {
		name    string
		prepare func(w *world) (tasks []string) // the candidates, the oldest first
		want    Verdict
		why     string
	}{
		{name: "one that nobody is known to have started", want: Alone, prepare: func(w *world) []string { return []string{w.ours(time.Second)} }},
		{name: "at the window's beginning", want: Alone, prepare: func(w *world) []string { return []string{w.ours(-5 * time.Second)} }},
		{name: "at the window's end", want: Alone, prepare: func(w *world) []string { return []string{w.ours(30 * time.Second)} }},
		{name: "before the window", want: Absent, prepare: func(w *world) []string { w.ours(-6 * time.Second); return nil }},
		{name: "one that another run started by a receipt", want: Absent, prepare: func(w *world) []string { w.own(w.ours(time.Second), theirs(run.Receipt)); return nil }},
		{name: "one that another run started by exclusion", want: Absent, prepare: func(w *world) []string { w.own(w.ours(time.Second), theirs(run.Exclusion)); return nil }},
		{name: "one that another run started, and a third delivers", want: Absent, prepare: func(w *world) []string {
			w.own(w.ours(time.Second), run.Ownership{StartedBy: "other", How: run.Receipt, DeliveredBy: "third"})
			return nil
		}},
		{name: "one beside another run's", want: Alone, prepare: func(w *world) []string {
			w.own(w.ours(time.Second), theirs(run.Receipt))
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
			w.own(id, run.Ownership{StartedBy: "other", How: run.Named})
			return []string{id}
		}},
		{name: "one that this run named itself", want: Unclear, why: "a run in doubt has named one of them", prepare: func(w *world) []string {
			id := w.ours(time.Second)
			w.own(id, run.Ownership{StartedBy: "mine", How: run.Named})
			return []string{id}
		}},
		{name: "one that was rescued", want: Unclear, why: "1 tasks could be this run's", prepare: func(w *world) []string {
			id := w.ours(time.Second)
			w.own(id, run.Ownership{How: run.Rescue, DeliveredBy: "other"})
			return []string{id}
		}},
		{name: "of another workflow", want: Absent, prepare: func(w *world) []string { w.task("wf-2", marked.Add(time.Second)); return nil }},
		{name: "that does not say its workflow", want: Alone, prepare: func(w *world) []string { return []string{w.task("", marked.Add(time.Second))} }},
		{name: "one, and a rival whose window holds it", want: Rivals, why: "in doubt as well", prepare: func(w *world) []string {
			w.rival("other", marked.Add(10*time.Second))
			return []string{w.ours(10 * time.Second)}
		}},
		{name: "one, and a rival whose window begins with it", want: Rivals, why: "in doubt as well", prepare: func(w *world) []string {
			w.rival("other", marked.Add(15*time.Second))
			return []string{w.ours(10 * time.Second)}
		}},
		{name: "one, and a rival whose window ends with it", want: Rivals, why: "in doubt as well", prepare: func(w *world) []string {
			w.rival("other", marked.Add(-20*time.Second))
			return []string{w.ours(10 * time.Second)}
		}},
		{name: "one, and a rival that was earlier", want: Alone, prepare: func(w *world) []string {
			w.rival("other", marked.Add(-21*time.Second))
			return []string{w.ours(10 * time.Second)}
		}},
		{name: "one, and a rival that was later", want: Alone, prepare: func(w *world) []string {
			w.rival("other", marked.Add(16*time.Second))
			return []string{w.ours(10 * time.Second)}
		}},
		{name: "two, and a rival that may have one of them", want: Rivals, why: "in doubt as well", prepare: func(w *world) []string {
			w.rival("other", marked.Add(25*time.Second))
			return []string{w.ours(time.Second), w.ours(25 * time.Second)}
		}},
		{name: "one, and a rival whose record has its attempt", want: Rivals, why: "in doubt as well", prepare: func(w *world) []string {
			w.rival("other", marked)
			w.write(run.Record{RunID: "other", Status: run.Failed, WorkflowID: workflowID, Submission: w.submission(marked), Posts: 1})
			return []string{w.ours(time.Second)}
		}},
		{name: "one, and a rival that has its task", want: Rivals, why: "in doubt as well", prepare: func(w *world) []string {
			w.rival("other", marked)
			w.write(run.Record{RunID: "other", Status: run.Waiting, WorkflowID: workflowID, TaskID: "task-of-other", Posts: 1})
			return []string{w.ours(time.Second)}
		}},
		{name: "one, and a run that was stopped between its marker and its mark", want: Alone, prepare: func(w *world) []string {
			w.rival("other", marked)
			w.write(run.Record{RunID: "other", Status: run.Cancelled})
			return []string{w.ours(time.Second)}
		}},
		{name: "one, and a run that has submitted anew since", want: Alone, prepare: func(w *world) []string {
			w.rival("other", marked)
			w.write(run.Record{RunID: "other", Status: run.Submitting, WorkflowID: workflowID, Submission: w.submission(marked.Add(time.Minute)), Posts: 1})
			return []string{w.ours(time.Second)}
		}},
		{name: "one, and this run's own markers", want: Alone, prepare: func(w *world) []string {
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
				if test.want == Alone && f.TaskID != tasks[0] {
					t.Errorf("found %s", f.TaskID)
				}
				if f.Date.Sub(w.Cyberun.Clock()).Abs() > time.Second {
					t.Errorf("Cyberun's clock is said to be %s", f.Date)
				}
			})
		}
	}
}

// TestFound: a task that the run surely started is found whatever else there is,
// and whatever the list is worth otherwise.
func TestFound(t *testing.T) {
	spoils := map[string]func(w *world){
		"alone":              func(*world) {},
		"among strangers'":   func(w *world) { w.ours(2 * time.Second); w.ours(3 * time.Second) },
		"with a rival":       func(w *world) { w.rival("other", marked) },
		"in a cached list":   func(w *world) { w.Cyberun.Cached = time.Minute },
		"without a Date":     func(w *world) { w.Cyberun.NoDate = true },
		"delivered by other": func(w *world) {},
	}
	for name, spoil := range spoils {
		for _, how := range []run.How{run.Receipt, run.Exclusion} {
			t.Run(fmt.Sprintf("%s, %s", name, how), func(t *testing.T) {
				w := newWorld(t) // not even a witness
				id := w.ours(time.Second)
				o := run.Ownership{StartedBy: "mine", How: how, DeliveredBy: "mine"}
				if name == "delivered by other" {
					o.DeliveredBy = "other"
				}
				w.own(id, o)
				spoil(w)
				if f := w.want(Found, ""); f.TaskID != id {
					t.Errorf("found %s", f.TaskID)
				}
			})
		}
	}
}

// TestNeverBothAdoptOneTask: of two runs in doubt over one task neither may call
// it its own, however far apart they were submitted.
func TestNeverBothAdoptOneTask(t *testing.T) {
	for gap := -34; gap <= 34; gap += 4 {
		for second := -4; second <= 30; second += 2 {
			w := witnessed(t)
			w.Now = marked.Add(3 * time.Minute)
			other := w.record
			other.RunID, other.Submission = "other", w.submission(marked.Add(time.Duration(gap)*time.Second))
			created := marked.Add(time.Duration(second) * time.Second)
			if !other.Submission.Window().Contains(created) {
				continue
			}
			w.rival("mine", marked)
			w.rival("other", marked.Add(time.Duration(gap)*time.Second))
			w.task(workflowID, created)
			for _, r := range []run.Record{w.record, other} {
				w.record = r
				w.want(Rivals, "in doubt as well")
			}
		}
	}
}

// TestAbsent: the good cases, of every kind of witness and list.
func TestAbsent(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(w *world)
	}{
		{name: "a witness that still runs", prepare: func(w *world) { w.accepted("earlier", workflow, marked.Add(-10*time.Minute)) }},
		{name: "a witness that has ended", prepare: func(w *world) {
			w.accepted("earlier", workflow, marked.Add(-10*time.Minute))
			w.end("earlier")
		}},
		{name: "a witness of 60 s", prepare: func(w *world) {
			w.accepted("earlier", workflow, marked)
			w.Now = marked.Add(60 * time.Second)
		}},
		{name: "a witness of almost six days", prepare: func(w *world) {
			w.accepted("earlier", workflow, marked.Add(-6*24*time.Hour+5*time.Minute))
		}},
		{name: "one of almost six days that has ended", prepare: func(w *world) {
			w.accepted("earlier", workflow, marked.Add(-6*24*time.Hour+5*time.Minute))
			w.end("earlier")
			w.put("runs/earlier.json", []byte(`{"run_id":"earlier"}`)) // its record is not what is read
		}},
		{name: "another clock", prepare: func(w *world) {
			w.Cyberun.Skew = -8 * time.Minute
			w.record.Submission = w.submission(marked)
			w.accepted("earlier", workflow, marked.Add(-10*time.Minute))
		}},
		{name: "a witness of another workflow, and every task has ended", prepare: func(w *world) {
			w.accepted("earlier", "upscale", marked.Add(-10*time.Minute))
			w.Cyberun.Started[0].Status = cyberun.StatusCompleted
		}},
		{name: "that witness itself still runs", prepare: func(w *world) { w.accepted("earlier", "upscale", marked.Add(-10*time.Minute)) }},
		{name: "tasks of other runs since", prepare: func(w *world) {
			w.accepted("earlier", workflow, marked.Add(-10*time.Minute))
			w.accepted("later", workflow, marked.Add(40*time.Second))
			w.accepted("latest", workflow, marked.Add(90*time.Second))
		}},
		{name: "tasks of other workflows since, by strangers", prepare: func(w *world) {
			w.accepted("earlier", workflow, marked.Add(-10*time.Minute))
			w.task("wf-2", marked.Add(time.Second))
			w.task("wf-2", marked.Add(time.Minute))
		}},
		{name: "250 tasks of other workflows since", prepare: func(w *world) {
			w.accepted("earlier", workflow, marked.Add(-10*time.Minute))
			w.Cyberun.Strangers(250, "wf-2", marked.Add(-4*time.Minute))
		}},
		{name: "a thousand tasks before the witness", prepare: func(w *world) {
			w.Cyberun.Strangers(1000, workflowID, marked.Add(-time.Hour))
			w.accepted("earlier", workflow, marked.Add(-10*time.Minute))
		}},
		{name: "2,500 tasks before the witness", prepare: func(w *world) {
			w.Cyberun.Strangers(2500, workflowID, marked.Add(-2*time.Hour))
			w.accepted("earlier", workflow, marked.Add(-10*time.Minute))
		}},
		{name: "a list as long as it may be", prepare: func(w *world) {
			w.accepted("earlier", workflow, marked.Add(-30*time.Minute))
			w.Cyberun.Strangers(1999, "wf-2", marked.Add(-29*time.Minute))
			w.Now = marked.Add(10 * time.Minute)
		}},
	}
	for _, test := range tests {
		for _, ascending := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, ascending %v", test.name, ascending), func(t *testing.T) {
				w := newWorld(t)
				w.Cyberun.Ascending = ascending
				test.prepare(w)
				if f := w.want(Absent, ""); len(f.Candidates) > 0 || f.NoWitness {
					t.Errorf("%+v", f)
				}
			})
		}
	}
}

// TestBrokenAssumptions: each makes a run that was started look as one that was
// not. None is believed, and each has words for a person.
func TestBrokenAssumptions(t *testing.T) {
	tests := []struct {
		name       string
		prepare    func(w *world) // after a witness and the run's own task
		why        string
		candidates int
	}{
		{name: "snapshot ids", prepare: func(w *world) { w.Cyberun.SnapshotID = "wf-1-v2" },
			why: `a run of this stack, under the workflow id "wf-1-v2" instead of "wf-1"`, candidates: 1},
		{name: "ids in other letters", prepare: func(w *world) { w.Cyberun.SnapshotID = "WF-1" },
			why: `under the workflow id "WF-1" instead of "wf-1"`, candidates: 1},
		{name: "live tasks only", prepare: func(w *world) {
			w.Cyberun.LiveOnly = true
			for i := range w.Cyberun.Started {
				w.Cyberun.Started[i].Status = cyberun.StatusCompleted
			}
		}, why: "does not show the task task-1, which a receipt told of"},
		{name: "local time without a zone, ahead", prepare: func(w *world) { w.Cyberun.Shifted = 8 * time.Hour },
			why: "outside of its own submission"},
		{name: "local time without a zone, behind", prepare: func(w *world) { w.Cyberun.Shifted = -5 * time.Hour },
			why: "its times are not those of Cyberun's clock"},
		{name: "times a minute off", prepare: func(w *world) { w.Cyberun.Shifted = -time.Minute },
			why: "outside of its own submission (2026-11-23T11:49:55Z to 2026-11-23T11:50:30Z)"},
		{name: "a cached answer", prepare: func(w *world) { w.Cyberun.Cached = 3 * time.Minute },
			why: "page 1 of the task list came from a cache, 3m0s old"},
		{name: "a cache that says its age alone", prepare: func(w *world) {
			w.Cyberun.StaleRows = 3 * time.Minute
			w.Cyberun.Spoil = func(l *cyberun.TaskList) { l.Age = time.Second }
		}, why: "came from a cache, 1s old"},
		{name: "a cached answer with its old Date", prepare: func(w *world) {
			w.Cyberun.StaleRows = 3 * time.Minute
			w.Cyberun.Spoil = func(l *cyberun.TaskList) { l.Date = l.Date.Add(-3 * time.Minute) }
		}, why: "the Date of page 1 of the task list is 3m0s off what Cyberun's clock said at the submission"},
		{name: "a clock that ran on since", prepare: func(w *world) {
			w.hide()
			w.Cyberun.Spoil = func(l *cyberun.TaskList) { l.Date = l.Date.Add(7 * time.Second) }
		}, why: "s off what Cyberun's clock said"},
		{name: "no Date", prepare: func(w *world) { w.hide(); w.Cyberun.NoDate = true }, why: "page 1 of the task list has no Date header"},
		{name: "a late start", prepare: func(w *world) { w.hide(); w.ours(31 * time.Second) },
			why: "started at 2026-11-23T12:00:31Z, after the submission, and it is not known who started it", candidates: 1},
		{name: "a start a minute late", prepare: func(w *world) { w.hide(); w.ours(90 * time.Second) },
			why: "it is not known who started it", candidates: 1},
		{name: "a late start that a run in doubt named", prepare: func(w *world) {
			w.hide()
			w.own(w.ours(40*time.Second), run.Ownership{StartedBy: "other", How: run.Named})
		}, why: "it is not known who started it", candidates: 1},
		{name: "a late start that does not say its workflow", prepare: func(w *world) { w.hide(); w.task("", marked.Add(40*time.Second)) },
			why: "it is not known who started it", candidates: 1},
		{name: "a late start that this run is known to have made", prepare: func(w *world) {
			w.hide()
			w.own(w.ours(40*time.Second), run.Ownership{StartedBy: "mine", How: run.Receipt, DeliveredBy: "mine"})
		}, why: "it is not known who started it", candidates: 1},
		{name: "a lag", prepare: func(w *world) { w.Cyberun.Lag = 20 * time.Minute }, why: "does not show the task"},
		{name: "a list that is out of date", prepare: func(w *world) {
			w.end("earlier")
			w.Cyberun.Spoil = func(l *cyberun.TaskList) {
				l.Tasks = slices.DeleteFunc(l.Tasks, func(t cyberun.Task) bool { return t.ID != "task-1" })
				l.Page.TotalCount, l.Tasks[0].Status = 1, cyberun.StatusRunning
			}
		}, why: "shows the task task-1 as running, though it has ended: it is out of date"},
		{name: "a list without created_at", prepare: func(w *world) {
			w.Cyberun.Spoil = func(l *cyberun.TaskList) {
				for i := range l.Tasks {
					l.Tasks[i].CreatedAt = cyberun.Time{}
				}
			}
		}, why: "has no created_at"},
		{name: "an empty list", prepare: func(w *world) {
			w.Cyberun.Spoil = func(l *cyberun.TaskList) { l.Tasks, l.Page.TotalCount = nil, 0 }
		}, why: "does not show the task"},
		{name: "a list that ends before the witness", prepare: func(w *world) {
			w.Cyberun.Spoil = func(l *cyberun.TaskList) {
				l.Tasks = slices.DeleteFunc(l.Tasks, func(t cyberun.Task) bool { return t.CreatedAt.Before(marked.Add(-time.Minute)) })
				l.Tasks = slices.DeleteFunc(l.Tasks, func(t cyberun.Task) bool { return t.CreatedAt.Equal(marked.Add(time.Second)) })
				l.Page.TotalCount = len(l.Tasks)
			}
		}, why: "does not show the task"},
	}
	for _, test := range tests {
		for _, ascending := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, ascending %v", test.name, ascending), func(t *testing.T) {
				w := witnessed(t)
				w.Cyberun.Ascending = ascending
				w.ours(time.Second)
				test.prepare(w)
				f := w.want(Unclear, test.why)
				if len(f.Candidates) != test.candidates || f.NoWitness {
					t.Errorf("candidates %v, no witness %v", f.Candidates, f.NoWitness)
				}
			})
		}
	}
}

// TestOnlyOneInSight: that a task is the only candidate is shown by a list that is
// fresh, and whole back to the window's beginning. Otherwise it is named and not
// adopted; the next answer may be better.
func TestOnlyOneInSight(t *testing.T) {
	onPage := func(number int, spoil func(l *cyberun.TaskList)) func(w *world) {
		return func(w *world) {
			w.Cyberun.Spoil = func(l *cyberun.TaskList) {
				if l.Page.CurrentPage == number {
					spoil(l)
				}
			}
		}
	}
	cached := func(l *cyberun.TaskList) { l.Age = time.Minute }
	crowd := func(n int, at time.Duration) func(w *world) {
		return func(w *world) { w.Cyberun.Strangers(n, "wf-2", marked.Add(at)) }
	}
	const page = listPage + 10
	tests := []struct {
		name    string
		prepare func(w *world) // before the run's own task
		spoil   func(w *world)
		why     string // "": adopted
	}{
		{name: "fresh and whole"},
		{name: "from a cache", spoil: onPage(1, cached), why: "page 1 of the task list came from a cache, 1m0s old"},
		{name: "with an old Date", spoil: onPage(1, func(l *cyberun.TaskList) { l.Date = l.Date.Add(-time.Minute) }), why: "the Date of page 1"},
		{name: "without a Date", spoil: onPage(1, func(l *cyberun.TaskList) { l.Date = time.Time{} }), why: "has no Date header"},
		{name: "with a row that may be of the window", spoil: func(w *world) {
			w.Cyberun.Of(w.task(workflowID, marked.Add(-time.Minute))).CreatedAt = cyberun.Time{}
		}, why: "has no created_at"},
		{name: "from a cache before the window's beginning", spoil: func(w *world) { crowd(page, time.Minute)(w); onPage(2, cached)(w) },
			why: "page 2 of the task list came from a cache"},
		{name: "shrinking before the window's beginning", spoil: func(w *world) {
			crowd(page, time.Minute)(w)
			onPage(2, func(l *cyberun.TaskList) { l.Page.TotalCount-- })(w)
		}, why: "the task list shrank"},
		{name: "longer than is read, before the window's beginning", spoil: func(w *world) {
			w.Cyberun.PerPage = 5
			crowd(maxPages*5+10, 20*time.Second)(w)
			w.Cyberun.Spoil = func(l *cyberun.TaskList) { w.oursFirst(l) }
		}, why: "more than 100 tasks are newer"},
		{name: "from a cache behind the window", prepare: crowd(page, -5*time.Minute), spoil: onPage(2, cached)},
		{name: "shrinking behind the window", prepare: crowd(page, -5*time.Minute), spoil: onPage(2, func(l *cyberun.TaskList) { l.Page.TotalCount-- })},
		{name: "longer than is read, behind the window", prepare: func(w *world) {
			w.Cyberun.PerPage = 5
			crowd(page, -5*time.Minute)(w)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := witnessed(t)
			w.Now = marked.Add(10 * time.Minute) // each of a crowd starts a second after the one before
			if test.prepare != nil {
				test.prepare(w)
			}
			mine := w.ours(time.Second)
			if test.spoil != nil {
				test.spoil(w)
			}
			if test.why == "" {
				if f := w.want(Alone, ""); f.TaskID != mine {
					t.Errorf("found %s", f.TaskID)
				}
				return
			}
			if f := w.want(Unproven, test.why); f.TaskID != "" || len(f.Candidates) != 1 || f.Candidates[0].TaskID != mine {
				t.Errorf("%+v", f)
			}
		})
	}
}

// oursFirst shows the run's own task as the first row of the first page, in the
// place of another: as a list does whose neighbours are out of order.
func (w *world) oursFirst(l *cyberun.TaskList) {
	if l.Page.CurrentPage != 1 {
		return
	}
	for _, t := range w.Cyberun.Started {
		if t.CreatedAt.Equal(marked.Add(time.Second)) {
			l.Tasks[len(l.Tasks)-1] = t.Task
		}
	}
}

// TestNamesOfOtherWorkflows: where nothing speaks against the ids of rows, a broken
// list makes no other workflow's task a candidate, and another look may help.
func TestNamesOfOtherWorkflows(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(w *world)
		named bool
	}{
		{name: "live tasks only", spoil: func(w *world) {
			w.Cyberun.LiveOnly = true
			w.Cyberun.Of("task-1").Status = cyberun.StatusCompleted
		}},
		{name: "local time", spoil: func(w *world) {
			w.Cyberun.Spoil = func(l *cyberun.TaskList) {
				for i := range l.Tasks {
					if l.Tasks[i].WorkflowID == workflowID {
						l.Tasks[i].CreatedAt.Time = l.Tasks[i].CreatedAt.Add(-time.Hour)
					}
				}
			}
		}},
		{name: "snapshot ids", spoil: func(w *world) { w.Cyberun.SnapshotID = "wf-1-v2" }, named: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := witnessed(t)
			theirs := w.task("wf-2", marked.Add(time.Second))
			test.spoil(w)
			f, err := w.look()
			if err != nil || f.Verdict != Unclear || f.Why == "" {
				t.Fatalf("%+v, %v", f, err)
			}
			if named := slices.ContainsFunc(f.Candidates, func(c run.Candidate) bool { return c.TaskID == theirs }); named != test.named {
				t.Errorf("%+v", f)
			}
		})
	}
}

// hide takes the run's own task away.
func (w *world) hide() {
	w.Cyberun.Started = slices.DeleteFunc(w.Cyberun.Started, func(t functiontest.Task) bool { return t.CreatedAt.Equal(marked.Add(time.Second)) })
}

// TestAnyPageMayBreak: a fresh first page says nothing of the next ones.
func TestAnyPageMayBreak(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(l *cyberun.TaskList)
		why   string
	}{
		{name: "a cached one", spoil: func(l *cyberun.TaskList) { l.Age = 5 * time.Second }, why: "page 2 of the task list came from a cache, 5s old"},
		{name: "one without a Date", spoil: func(l *cyberun.TaskList) { l.Date = time.Time{} }, why: "page 2 of the task list has no Date header"},
		{name: "one of another clock", spoil: func(l *cyberun.TaskList) { l.Date = l.Date.Add(-time.Minute) }, why: "the Date of page 2"},
		{name: "a shrinking list", spoil: func(l *cyberun.TaskList) { l.Page.TotalCount-- }, why: "the task list shrank from 201 to 200 tasks while it was read"},
	}
	for _, test := range tests {
		for _, ascending := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, ascending %v", test.name, ascending), func(t *testing.T) {
				w := witnessed(t)
				w.Cyberun.Ascending = ascending
				w.Cyberun.Strangers(200, "wf-2", marked.Add(-5*time.Minute))
				w.Cyberun.Spoil = func(l *cyberun.TaskList) {
					if l.Page.CurrentPage == 2 {
						test.spoil(l)
					}
				}
				w.want(Unclear, test.why)
				w.Cyberun.Spoil = nil
				w.want(Absent, "")
			})
		}
	}
}

// TestTooLong: a witness that lies behind more than twenty pages proves nothing.
func TestTooLong(t *testing.T) {
	for _, perPage := range []int{0, 20} {
		w := newWorld(t)
		w.accepted("earlier", workflow, marked.Add(-30*time.Minute))
		w.Cyberun.PerPage = perPage
		n := 2001
		if perPage > 0 {
			n = 401
		}
		w.Cyberun.Strangers(n, "wf-2", marked.Add(-29*time.Minute))
		w.Now = marked.Add(10 * time.Minute)
		pages := 0
		w.Around = func(call string, do func() error) error {
			if call == "Tasks" {
				pages++
			}
			return do()
		}
		w.want(Unclear, fmt.Sprintf("more than %d tasks are newer", n-1))
		if pages != maxPages {
			t.Errorf("%d pages were read", pages)
		}
	}
}

// TestPagesMove: tasks that start while the list is read push others onto the next
// page; none is lost and none counted twice.
func TestPagesMove(t *testing.T) {
	w := witnessed(t)
	w.Cyberun.Strangers(120, "wf-2", marked.Add(-3*time.Minute))
	mine := w.ours(time.Second)
	w.Cyberun.Strangers(90, "wf-2", marked.Add(2*time.Second))
	w.Now = marked.Add(4 * time.Minute)
	seen := 0
	w.Cyberun.Spoil = func(l *cyberun.TaskList) {
		for _, t := range l.Tasks {
			if t.ID == mine {
				seen++
			}
		}
	}
	w.Around = func(call string, do func() error) error {
		err := do()
		if call == "Tasks" {
			w.Cyberun.Strangers(60, "wf-2", w.Now.Add(-time.Minute))
		}
		return err
	}
	if f := w.want(Alone, ""); f.TaskID != mine || seen < 2 {
		t.Errorf("found %s, which stood on %d pages", f.TaskID, seen)
	}
}

// TestUnordered lists are read whole.
func TestUnordered(t *testing.T) {
	shuffled := func(w *world) { // a stride that meets every row once: as if sorted by a random id
		s := slices.Clone(w.Cyberun.Started)
		for i := range s {
			w.Cyberun.Started[i] = s[i*37%len(s)]
		}
	}
	for _, started := range []bool{true, false} {
		w := witnessed(t)
		w.Cyberun.Strangers(499, "wf-2", marked.Add(-5*time.Minute))
		w.Now = marked.Add(6 * time.Minute)
		want := Absent
		if started {
			w.ours(time.Second)
			w.Cyberun.Started = w.Cyberun.Started[1:]
			w.accepted("newer", workflow, marked.Add(-9*time.Minute))
			want = Alone
		}
		shuffled(w)
		w.want(want, "")
	}
}

// TestUnorderedBehindItsFirstPage: a first page that seems to reach back far enough
// is not the end of a list in no order.
func TestUnorderedBehindItsFirstPage(t *testing.T) {
	w := newWorld(t)
	w.Cyberun.PerPage = 4
	w.accepted("later", workflow, marked.Add(20*time.Second))
	mine := w.ours(time.Second)
	for _, at := range []time.Duration{100, -3600, 90, -3000, 80} {
		w.task("wf-2", marked.Add(at*time.Second))
	}
	order := []time.Duration{1, 80, 20, 90, -3600, 100} // the last is the first in the list
	s := w.Cyberun.Started
	w.Cyberun.Started = nil
	for _, at := range order {
		i := slices.IndexFunc(s, func(t functiontest.Task) bool { return t.CreatedAt.Equal(marked.Add(at * time.Second)) })
		w.Cyberun.Started = append(w.Cyberun.Started, s[i])
	}
	if f := w.want(Alone, ""); f.TaskID != mine {
		t.Errorf("found %s", f.TaskID)
	}
}

// TestNeighboursOutOfOrder: two tasks of a few seconds may stand the wrong way
// round, also where a page ends with one that is older than the window.
func TestNeighboursOutOfOrder(t *testing.T) {
	w := newWorld(t)
	w.Cyberun.PerPage = 2
	w.accepted("later", workflow, marked.Add(20*time.Second))
	mine := w.ours(-4 * time.Second)
	w.task("wf-2", marked.Add(-8*time.Second))
	w.task("wf-2", marked.Add(-time.Hour))
	s := w.Cyberun.Started // the hour, -8, mine, 20
	s[1], s[2] = s[2], s[1]
	if f := w.want(Alone, ""); f.TaskID != mine {
		t.Errorf("found %s", f.TaskID)
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
			if f.Verdict == Absent || f.Verdict == Alone {
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
			w.own(w.ours(time.Second), run.Ownership{StartedBy: "other", How: run.Receipt, DeliveredBy: "other"})
		}
		w.want(Unclear, "over 300 tasks started in the submission's window")
	})
	t.Run("since the submission", func(t *testing.T) {
		w := witnessed(t)
		for range maxOwned + 1 {
			w.own(w.ours(time.Minute), run.Ownership{StartedBy: "other", How: run.Receipt, DeliveredBy: "other"})
		}
		w.want(Unclear, "over 300 tasks started since the submission")
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
	if f := w.want(Alone, ""); f.TaskID != mine || reads > 0 {
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
	got, err := i.Candidates(t.Context(), w.record)
	if err != nil || len(got) != 2 || got[0].TaskID != ours[0] || got[1].TaskID != ours[1] {
		t.Errorf("%v, %v", got, err)
	}
	w.own(ours[1], run.Ownership{StartedBy: "mine", How: run.Receipt, DeliveredBy: "mine"})
	got, err = i.Candidates(t.Context(), w.record)
	if err != nil || len(got) != 1 || got[0].TaskID != ours[1] {
		t.Errorf("%v, %v", got, err)
	}
	w.Fails("Tasks", errNetwork)
	if got, err = i.Candidates(t.Context(), w.record); err == nil {
		t.Errorf("%v", got)
	}
}
