// Package store keeps JSON objects in one S3 bucket. A [Store] creates and changes an
// object by conditional writes: of two writers one succeeds, and the other gets an
// error or tries again. shared/lifecycle says what the objects mean.
//
// S3 is strongly consistent, and a conditional write is atomic: a read after a write
// returns what was written, and of two writes under the same condition one fails. A
// call that fails returns Unavailable of shared/named, unless its comment names
// [ErrNotFound] or [ErrExists].
//
// It imports the S3 client, shared/named, shared/s3errors and backoff.
package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/cenkalti/backoff/v5"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
)

const (
	// maxObject bounds an object that is read, in bytes: a record has a few KiB and
	// grows with its file parameters and candidates; a manifest has some 300 bytes
	// for each of its outputs.
	maxObject = 8 << 20
	// maxConflicts bounds how often one change is tried: an object has a handful of
	// writers, so that this many lost races mean that something is stuck.
	maxConflicts = 12
	// conflictPause is the first pause after a lost race, some calls of S3 long; S3's
	// reference asks for a retry after a 409.
	conflictPause = 20 * time.Millisecond
)

var (
	// ErrNotFound says that there is no object at the key.
	ErrNotFound = errors.New("not found")
	// ErrExists says that another writer has created the object.
	ErrExists = errors.New("exists already")

	// errLostRace says that another writer was faster, or wrote at the same time.
	errLostRace = errors.New("another writer was faster")
)

// S3 is the part of an S3 client that a [Store] calls.
type S3 interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	DeleteObject(context.Context, *s3.DeleteObjectInput, ...func(*s3.Options)) (*s3.DeleteObjectOutput, error)
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
}

// Store is one bucket of JSON objects. It may be used by several goroutines.
type Store struct {
	S3     S3
	Bucket string
	// NoPause leaves out the pause between two tries of a write that lost a race, for tests
	// with a clock that does not move.
	NoPause bool
}

// Object is an object as it was read or written: its bytes, and the ETag that names
// this version of it in a conditional write.
type Object struct {
	Body []byte
	ETag string
}

// Entry is one object of a [Store.List].
type Entry struct {
	Key      string
	Modified time.Time // when it was last written, by S3's clock; zero if the list does not say
}

// Get reads the object at a key. It returns [ErrNotFound] if there is none, and an
// error without a name for one of more than 8 MiB.
func (s *Store) Get(ctx context.Context, key string) (Object, error) {
	var body []byte
	out, err := s.S3.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.Bucket, Key: &key})
	if err == nil {
		defer out.Body.Close()
		body, err = io.ReadAll(io.LimitReader(out.Body, maxObject+1))
	}
	switch {
	case absent(err):
		return Object{}, ErrNotFound
	case err != nil:
		return Object{}, s.unavailable("read", key, err)
	case len(body) > maxObject:
		return Object{}, fmt.Errorf("s3://%s/%s is larger than %d bytes", s.Bucket, key, maxObject)
	}
	return Object{Body: body, ETag: aws.ToString(out.ETag)}, nil
}

// Put writes an object without a condition: it replaces what is at the key.
func (s *Store) Put(ctx context.Context, key string, body []byte) error {
	return s.retryConflicts(ctx, func() error {
		_, err := s.write(ctx, key, body, nil, nil)
		return err
	})
}

// Create writes an object if there is none at the key, and else returns [ErrExists]. An
// object of exactly these bytes is taken for this call's own, since the SDK may have
// repeated a write whose reply was lost.
func (s *Store) Create(ctx context.Context, key string, body []byte) (Object, error) {
	var created Object
	err := s.retryConflicts(ctx, func() (err error) {
		if created, err = s.write(ctx, key, body, aws.String("*"), nil); !errors.Is(err, ErrExists) {
			return err
		}
		if created, err = s.Get(ctx, key); err == nil && !bytes.Equal(created.Body, body) {
			return ErrExists
		}
		return err
	})
	return created, err
}

// Update changes the object at a key and returns it as it is afterwards. change gets
// the object's bytes and returns the new ones; or nil, to leave the object as it is; or
// an error, which Update returns. It is called again with newer bytes if another writer
// was faster. known is the object as the caller last saw it, and saves a read; with the
// zero Object Update reads the object first. It returns [ErrNotFound] if there is no
// object.
//
// Two writers must not write the same bytes, so put an id of its own into each write:
// by its bytes Update recognises its own write after a lost reply.
func (s *Store) Update(ctx context.Context, key string, known Object, change func(body []byte) ([]byte, error)) (Object, error) {
	current := known
	var written []byte
	err := s.retryConflicts(ctx, func() error {
		if current.ETag == "" {
			var err error
			if current, err = s.Get(ctx, key); err != nil {
				return err
			}
			if written != nil && bytes.Equal(current.Body, written) {
				return nil // the write had succeeded; only its reply was lost
			}
		}
		next, err := change(current.Body)
		if err != nil || next == nil {
			return err
		}
		written = next
		current, err = s.write(ctx, key, next, nil, &current.ETag)
		return err
	})
	return current, err
}

