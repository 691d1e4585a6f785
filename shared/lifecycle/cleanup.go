package lifecycle

import (
	"context"
	"slices"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

// markersOf lists the markers of a run.
func (s *Runs) markersOf(ctx context.Context, r run.Record) ([]store.Entry, error) {
	if r.WorkflowID == "" {
		return nil, nil
	}
	return s.listKeys(ctx, markersOf(r.WorkflowID, r.RunID), maxMarkers)
}

// cleanUpClosed does what follows the closing write, for a run that another call closed,
// and that may have died after it. The markers are listed before the record is read
// again: those of a later life are written after that life's first write of the
// record, so the listed ones belong to the life that was closed.
func (c Closer) cleanUpClosed(ctx context.Context, r Run) error {
	if !r.Pending(c.Now()) {
		// A close that was beaten, or died, may have written an older error.json last.
		return c.repairError(ctx, r.RunID)
	}
	entries, err := c.markersOf(ctx, r.Record)
	if err != nil {
		return err
	}
	again, err := c.Get(ctx, r.RunID)
	if err != nil || again.Life != r.Life || again.Status.Open() {
		return err
	}
	if again, err = c.cleanUp(ctx, again, entries, false); err != nil {
		return err
	}
	// A receipt may have named a task since it was written, or the call that named
	// candidates died before it.
	if err := c.repairError(ctx, r.RunID); err != nil {
		return err
	}
	return c.markCleanedUp(ctx, again)
}

// cleanUp cancels what is still to be cancelled, deletes the markers that were listed
// before the closing write, and aborts the multipart uploads of a stopped run. A run that
// closed in doubt keeps its markers: it may have started a task, which no other run
// may adopt. asked says that this call has already tried to cancel the run's task.
// It returns the run as it is then.
func (c Closer) cleanUp(ctx context.Context, r Run, entries []store.Entry, asked bool) (Run, error) {
	var err error
	for _, extra := range r.ExtraTasks {
		if !extra.Cancelled {
			if r, err = c.cancelExtra(ctx, r, extra.TaskID); err != nil {
				return r, err
			}
		}
	}
	if !asked && (r.Status == run.Cancelled || r.Cancel != nil) {
		if r, err = c.CancelTask(ctx, r, c.budget()); err != nil {
			return r, err
		}
	}
	if r.TaskID != "" && len(entries) > 0 {
		// Submit may have died between storing the task's id and owning it; with
		// neither ownership nor marker another run in doubt could adopt the task.
		if _, err := c.addOwnership(ctx, r.TaskID, run.Ownership{StartedBy: r.RunID, How: r.How, DeliveredBy: r.RunID}); err != nil {
			return r, err
		}
	}
	if !r.InDoubt() {
		if err := c.deleteAll(ctx, entries); err != nil {
			return r, err
		}
		if err := c.withdrawDoubt(ctx, r.Record); err != nil {
			return r, err
		}
	}
	if r.Status == run.Cancelled {
		if err := c.abortMultipartUploads(ctx, r.Record); err != nil {
			return r, err
		}
	}
	return r, nil
}

// markCleanedUp notes that the sweep has nothing left to do for a closed run. It does
// not if the run has changed since r was read, if its candidates are still to be
// named, or if an extra task is not cancelled: a receipt that came meanwhile, say,
// leaves work of its own.
func (c Closer) markCleanedUp(ctx context.Context, r Run) error {
	known := r.Record
	_, _, err := c.update(ctx, r, onAmend, func(rec *run.Record) error {
		same := rec.Life == known.Life && rec.TaskID == known.TaskID && rec.InDoubt() == known.InDoubt() && len(rec.ExtraTasks) == len(known.ExtraTasks)
		running := slices.ContainsFunc(rec.ExtraTasks, func(t run.ExtraTask) bool { return !t.Cancelled })
		if same && !running && !rec.Status.Open() && (!rec.InDoubt() || !rec.CandidatesAt.IsZero()) {
			rec.CleanUpDue = false
		}
		return nil
	})
	return err
}
