package lifecycle

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// NameCandidates writes the candidates of a run that closed in doubt to its record and
// its error.json, and to the ownership of each: from then on no run adopts or cancels
// one unless a receipt or a person says whose it is.
func (c Closer) NameCandidates(ctx context.Context, r Run, candidates []run.Candidate) error {
	if err := c.ownCandidates(ctx, r.RunID, candidates); err != nil {
		return err
	}
	life, now := r.Life, c.Now().UTC()
	r, _, err := c.update(ctx, r, onAmend, func(rec *run.Record) error {
		if rec.Life != life || rec.Status.Open() || !rec.InDoubt() {
			return nil
		}
		rec.Candidates, rec.CandidatesAt = candidates, now
		if rec.Error != nil {
			said, _, _ := strings.Cut(rec.Error.Cause, "; candidates: ")
			rec.Error.Cause = said + "; candidates: " + CandidateIDs(candidates)
		}
		return nil
	})
	if err != nil || r.Life != life || r.Status.Open() {
		return err
	}
	if err := c.RepairError(ctx, r.RunID); err != nil || !r.InDoubt() {
		return err // a receipt came after all, and leaves work of its own
	}
	return c.markCleanedUp(ctx, r)
}

// LeaveToPerson writes the candidates of an open run, about whose submission a person
// has to decide, to its record and to the ownership of each: from then on no other run
// adopts one unless a receipt or a person says that it is that run's.
func (s *Runs) LeaveToPerson(ctx context.Context, r Run, candidates []run.Candidate) error {
	if err := s.ownCandidates(ctx, r.RunID, candidates); err != nil {
		return err
	}
	now := s.Now().UTC()
	_, err := s.Note(ctx, r, func(rec *run.Record) {
		if rec.InDoubt() {
			rec.Candidates, rec.CandidatesAt = candidates, now
		}
	})
	return err
}

// ownCandidates notes in the ownership of each candidate that it may be the run's:
// from then on no other run adopts it, and a person decides.
func (s *Runs) ownCandidates(ctx context.Context, runID string, candidates []run.Candidate) error {
	for _, c := range candidates {
		if _, err := s.addOwnership(ctx, c.TaskID, run.Ownership{StartedBy: runID, Evidence: run.AsCandidate}); err != nil {
			return err
		}
	}
	return nil
}

// CandidateIDs returns the ids of candidates with commas, or "none was found", for a
// message.
func CandidateIDs(candidates []run.Candidate) string {
	if len(candidates) == 0 {
		return "none was found"
	}
	ids := make([]string, len(candidates))
	for i, c := range candidates {
		ids[i] = c.TaskID
	}
	return strings.Join(ids, ", ")
}

// inDoubtFrom begins what doubtText says.
const inDoubtFrom = "a submission was in doubt from "

// outOfDoubt returns the error of a run that closed in doubt and whose receipt came
// after that: nothing is left for a person to decide.
func outOfDoubt(r run.Record) *named.Error {
	e := *r.Error
	e.Cause, _, _ = strings.Cut(e.Cause, "; "+inDoubtFrom)
	if r.Status == run.Cancelled {
		e.Cause += "; " + r.Cancel.Text(r.TaskID)
		return &e
	}
	e.Cause += "; its receipt came after that: the task " + r.TaskID + " is this run's"
	e.Hint = "redrive the run: it delivers its task, and pays nothing more"
	return &e
}

// doubtText says when and under which workflow a task of a run in doubt may have been
// created, and which tasks were found.
func doubtText(r run.Record) string {
	said := fmt.Sprintf(inDoubtFrom+"%s to %s: a task of the workflow %s created then may be this run's and was not cancelled",
		r.Submission.MarkedAt.Format(time.RFC3339), r.Submission.PostUntil.Format(time.RFC3339), r.Workflow)
	if len(r.Candidates) > 0 {
		said += "; candidates: " + CandidateIDs(r.Candidates)
	}
	return said
}
