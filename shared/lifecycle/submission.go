package lifecycle

import (
	"context"
	"errors"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

const (
	// tryTime bounds one try at a write that must not be lost.
	tryTime = 5 * time.Second
	// persistReserve is kept of a call's time: Lambda ends a call at its deadline, and
	// nobody hears an error that it returns only then.
	persistReserve = tryTime + 2*time.Second
	// unmarkTime is for the small writes of Unmark, which must happen although the call's
	// own time is over.
	unmarkTime = 10 * time.Second
)

// Mark announces a POST: first to the other runs of the workflow, by a marker, then in
// the record. Only the call whose attempt the record has afterwards may post. Mark
// returns SubmitInDoubt if another call of the step was faster, RunCancelled for a run
// that was stopped, and Superseded for a call of an earlier life. After Unavailable it
// is not known whether the record was written, and the next call has to investigate as
// after a lost reply.
func (s *Runs) Mark(ctx context.Context, r Run, workflowID string, submission run.Submission) (Run, error) {
	if err := s.put(ctx, markersOf(workflowID, r.RunID)+submission.AttemptID, submission.Marker(r.RunID)); err != nil {
		return r, err
	}
	marked, _, err := s.update(ctx, r, onMark, func(rec *run.Record) error {
		switch {
		case rec.Submission != nil && rec.Submission.AttemptID == submission.AttemptID:
			return nil
		case rec.InDoubt():
			return refusal(named.SubmitInDoubt, *rec)
		}
		rec.WorkflowID, rec.Submission, rec.Candidates, rec.CandidatesAt = workflowID, &submission, nil, time.Time{}
		rec.Posts++
		return nil
	})
	if err == nil || named.Is(err, named.Unavailable) { // the record may have the mark: the next call looks before it posts
		return marked, err
	}
	return marked, errors.Join(err, s.Store.Delete(ctx, markersOf(workflowID, r.RunID)+submission.AttemptID))
}

// Unmark takes back the mark of a POST of r, which has a submission, that certainly
// started nothing, so that the next try may post at once. It returns reason, which is
// why nothing started, or the error that kept the mark from being taken back.
func (s *Runs) Unmark(ctx context.Context, r Run, reason error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unmarkTime)
	defer cancel()
	if _, err := s.clearSubmission(ctx, r, true); err != nil {
		return err
	}
	return reason
}

// NotStarted notes that the submission of r, which is in doubt, started no task: the
// run may submit again. It returns RunCancelled for a run that was stopped.
func (s *Runs) NotStarted(ctx context.Context, r Run) (Run, error) {
	r, err := s.clearSubmission(ctx, r, false)
	if err != nil {
		return r, err
	}
	if r.WasStopped() {
		return r, refusal(named.RunCancelled, r.Record)
	}
	return r, s.withdrawDoubt(ctx, r.Record)
}

