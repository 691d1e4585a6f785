package doubt

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
)

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
	if f := w.want(OnlyCandidate, ""); f.TaskID != mine || seen < 2 {
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
			want = OnlyCandidate
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
	if f := w.want(OnlyCandidate, ""); f.TaskID != mine {
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
	if f := w.want(OnlyCandidate, ""); f.TaskID != mine {
		t.Errorf("found %s", f.TaskID)
	}
}
