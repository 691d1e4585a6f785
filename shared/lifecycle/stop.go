package lifecycle

import (
	"context"
	"errors"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

// Stop leaves the mark that every step honours, in the record or in place of one
// that Submit has not made yet. execution is the run's, as Step Functions says
// it. The effects say what is left to do: CancelTask, StopExecution. A delivery
// past its point of no return is finished instead. It needs Outputs and NewID.
func (s *Runs) Stop(ctx context.Context, runID string, execution executions.Execution, bucket, outputPrefix string) (Run, Effect, error) {
	r, err := s.Get(ctx, runID)
	if errors.Is(err, ErrNoRecord) {
		if execution.State != executions.Running {
			return r, 0, err
		}
		request, _ := run.ParseRequest([]byte(execution.Input)) // its violations are Submit's to report
		placeholder := NewRecord(runID, execution.ARN, execution.StartedAt, execution.Redrives, request, bucket, outputPrefix, s.Now())
		placeholder.StopRequestedAt = s.Now().UTC()
		r, err = s.create(ctx, placeholder)
		if !errors.Is(err, store.ErrExists) {
			return r, CancelTask | StopExecution, err
		}
		r, err = s.Get(ctx, runID)
	}
	if err != nil {
		return r, 0, err
	}
	c := change{event: Stop, life: r.life}
	if execution.State == executions.Running && execution.Redrives > r.Life {
		c.event, c.life = StopNext, execution.Redrives
	}
	now := s.Now().UTC()
	c.do = func(rec *run.Record) error {
		if c.event == StopNext && c.life > rec.Life {
			raise(rec, c.life, now)
		} else if !rec.Status.Open() {
			return nil
		}
		if rec.StopRequestedAt.IsZero() && rec.Status != run.Delivering && rec.Status != run.Succeeded {
			rec.StopRequestedAt = now
		}
		return nil
	}
	r, cell, err := s.update(ctx, r, c)
	if err == nil && cell.Then&Finish != 0 {
		r, err = s.FinishDelivery(ctx, r)
	}
	return r, cell.Then, err
}

// StopCancel cancels the task of a stopped run within the time that an HTTP
// caller has, and words what became of it: none, cancelling, cancelled or left.
func (s *Runs) StopCancel(ctx context.Context, r Run) (Run, string, error) {
	r, err := s.CancelTask(ctx, r, callBudget)
	switch {
	case err != nil:
		return r, "cancelling", err
	case r.InDoubt():
		return r, "cancelling", nil
	case r.TaskID == "":
		return r, "none", nil
	case r.Cancel == nil:
		return r, "left", nil
	case r.Cancel.AcceptedAt.IsZero():
		return r, "cancelling", nil
	}
	return r, "cancelled", nil
}

// DecideOutcome stores a person's word on the submission of a run that failed in
// doubt. The same word again is no error; another one, or a run that is not in
// doubt, is NotInDoubt. word.Attempt is filled in.
func (s *Runs) DecideOutcome(ctx context.Context, runID string, word run.Decision) (Run, error) {
	r, err := s.Get(ctx, runID)
	if err != nil {
		return r, err
	}
	if d := r.Decision; d != nil && (!r.InDoubt() || d.Attempt == r.Submission.Attempt) {
		word.Attempt = d.Attempt // said again, be it acted on by now
		if d.Same(word) {
			return r, nil
		}
	}
	r, _, err = s.update(ctx, r, change{event: Decide, do: func(rec *run.Record) error {
		if !rec.InDoubt() {
			return refusal(named.NotInDoubt, *rec)
		}
		word.Attempt = rec.Submission.Attempt
		if d := rec.Decision; d != nil && d.Attempt == word.Attempt {
			if d.Same(word) {
				return nil
			}
			return named.Errorf(named.NotInDoubt, "another word on the run %s was stored at %s", rec.RunID, d.DecidedAt.Format("2006-01-02T15:04:05Z"))
		}
		rec.Decision = &word
		return nil
	}})
	return r, err
}