// clearSubmission removes a submission that started no task: from the record first,
// then its marker, which would hold up other runs' doubts. uncount says that it does
// not count as a POST either.
func (s *Runs) clearSubmission(ctx context.Context, r Run, uncount bool) (Run, error) {
	attempt := r.Submission.AttemptID
	r, _, err := s.update(ctx, r, onUnmark, func(rec *run.Record) error {
		if rec.InDoubt() && rec.Submission.AttemptID == attempt {
			rec.Submission, rec.Candidates, rec.CandidatesAt = nil, nil, time.Time{}
			rec.CleanUpDue = rec.CleanUpDue || !rec.Status.Open() // its marker, if this call dies
			if uncount {
				rec.Posts-- // refused, or never sent: an hour of 429 is not five lost submissions
			}
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	if r.TaskID != "" || r.InDoubt() {
		return r, nil // another call's submission stands by now
	}
	return r, s.Store.Delete(ctx, markersOf(r.WorkflowID, r.RunID)+attempt)
}

// Accept stores that a receipt named a task as the run's, whatever has become of the run
// since. A run without a task gets it. A run that has this very task already now knows it
// by a receipt. A run that has another one keeps the task as an extra task, which Accept
// cancels. Accept tries until 7 s before ctx's deadline, and its error names the task.
//
// It writes the record first, since nothing else has the id; then the ownership; and
// deletes the marker last, so that a run which reads the markers and then the
// ownerships sees one of the two. It needs Cyberun and Sleep.
func (s *Runs) Accept(ctx context.Context, r Run, taskID string) (Run, error) {
	now := s.Now().UTC()
	accept := func(rec *run.Record) error {
		switch rec.TaskID {
		case "":
			rec.SetTask(taskID, run.ByReceipt, now)
			if !rec.Status.Open() && rec.Error != nil {
				rec.Error = outOfDoubt(*rec)
			}
		case taskID:
			rec.Evidence, rec.Adopted = run.ByReceipt, false
		default:
			for _, extra := range rec.ExtraTasks {
				if extra.TaskID == taskID {
					return nil
				}
			}
			rec.ExtraTasks = append(rec.ExtraTasks, run.ExtraTask{TaskID: taskID})
		}
		rec.CleanUpDue = rec.CleanUpDue || !rec.Status.Open()
		return nil
	}
	submission := r.Submission
	var met cell
	err := s.persist(ctx, func(ctx context.Context) (err error) {
		r, met, err = s.update(ctx, r, onAccept, accept)
		return err
	})
	if err == nil {
		err = s.persist(ctx, func(ctx context.Context) error {
			_, err := s.addOwnership(ctx, taskID, run.Ownership{StartedBy: r.RunID, Evidence: run.ByReceipt, DeliveredBy: r.RunID})
			return err
		})
	}
	if err != nil { // the id is recorded nowhere else, and a person may have to find the task
		return r, named.Within("the task "+taskID+" is this run's, and its id could not be stored", err)
	}
	if r.TaskID != taskID {
		r, err = s.cancelExtra(ctx, r, taskID)
		return r, err
	}
	// A marker goes after what it stands for is done: by it and by CleanUpDue the
	// sweep finds a task whose call died here.
	if met.Then&MustCancelTask != 0 {
		if r, err = s.CancelTask(ctx, r, callBudget); err != nil {
			return r, err
		}
	}
	if !r.first || submission == nil { // an earlier call may have died between its marker and its mark
		return r, s.clearMarkers(ctx, r.Record)
	}
	if err := s.Store.Delete(ctx, markersOf(r.WorkflowID, r.RunID)+submission.AttemptID); err != nil {
		return r, err
	}
	return r, s.withdrawDoubt(ctx, r.Record)
}

// persist calls try, with tryTime each, until it succeeds or ctx is about to end.
func (s *Runs) persist(ctx context.Context, try func(ctx context.Context) error) error {
	begin := ctx
	if deadline, bounded := ctx.Deadline(); bounded {
		var cancel context.CancelFunc
		begin, cancel = context.WithDeadline(ctx, deadline.Add(-persistReserve))
		defer cancel()
	}
	for {
		tryCtx, cancel := context.WithTimeout(ctx, tryTime)
		err := try(tryCtx)
		cancel()
		if err == nil || begin.Err() != nil || errors.Is(err, ErrNoRecord) {
			return err
		}
		if s.Sleep(begin, time.Second) != nil {
			return err
		}
	}
}

// CompleteSubmission does what follows once a run has its task: it writes the task's
// ownership, then deletes the run's markers. It may be repeated. For a run that was
// stopped it cancels the task and returns RunCancelled; it returns TaskTaken if another
// run that has not ended delivers the task. It needs Cyberun, Executions and Sleep.
func (s *Runs) CompleteSubmission(ctx context.Context, r Run) (Run, error) {
	fact := run.Ownership{Evidence: r.Evidence, DeliveredBy: r.RunID}
	if r.Evidence.Proves() {
		fact.StartedBy = r.RunID
	}
	o, err := s.addOwnership(ctx, r.TaskID, fact)
	if err != nil {
		return r, err
	}
	if o.DeliveredBy != r.RunID {
		if err := s.takeDelivery(ctx, r.RunID, r.TaskID); err != nil {
			return r, err
		}
	}
	if r.WasStopped() {
		// Before the markers go: by them the sweep finds a task whose call died here.
		if r, err = s.CancelTask(ctx, r, callBudget); err != nil {
			return r, err
		}
	}
	if err := s.clearMarkers(ctx, r.Record); err != nil {
		return r, err
	}
	if r.WasStopped() {
		return r, refusal(named.RunCancelled, r.Record)
	}
	return r, nil
}

// AttachTask makes taskID the task of a run in doubt: the only candidate, the task whose
// ownership already names the run, or the one that a person named. The first two are
// adopted. AttachTask writes the ownership first, by which only one of two runs gets the
// task. It returns SubmitInDoubt if another run has it, or if the run has a task already.
func (s *Runs) AttachTask(ctx context.Context, r Run, taskID string) (Run, error) {
	o, err := s.addOwnership(ctx, taskID, run.Ownership{StartedBy: r.RunID, Evidence: run.ByExclusion, DeliveredBy: r.RunID})
	if err != nil {
		return r, err
	}
	if o.StartedBy != r.RunID {
		return r, named.Errorf(named.SubmitInDoubt, "the task %s was found to be the run %s's just now", taskID, o.StartedBy)
	}
	return s.find(ctx, r, taskID, run.ByExclusion, func(rec *run.Record) {
		d := rec.Decision // one on an earlier submission says nothing of this task
		rec.Adopted = d == nil || rec.Submission == nil || d.AttemptID != rec.Submission.AttemptID
	})
}

// find records a task that no receipt named; also makes further changes of the record.
func (s *Runs) find(ctx context.Context, r Run, taskID string, how run.Evidence, also func(*run.Record)) (Run, error) {
	now := s.Now().UTC()
	r, _, err := s.update(ctx, r, onFind, func(rec *run.Record) error {
		rec.SetTask(taskID, how, now)
		also(rec)
		return nil
	})
	return r, err
}

// RescueTask makes the run deliver an existing task. taskWorkflow is the slug of the
// workflow that the task belongs to. It returns TaskTaken while another run that has
// not ended delivers the task, and SubmitInDoubt if the run has a task already. It
// needs Executions.
func (s *Runs) RescueTask(ctx context.Context, r Run, taskID, taskWorkflow string) (Run, error) {
	if _, err := s.addOwnership(ctx, taskID, run.Ownership{Evidence: run.ByRescue, DeliveredBy: r.RunID}); err != nil {
		return r, err
	}
	if err := s.takeDelivery(ctx, r.RunID, taskID); err != nil {
		return r, err
	}
	return s.find(ctx, r, taskID, run.ByRescue, func(rec *run.Record) { rec.TaskWorkflow = taskWorkflow })
}
