package handler

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
)

// TestFindsItsTask in lists of every shape, and its absence from them.
func TestFindsItsTask(t *testing.T) {
	shapes := map[string]func(*functiontest.Cyberun){
		"as documented":  func(*functiontest.Cyberun) {},
		"20 a page":      func(c *functiontest.Cyberun) { c.PerPage = 20 },
		"19 a page":      func(c *functiontest.Cyberun) { c.PerPage = 19 },
		"no total_count": func(c *functiontest.Cyberun) { c.Spoil = func(l *cyberun.TaskList) { l.Page.TotalCount = -1 } },
		"no total_count, 20 a page": func(c *functiontest.Cyberun) {
			c.PerPage, c.Spoil = 20, func(l *cyberun.TaskList) { l.Page.TotalCount = -1 }
		},
		"per_page echoed, fewer rows": func(c *functiontest.Cyberun) {
			c.PerPage, c.Spoil = 20, func(l *cyberun.TaskList) { l.Page.PerPage = 100 }
		},
		"no per_page": func(c *functiontest.Cyberun) {
			c.PerPage, c.Spoil = 20, func(l *cyberun.TaskList) { l.Page.PerPage = 0 }
		},
	}
	for name, shape := range shapes {
		for _, ascending := range []bool{true, false} {
			for _, started := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, ascending %v, started %v", name, ascending, started), func(t *testing.T) {
					w, in := doubtful(t, started)
					w.Cyberun.Strangers(150, workflowID, began.Add(-time.Hour))
					w.Cyberun.Strangers(90, "wf-2", began.Add(-time.Minute))
					w.Cyberun.Strangers(110, "wf-2", began.Add(2*time.Minute))
					w.Cyberun.Ascending = ascending
					shape(w.Cyberun)
					w.Now = w.Now.Add(5 * time.Minute) // the list's newer tasks are not from the future
					w.submits("r1", in)
				})
			}
		}
	}
}

// TestUnreadable lists prove nothing: a person is asked, nothing is posted.
func TestUnreadable(t *testing.T) {
	tests := map[string]struct {
		prepare func(*world)
		text    string
	}{
		"no created_at": {prepare: func(w *world) {
			w.Cyberun.Strangers(1, "wf-2", began.Add(-time.Hour))
			w.Cyberun.Spoil = func(l *cyberun.TaskList) { l.Tasks[0].CreatedAt = cyberun.Time{} }
		}, text: "no created_at"},
		"too many newer": {prepare: func(w *world) {
			w.Cyberun.Strangers(2100, "wf-2", began.Add(time.Minute))
			w.Now = w.Now.Add(time.Hour)
		}, text: "more than 2000 tasks"},
		"in no order": {prepare: func(w *world) {
			w.Cyberun.Strangers(3000, "wf-2", began.Add(-2*time.Hour))
			rand.New(rand.NewPCG(1, 2)).Shuffle(3000, func(i, j int) { // as if sorted by a random id
				s := w.Cyberun.Started
				s[i], s[j] = s[j], s[i]
			})
		}, text: "more than 2000 tasks"},
		"a page missing": {prepare: func(w *world) {
			w.Cyberun.Strangers(250, "wf-2", began.Add(time.Minute))
			w.Now = w.Now.Add(time.Hour)
			w.Cyberun.Spoil = func(l *cyberun.TaskList) {
				if l.Page.CurrentPage == 2 {
					l.Tasks = nil
				}
			}
		}, text: "page 2 of the task list's 3 is empty"},
		"rows that are not shown": {prepare: func(w *world) {
			w.Cyberun.Spoil = func(l *cyberun.TaskList) { l.Tasks, l.Page.TotalCount = nil, 1 }
		}, text: "page 1 of the task list's 1 is empty"},
		"rows without a workflow": {prepare: func(w *world) {
			w.Cyberun.Spoil = func(l *cyberun.TaskList) {
				for i := range l.Tasks {
					l.Tasks[i].WorkflowID = ""
				}
			}
		}, text: `under the workflow id "" instead of "wf-1"`},
		"an outage beyond patience": {prepare: func(w *world) { w.Fails("Tasks", functiontest.Answered(http.StatusBadGateway)) }, text: "502"},
		"a proxy's 403":             {prepare: func(w *world) { w.Fails("Tasks", functiontest.HTMLPage(http.StatusForbidden)) }, text: "403"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, in := doubtful(t, false)
			test.prepare(w)
			_, err := w.drive(in)
			namedtest.Want(t, err, named.SubmitOutcomeUnknown, test.text)
			if len(w.Cyberun.Paid("r1")) > 0 {
				t.Error("posted again")
			}
			if !w.Run("r1").InDoubt() {
				t.Error("the doubt was forgotten")
			}
		})
	}
}

// TestUnorderedButShort is read whole.
func TestUnorderedButShort(t *testing.T) {
	for _, started := range []bool{true, false} {
		w, in := doubtful(t, started)
		w.Cyberun.Strangers(300, workflowID, began.Add(-time.Hour))
		s := w.Cyberun.Started
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
		w.submits("r1", in)
	}
}

// TestListIsAway: a list that could not be read in all that time named nobody, so
// close-run still has to look for the candidates.
func TestListIsAway(t *testing.T) {
	w, in := doubtful(t, true)
	w.Around = func(call string, do func() error) error {
		if call == "Tasks" {
			return errNetwork
		}
		return do()
	}
	began := w.Now
	_, err := w.drive(in)
	namedtest.Want(t, err, named.SubmitOutcomeUnknown, "read the task list")
	if r := w.Run("r1"); w.Now.Sub(began) < 9*time.Minute || !r.InDoubt() || !r.CandidatesAt.IsZero() {
		t.Errorf("after %s: %+v", w.Now.Sub(began), r.Record)
	}
}
