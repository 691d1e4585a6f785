package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// Claim says which run a task belongs to.
type Claim struct {
	RunID string `json:"run_id"`
	// Candidate: the run could not tell whether the task is its own. Nobody may
	// adopt it; a person may rescue it.
	Candidate bool `json:"candidate,omitempty"`
	// Rescued: a person gave the task to the run, and nobody was sure who had
	// started it. To a run in doubt it is no proof that its own never started.
	Rescued bool `json:"rescued,omitempty"`
}

// Claim makes a task the run's own. It returns the claim that stands: another's,
// if that was there first.
func (s *Store) Claim(ctx context.Context, taskID string, c Claim) (Claim, error) {
	body, err := marshal(c)
	if err != nil {
		return c, err
	}
	err = s.create(ctx, claimPrefix+taskID, body)
	if errors.Is(err, ErrExists) {
		return s.ClaimOf(ctx, taskID)
	}
	return c, err
}

// ClaimOf reads who has a task; ErrNotFound: nobody.
func (s *Store) ClaimOf(ctx context.Context, taskID string) (Claim, error) {
	c, _, err := s.claimOf(ctx, taskID)
	return c, err
}

func (s *Store) claimOf(ctx context.Context, taskID string) (Claim, string, error) {
	var c Claim
	body, etag, err := s.read(ctx, claimPrefix+taskID)
	if err != nil {
		return c, "", err
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return c, "", fmt.Errorf("claim of task %s: %w", taskID, err)
	}
	return c, etag, nil
}

// TakeOver moves a task from a run that has ended to another. It fails with
// ErrExists when a third one was faster.
func (s *Store) TakeOver(ctx context.Context, taskID string, from, to Claim) error {
	body, err := marshal(to)
	if err != nil {
		return err
	}
	err = retryConflicts(ctx, func() error {
		stands, etag, err := s.claimOf(ctx, taskID)
		switch {
		case err != nil:
			return err
		case stands == to:
			return nil
		case stands != from:
			return ErrExists
		}
		return s.write(ctx, claimPrefix+taskID, body, condition{etag: etag})
	})
	return err
}

// PutMarker says that a run is about to submit to a workflow. Each attempt has
// its own: of two live calls of one step, neither can write over the window that
// the other's task may lie in, nor take it away.
func (s *Store) PutMarker(ctx context.Context, workflowID string, m run.Marker) error {
	body, err := marshal(m)
	if err != nil {
		return err
	}
	return s.write(ctx, markersOf(workflowID, m.RunID)+m.Attempt, body, condition{})
}

// ClearMarker takes one attempt's away; one that is not there is no error.
func (s *Store) ClearMarker(ctx context.Context, workflowID, runID, attempt string) error {
	return s.delete(ctx, markersOf(workflowID, runID)+attempt)
}

// ClearMarkers takes all of a run's away, once no attempt of it can post any more.
func (s *Store) ClearMarkers(ctx context.Context, workflowID, runID string) error {
	var keys []string
	if err := s.list(ctx, markersOf(workflowID, runID), "", func(key string) bool {
		keys = append(keys, key)
		return true
	}); err != nil {
		return err
	}
	for _, key := range keys {
		if err := s.delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// maxMarkers bounds how many runs of one workflow can be submitting at once:
// Lambda's default concurrency in an account.
const maxMarkers = 1000

// Markers reads all of a workflow's.
func (s *Store) Markers(ctx context.Context, workflowID string) ([]run.Marker, error) {
	var keys []string
	if err := s.list(ctx, markersIn(workflowID), "", func(key string) bool {
		keys = append(keys, key)
		return len(keys) <= maxMarkers
	}); err != nil {
		return nil, err
	}
	if len(keys) > maxMarkers {
		return nil, fmt.Errorf("more than %d runs of workflow %s are submitting at once", maxMarkers, workflowID)
	}
	var markers []run.Marker
	for _, key := range keys {
		body, _, err := s.read(ctx, key)
		if errors.Is(err, ErrNotFound) {
			continue // resolved since it was listed: its claim is there by now
		}
		if err != nil {
			return nil, err
		}
		var m run.Marker
		if err := json.Unmarshal(body, &m); err != nil {
			return nil, fmt.Errorf("marker %s: %w", key, err)
		}
		markers = append(markers, m)
	}
	return markers, nil
}

// AllMarkers lists workflow and run of every marker, for the sweep.
func (s *Store) AllMarkers(ctx context.Context, each func(workflowID, runID string) bool) error {
	return s.list(ctx, markerPrefix, "", func(key string) bool {
		escaped, rest, _ := strings.Cut(strings.TrimPrefix(key, markerPrefix), "/")
		runID, _, _ := strings.Cut(rest, "/")
		workflowID, err := url.PathUnescape(escaped)
		return err != nil || each(workflowID, runID)
	})
}

// markersIn escapes the id, which is the remote's word: a '/' in it would make a
// marker that no list of its workflow finds.
func markersIn(workflowID string) string { return markerPrefix + url.PathEscape(workflowID) + "/" }

func markersOf(workflowID, runID string) string { return markersIn(workflowID) + runID + "/" }
