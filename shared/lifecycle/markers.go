package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

const (
	// doubtLasts is how long a doubt holds up other runs of the workflow. By then
	// it is decided, or left to a person: reconcile in functions/submit/handler gives
	// it Waits.GiveUpAfter after its POST, and twice that while the list cannot be read.
	// Markers reads as far back. ADR 1, docs/lost-replies.md and the explorer's
	// judge_test.go say the same ten minutes.
	doubtLasts = 10 * time.Minute
	// maxMarkers bounds the markers read for one doubt: as many runs of one
	// workflow can be submitting at once as an account runs Lambdas.
	maxMarkers = 1000
	// maxOldMarkers bounds the markers listed for one doubt. A run that closes in
	// doubt leaves its own for 90 days.
	maxOldMarkers = 20_000
)

// clearMarkers deletes all markers of a run that has its task, and its doubt: no
// attempt of the run can post any more.
func (s *Runs) clearMarkers(ctx context.Context, r run.Record) error {
	entries, err := s.markersOf(ctx, r)
	if err != nil {
		return err
	}
	if err := s.deleteAll(ctx, entries); err != nil {
		return err
	}
	return s.withdrawDoubt(ctx, r)
}

// AnnounceDoubt announces to the other runs of the workflow that r, which has a
// submission, does not know the outcome of its POST. None of them begins a POST until
// that is known or ten minutes have passed (see OtherInDoubt), so that a single lost
// reply leaves one candidate. It may be repeated.
func (s *Runs) AnnounceDoubt(ctx context.Context, r run.Record) error {
	body, err := json.Marshal(r.Submission.Marker(r.RunID))
	if err != nil {
		return err
	}
	// Created, not rewritten: its age is that of the doubt.
	_, err = s.Store.Create(ctx, doubtsIn(r.WorkflowID)+r.RunID, body)
	if errors.Is(err, store.ErrExists) {
		return nil
	}
	return err
}

// withdrawDoubt removes what AnnounceDoubt wrote.
func (s *Runs) withdrawDoubt(ctx context.Context, r run.Record) error {
	if r.WorkflowID == "" || r.Posts == 0 {
		return nil
	}
	return s.Store.Delete(ctx, doubtsIn(r.WorkflowID)+r.RunID)
}

// OtherInDoubt returns the id of another run of the workflow that announced a doubt
// less than ten minutes ago; empty if there is none.
func (s *Runs) OtherInDoubt(ctx context.Context, workflowID, runID string) (string, error) {
	other := ""
	err := s.Store.List(ctx, doubtsIn(workflowID), "", func(e store.Entry) bool {
		id := strings.TrimPrefix(e.Key, doubtsIn(workflowID))
		if id != runID && s.Now().Sub(e.Modified) < doubtLasts {
			other = id
		}
		return other == ""
	})
	return other, err
}

// Markers reads the markers of a workflow, without those that were last written more than
// ten minutes before since. since is a time by the relay's clock. It fails if there are
// too many to read.
func (s *Runs) Markers(ctx context.Context, workflowID string, since time.Time) ([]run.Marker, error) {
	listed, recent := 0, []string(nil)
	if err := s.Store.List(ctx, markersIn(workflowID), "", func(e store.Entry) bool {
		listed++
		if e.Modified.IsZero() || !e.Modified.Before(since.Add(-doubtLasts)) {
			recent = append(recent, e.Key)
		}
		return listed <= maxOldMarkers && len(recent) <= maxMarkers
	}); err != nil {
		return nil, err
	}
	if listed > maxOldMarkers {
		return nil, fmt.Errorf("more than %d markers of the workflow %s are kept", maxOldMarkers, workflowID)
	}
	if len(recent) > maxMarkers {
		return nil, fmt.Errorf("more than %d runs of the workflow %s are submitting at once", maxMarkers, workflowID)
	}
	var markers []run.Marker
	for _, key := range recent {
		var m run.Marker
		// One that is gone was resolved since it was listed: its ownership is there by now.
		if found, err := s.get(ctx, key, &m); err != nil {
			return nil, err
		} else if found {
			markers = append(markers, m)
		}
	}
	return markers, nil
}

// MayHavePosted reports whether the submission that a marker announces may have
// started a task by now. A call posts only after its run's record has the attempt,
// and the record keeps that until it has the task, or it is known that there is
// none. So a marker whose attempt its record does not have, while it has no task
// either, started nothing: its call died, or was refused, between the two. Such a
// marker of a run that was stopped before its first POST stays until it expires,
// since only the record says under which workflow a run's markers are.
func (s *Runs) MayHavePosted(ctx context.Context, m run.Marker) (bool, error) {
	r, err := s.Get(ctx, m.RunID)
	if errors.Is(err, ErrNoRecord) {
		return true, nil // nothing tells
	}
	if err != nil {
		return false, err
	}
	return r.TaskID != "" || r.Submission != nil && r.Submission.AttemptID == m.AttemptID, nil
}
