package handler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

// reconcile finds out what became of a submission whose reply was lost. It
// returns a record with its task, or one that may submit again; an error
// SubmitInDoubt means: look again later.
func (h *Handler) reconcile(ctx context.Context, record run.Record) (run.Record, error) {
	submission := *record.Submission
	// A redrive comes after the close took the marker: others must see it again.
	if err := h.Records.PutMarker(ctx, record.WorkflowID, submission.Marker(record.RunID)); err != nil {
		return record, err
	}
	found, now, err := h.candidates(ctx, record)
	if errors.Is(err, errUnreadable) {
		return record, h.unknown(ctx, record, nil, err.Error())
	}
	if err != nil {
		e := cyberun.RemoteError("read the task list", err)
		if e.Name == named.Unauthorized || e.Name == named.FeatureNotLicensed {
			return record, e // no waiting mends it; the mark stands, so a redrive looks first
		}
		return h.stillInDoubt(ctx, record, h.Now(), nil, e.Cause)
	}
	if now.Before(submission.PostUntil.Add(h.Waits.Settle)) {
		return record, named.Errorf(named.SubmitInDoubt, "the reply to the submission was lost; the task list is believed from %s on", submission.PostUntil.Add(h.Waits.Settle).Format(time.RFC3339))
	}
	// The list first, then the markers, then the claims: a run that settles
	// claims its task before its markers go, so it is seen in one of the two.
	markers, err := h.Records.Markers(ctx, record.WorkflowID)
	if err != nil {
		return record, err
	}
	for i := range found {
		if err := h.owner(ctx, &found[i]); err != nil {
			return record, err
		}
	}
	verdict, ids := run.Judge(record.RunID, found, markers)
	switch {
	case h.InDoubtStop:
		return record, h.unknown(ctx, record, ids, "InDoubt=stop")
	case verdict == run.Ours:
		return h.adopt(ctx, record, ids[0])
	case verdict == run.Absent:
		return h.absent(ctx, record, now)
	case verdict == run.Rivals:
		return h.stillInDoubt(ctx, record, now, ids, "other runs of the workflow are in doubt as well")
	}
	return record, h.unknown(ctx, record, ids, fmt.Sprintf("%d tasks could be this run's", len(ids)))
}

// owner finds the run that has a task. What a run could only name as a candidate,
// be it this one, is a person's to choose: another run in doubt at that time may
// have ended since without a trace, and the task may be its. Nor does a rescue say
// who started a task that nobody had claimed.
func (h *Handler) owner(ctx context.Context, c *run.Candidate) error {
	claim, err := h.Records.ClaimOf(ctx, c.TaskID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	case claim.Candidate || claim.Rescued:
		c.Disputed = true
	default:
		c.Owner = claim.RunID
	}
	return nil
}

// adopt claims before it records: of two runs that would adopt one task, the
// claim lets one through.
func (h *Handler) adopt(ctx context.Context, record run.Record, taskID string) (run.Record, error) {
	claim, err := h.Records.Claim(ctx, taskID, store.Claim{RunID: record.RunID})
	if err != nil {
		return record, err
	}
	if claim != (store.Claim{RunID: record.RunID}) {
		return record, named.Errorf(named.SubmitInDoubt, "the task %s was claimed by the run %s just now", taskID, claim.RunID)
	}
	return h.store(ctx, record.RunID, taskID, func(r *run.Record) { r.Adopted = true })
}

// absent needs two looks: a task that the list did not have yet would be paid
// twice.
func (h *Handler) absent(ctx context.Context, record run.Record, now time.Time) (run.Record, error) {
	first := record.Submission.EmptyAt
	if !first.IsZero() && now.Sub(first) < h.Waits.Between {
		return record, named.Errorf(named.SubmitInDoubt, "no task of this submission was listed at %s; a second look follows", first.Format(time.RFC3339))
	}
	looked, err := h.Records.Update(ctx, record.RunID, func(r *run.Record) error {
		switch {
		case r.Submission == nil || r.Submission.Attempt != record.Submission.Attempt:
			return errMarked
		case first.IsZero():
			r.Submission.EmptyAt = now
		default:
			r.Submission = nil // it never started: submit again
		}
		return nil
	})
	switch {
	case errors.Is(err, errMarked):
		return looked, named.Errorf(named.SubmitInDoubt, "%w", err)
	case err != nil:
		return looked, err
	case first.IsZero():
		return looked, named.Errorf(named.SubmitInDoubt, "no task of this submission is listed; a second look follows")
	}
	// Its window is done with: left there it would hold up other runs' doubts.
	if err := h.Records.ClearMarker(ctx, record.WorkflowID, record.RunID, record.Submission.Attempt); err != nil {
		return looked, err
	}
	if looked.Stopping() {
		return looked, stopped(looked)
	}
	return looked, nil
}

// stillInDoubt asks for another look, until a person has to be asked.
func (h *Handler) stillInDoubt(ctx context.Context, record run.Record, now time.Time, ids []string, why string) (run.Record, error) {
	if now.After(record.Submission.PostUntil.Add(h.Waits.Patience)) {
		return record, h.unknown(ctx, record, ids, why)
	}
	return record, named.Errorf(named.SubmitInDoubt, "%s", why)
}

// unknown names the candidates and keeps every other run from adopting one: it
// may be this run's.
func (h *Handler) unknown(ctx context.Context, record run.Record, ids []string, why string) error {
	for _, id := range ids {
		if _, err := h.Records.Claim(ctx, id, store.Claim{RunID: record.RunID, Candidate: true}); err != nil {
			return err
		}
	}
	if _, err := h.Records.Update(ctx, record.RunID, func(r *run.Record) error {
		r.Candidates = ids
		return nil
	}); err != nil {
		return err
	}
	candidates := "none was found"
	if len(ids) > 0 {
		candidates = strings.Join(ids, ", ")
	}
	return named.Errorf(named.SubmitOutcomeUnknown, "the reply to the submission was lost and its task could not be told (%s); candidates: %s", why, candidates)
}
