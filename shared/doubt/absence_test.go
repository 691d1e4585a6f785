package doubt

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

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
			why: `a task of this stack, under the workflow id "wf-1-v2" instead of "wf-1"`, candidates: 1},
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
			why: "created at 2026-11-23T12:00:31Z, after the submission, and it is not known who started it", candidates: 1},
		{name: "a start a minute late", prepare: func(w *world) { w.hide(); w.ours(90 * time.Second) },
			why: "it is not known who started it", candidates: 1},
		{name: "a late start that a run in doubt named", prepare: func(w *world) {
			w.hide()
			w.own(w.ours(40*time.Second), run.Ownership{StartedBy: "other", Evidence: run.AsCandidate})
		}, why: "it is not known who started it", candidates: 1},
		{name: "a late start that does not say its workflow", prepare: func(w *world) { w.hide(); w.task("", marked.Add(40*time.Second)) },
			why: "it is not known who started it", candidates: 1},
		{name: "a late start that this run is known to have made", prepare: func(w *world) {
			w.hide()
			w.own(w.ours(40*time.Second), run.Ownership{StartedBy: "mine", Evidence: run.ByReceipt, DeliveredBy: "mine"})
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
