package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
)

// writeError writes error.json for a record that is about to be closed with r.Error,
// and sets r.ErrorKey. A bucket that refuses it does not keep the run open: r.Error
// then says so.
//
// A further object of the relay's own needs its name in safeID of shared/run and
// in ownOutput of functions/api/handler, its removal in removeError (and, for its own
// key, in closeRecorded, which removes what a lost close wrote), and the rights that
// error.json has in template.yaml. Written here, it is also repaired with error.json: see
// RepairError.
func (s *Runs) writeError(ctx context.Context, r *run.Record) error {
	if r.Prefix == "" {
		return nil
	}
	key := r.KeyPrefix() + run.ErrorName
	if shared, err := s.sharesPrefix(ctx, *r); err != nil || shared {
		return err
	}
	body, err := json.MarshalIndent(run.Failure{RunID: r.RunID, TaskID: r.TaskID, Error: r.Error, Candidates: r.Candidates, ExtraTasks: r.ExtraTasks}, "", "  ")
	if err != nil {
		return err
	}
	err = s.writeOutput(ctx, *r, key, append(body, '\n'))
	if e, ok := named.As(err); ok && e.Name == named.OutputBucketRefused {
		noted := *r.Error
		noted.Cause += "; error.json was not written: " + e.Cause
		r.Error = &noted
		return nil
	}
	if err == nil {
		r.ErrorKey = key
	}
	return err
}

// sharesPrefix reports whether another run that took over the task delivers it under
// the same prefix: an error.json there would stand beside that run's manifest.
func (s *Runs) sharesPrefix(ctx context.Context, r run.Record) (bool, error) {
	if r.TaskID == "" || strings.Contains(r.Prefix, r.RunID) {
		return false, nil
	}
	o, found, err := s.OwnershipOf(ctx, r.TaskID)
	if err != nil || !found || o.DeliveredBy == "" || o.DeliveredBy == r.RunID {
		return false, err
	}
	other, err := s.Get(ctx, o.DeliveredBy)
	if errors.Is(err, ErrNoRecord) {
		return false, nil
	}
	return err == nil && other.Bucket == r.Bucket && other.KeyPrefix() == r.KeyPrefix(), err
}

// RepairError makes error.json agree with the record, since a close that died or came too
// late may have written one: it removes that of a run that is delivering or has
// succeeded, and writes the record's own error if the run is closed with one. It does
// nothing for an open run that is not delivering: a close writes error.json before it closes
// the record, and to remove the file in between would leave a failed run without one. Once
// delivering has begun, a close can fail the run only because the bucket refuses the
// manifest, and that close writes error.json after the record. It needs OutputS3.
func (s *Runs) RepairError(ctx context.Context, runID string) error {
	r, err := s.Get(ctx, runID)
	for range maxTurns {
		record := r.Record
		switch {
		case errors.Is(err, ErrNoRecord):
			return nil
		case err != nil:
			return err
		case r.Status == run.Succeeded:
			return s.removeError(ctx, record)
		case r.Status == run.Delivering:
			err = s.removeError(ctx, record)
		case r.Status.Open() || r.Error == nil:
			return nil
		default:
			err = s.writeError(ctx, &record)
		}
		if err != nil {
			return err
		}
		if r, err = s.Get(ctx, runID); err == nil && r.WriteID == record.WriteID {
			return nil
		}
	}
	return named.Errorf(named.Unavailable, "the record of the run %s changed %d times while its error.json was repaired", runID, maxTurns)
}

// removeError deletes the error.json of a run. There may be two keys: the prefix of a
// run that closed before it had its task is another one than afterwards.
func (s *Runs) removeError(ctx context.Context, r run.Record) error {
	if r.Prefix == "" {
		return nil
	}
	keys := []string{r.KeyPrefix() + run.ErrorName}
	if r.ErrorKey != "" && r.ErrorKey != keys[0] {
		keys = append(keys, r.ErrorKey)
	}
	for _, key := range keys {
		if err := s.removeErrorAt(ctx, r.Bucket, key); err != nil {
			return err
		}
	}
	return nil
}

func (s *Runs) removeErrorAt(ctx context.Context, bucket, key string) error {
	_, err := s.OutputS3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
	if _, refused := s3errors.RefusedByBucket(err); err == nil || refused { // it cannot have been written either
		return nil
	}
	return named.Errorf(named.Unavailable, "S3 could not remove s3://%s/%s: %w", bucket, key, err)
}
