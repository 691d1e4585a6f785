package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/fanout"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

// get reads a JSON object of the state bucket into v; found is false if there is none.
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

// listKeys lists the objects below a prefix, at most `most`.
func (s *Runs) listKeys(ctx context.Context, prefix string, most int) ([]store.Entry, error) {
	var entries []store.Entry
	err := s.Store.List(ctx, prefix, "", func(e store.Entry) bool {
		entries = append(entries, e)
		return len(entries) < most
	})
	return entries, err
}

// EachNewestFirst calls each with the id and the cursor of every run in the index, the
// newest first, after the entry with the given cursor (empty: from the first), until
// each returns false.
func (s *Runs) EachNewestFirst(ctx context.Context, cursor string, each func(runID, cursor string) bool) error {
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

// PutProgress replaces the run's progress without a condition: if two calls write it,
// either is good.
func (s *Runs) PutProgress(ctx context.Context, p run.Progress) error {
	p.Fraction = math.Min(math.Max(p.Fraction, 0), 1)
	if math.IsNaN(p.Fraction) {
		p.Fraction = 0
	}
	return s.put(ctx, progressKey(p.RunID), p)
}

// Progress reads the run's progress; it is empty for a run that was never polled.
func (s *Runs) Progress(ctx context.Context, runID string) (run.Progress, error) {
	p := run.Progress{RunID: runID}
	if _, err := s.get(ctx, progressKey(runID), &p); err != nil {
		return run.Progress{RunID: runID}, err
	}
	return p, nil
}

// storedToken is the object wake/{run_id}.json.
type storedToken struct {
	Token string `json:"token"`
}

// PutTaskToken stores the task token that resumes a run which awaits a webhook. A later
// token replaces it.
func (s *Runs) PutTaskToken(ctx context.Context, runID, token string) error {
	return s.put(ctx, wakeKey(runID), storedToken{Token: token})
}

// TaskToken returns the run that delivers a task, and the last task token that was
// stored for it. Both are empty if no run of this stack delivers the task; the token is
// empty if the run never waited for a webhook.
func (s *Runs) TaskToken(ctx context.Context, taskID string) (runID, token string, err error) {
	o, found, err := s.OwnershipOf(ctx, taskID)
	if err != nil || !found || o.DeliveredBy == "" {
		return "", "", err
	}
	var p storedToken
	_, err = s.get(ctx, wakeKey(o.DeliveredBy), &p)
	return o.DeliveredBy, p.Token, err
}

// CopyState is the state of an output's copy: its multipart upload as far as it has
// come, or the finished output.
type CopyState struct {
	Checkpoint *transfer.Checkpoint `json:"checkpoint,omitempty"`
	Output     *run.Output          `json:"output,omitempty"`
	Life       int                  `json:"life,omitempty"` // the life of the run in which a call last saw the stored object
}

// PutCopyState stores how far the copy of an output has come.
func (s *Runs) PutCopyState(ctx context.Context, runID, outputID string, c CopyState) error {
	return s.put(ctx, copyKey(runID, outputID), c)
}

// CopyState reads how far the copy of an output has come; it is empty for one
// that has not begun.
func (s *Runs) CopyState(ctx context.Context, runID, outputID string) (CopyState, error) {
	var c CopyState
	_, err := s.get(ctx, copyKey(runID, outputID), &c)
	return c, err
}

// maxOutputs bounds the copies' states of one run that a close reads: 8 MiB of
// manifest have room for as many outputs.
const maxOutputs = 30_000

// clearDelivery deletes what only a run that copies or delivers needs: its copies'
// states, and its manifests in the state bucket, also those of calls that lost.
func (s *Runs) clearDelivery(ctx context.Context, runID string) error {
	for _, prefix := range []string{copyPrefix, manifestPrefix} {
		entries, err := s.listKeys(ctx, prefix+runID+"/", maxOutputs)
		if err != nil {
			return err
		}
		if err := s.deleteAll(ctx, entries); err != nil {
			return err
		}
	}
	return nil
}

// abortMultipartUploads aborts the multipart uploads of a stopped run, and deletes the states
// of their copies. A copy that stores a checkpoint later reads the record after it, finds
// the run closed, and aborts that upload itself.
func (s *Runs) abortMultipartUploads(ctx context.Context, r run.Record) error {
	entries, err := s.listKeys(ctx, copyPrefix+r.RunID+"/", maxOutputs)
	if err != nil {
		return err
	}
	if err := s.each(ctx, entries, func(ctx context.Context, e store.Entry) error {
		var c CopyState
		found, err := s.get(ctx, e.Key, &c)
		if err != nil || !found || c.Checkpoint == nil {
			return err
		}
		return transfer.Abort(ctx, s.OutputS3, r.Bucket, *c.Checkpoint)
	}); err != nil {
		return err
	}
	return s.deleteAll(ctx, entries)
}

func (s *Runs) deleteAll(ctx context.Context, entries []store.Entry) error {
	return s.each(ctx, entries, func(ctx context.Context, e store.Entry) error { return s.Store.Delete(ctx, e.Key) })
}

func (s *Runs) each(ctx context.Context, entries []store.Entry, do func(context.Context, store.Entry) error) error {
	return fanout.Each(ctx, max(1, s.Concurrency), len(entries), func(ctx context.Context, i int) error { return do(ctx, entries[i]) })
}
