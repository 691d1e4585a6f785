package lifecycle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

// get reads a JSON object into v; found is false if there is none.
func (s *Runs) get(ctx context.Context, key string, v any) (found bool, err error) {
	object, err := s.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(object.Body, v); err != nil {
		return false, fmt.Errorf("s3://%s/%s cannot be read: %w", s.Store.Bucket, key, err)
	}
	return true, nil
}

func (s *Runs) put(ctx context.Context, key string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.Store.Put(ctx, key, body)
}

// listKeys lists at most `most` keys below a prefix.
func (s *Runs) listKeys(ctx context.Context, prefix, after string, most int) ([]store.Entry, error) {
	var entries []store.Entry
	err := s.Store.List(ctx, prefix, after, func(e store.Entry) bool {
		entries = append(entries, e)
		return len(entries) < most
	})
	return entries, err
}

const (
	indexPrefix = "index/"
	// latestMillis is the year 2286: 13 digits until then.
	latestMillis = 9999999999999
)

// newestFirst turns a time into a key element that sorts newest first, since S3
// lists in ascending order only.
func newestFirst(t time.Time) string { return fmt.Sprintf("%013d", latestMillis-t.UnixMilli()) }

func indexKey(r run.Record) string { return indexPrefix + CursorOf(r) }

// CursorOf returns a run's place in the list of runs. Two callers may see start
// times that differ by milliseconds and write two entries; the one that does not
// match the record is stale and is to be skipped.
func CursorOf(r run.Record) string { return newestFirst(r.StartedAt) + "-" + r.RunID }

// Newest calls each with the ids of the runs, the newest first, from after a
// cursor on (empty: the first), until each returns false. Each id comes with its
// own cursor.
func (s *Runs) Newest(ctx context.Context, cursor string, each func(runID, cursor string) bool) error {
	after := ""
	if cursor != "" {
		after = indexPrefix + cursor
	}
	return s.Store.List(ctx, indexPrefix, after, func(e store.Entry) bool {
		cursor := strings.TrimPrefix(e.Key, indexPrefix)
		_, runID, _ := strings.Cut(cursor, "-")
		return each(runID, cursor)
	})
}

func progressKey(runID string) string { return "progress/" + runID + ".json" }

// PutProgress rewrites the run's progress: of two writers the later one is right
// enough, so there is no condition.
func (s *Runs) PutProgress(ctx context.Context, p run.Progress) error {
	p.Progress = math.Min(math.Max(p.Progress, 0), 1)
	if math.IsNaN(p.Progress) {
		p.Progress = 0
	}
	return s.put(ctx, progressKey(p.RunID), p)
}

// Progress reads the run's progress; of a run that was never polled it is empty.
func (s *Runs) Progress(ctx context.Context, runID string) (run.Progress, error) {
	p := run.Progress{RunID: runID}
	if _, err := s.get(ctx, progressKey(runID), &p); err != nil {
		return run.Progress{RunID: runID}, err
	}
	return p, nil
}

func wakeKey(runID string) string { return "wake/" + runID + ".json" }

type parked struct {
	Token string `json:"token"`
}

// PutToken keeps the task token that resumes a run; a later one replaces it.
func (s *Runs) PutToken(ctx context.Context, runID, token string) error {
	return s.put(ctx, wakeKey(runID), parked{Token: token})
}

// TokenOfTask returns the run that delivers a task and the last task token it
// kept; both are empty if no run of this stack has the task, and the token if
// the run never awaited a webhook.
func (s *Runs) TokenOfTask(ctx context.Context, taskID string) (runID, token string, err error) {
	o, found, err := s.OwnershipOf(ctx, taskID)
	if err != nil || !found || o.DeliveredBy == "" {
		return "", "", err
	}
	var p parked
	_, err = s.get(ctx, wakeKey(o.DeliveredBy), &p)
	return o.DeliveredBy, p.Token, err
}

const copyPrefix = "copies/"

func copyKey(runID, outputID string) string {
	sum := sha256.Sum256([]byte(outputID)) // the id is the remote's word, and no key
	return copyPrefix + runID + "/" + hex.EncodeToString(sum[:16]) + ".json"
}

// Checkpoint is what is stored of an output's copy: where its multipart upload
// stands, or what the finished object is.
type Checkpoint struct {
	Upload *transfer.Checkpoint `json:"checkpoint,omitempty"`
	Output *run.Output          `json:"output,omitempty"`
}

// PutCheckpoint stores how far the copy of an output has come.
func (s *Runs) PutCheckpoint(ctx context.Context, runID, outputID string, c Checkpoint) error {
	return s.put(ctx, copyKey(runID, outputID), c)
}

// Checkpoint reads how far the copy of an output has come; it is empty for one
// that has not begun.
func (s *Runs) Checkpoint(ctx context.Context, runID, outputID string) (Checkpoint, error) {
	var c Checkpoint
	_, err := s.get(ctx, copyKey(runID, outputID), &c)
	return c, err
}

// maxOutputs bounds the checkpoints of one run that a close reads: 8 MiB of
// manifest have room for as many outputs.
const maxOutputs = 30_000

// clearCheckpoints deletes the checkpoints of a run.
func (s *Runs) clearCheckpoints(ctx context.Context, runID string) error {
	entries, err := s.listKeys(ctx, copyPrefix+runID+"/", "", maxOutputs)
	if err != nil {
		return err
	}
	return s.deleteAll(ctx, entries)
}

// abortUploads ends the multipart uploads of a run that nothing will go on with,
// then forgets them. A copy that stores another checkpoint reads the record
// after it, finds it closed, and aborts that upload itself.
func (s *Runs) abortUploads(ctx context.Context, r run.Record) error {
	entries, err := s.listKeys(ctx, copyPrefix+r.RunID+"/", "", maxOutputs)
	if err != nil {
		return err
	}
	for _, e := range entries {
		var c Checkpoint
		if found, err := s.get(ctx, e.Key, &c); err != nil {
			return err
		} else if found && c.Upload != nil {
			if err := transfer.Abort(ctx, s.Outputs, r.Bucket, *c.Upload); err != nil {
				return err
			}
		}
	}
	return s.deleteAll(ctx, entries)
}

func (s *Runs) deleteAll(ctx context.Context, entries []store.Entry) error {
	for _, e := range entries {
		if err := s.Store.Delete(ctx, e.Key); err != nil {
			return err
		}
	}
	return nil
}