// Delete removes the object at a key. It returns no error if there is none.
func (s *Store) Delete(ctx context.Context, key string) error {
	if _, err := s.S3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.Bucket, Key: &key}); err != nil {
		return s.unavailable("delete", key, err)
	}
	return nil
}

// List calls each for every object whose key begins with prefix and sorts after the key
// after, in the order of the keys, until each returns false. An empty after means from
// the first.
func (s *Store) List(ctx context.Context, prefix, after string, each func(Entry) bool) error {
	in := &s3.ListObjectsV2Input{Bucket: &s.Bucket, Prefix: &prefix}
	if after != "" {
		in.StartAfter = &after
	}
	pages := s3.NewListObjectsV2Paginator(s.S3, in)
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return s.unavailable("list", prefix, err)
		}
		for _, o := range out.Contents {
			if !each(Entry{Key: aws.ToString(o.Key), Modified: aws.ToTime(o.LastModified)}) {
				return nil
			}
		}
	}
	return nil
}

// write writes an object under a condition, if there is one, and returns it. A condition
// that did not hold is ErrExists, or errLostRace or ErrNotFound.
func (s *Store) write(ctx context.Context, key string, body []byte, ifNoneMatch, ifMatch *string) (Object, error) {
	out, err := s.S3.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.Bucket, Key: &key, Body: bytes.NewReader(body), ContentType: aws.String("application/json"),
		IfNoneMatch: ifNoneMatch, IfMatch: ifMatch,
	})
	_, status := s3errors.Code(err)
	switch {
	case err == nil:
		return Object{Body: body, ETag: aws.ToString(out.ETag)}, nil
	case status == http.StatusPreconditionFailed && ifNoneMatch != nil:
		return Object{}, ErrExists
	case status == http.StatusPreconditionFailed, status == http.StatusConflict: // 409: two conditional writes met
		return Object{}, errLostRace
	case ifMatch != nil && absent(err):
		return Object{}, ErrNotFound
	}
	return Object{}, s.unavailable("write", key, err)
}

// retryConflicts calls attempt until it loses no race to another writer, with a
// growing, jittered pause.
func (s *Store) retryConflicts(ctx context.Context, attempt func() error) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = conflictPause
	if s.NoPause {
		pause.InitialInterval = 0 // it grows by a factor
	}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := attempt()
		if err != nil && !errors.Is(err, errLostRace) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pause), backoff.WithMaxTries(maxConflicts))
	if cause := context.Cause(ctx); cause != nil && err == cause { // it ended in a pause
		return named.Errorf(named.Unavailable, "a write to the state bucket lost a race, and there was no time to repeat it: %w", err)
	}
	if errors.Is(err, errLostRace) {
		return named.Errorf(named.Unavailable, "%d writes in a row lost a race in the state bucket: %w", maxConflicts, err)
	}
	return err
}

func (s *Store) unavailable(verb, key string, err error) error {
	return named.Errorf(named.Unavailable, "S3 could not %s s3://%s/%s: %w", verb, s.Bucket, key, err)
}

// absent reports whether S3 says that there is no such object. That there is no
// such bucket says nothing about its objects, and comes with the same status.
func absent(err error) bool {
	code, status := s3errors.Code(err)
	return status == http.StatusNotFound && code != "NoSuchBucket"
}

// Archived reports, by the answer to HeadObject, whether an object has to be restored
// before it can be read: it is in Glacier, in Deep Archive or in an archive tier of
// Intelligent-Tiering, and has no restored copy. [InArchive] is the text for it.
func Archived(head *s3.HeadObjectOutput) bool {
	restored := strings.Contains(aws.ToString(head.Restore), `ongoing-request="false"`)
	deep := head.StorageClass == types.StorageClassGlacier || head.StorageClass == types.StorageClassDeepArchive
	return (deep || head.ArchiveStatus != "") && !restored
}

// InArchive is what a message says of an object that is [Archived], after the object's
// name.
const InArchive = "lies in an archive: restore it, or copy it to a storage class that can be read at once"

// DescendingKey returns a time as the 13 digits by which keys sort the newest first: S3
// lists keys in ascending order only.
func DescendingKey(t time.Time) string {
	const latest = 9999999999999 // in the year 2286: a time in milliseconds has 13 digits until then
	return fmt.Sprintf("%013d", latest-t.UnixMilli())
}
