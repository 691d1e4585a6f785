package handler

import (
	"context"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/doubt"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// reconcile finds out what became of a submission whose reply was lost. It returns a run
// with its task, or one that may submit again; SubmitInDoubt means that the step is to
// look again later, SubmitOutcomeUnknown that a person has to say what happened.
func (h *Handler) reconcile(ctx context.Context, r lifecycle.Run) (lifecycle.Run, error) {
	if d := r.Decision; d != nil && d.AttemptID == r.Submission.AttemptID {
		if d.NotStarted {
			return h.Runs.NotStarted(ctx, r)
		}
		return h.Runs.AttachTask(ctx, r, d.TaskID)
	}
	if err := h.Runs.AnnounceDoubt(ctx, r.Record); err != nil {
		return r, err
	}
	settled := r.Submission.PostUntil.Add(h.Waits.Settle)
	if now := r.Submission.ServerTime(h.Now()); now.Before(settled) {
		return r, named.Errorf(named.SubmitInDoubt, "the reply to the submission was lost; the task list is believed from %s on", settled.Format(time.RFC3339))
	}
	f, err := h.Doubts.Investigate(ctx, r.Record)
	if e, ok := named.As(err); ok {
		return r, e // the state bucket's, or the key's: retried, or to be redriven
	}
	if err != nil {
		e := cyberun.RemoteError("read the task list", err)
		if e.Name != named.Unavailable {
			return r, e // no waiting mends it; the mark stands, so a redrive looks first
		}
		// A list that cannot be read is an outage and no finding: it has twice the
		// patience, ten minutes, for which the state machine's tries last. A redrive may
		// come hours later: its patience begins anew.
		late := r.Submission.ServerTime(r.LifeStartedAt).Sub(r.Submission.PostUntil)
		if h.patient(r, 2*h.Waits.GiveUpAfter+max(0, late)) {
			return r, named.Errorf(named.SubmitInDoubt, "%s", e.Cause)
		}
		// Nobody has looked: close-run names the candidates once the list can be read.
		return r, named.Errorf(named.SubmitOutcomeUnknown, "the reply to the submission was lost, and which task it started, if any, could not be found out (%s)", e.Cause)
	}
	switch {
	case f.Verdict == doubt.Found: // an earlier call of this run knew that it is its task
		return h.Runs.AttachTask(ctx, r, f.TaskID)
	case h.DoubtPolicy == PolicyAsk:
		f.Why = "InDoubt=stop leaves it to a person"
		return r, h.leaveToPerson(ctx, r, f)
	case f.Verdict == doubt.OnlyCandidate && h.DoubtPolicy == PolicyAbsentOnly:
		f.Why = "InDoubt=absent-only leaves a candidate to a person"
		return r, h.leaveToPerson(ctx, r, f)
	case f.Verdict == doubt.OnlyCandidate:
		return h.Runs.AttachTask(ctx, r, f.TaskID)
	case f.Verdict == doubt.Absent:
		return h.confirmAbsence(ctx, r)
	case f.Verdict == doubt.Unclear && len(f.Candidates) > 0:
		return r, h.leaveToPerson(ctx, r, f)
	case f.NoWitness: // by then a task would be listed
		return r, h.lookAgain(ctx, r, f, h.Waits.Absence)
	}
	return r, h.lookAgain(ctx, r, f, h.Waits.GiveUpAfter)
}

// confirmAbsence needs two looks: a task that the list did not have yet would be paid
// twice.
func (h *Handler) confirmAbsence(ctx context.Context, r lifecycle.Run) (lifecycle.Run, error) {
	now, first := r.Submission.ServerTime(h.Now()), r.Submission.EmptyAt
	switch {
	case first.IsZero():
		attempt := r.Submission.AttemptID
		r, err := h.Runs.Note(ctx, r, func(rec *run.Record) {
			if rec.InDoubt() && rec.Submission.AttemptID == attempt {
				rec.Submission.EmptyAt = now.UTC()
			}
		})
		if err != nil {
			return r, err
		}
		return r, named.Errorf(named.SubmitInDoubt, "no task of this submission is listed; a second look follows")
	case now.Sub(first) < h.Waits.Between, now.Before(r.Submission.PostUntil.Add(h.Waits.Absence)):
		return r, named.Errorf(named.SubmitInDoubt, "no task of this submission was listed at %s; a second look follows", first.Format(time.RFC3339))
	}
	return h.Runs.NotStarted(ctx, r) // it never started: submit again
}

// lookAgain asks for another look, until a person has to be asked.
func (h *Handler) lookAgain(ctx context.Context, r lifecycle.Run, f doubt.Finding, patience time.Duration) error {
	if h.patient(r, patience) {
		return named.Errorf(named.SubmitInDoubt, "%s", f.Why)
	}
	return h.leaveToPerson(ctx, r, f)
}

// patient reports whether the outcome may still be found without a person.
func (h *Handler) patient(r lifecycle.Run, patience time.Duration) bool {
	return !r.Submission.ServerTime(h.Now()).After(r.Submission.PostUntil.Add(patience))
}

// leaveToPerson names the candidates to the person who has to decide.
func (h *Handler) leaveToPerson(ctx context.Context, r lifecycle.Run, f doubt.Finding) error {
	if err := h.Runs.LeaveToPerson(ctx, r, f.Candidates); err != nil {
		return err
	}
	return named.Errorf(named.SubmitOutcomeUnknown, "the reply to the submission was lost, and which task it started, if any, could not be found out (%s); candidates: %s%s",
		f.Why, lifecycle.CandidateIDs(f.Candidates), lastAnswer(r.Record))
}
