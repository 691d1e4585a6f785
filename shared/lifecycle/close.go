package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

const (
	// maxTurns bounds how often a close begins anew because the record changed
	// under it: a record has a handful of writers.
	maxTurns = 8
	// forgotten is how old a run must be before an execution that Step Functions
	// does not know counts as gone. An execution runs for at most 8 days, and reads of a
	// new one lag behind.
	forgotten = 9 * 24 * time.Hour
)

// errRecordChanged says that the record changed between a close's read and its write.
var errRecordChanged = errors.New("the record changed while the run was closed")

// Closer closes runs whose execution failed, timed out or was stopped. It needs every
// field of Runs.
type Closer struct {
	*Runs
	// Bucket and OutputPrefix are the stack's, for a run that has no record.
	Bucket, OutputPrefix string
	// Budget is how long one cancel may take; 0: CloseBudget.
	Budget time.Duration
}

// Ended reads the execution that EventBridge, or the sweep, reported as ended. ok is false
// if there is nothing to close: the execution runs, was redriven, or succeeded. Reports
// come twice, late, and after a redrive, so what DescribeExecution says decides. sure
// is false if DescribeExecution does not show that end yet, since its reads are
// eventually consistent: the run can be closed as failed then, and nothing may be done
// that cannot be undone.
func (c Closer) Ended(ctx context.Context, reported executions.Execution) (e executions.Execution, sure, ok bool, err error) {
	e, err = c.Executions.Describe(ctx, reported.ARN)
	if errors.Is(err, executions.ErrNotFound) {
		r, err := c.Get(ctx, reported.Name)
		if errors.Is(err, ErrNoRecord) || err == nil && c.Now().Sub(r.StartedAt) < forgotten {
			return e, false, false, nil
		}
		reported.Status, reported.Redrives, reported.StartedAt = executions.Failed, r.Life, r.StartedAt
		reported.Error = named.Errorf(named.Unavailable, "the execution no longer exists: its state machine was deleted, or it ended over 90 days ago")
		return reported, true, err == nil, err
	}
	switch {
	case err != nil:
		return e, false, false, err
	case e.Status.Unsuccessful() && e.Redrives >= reported.Redrives:
		return e, true, true, nil
	case reported.Status.Unsuccessful() && reported.Error != nil && e.Redrives <= reported.Redrives && e.Status != executions.Succeeded:
		reported.StartedAt, reported.Input = e.StartedAt, e.Input
		return reported, false, true, nil // its reads lag behind its reports
	}
	return e, false, false, nil
}

// Close closes the run of an execution that ended, as Ended returned it with sure,
// and reports whether this call closed it. An execution of an earlier life than the
// record's, or one that ended as Superseded, closes nothing.
func (c Closer) Close(ctx context.Context, e executions.Execution, sure bool) (closed bool, err error) {
	for range maxTurns {
		r, err := c.Get(ctx, e.Name)
		switch {
		case errors.Is(err, ErrNoRecord):
			closed, err = c.closeUnrecorded(ctx, e, sure)
		case err == nil:
			closed, err = c.closeRecorded(ctx, r, e, sure)
		}
		if errors.Is(err, errRecordChanged) || errors.Is(err, store.ErrExists) {
			if err := c.RepairError(ctx, e.Name); err != nil {
				return false, err
			}
			continue // Submit posts, or stored a task, or a person stopped it: it is to be named, or cancelled
		}
		if err == nil && closed {
			observe.Log(ctx).InfoContext(ctx, "closed", "execution", e.Status)
		}
		return closed, err
	}
	return false, named.Errorf(named.Unavailable, "the record of the run %s changed %d times while it was closed", e.Name, maxTurns)
}

// endEvent returns the event that an execution's end is for its run.
func endEvent(e executions.Execution) event {
	if e.Status == executions.Aborted || e.Error.Name == named.RunCancelled { // a step that met the stop failed before the stop took hold
		return onEndAborted
	}
	return onEndFailed
}

