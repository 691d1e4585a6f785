package workflows

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// TaskLister lists the team's tasks.
type TaskLister interface {
	Tasks(ctx context.Context, page cyberun.Page) (cyberun.TaskList, error)
}

const (
	// A task or its result counts as gone after goneAnswers answers that say so, over at
	// least goneAfter: one such answer may come from an ingress without a backend during a
	// deployment.
	goneAnswers = 5
	goneAfter   = 10 * time.Minute
	// gonePages bounds how many pages of the list are read. If the list has more, the task
	// may be on one of those.
	gonePages = 20
)

// errNotAll says that the list is longer than what was read of it.
var errNotAll = errors.New("the task list has more pages than are read to tell that a task is gone")

// Gone counts one more answer that a task, or its result, is not there, and reports
// whether the task is gone: after five such answers in a row, over at least ten
// minutes, and if the task list, read whole, lacks the task. *missing is the count so
// far, nil before the first such answer; Gone replaces it, and the caller sets it to
// nil after any other answer. An error says that the list could not be read whole; the
// result is false then.
func Gone(ctx context.Context, lister TaskLister, taskID string, missing **run.Missing, now time.Time) (bool, error) {
	m := run.Missing{Since: now.UTC()}
	if *missing != nil {
		m = **missing
	}
	m.Answers++
	*missing = &m
	if m.Answers < goneAnswers || now.Sub(m.Since) < goneAfter {
		return false, nil
	}
	rows := 0
	for number := 1; number <= gonePages; number++ {
		callCtx, cancel := context.WithTimeout(ctx, cyberun.CallTime)
		list, err := lister.Tasks(callCtx, cyberun.Page{Number: number, Size: cyberun.MaxPageSize})
		cancel()
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(list.Tasks, func(t cyberun.Task) bool { return strings.EqualFold(t.ID, taskID) }) {
			return false, nil
		}
		rows += len(list.Tasks)
		if len(list.Tasks) == 0 || list.Page.TotalCount >= 0 && rows >= list.Page.TotalCount {
			return true, nil
		}
	}
	return false, errNotAll
}
