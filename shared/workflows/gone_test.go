package workflows

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// listed is a task list, a page at a time.
type listed struct {
	tasks   []string
	total   int // -1: not said
	perPage int
	failsAt int // page; 0: none
	asked   int
	t       *testing.T
}

var errAway = errors.New("no answer")

func (l *listed) Tasks(ctx context.Context, page cyberun.Page) (cyberun.TaskList, error) {
	l.asked++
	if _, ok := ctx.Deadline(); !ok {
		l.t.Error("the call may take for ever")
	}
	if page.Number == l.failsAt {
		return cyberun.TaskList{}, errAway
	}
	var list cyberun.TaskList
	list.Page.TotalCount = l.total
	from := min((page.Number-1)*l.perPage, len(l.tasks))
	for _, id := range l.tasks[from:min(from+l.perPage, len(l.tasks))] {
		list.Tasks = append(list.Tasks, cyberun.Task{ID: id})
	}
	return list, nil
}

func others(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprint("other-", i))
	}
	return ids
}

// TestGone: that a task is not there is believed after five answers over ten
// minutes, and then only from a list that lacks it.
func TestGone(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name    string
		list    listed
		answers int           // answers before this one
		after   time.Duration // since the first of them
		want    bool
		err     error
		asked   int // pages
	}{
		{name: "the first answer", list: listed{perPage: 100}},
		{name: "the fourth, an hour on", list: listed{perPage: 100}, answers: 3, after: time.Hour},
		{name: "the fiftieth in ten minutes less a second", list: listed{perPage: 100}, answers: 49, after: 10*time.Minute - time.Second},
		{name: "the fifth, and the list is empty", list: listed{perPage: 100}, answers: 4, after: 10 * time.Minute, want: true, asked: 1},
		{name: "the fifth, and the list lacks it", list: listed{tasks: others(250), total: 250, perPage: 100}, answers: 4, after: 10 * time.Minute, want: true, asked: 3},
		{name: "a list that does not say how long it is", list: listed{tasks: others(250), total: -1, perPage: 100}, answers: 4, after: 10 * time.Minute, want: true, asked: 4},
		{name: "pages of fewer rows than were asked for", list: listed{tasks: others(50), total: 50, perPage: 20}, answers: 4, after: 10 * time.Minute, want: true, asked: 3},
		{name: "it is in the list", list: listed{tasks: append(others(150), "t-1"), total: 151, perPage: 100}, answers: 4, after: 10 * time.Minute, asked: 2},
		{name: "it is in the list, in capitals", list: listed{tasks: []string{"T-1"}, total: 1, perPage: 100}, answers: 4, after: 10 * time.Minute, asked: 1},
		{name: "the list is away", list: listed{perPage: 100, failsAt: 1}, answers: 4, after: 10 * time.Minute, err: errAway, asked: 1},
		{name: "its second page is away", list: listed{tasks: others(150), total: 150, perPage: 100, failsAt: 2}, answers: 4, after: 10 * time.Minute, err: errAway, asked: 2},
		{name: "a list of 20 pages", list: listed{tasks: others(2000), total: 2000, perPage: 100}, answers: 4, after: 10 * time.Minute, want: true, asked: 20},
		{name: "a list of more pages than are read", list: listed{tasks: others(2001), total: 2001, perPage: 100}, answers: 4, after: 10 * time.Minute, err: errNotAll, asked: 20},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.list.t = t
			var missing *run.Missing
			if test.answers > 0 {
				missing = &run.Missing{Answers: test.answers, Since: noon}
			}
			gone, err := Gone(t.Context(), &test.list, "t-1", &missing, noon.Add(test.after))
			if gone != test.want || !errors.Is(err, test.err) || test.list.asked != test.asked {
				t.Errorf("gone %v, %v, %d pages", gone, err, test.list.asked)
			}
			if missing.Answers != test.answers+1 || !missing.Since.Equal(noon) {
				t.Errorf("noted %+v", missing)
			}
		})
	}
	if !strings.Contains(errNotAll.Error(), "task list") {
		t.Error(errNotAll)
	}
}