// closeUnrecorded closes a run whose execution ended before there was a record. A
// call of Submit that comes later finds the closed record and starts nothing.
func (c Closer) closeUnrecorded(ctx context.Context, e executions.Execution, sure bool) (bool, error) {
	request, _ := run.ParseRequest([]byte(e.Input)) // its violations are the execution's error already
	record := newRecord(e.Name, e.ARN, e.StartedAt, e.Redrives, request, c.Bucket, c.OutputPrefix, c.Now())
	record.EndedAt, record.Error = c.Now().UTC(), e.Error
	if _, err := apply(&record, record.Life, endEvent(e), nil); err != nil {
		return false, err
	}
	if record.Status == run.Cancelled && !sure {
		return false, unsure(e.Name)
	}
	if err := c.writeError(ctx, &record); err != nil {
		return false, err
	}
	_, err := c.create(ctx, record)
	return err == nil, err
}

// closeRecorded cancels the task and writes error.json before the conditional write that
// closes the record; the clean-up follows that write, since CleanUpDue brings the sweep
// back to it. All of it can be repeated, so of two calls both may do it, and one closes.
func (c Closer) closeRecorded(ctx context.Context, r Run, e executions.Execution, sure bool) (bool, error) {
	if r.ExecutionARN != e.ARN || r.StartedAt.Sub(e.StartedAt).Abs() > sameStart {
		return false, nil
	}
	if e.Error.Name == named.Superseded { // it ends no life; what an earlier close left is to be done all the same
		if r.Status.Open() {
			return false, nil
		}
		return false, c.cleanUpClosed(ctx, r)
	}
	event := endEvent(e)
	seen := r.Record
	cell, err := apply(&seen, r.life, event, nil)
	switch {
	case err != nil:
		return false, err
	case cell.Then&doRemoveError != 0:
		return false, c.removeError(ctx, r.Record)
	case e.Redrives < r.Life: // its error.json may have come after a delivery removed what it found
		return false, c.RepairError(ctx, r.RunID)
	case cell.Then&doFinish != 0:
		return c.finishOrFail(ctx, r)
	case cell.Ignore: // closed by another, or by a call that died behind it
		if r, err = c.endLife(ctx, r, e.Redrives); err != nil {
			return false, err
		}
		return false, c.cleanUpClosed(ctx, r)
	}
	entries, err := c.markersOf(ctx, r.Record)
	if err != nil {
		return false, err
	}
	stops := seen.Status == run.Cancelled
	cancels := stops || e.Error.Name == named.RunTimedOut
	if cancels && !sure {
		return false, unsure(r.RunID)
	}
	if cancels {
		if r, err = c.CancelTask(ctx, r, cmp.Or(c.Budget, CloseBudget)); err != nil {
			return false, err
		}
	}
	before := r.Record
	before.Error = closeReason(r.Record, e.Error, stops, cancels)
	if err := c.writeError(ctx, &before); err != nil {
		return false, err
	}
	now := c.Now().UTC()
	r, cell, err = c.update(ctx, r, event, func(rec *run.Record) error {
		if rec.Life != before.Life || rec.Life > e.Redrives || rec.TaskID != before.TaskID || rec.WasStopped() != before.WasStopped() ||
			rec.InDoubt() != before.InDoubt() || rec.Status == run.Delivering || len(rec.ExtraTasks) != len(before.ExtraTasks) {
			return errRecordChanged
		}
		rec.Life = e.Redrives
		rec.EndedAt, rec.Error, rec.ErrorKey, rec.CleanUpDue = now, before.Error, before.ErrorKey, true
		return nil
	})
	if err != nil {
		if key := before.ErrorKey; key != "" && key != r.KeyPrefix()+run.ErrorName { // the task is known by now, and its place is another
			err = errors.Join(err, c.removeErrorAt(ctx, r.Bucket, key))
		}
		return false, err
	}
	if cell.Ignore { // another call closed it, or a delivery finished it
		return false, errRecordChanged
	}
	if r, err = c.cleanUp(ctx, r, entries, cancels); err != nil {
		return true, err
	}
	return true, c.markCleanedUp(ctx, r)
}

