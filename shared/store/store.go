// Package store keeps the state of runs as JSON objects in one S3 bucket. An
// object is created and changed by conditional writes only, so that of two
// writers one wins and the other is told.
//
// It imports shared/run and the S3 client, and knows no rule: what a change
// means is its caller's.
package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cenkalti/backoff/v5"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/rs/xid"
)

const (
	// maxObject bounds what is read back: a record is a few KiB, and grows only
	// with its file parameters and candidates.
	maxObject = 1 << 20
	// maxConflicts bounds how often one change is tried against others: a record
	// has a handful of writers, so this many lost races mean something is stuck.
	maxConflicts = 12
	// conflictPause is the first pause after a lost race; S3 asks for a retry
	// after a 409.
	conflictPause = 20 * time.Millisecond
)

var (
	// ErrNotFound: there is no such object.
	ErrNotFound = errors.New("not found")
	// ErrExists: somebody else created the object first.
	ErrExists = errors.New("exists already")
	// errLost: somebody else changed the object since it was read.
	errLost = errors.New("changed by another writer")
)

// S3 is what the store calls.
type S3 interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	DeleteObject(context.Context, *s3.DeleteObjectInput, ...func(*s3.Options)) (*s3.DeleteObjectOutput, error)
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
}

// Store is the state bucket.
type Store struct {
	S3     S3
	Bucket string
	Nonce  func() string // a new one for each write; nil: a random id
}

// read returns an object and its ETag.
func (s *Store) read(ctx context.Context, key string) ([]byte, string, error) {
	out, err := s.S3.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.Bucket, Key: &key})
	if err != nil {
		if statusOf(err) == http.StatusNotFound {
			return nil, "", ErrNotFound
		}
		return nil, "", s.unavailable("read", key, err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(io.LimitReader(out.Body, maxObject+1))
	if err != nil {
		return nil, "", s.unavailable("read", key, err)
	}
	if len(body) > maxObject {
		return nil, "", fmt.Errorf("s3://%s/%s is larger than %d bytes", s.Bucket, key, maxObject)
	}
	return body, aws.ToString(out.ETag), nil
}

// condition of a write: neither is none.
type condition struct {
	absent bool
	etag   string
}

// write returns ErrExists or errLost when the condition did not hold.
func (s *Store) write(ctx context.Context, key string, body []byte, c condition) error {
	in := &s3.PutObjectInput{Bucket: &s.Bucket, Key: &key, Body: bytes.NewReader(body), ContentType: aws.String("application/json")}
	switch {
	case c.absent:
		in.IfNoneMatch = aws.String("*")
	case c.etag != "":
		in.IfMatch = &c.etag
	}
	_, err := s.S3.PutObject(ctx, in)
	if err == nil {
		return nil
	}
	switch statusOf(err) {
	case http.StatusPreconditionFailed:
		if c.absent {
			return ErrExists
		}
		return errLost
	case http.StatusConflict: // two conditional writes met: S3 says try again
		return errConflict
	case http.StatusNotFound: // If-Match on an object that is gone
		if c.etag != "" {
			return ErrNotFound
		}
	}
	return s.unavailable("write", key, err)
}

var errConflict = errors.New("conflicting conditional writes")

// create writes an object that must not be there yet. The writer's mark in body
// tells, after a 412, whether the object is in truth our own: the SDK may have
// retried a write whose reply was lost.
func (s *Store) create(ctx context.Context, key string, body []byte) error {
	return retryConflicts(ctx, func() error {
		err := s.write(ctx, key, body, condition{absent: true})
		if !errors.Is(err, ErrExists) {
			return err
		}
		there, _, readErr := s.read(ctx, key)
		if readErr != nil {
			return readErr
		}
		if bytes.Equal(there, body) {
			return nil
		}
		return ErrExists
	})
}

func (s *Store) delete(ctx context.Context, key string) error {
	if _, err := s.S3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.Bucket, Key: &key}); err != nil {
		return s.unavailable("delete", key, err)
	}
	return nil
}

// list calls each key under prefix, in S3's order, until it returns false.
func (s *Store) list(ctx context.Context, prefix, after string, each func(key string) bool) error {
	in := &s3.ListObjectsV2Input{Bucket: &s.Bucket, Prefix: &prefix}
	if after != "" {
		in.StartAfter = &after
	}
	for {
		out, err := s.S3.ListObjectsV2(ctx, in)
		if err != nil {
			return s.unavailable("list", prefix, err)
		}
		for _, o := range out.Contents {
			if !each(aws.ToString(o.Key)) {
				return nil
			}
		}
		if !aws.ToBool(out.IsTruncated) || out.NextContinuationToken == nil {
			return nil
		}
		in.ContinuationToken = out.NextContinuationToken
	}
}

func (s *Store) nonce() string {
	if s.Nonce != nil {
		return s.Nonce()
	}
	return xid.New().String()
}

// retryConflicts tries again what lost a race, with a growing, jittered pause.
func retryConflicts(ctx context.Context, attempt func() error) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = conflictPause
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := attempt()
		if err != nil && !errors.Is(err, errConflict) && !errors.Is(err, errLost) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(maxConflicts))
	if errors.Is(err, errConflict) || errors.Is(err, errLost) {
		return named.Errorf(named.Unavailable, "%d writes in a row lost a race in the state bucket: %w", maxConflicts, err)
	}
	return err
}

func (s *Store) unavailable(verb, key string, err error) error {
	return named.Errorf(named.Unavailable, "S3 could not %s s3://%s/%s: %w", verb, s.Bucket, key, err)
}

func statusOf(err error) int {
	var re *awshttp.ResponseError
	if errors.As(err, &re) {
		return re.HTTPStatusCode()
	}
	return 0
}

func marshal(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return body, nil
}
