package lifecycle

import (
	"context"
	"errors"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

// Stop notes in the record that a person stops the run; every step reads that. execution
// is the run's as Step Functions describes it. For a run without a record Stop creates one
// if the execution runs, and else returns [ErrNoRecord]. The caller has to carry out the
// effects, [MustCancelTask] and [MustStopExecution]. For a run that has ended Stop writes
// nothing and returns at most MustCancelTask, unless a redrive of it runs. A run that is
// delivering is not stopped: Stop finishes the delivery. It needs OutputS3.
func (s *Runs) Stop(ctx context.Context, runID string, execution executions.Execution, bucket, outputPrefix string) (Run, Effect, error) {
	r, err := s.Get(ctx, runID)
	if errors.Is(err, ErrNoRecord) {
		if execution.Status != executions.Running {
			return r, 0, err
		}
		request, _ := run.ParseRequest([]byte(execution.Input)) // its violations are Submit's to report
		placeholder := newRecord(runID, execution.ARN, execution.StartedAt, execution.Redrives, request, bucket, outputPrefix, s.Now())
		placeholder.StopRequestedAt = s.Now().UTC()
		r, err = s.create(ctx, placeholder)
		if !errors.Is(err, store.ErrExists) {
			return r, MustCancelTask | MustStopExecution, err
		}
		r, err = s.Get(ctx, runID)
	}
	if err != nil {
		return r, 0, err
	}
	event, life := onStop, r.Life
	if execution.Status == executions.Running && execution.Redrives > r.Life {
		event, life = onStopNext, execution.Redrives
	}
	r.life = life
	now := s.Now().UTC()
	r, cell, err := s.update(ctx, r, event, func(rec *run.Record) error {
		if event == onStopNext && life > rec.Life {
			raise(rec, life, now)
		} else if !rec.Status.Open() {
			return nil
		}
		if rec.StopRequestedAt.IsZero() && rec.Status != run.Delivering {
			rec.StopRequestedAt = now
		}
		return nil
	})
	if err == nil && cell.Then&doFinish != 0 {
		r, err = s.finishDelivery(ctx, r)
	}
	return r, cell.Then, err
}

// StopCancel cancels the task of a stopped run within the time that an HTTP caller has,
// and returns what became of it as DELETE /runs/{id} answers it: none, if nothing was posted;
// cancelling, if Cyberun has not accepted the cancel yet, or the run is in doubt; cancelled,
// if it has, or the task had ended; left, if the task is not this run's to cancel. It
// needs Cyberun and Sleep.
func (s *Runs) StopCancel(ctx context.Context, r Run) (Run, string, error) {
	r, err := s.CancelTask(ctx, r, callBudget)
	switch {
	case err != nil || r.InDoubt():
		return r, "cancelling", err
	case r.TaskID == "":
		return r, "none", nil
	case r.Cancel == nil:
		return r, "left", nil
	case r.Cancel.AcceptedAt.IsZero():
		return r, "cancelling", nil
	}
	return r, "cancelled", nil
}

// DecideOutcome stores a person's decision on the submission of a run that failed in
// doubt, with the attempt that it is about. The same decision again is no error; it
// returns NotInDoubt for another one and for a run that is not in doubt, and [ErrNoRecord]
// if there is no such run. Only a decision that would be stored is given to check first,
// which may refuse it; nil refuses none. The caller redrives the run, which acts on it.
func (s *Runs) DecideOutcome(ctx context.Context, runID string, decision run.Decision, check func() error) (Run, error) {
	r, err := s.Get(ctx, runID)
	if err != nil {
		return r, err
	}
	if d := r.Decision; d != nil && (!r.InDoubt() || d.AttemptID == r.Submission.AttemptID) {
		decision.AttemptID = d.AttemptID // said again, be it acted on by now
		if d.Same(decision) {
			return r, nil
		}
	}
	decide := func(rec *run.Record) error {
		if !rec.InDoubt() {
			return refusal(named.NotInDoubt, *rec)
		}
		decision.AttemptID = rec.Submission.AttemptID
		if d := rec.Decision; d != nil && d.AttemptID == decision.AttemptID {
			if d.Same(decision) {
				return nil
			}
			return named.Errorf(named.NotInDoubt, "another decision on the run %s was stored at %s", rec.RunID, d.DecidedAt.Format("2006-01-02T15:04:05Z"))
		}
		rec.Decision = &decision
		return nil
	}
	trial := r.Record
	if _, err := apply(&trial, r.life, onDecide, decide); err != nil {
		return r, err
	}
	if check != nil {
		if err := check(); err != nil {
			return r, err
		}
	}
	r, _, err = s.update(ctx, r, onDecide, decide)
	return r, err
}
