package lifecycle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

// StartCopy notes in the record that copy-result is about to copy the outputs. It
// returns a run that has succeeded as it is, and finishes a delivery that an earlier
// call began. It returns RunCancelled for a run that was stopped and is not closed yet,
// Superseded for a call of an earlier life or of a run that is closed as failed or
// cancelled, and OutputBucketRefused as Deliver does. It needs OutputS3.
func (s *Runs) StartCopy(ctx context.Context, r Run) (Run, error) {
	now := s.Now().UTC()
	r, cell, err := s.update(ctx, r, onCopy, func(rec *run.Record) error {
		if rec.CopyStartedAt.IsZero() {
			rec.CopyStartedAt = now
		}
		rec.CopyCalls++
		return nil
	})
	if err == nil && cell.Then&doFinish != 0 {
		return s.finishDelivery(ctx, r)
	}
	return r, err
}

// Deliver stores the manifest's bytes in the state bucket, then sets the record's status
// to Delivering. From that write on the run cannot be stopped, and any call can do the
// rest, which Deliver does at once: it writes the manifest and closes the run as
// succeeded. It returns RunCancelled for a run that was stopped before and is not closed
// yet, Superseded for a call of an earlier life or of a run that is closed as failed or
// cancelled, and OutputBucketRefused if the bucket does not take the manifest. It needs
// OutputS3.
func (s *Runs) Deliver(ctx context.Context, r Run, manifest run.Manifest) (Run, error) {
	body, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return r, err
	}
	fixed := manifestBodyKey(r.RunID, s.NewID())
	if err := s.Store.Put(ctx, fixed, append(body, '\n')); err != nil {
		return r, err
	}
	key := r.KeyPrefix() + run.ManifestName
	r, _, err = s.update(ctx, r, onDeliver, func(rec *run.Record) error {
		rec.ManifestKey, rec.ManifestBodyKey = key, fixed
		return nil
	})
	if err != nil {
		return r, err
	}
	return s.finishDelivery(ctx, r)
}

// finishDelivery does the rest of a delivery: it writes the manifest's bytes to the
// output bucket, removes an error.json, and closes the record as succeeded. It may be
// repeated, and several callers may do it at once. It returns OutputBucketRefused if
// the bucket does not take the manifest. It needs OutputS3.
func (s *Runs) finishDelivery(ctx context.Context, r Run) (Run, error) {
	if r.Status == run.Succeeded {
		return r, nil
	}
	body, err := s.Store.Get(ctx, r.ManifestBodyKey)
	if errors.Is(err, store.ErrNotFound) { // another call has finished it and cleaned up
		now, err := s.Get(ctx, r.RunID)
		if err == nil && now.Status == run.Delivering {
			err = named.Errorf(named.Unavailable, "the manifest of the run %s is being delivered and is not in the state bucket", r.RunID)
		}
		if err == nil && now.Status == run.Succeeded { // the caller may have written one since
			err = s.removeError(ctx, now.Record)
		}
		return now, err
	}
	if err != nil {
		return r, err
	}
	if err := s.writeOutput(ctx, r.Record, r.ManifestKey, body.Body); err != nil {
		return r, err
	}
	if err := s.removeError(ctx, r.Record); err != nil {
		return r, err
	}
	now := s.Now().UTC()
	r, cell, err := s.update(ctx, r, onDelivered, func(rec *run.Record) error {
		rec.EndedAt, rec.Error, rec.ErrorKey, rec.ManifestBodyKey = now, nil, "", ""
		return nil
	})
	if err != nil || cell.Ignore {
		return r, err
	}
	return r, s.clearDelivery(ctx, r.RunID) // it expires by itself if the call dies here
}

// writeOutput writes manifest.json or error.json into the output bucket. It returns
// OutputBucketRefused for an answer that no retry mends, else Unavailable.
func (s *Runs) writeOutput(ctx context.Context, r run.Record, key string, body []byte) error {
	_, err := s.OutputS3.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &r.Bucket, Key: &key, Body: bytes.NewReader(body), ContentType: aws.String("application/json"), Metadata: run.OutputMetadata(r, ""),
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, // an Object Lock asks for the header that this sends
	})
	if err == nil {
		return nil
	}
	if why, refused := s3errors.RefusedByBucket(err); refused {
		return named.Errorf(named.OutputBucketRefused, "S3 refused s3://%s/%s (%s): %w", r.Bucket, key, why, err)
	}
	return named.Errorf(named.Unavailable, "S3 could not write s3://%s/%s: %w", r.Bucket, key, err)
}
