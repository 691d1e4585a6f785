package handler

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
)

// writeCheckLasts is how long a warm function remembers that a bucket can be written.
const writeCheckLasts = 10 * time.Minute

// writeCheck remembers when the output bucket last took a write.
type writeCheck struct {
	mu     sync.Mutex
	at     time.Time
	bucket string
}

// passes checks, before money is spent, that the run's outputs can be written:
// a multipart upload of the run's own manifest.json is created and aborted. That
// needs the same right, region, policy and key as the outputs, and leaves no
// object and no event. What it cannot show is an Object Lock, which is refused at
// the write alone.
func (p *writeCheck) passes(ctx context.Context, buckets Buckets, r run.Record, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bucket == r.Bucket && now.Sub(p.at) < writeCheckLasts {
		return nil
	}
	key := r.OutputPrefix() + run.ManifestName
	created, err := buckets.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &r.Bucket, Key: &key})
	if err == nil {
		_, err = buckets.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &r.Bucket, Key: &key, UploadId: created.UploadId})
	}
	if err != nil {
		if why, refused := s3errors.RefusedByBucket(err); refused {
			e := named.Errorf(named.OutputBucketRefused, "the output bucket %s refuses s3://%[1]s/%s (%s), so nothing was submitted: %w", r.Bucket, key, why, err)
			e.Hint = "correct the output bucket's policy, region, encryption key (KmsKeyArn) or name (OutputBucketName), then redrive the run; nothing was paid"
			return e
		}
		return named.Errorf(named.Unavailable, "the output bucket %s cannot be reached, so nothing was submitted: %w", r.Bucket, err)
	}
	p.bucket, p.at = r.Bucket, now
	return nil
}
