package handler

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// TestFindsItsTask in lists of every shape.
func TestFindsItsTask(t *testing.T) {
	shapes := map[string]func(*service){
		"as documented":  func(*service) {},
		"20 a page":      func(s *service) { s.page = 20 },
		"one a page":     func(s *service) { s.page = 19 },
		"no total_count": func(s *service) { s.listed = func(l *cyberun.TaskList) { l.Page.TotalCount = -1 } },
		"no total_count, 20 a page": func(s *service) {
			s.page, s.listed = 20, func(l *cyberun.TaskList) { l.Page.TotalCount = -1 }
		},
		"per_page echoed, fewer rows": func(s *service) { s.page, s.listed = 20, func(l *cyberun.TaskList) { l.Page.PerPage = 100 } },
		"no per_page":                 func(s *service) { s.page, s.listed = 20, func(l *cyberun.TaskList) { l.Page.PerPage = 0 } },
		"no workflow_id": func(s *service) {
			s.listed = func(l *cyberun.TaskList) {
				for i := range l.Tasks {
					if l.Tasks[i].WorkflowID == workflowID {
						l.Tasks[i].WorkflowID = ""
					}
				}
			}
		},
	}
	for name, shape := range shapes {
		for _, ascend := range []bool{true, false} {
			for _, started := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, ascending %v, started %v", name, ascend, started), func(t *testing.T) {
					w, in := doubtful(t, started)
					w.others(150, workflowID, began.Add(-time.Hour))
					w.others(90, "wf-2", began.Add(-time.Minute))
					w.others(110, workflowID, began.Add(2*time.Minute))
					w.service.ascend = ascend
					shape(w.service)
					w.now = w.now.Add(5 * time.Minute) // the lists' newer tasks are not from the future
					out, err := w.drive(in)
					if err != nil {
						t.Fatal(err)
					}
					w.checkSettled("r1", out)
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
		"no Date": {func(w *world) { w.service.noDate = true }, "no Date header"},
		"no created_at": {func(w *world) {
			w.others(1, "wf-2", began.Add(-time.Hour))
			w.service.listed = func(l *cyberun.TaskList) { l.Tasks[0].CreatedAt = cyberun.Time{} }
		}, "no created_at"},
		"too many newer": {func(w *world) { w.others(2100, "wf-2", began.Add(time.Minute)); w.now = w.now.Add(time.Hour) }, "more than 2000 tasks"},
		"in no order": {func(w *world) {
			w.others(3000, "wf-2", began.Add(-2*time.Hour))
			rand.New(rand.NewPCG(1, 2)).Shuffle(3000, func(i, j int) { // as if sorted by a random id
				w.service.tasks[i], w.service.tasks[j] = w.service.tasks[j], w.service.tasks[i]
			})
		}, "more than 2000 tasks"},
		"a page missing": {func(w *world) {
			w.others(250, "wf-2", began.Add(time.Minute))
			w.now = w.now.Add(time.Hour)
			w.service.listed = func(l *cyberun.TaskList) {
				if l.Page.CurrentPage == 2 {
					l.Tasks = nil
				}
			}
		}, "page 2 of the task list's 3 is empty"},
		"rows that are not shown": {func(w *world) {
			w.service.listed = func(l *cyberun.TaskList) { l.Tasks, l.Page.TotalCount = nil, 1 }
		}, "page 1 of the task list's 1 is empty"},
		"an outage beyond patience": {func(w *world) {
			w.around = func(call string, do func() error) error {
				if call == "Tasks" {
					return answered(http.StatusBadGateway)
				}
				return do()
			}
		}, "502"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, in := doubtful(t, false)
			test.prepare(w)
			_, err := w.drive(in)
			wantName(t, err, named.SubmitOutcomeUnknown, test.text)
			if len(w.service.paid("r1")) > 0 {
				t.Error("posted again")
			}
			if record, _ := w.records().Get(t.Context(), "r1"); !record.InDoubt() {
				t.Error("the doubt was forgotten")
			}
		})
	}
}

// TestUnorderedButShort is read whole.
func TestUnorderedButShort(t *testing.T) {
	w, in := doubtful(t, true)
	w.others(300, workflowID, began.Add(-time.Hour))
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(w.service.tasks), func(i, j int) {
		w.service.tasks[i], w.service.tasks[j] = w.service.tasks[j], w.service.tasks[i]
	})
	out, err := w.drive(in)
	if err != nil {
		t.Fatal(err)
	}
	w.checkSettled("r1", out)
}
