package doubt

import (
	"fmt"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

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
		for _, how := range []run.Evidence{run.ByReceipt, run.ByExclusion} {
			t.Run(fmt.Sprintf("%s, %s", name, how), func(t *testing.T) {
				w := newWorld(t) // not even a witness
				id := w.ours(time.Second)
				o := run.Ownership{StartedBy: "mine", Evidence: how, DeliveredBy: "mine"}
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
				w.want(OthersPosted, "posted at that time as well")
			}
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
	const page = cyberun.MaxPageSize + 10
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
				if f := w.want(OnlyCandidate, ""); f.TaskID != mine {
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
