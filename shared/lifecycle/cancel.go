package lifecycle

import (
	"context"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

const (
	// cancelTry bounds one try at a cancel, and one look at the task after it.
	cancelTry = 5 * time.Second
	// firstCancelPause doubles after each try: tries at 0, 0.5, 1.5, 3.5, 7.5 s …
	firstCancelPause = 500 * time.Millisecond
	maxCancelPause   = 8 * time.Second
	// callBudget is how long a call tries that somebody waits for: API Gateway allows an
	// HTTP API 30 s, and the relay answers a stop within 15 s.
	callBudget = 12 * time.Second
	// CloseBudget is how long close-run tries to cancel the task of one run. No caller
	// waits for close-run, so that it may try longer than an API call.
	CloseBudget = 90 * time.Second
	// SweepBudget is how long close-run tries to cancel one task of a sweep, 12 s: while
	// Cyberun does not answer, the sweep has to reach the other runs as well.
	SweepBudget = callBudget
)

// CancelTask cancels the run's task, if the run started it by a receipt and delivers
// it. It tries until Cyberun accepts or the budget is over, asks for the task's status
// after each try, and notes the result in the record. That Cyberun did not accept is no
// error: Cancel.AcceptedAt is zero then. Once Cancel.EndedAs is known, CancelTask does
// nothing. If Cancel is nil in the record that it returns, the run has no task, or one
// that it may not cancel. It needs Cyberun and Sleep; without OutputS3 it leaves the
// error.json of a closed run to the sweep.
func (s *Runs) CancelTask(ctx context.Context, r Run, budget time.Duration) (Run, error) {
	if r.TaskID == "" || r.Cancel != nil && r.Cancel.EndedAs != "" {
		return r, nil
	}
	// Its submit may have died before it wrote the ownership, and a look into its
	// doubt may have named the task as a candidate since: the record knows better.
	o, _, err := s.OwnershipOf(ctx, r.TaskID)
	if err != nil || !o.With(run.Ownership{StartedBy: r.RunID, Evidence: r.Evidence, DeliveredBy: r.RunID}).MayCancel(r.RunID) {
		return r, err
	}
	result := run.Cancel{AskedAt: s.Now().UTC()}
	if r.Cancel != nil {
		result = *r.Cancel
	}
	accepted, endedAs := s.cancel(ctx, r.TaskID, budget)
	if accepted && result.AcceptedAt.IsZero() {
		result.AcceptedAt = s.Now().UTC()
	}
	result.EndedAs = endedAs
	before := r.Error
	r, _, err = s.update(ctx, r, onAmend, func(rec *run.Record) error {
		if rec.Error != nil { // the run has closed before this was known
			rec.Error.Cause = strings.Replace(rec.Error.Cause, rec.Cancel.Text(rec.TaskID), result.Text(rec.TaskID), 1)
		}
		rec.Cancel = &result
		return nil
	})
	if err != nil || before == nil || r.Error == nil || before.Cause == r.Error.Cause || s.OutputS3 == nil {
		return r, err
	}
	return r, s.RepairError(ctx, r.RunID)
}

// cancel calls Cyberun's cancel until it is accepted or the budget is over. A cancel
// that is refused counts as accepted if the task has ended: Cyberun refuses to cancel
// such a one. It returns the task's terminal status if that was seen.
func (s *Runs) cancel(ctx context.Context, taskID string, budget time.Duration) (accepted bool, endedAs string) {
	deadline := s.Now().Add(budget)
	ctx, end := context.WithTimeout(ctx, budget) // the last try, and the look after it, have what is left
	defer end()
	for pause := firstCancelPause; ; pause = min(2*pause, maxCancelPause) {
		tryCtx, done := context.WithTimeout(ctx, cancelTry)
		err := s.Cyberun.Cancel(tryCtx, taskID)
		done()
		if endedAs = s.endOf(ctx, taskID); err == nil || endedAs != "" {
			return true, endedAs
		}
		observe.Log(ctx).WarnContext(ctx, "the task is not cancelled yet", "task_id", taskID, "cause", err.Error())
		if !s.Now().Add(pause).Before(deadline) || s.Sleep(ctx, pause) != nil {
			return false, ""
		}
	}
}

// endOf returns the task's terminal status; empty if the task has not ended, or its
// status cannot be read.
func (s *Runs) endOf(ctx context.Context, taskID string) string {
	ctx, done := context.WithTimeout(ctx, cancelTry)
	defer done()
	t, err := s.Cyberun.Task(ctx, taskID)
	if err != nil || !t.Status.Terminal() {
		return ""
	}
	return string(t.Status)
}

// cancelExtra cancels a task that a second receipt named, and notes in the record whether
// Cyberun accepted that. A task that another run delivers by now is left to that run.
func (s *Runs) cancelExtra(ctx context.Context, r Run, taskID string) (Run, error) {
	o, _, err := s.OwnershipOf(ctx, taskID)
	if err != nil || !o.With(run.Ownership{StartedBy: r.RunID, Evidence: run.ByReceipt, DeliveredBy: r.RunID}).MayCancel(r.RunID) {
		return r, err
	}
	accepted, _ := s.cancel(ctx, taskID, callBudget)
	r, _, err = s.update(ctx, r, onAmend, func(rec *run.Record) error {
		for i := range rec.ExtraTasks {
			if rec.ExtraTasks[i].TaskID == taskID {
				rec.ExtraTasks[i].Cancelled = accepted
			}
		}
		return nil
	})
	return r, err
}
