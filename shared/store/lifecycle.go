package store

import (
	"context"
	"errors"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// Continue reads the record for a step that goes on with a run's task. A run
// that was stopped is refused; one that close-run had closed as failed is open
// again, since only a redrive calls its steps.
func (s *Store) Continue(ctx context.Context, runID string) (run.Record, error) {
	r, err := s.Get(ctx, runID)
	switch {
	case err != nil:
		return r, err
	case r.Stopping():
		return r, run.Errorf(run.RunCancelled, "the run was stopped before its task %s was delivered", r.TaskID)
	case r.Status != run.Failed:
		return r, nil
	}
	claim, err := s.ClaimOf(ctx, r.TaskID)
	switch {
	case err != nil && !errors.Is(err, ErrNotFound):
		return r, err
	case err == nil && claim.RunID != runID:
		return r, run.Errorf(run.TaskTaken, "the task %s was taken over by the run %s", r.TaskID, claim.RunID)
	}
	return s.Reopen(ctx, runID)
}

// Reopen undoes the close of a failed run. The open marker comes first, as when
// the run was claimed.
func (s *Store) Reopen(ctx context.Context, runID string) (run.Record, error) {
	if err := s.MarkOpen(ctx, runID); err != nil {
		return run.Record{}, err
	}
	return s.Update(ctx, runID, func(r *run.Record) error {
		if r.Status == run.Failed {
			r.Reopen()
		}
		return nil
	})
}
