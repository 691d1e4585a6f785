package store

import (
	"context"
	"errors"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// Continue reads the record for a step that goes on with a run's task. A run
// that was stopped is refused, and one whose task a rescue has taken over, which
// may be while its record is still open: the execution failed, and close-run has
// not heard of it. One that close-run had closed as failed is open again, since
// only a redrive calls its steps.
func (s *Store) Continue(ctx context.Context, runID string) (run.Record, error) {
	r, err := s.Get(ctx, runID)
	switch {
	case err != nil:
		return r, err
	case r.Stopping():
		return r, named.Errorf(named.RunCancelled, "the run was stopped before its task %s was delivered", r.TaskID)
	case r.Status == run.Succeeded: // whoever rescues its task now delivers it once more
		return r, nil
	}
	owner, err := s.takenBy(ctx, r)
	switch {
	case err != nil:
		return r, err
	case owner != "":
		return r, named.Errorf(named.TaskTaken, "the task %s was taken over by the run %s", r.TaskID, owner)
	case r.Status == run.Failed:
		return s.Reopen(ctx, runID)
	}
	return r, nil
}

// MayCancel reports whether the end of this run is the end of its task: only of one
// that it started itself, and that no rescue has taken over since. The owner is the
// run that has. Whoever cancels asks here first.
func (s *Store) MayCancel(ctx context.Context, r run.Record) (may bool, owner string, err error) {
	if !r.MayCancelTask() {
		return false, "", nil
	}
	owner, err = s.takenBy(ctx, r)
	return err == nil && owner == "", owner, err
}

// takenBy is the other run that delivers the task by now; empty: there is none.
func (s *Store) takenBy(ctx context.Context, r run.Record) (string, error) {
	claim, err := s.ClaimOf(ctx, r.TaskID)
	switch {
	case errors.Is(err, ErrNotFound): // its submit died before the claim: the task is nobody else's
		return "", nil
	case err != nil:
		return "", err
	case claim.RunID == r.RunID || claim.Candidate: // no more than a guess of a run in doubt
		return "", nil
	}
	return claim.RunID, nil
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