// endLife raises the life of a failed run to one that ended before any of its steps
// came: one that comes now would reopen the run for an execution that has ended.
func (c Closer) endLife(ctx context.Context, r Run, life int) (Run, error) {
	if r.Status != run.Failed || life <= r.Life {
		return r, nil
	}
	r, _, err := c.update(ctx, r, onAmend, func(rec *run.Record) error {
		if rec.Status == run.Failed {
			rec.Life = max(rec.Life, life)
		}
		return nil
	})
	return r, err
}

// unsure is the error of a close that could not be undone, while Step Functions does
// not show the end that was reported.
func unsure(runID string) error {
	return named.Errorf(named.Unavailable, "Step Functions does not show yet how the run %s ended", runID)
}

// finishOrFail finishes a delivery whose execution ended. If the bucket refuses the
// manifest for good, the run fails instead and can be redriven.
func (c Closer) finishOrFail(ctx context.Context, r Run) (bool, error) {
	_, err := c.finishDelivery(ctx, r)
	if !named.Is(err, named.OutputBucketRefused) {
		return err == nil, err
	}
	reason, _ := named.As(err)
	now := c.Now().UTC()
	r, cell, err := c.update(ctx, r, onUndeliverable, func(rec *run.Record) error {
		rec.EndedAt, rec.Error, rec.ManifestKey, rec.ManifestBodyKey, rec.CleanUpDue = now, reason, "", "", true
		return nil
	})
	if err != nil || cell.Ignore {
		return false, err
	}
	return true, c.cleanUpClosed(ctx, r) // writes error.json, if the bucket takes that
}

// closeReason returns the error that a run ends with: the execution's, with what a
// person needs to know about the task. stops says that the run was stopped, cancels
// that this call tried to cancel its task.
func closeReason(r run.Record, ended *named.Error, stops, cancels bool) *named.Error {
	reason := *ended
	if stops && ended.Name != named.RunCancelled {
		reason = *named.Errorf(named.RunCancelled, "the run was stopped")
	}
	switch {
	case r.InDoubt() && !stops && reason.Name != named.SubmitOutcomeUnknown:
		reason = *named.Errorf(named.SubmitOutcomeUnknown, "the execution ended while it was in doubt whether its task had started: %s: %s; %s", ended.Name, ended.Cause, doubtText(r))
		// By itself it would find out: a person decides only if that is not to be.
		reason.Hint = "redrive the run once the cause is gone: it looks for its task before it submits again; or say yourself what happened, with `relay decide`"
	case r.InDoubt() && stops:
		reason.Cause += "; " + doubtText(r)
	case cancels && r.TaskID == "":
		reason.Cause += "; nothing had been submitted"
	case cancels && r.Cancel == nil:
		reason.Cause += fmt.Sprintf("; the task %s was left alone, since no receipt says that this run started it, or another run delivers it", r.TaskID)
	case cancels:
		reason.Cause += "; " + r.Cancel.Text(r.TaskID)
	}
	return &reason
}

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
	if !r.WorkLeft(c.Now()) {
		// A close that was beaten, or died, may have written an older error.json last.
		return c.RepairError(ctx, r.RunID)
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
	if err := c.RepairError(ctx, r.RunID); err != nil {
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
		if r, err = c.CancelTask(ctx, r, cmp.Or(c.Budget, CloseBudget)); err != nil {
			return r, err
		}
	}
	if r.TaskID != "" && len(entries) > 0 {
		// Submit may have died between storing the task's id and owning it; with
		// neither ownership nor marker another run in doubt could adopt the task.
		if _, err := c.addOwnership(ctx, r.TaskID, run.Ownership{StartedBy: r.RunID, Evidence: r.Evidence, DeliveredBy: r.RunID}); err != nil {
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
