package handler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

const (
	// listPage is the most that Cyberun gives at once.
	listPage = 100
	// maxListPages bounds one look: 2,000 tasks newer than a window of under a
	// minute are more than a team starts.
	maxListPages = 20
	// orderSlack is what two neighbours in a sorted list may be out of order by:
	// the service's hosts have clocks of their own.
	orderSlack = 5 * time.Second
)

// errUnreadable: the list cannot prove that a task is absent, now or later.
var errUnreadable = errors.New("the task list could not be read back to the submission")

// candidates are the tasks of the record's workflow that were created in the
// submission's window, and the server's clock. The list is read from its newer
// end, whichever that is, back to the window's begin; one whose order is neither
// is read whole. Taking a part of the list for all of it would pay twice.
func (h *Handler) candidates(ctx context.Context, record run.Record) ([]run.Candidate, time.Time, error) {
	first, err := h.taskPage(ctx, 1)
	if err != nil {
		return nil, time.Time{}, err
	}
	if first.Date.IsZero() {
		return nil, time.Time{}, fmt.Errorf("%w: the answer has no Date header", errUnreadable)
	}
	look := look{workflowID: record.WorkflowID, window: record.Submission.Window(), found: map[string]run.Candidate{}}
	pages, number, step := pagesOf(first), 1, 1
	switch order := order(first.Tasks); {
	case order > 0 && pages > 1:
		number, step = pages, -1
	case order >= 0:
		look.unordered = true // or its newer end is not known
	}
	page := first
	for range maxListPages {
		if number != 1 {
			if page, err = h.taskPage(ctx, number); err != nil {
				return nil, time.Time{}, err
			}
		}
		if len(page.Tasks) == 0 && first.Page.TotalCount > 0 {
			return nil, time.Time{}, fmt.Errorf("page %d of the task list's %d is empty", number, pages)
		}
		back, err := look.at(page.Tasks, step < 0)
		if err != nil {
			return nil, time.Time{}, err
		}
		number += step
		if back || len(page.Tasks) == 0 || pages != unsaid && (number < 1 || number > pages) {
			return slices.Collect(maps.Values(look.found)), first.Date, nil
		}
		if number == 1 {
			page = first
		}
	}
	return nil, time.Time{}, fmt.Errorf("%w: more than %d tasks are newer", errUnreadable, maxListPages*len(first.Tasks))
}

func (h *Handler) taskPage(ctx context.Context, number int) (cyberun.TaskList, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return h.Cyberun.Tasks(ctx, cyberun.TaskQuery{Page: cyberun.Page{Number: number, Size: listPage}})
}

// unsaid: the list does not tell how long it is, and ends with an empty page.
const unsaid = 0

// pagesOf counts by the rows that came: a remote that gives fewer than were asked
// for has more pages than it would seem.
func pagesOf(first cyberun.TaskList) int {
	total, rows := first.Page.TotalCount, len(first.Tasks)
	switch {
	case total < 0:
		return unsaid
	case total <= rows:
		return 1
	case rows == 0:
		return total // claims rows and shows none: the look ends on that
	}
	return (total + rows - 1) / rows
}

// order is 1 for a list that begins with its oldest task, -1 for one that begins
// with its newest, and 0 if the first page does not tell.
func order(tasks []cyberun.Task) int {
	if len(tasks) == 0 {
		return 0
	}
	return tasks[len(tasks)-1].CreatedAt.Compare(tasks[0].CreatedAt.Time)
}

// look collects what can be the submission's.
type look struct {
	workflowID string
	window     run.Window
	found      map[string]run.Candidate
	oldest     time.Time // seen so far
	unordered  bool
}

// at takes a page in, and tells whether all that follow are older than the window.
func (l *look) at(tasks []cyberun.Task, reversed bool) (back bool, err error) {
	for i := range tasks {
		t := tasks[i]
		if reversed {
			t = tasks[len(tasks)-1-i]
		}
		if t.CreatedAt.IsZero() {
			return false, fmt.Errorf("%w: the task %s has no created_at", errUnreadable, t.ID)
		}
		if !l.oldest.IsZero() && t.CreatedAt.After(l.oldest.Add(orderSlack)) {
			l.unordered = true
		}
		if l.oldest.IsZero() || t.CreatedAt.Before(l.oldest) {
			l.oldest = t.CreatedAt.Time
		}
		if (t.WorkflowID == l.workflowID || t.WorkflowID == "") && l.window.Contains(t.CreatedAt.Time) {
			l.found[t.ID] = run.Candidate{TaskID: t.ID, CreatedAt: t.CreatedAt.Time}
		}
	}
	return !l.unordered && l.oldest.Before(l.window.From.Add(-orderSlack)), nil
}
