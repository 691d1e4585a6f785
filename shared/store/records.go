package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// Keys of the state bucket. README and ADR 1 show them as a table.
const (
	recordPrefix   = "runs/"       // {run_id}.json: the record
	openPrefix     = "open/"       // {run_id}: there while the record is open, for the sweep
	indexPrefix    = "index/"      // {newest first}-{run_id}: for GET /runs
	progressPrefix = "progress/"   // {run_id}.json
	claimPrefix    = "tasks/"      // {task_id} → run id
	markerPrefix   = "submitting/" // {workflow_id}/{run_id}/{attempt}
)

func recordKey(runID string) string { return recordPrefix + runID + ".json" }

// indexKey sorts newest first, since S3 lists in ascending order only.
func indexKey(r run.Record) string {
	return fmt.Sprintf("%s%013d-%s", indexPrefix, latestMillis-r.StartedAt.UnixMilli(), r.RunID)
}

// CursorOf is a run's place in the list. An index entry elsewhere was left by a
// writer that had another account of the execution's start, and lost.
func CursorOf(r run.Record) string { return strings.TrimPrefix(indexKey(r), indexPrefix) }

// latestMillis is the year 2286: 13 digits until then.
const latestMillis = 9999999999999

// Create claims a run: of all who try, one is not told ErrExists. The open
// marker and the index entry come first, so that no record is ever without
// them; an open marker left behind by a lost race is cleared by the sweep, and
// an index entry without a record is passed over.
func (s *Store) Create(ctx context.Context, r run.Record) (run.Record, error) {
	if r.Nonce == "" {
		r.Nonce = s.nonce()
	}
	body, err := marshal(r)
	if err != nil {
		return r, err
	}
	if r.Status.Open() {
		if err := s.write(ctx, openPrefix+r.RunID, nil, condition{}); err != nil {
			return r, err
		}
	}
	if err := s.write(ctx, indexKey(r), nil, condition{}); err != nil {
		return r, err
	}
	return r, s.create(ctx, recordKey(r.RunID), body)
}

// Get reads a run's record.
func (s *Store) Get(ctx context.Context, runID string) (run.Record, error) {
	r, _, err := s.get(ctx, runID)
	return r, err
}

func (s *Store) get(ctx context.Context, runID string) (run.Record, string, error) {
	var r run.Record
	body, etag, err := s.read(ctx, recordKey(runID))
	if err != nil {
		return r, "", err
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return r, "", fmt.Errorf("s3://%s/%s is not a record: %w", s.Bucket, recordKey(runID), err)
	}
	return r, etag, nil
}

// Update changes a record as it stands now: change sees the newest one, may
// refuse it with an error, and is called again when another writer was faster.
// It must be a function of the record alone.
func (s *Store) Update(ctx context.Context, runID string, change func(*run.Record) error) (run.Record, error) {
	var written run.Record
	err := retryConflicts(ctx, func() error {
		current, etag, err := s.get(ctx, runID)
		if err != nil {
			return err
		}
		if written.Nonce != "" && current.Nonce == written.Nonce {
			return nil // our own write had succeeded; only its reply was lost
		}
		written = current
		if err := change(&written); err != nil {
			return err
		}
		written.Nonce = s.nonce()
		body, err := marshal(written)
		if err != nil {
			return err
		}
		return s.write(ctx, recordKey(runID), body, condition{etag: etag})
	})
	return written, err
}

// MarkOpen puts the open marker back, for a run that a redrive reopened.
func (s *Store) MarkOpen(ctx context.Context, runID string) error {
	return s.write(ctx, openPrefix+runID, nil, condition{})
}

// ClearOpen takes it away, after the record was closed.
func (s *Store) ClearOpen(ctx context.Context, runID string) error {
	return s.delete(ctx, openPrefix+runID)
}

// OpenRuns lists the runs whose records are, or were a moment ago, open.
func (s *Store) OpenRuns(ctx context.Context, each func(runID string) bool) error {
	return s.list(ctx, openPrefix, "", func(key string) bool { return each(strings.TrimPrefix(key, openPrefix)) })
}

// Newest lists run ids, the newest first, from after a cursor on (empty: the
// first). Each is told its own cursor.
func (s *Store) Newest(ctx context.Context, cursor string, each func(runID, cursor string) bool) error {
	after := ""
	if cursor != "" {
		after = indexPrefix + cursor
	}
	return s.list(ctx, indexPrefix, after, func(key string) bool {
		cursor := strings.TrimPrefix(key, indexPrefix)
		_, runID, _ := strings.Cut(cursor, "-")
		return each(runID, cursor)
	})
}

// PutProgress rewrites the run's progress: of two writers the later one is
// right enough, so there is no condition.
func (s *Store) PutProgress(ctx context.Context, p run.Progress) error {
	p.Progress = math.Min(math.Max(p.Progress, 0), 1)
	if math.IsNaN(p.Progress) {
		p.Progress = 0
	}
	body, err := marshal(p)
	if err != nil {
		return err
	}
	return s.write(ctx, progressPrefix+p.RunID+".json", body, condition{})
}

// Progress reads it; a run that was never polled has none, which is no error.
func (s *Store) Progress(ctx context.Context, runID string) (run.Progress, error) {
	p := run.Progress{RunID: runID}
	body, _, err := s.read(ctx, progressPrefix+runID+".json")
	if errors.Is(err, ErrNotFound) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return run.Progress{RunID: runID}, fmt.Errorf("progress of %s: %w", runID, err)
	}
	return p, nil
}
