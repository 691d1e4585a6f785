package lifecycle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

// OwnershipOf reads the ownership of a task; found is false for a task that no run
// of this stack knows.
func (s *Runs) OwnershipOf(ctx context.Context, taskID string) (o run.Ownership, found bool, err error) {
	found, err = s.get(ctx, ownershipKey(taskID), &o)
	return o, found, err
}

// addOwnership adds a fact to the ownership of a task, which it creates if there is
// none, and returns the ownership as it is then.
func (s *Runs) addOwnership(ctx context.Context, taskID string, fact run.Ownership) (run.Ownership, error) {
	body, err := json.Marshal(fact)
	if err != nil {
		return fact, err
	}
	if _, err = s.Store.Create(ctx, ownershipKey(taskID), body); !errors.Is(err, store.ErrExists) {
		return fact, err
	}
	return s.updateOwnership(ctx, taskID, func(o run.Ownership) run.Ownership { return o.With(fact) })
}

// updateOwnership changes the ownership of a task that has one, and returns it as it is
// then. change may be called again after a lost race.
func (s *Runs) updateOwnership(ctx context.Context, taskID string, change func(run.Ownership) run.Ownership) (run.Ownership, error) {
	var o run.Ownership
	_, err := s.Store.Update(ctx, ownershipKey(taskID), store.Object{}, func(body []byte) ([]byte, error) {
		if err := json.Unmarshal(body, &o); err != nil {
			return nil, fmt.Errorf("the ownership of the task %s: %w", taskID, err)
		}
		o = change(o)
		next, err := json.Marshal(o)
		if err != nil || bytes.Equal(next, body) {
			return nil, err
		}
		return next, nil
	})
	return o, err
}

// takeDelivery makes a run the deliverer of a task. It returns TaskTaken if another
// run that has not ended delivers it.
func (s *Runs) takeDelivery(ctx context.Context, runID, taskID string) error {
	free := []string{""} // deliverers that have ended, or never got the task
	for {
		o, err := s.updateOwnership(ctx, taskID, func(o run.Ownership) run.Ownership {
			if slices.Contains(free, o.DeliveredBy) {
				o.DeliveredBy = runID
			}
			return o
		})
		if err != nil || o.DeliveredBy == runID {
			return err
		}
		live, err := s.delivers(ctx, o.DeliveredBy, taskID)
		if err != nil {
			return err
		}
		if live {
			return errDelivers(o.DeliveredBy, taskID)
		}
		free = append(free, o.DeliveredBy)
	}
}

// RefuseTaken returns TaskTaken for a task that cannot be said to be the run's: another run
// is known to have started it, or delivers it and has not ended. It needs Executions.
func (s *Runs) RefuseTaken(ctx context.Context, runID, taskID string) error {
	o, _, err := s.OwnershipOf(ctx, taskID)
	switch {
	case err != nil:
		return err
	case o.Evidence.Proves() && o.StartedBy != runID:
		return named.Errorf(named.TaskTaken, "the run %s started the task %s", o.StartedBy, taskID)
	case o.DeliveredBy == "" || o.DeliveredBy == runID:
		return nil
	}
	if live, err := s.delivers(ctx, o.DeliveredBy, taskID); err != nil || !live {
		return err
	}
	return errDelivers(o.DeliveredBy, taskID)
}

func errDelivers(runID, taskID string) error {
	return named.Errorf(named.TaskTaken, "the run %s, which has not ended, delivers the task %s", runID, taskID)
}

// delivers reports whether the run that the ownership names as a task's deliverer may
// still deliver it. A run without a task counts: it is about to record this one,
// since the ownership is written first. Step Functions is asked as well: until
// close-run has seen its end, the record of an ended execution is open.
func (s *Runs) delivers(ctx context.Context, runID, taskID string) (bool, error) {
	r, err := s.Get(ctx, runID)
	if errors.Is(err, ErrNoRecord) {
		return false, nil
	}
	if err != nil || !r.Status.Open() || r.TaskID != "" && r.TaskID != taskID {
		return false, err
	}
	e, err := s.Executions.Describe(ctx, r.ExecutionARN)
	if errors.Is(err, executions.ErrNotFound) {
		return false, nil
	}
	return e.Status == executions.Running, err
}
