package lifecycle

import (
	"context"
	"errors"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

const (
	// Each sweep looks at the executions that ended in the last 30 hours: a
	// day of lost reports, and six hours in which the sweep itself may fail. Once a day it
	// looks at those of the last 9 days, since a cancel is confirmed for 7.
	recentlyEnded = 30 * time.Hour
	daily         = 24 * time.Hour
	// oldestStart is the oldest start of an execution that may have ended just
	// now: it runs for up to 8 days, and a redrive comes up to 14 days after its end.
	oldestStart = 23 * 24 * time.Hour
	// maxSwept bounds what one sweep looks at; what is left over comes next time.
	maxSwept = 5000
)

// sweepState is the object sweep/state.json.
type sweepState struct {
	WholeAt time.Time `json:"whole_at"` // when a sweep last looked nine days back
}

// Lister lists executions that ended, as executions.Machine does.
type Lister interface {
	UnsuccessfulSince(ctx context.Context, endedSince, started time.Time, pace func(context.Context) error, each func(executions.Execution) bool) error
}

// Sweep calls each for every execution whose run may need closing, because no report of
// its end came or the call of close-run for it died: those that ended lately otherwise
// than as succeeded, and, once a day, those of the last nine days, and the runs that began
// nine to ten days ago and are still open, whose execution Step Functions may have
// forgotten. pace is called before each call to Step Functions. left counts the executions
// that were not reached.
func (c Closer) Sweep(ctx context.Context, list Lister, pace func(context.Context) error, each func(executions.Execution)) (left int, err error) {
	var state sweepState
	if _, err := c.get(ctx, sweepKey, &state); err != nil {
		return 0, err
	}
	now := c.Now()
	whole, since := now.Sub(state.WholeAt) >= daily, now.Add(-recentlyEnded)
	if whole {
		since = now.Add(-forgotten)
	}
	looked := 0
	err = list.UnsuccessfulSince(ctx, since, now.Add(-oldestStart), pace, func(e executions.Execution) bool {
		if looked++; looked > maxSwept || ctx.Err() != nil {
			left++
			return true
		}
		each(e)
		return true
	})
	if err != nil || !whole || left > 0 {
		return left, err
	}
	if err := c.sweepForgotten(ctx, now, each); err != nil {
		return left, err
	}
	return left, c.put(ctx, sweepKey, sweepState{WholeAt: now.UTC()})
}

// sweepForgotten looks at the records of runs that began nine to ten days ago.
func (c Closer) sweepForgotten(ctx context.Context, now time.Time, each func(executions.Execution)) error {
	last := store.DescendingKey(now.Add(-forgotten - daily))
	var ids []string
	if err := c.EachNewestFirst(ctx, store.DescendingKey(now.Add(-forgotten)), func(runID, cursor string) bool {
		if cursor <= last {
			ids = append(ids, runID)
		}
		return cursor <= last && len(ids) < maxSwept
	}); err != nil {
		return err
	}
	for _, runID := range ids {
		r, err := c.Get(ctx, runID)
		if err != nil && !errors.Is(err, ErrNoRecord) {
			return err
		}
		if err == nil && r.Status.Open() {
			each(executions.Execution{ARN: r.ExecutionARN, Name: runID, Status: executions.Running, StartedAt: r.StartedAt, Redrives: r.Life})
		}
	}
	return nil
}

// Due is what a sweep has to do for a run whose execution ended unsuccessfully.
type Due int

// The values of [Due].
const (
	NothingDue Due = iota
	WorkDue        // an earlier close left something undone (Record.WorkLeft), or an error.json may stand beside a success
	CloseDue       // the run is open, or was never recorded
)

// DueOf returns what a sweep has to do for a listed execution. It reads the record
// alone, and does not ask Step Functions.
func (c Closer) DueOf(ctx context.Context, e executions.Execution) (Due, error) {
	r, err := c.Get(ctx, e.Name)
	switch {
	case errors.Is(err, ErrNoRecord):
		return CloseDue, nil
	case err != nil:
		return NothingDue, err
	case r.Status.Open() && e.Redrives >= r.Life, r.Status == run.Failed && e.Redrives > r.Life:
		return CloseDue, nil
	case r.WorkLeft(c.Now()), r.Status == run.Succeeded && e.Status.Unsuccessful():
		return WorkDue, nil
	}
	return NothingDue, nil
}
