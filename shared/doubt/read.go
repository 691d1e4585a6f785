// Package doubt finds out what became of a POST whose reply was lost. It reads
// Cyberun's task list, compares it with what this stack knows for certain, and returns
// whether a task is the run's, whether there is surely none, or why neither is certain.
// What is done then is the caller's to decide.
//
// ADR 4 has the assumptions about Cyberun, and how those are measured that can be.
//
// The terms are those of the package comment of shared/run. It imports shared/cyberun,
// shared/lifecycle, shared/run and shared/store.
package doubt

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

const (
	// maxPages bounds one look: 2,000 tasks since a witness of at most six days
	// are more than most teams start.
	maxPages = 20
	// rowSlack is what two neighbours in a sorted list may be out of order by, and
	// what two readings of one clock may differ by: a Date header has whole
	// seconds, and the service's hosts have clocks of their own.
	rowSlack = 5 * time.Second
)

// listing is the task list as far back as it was read.
type listing struct {
	rows []cyberun.Task
	// broken says why the list cannot prove that a task is absent; empty if it can.
	broken string
	// partial says why the list may lack a task of the submission's window; empty
	// if it shows all that there are.
	partial string
	passed  bool // the pages read so far reach back beyond the window

	oldest    time.Time // of the rows so far
	unordered bool      // rows that follow may be newer than oldest
	seen      map[string]bool
}

// breaks notes the first reason not to believe the list. What is wrong with pages
// behind the window hides none of its tasks.
func (l *listing) breaks(format string, args ...any) {
	why := fmt.Sprintf(format, args...)
	l.broken = cmp.Or(l.broken, why)
	if !l.passed {
		l.partial = cmp.Or(l.partial, why)
	}
}

// read reads the task list from its newer end, whichever that is, back to a moment of
// Cyberun's clock, which is not after the beginning of the submission's window. A list
// whose order is not known is read whole. Taking a part of the list for all of it would
// pay twice, so whatever may have made a hole in it is noted. expected is what Cyberun's
// clock should say now.
func (i Investigator) read(ctx context.Context, window run.Window, back time.Time, expected func() time.Time) (listing, error) {
	l := listing{seen: map[string]bool{}}
	page := func(number int) (cyberun.TaskList, error) {
		callCtx, cancel := context.WithTimeout(ctx, cyberun.CallTime)
		defer cancel()
		list, err := i.Cyberun.Tasks(callCtx, cyberun.Page{Number: number, Size: cyberun.MaxPageSize})
		if err != nil {
			return list, err
		}
		switch off := list.Date.Sub(expected()).Abs(); {
		case list.Age > 0:
			l.breaks("page %d of the task list came from a cache, %s old", number, list.Age)
		case list.Date.IsZero():
			l.breaks("page %d of the task list has no Date header", number)
		case off > rowSlack:
			l.breaks("the Date of page %d of the task list is %s off what Cyberun's clock said at the submission", number, off.Round(time.Second))
		}
		return list, nil
	}
	first, err := page(1)
	if err != nil {
		return l, err
	}
	pages, number, direction := pagesOf(first), 1, 1
	switch order := orderOf(first.Tasks); {
	case order > 0 && pages > 1:
		number, direction = pages, -1
	case order >= 0:
		l.unordered = true // or its newer end is not known
	}
	for range maxPages {
		current := first
		if number != 1 {
			if current, err = page(number); err != nil {
				return l, err
			}
			if current.Page.TotalCount < first.Page.TotalCount {
				l.breaks("the task list shrank from %d to %d tasks while it was read", first.Page.TotalCount, current.Page.TotalCount)
			}
		}
		if len(current.Tasks) == 0 && first.Page.TotalCount > 0 {
			return l, fmt.Errorf("page %d of the task list's %d is empty", number, pages)
		}
		l.add(current.Tasks, direction < 0)
		l.passed = l.beyond(window.From)
		number += direction
		if l.beyond(back) || len(current.Tasks) == 0 || pages > 0 && (number < 1 || number > pages) {
			return l, nil
		}
	}
	l.breaks("more than %d tasks are newer than the submission", maxPages*len(first.Tasks))
	return l, nil
}

// pagesOf counts the pages of a list by the rows that came: a remote that gives fewer than
// were asked for has more pages than it would seem. It returns 0 for a list that does not
// say how long it is, and ends with an empty page.
func pagesOf(first cyberun.TaskList) int {
	total, rows := first.Page.TotalCount, len(first.Tasks)
	switch {
	case total < 0:
		return 0
	case total <= rows:
		return 1
	case rows == 0:
		return total // claims rows and shows none: the read ends on that
	}
	return (total + rows - 1) / rows
}

// orderOf returns 1 for a list that begins with its oldest task, -1 for one that begins
// with its newest, and 0 if the first page does not show the order.
func orderOf(tasks []cyberun.Task) int {
	if len(tasks) == 0 {
		return 0
	}
	return tasks[len(tasks)-1].CreatedAt.Compare(tasks[0].CreatedAt.Time)
}

// add takes the rows of a page in. reversed says that the oldest of them comes first.
func (l *listing) add(tasks []cyberun.Task, reversed bool) {
	rows := slices.All(tasks)
	if reversed {
		rows = slices.Backward(tasks)
	}
	for _, t := range rows {
		if t.CreatedAt.IsZero() {
			l.breaks("the task %s in the list has no created_at", t.ID)
			continue
		}
		if !l.oldest.IsZero() && t.CreatedAt.After(l.oldest.Add(rowSlack)) {
			l.unordered = true
		}
		if l.oldest.IsZero() || t.CreatedAt.Before(l.oldest) {
			l.oldest = t.CreatedAt.Time
		}
		if !l.seen[t.ID] { // a task that started meanwhile moves the others onto the next page
			l.seen[t.ID] = true
			l.rows = append(l.rows, t)
		}
	}
}

// beyond reports whether all rows that follow are older than a moment.
func (l *listing) beyond(at time.Time) bool {
	return !l.unordered && l.oldest.Before(at.Add(-rowSlack))
}
