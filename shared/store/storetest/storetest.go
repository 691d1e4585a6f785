// Package storetest has S3 in memory, for the tests of code that keeps objects there:
// with conditional writes and versions as S3 has them. A test can make its calls fail,
// lose replies, and run other code in between.
//
// It imports the S3 client's types only.
package storetest

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Call is one request to S3.
type Call struct {
	Op     string // the SDK's name, such as PutObject
	Bucket string
	Key    string // of a list: the prefix
}

func (c Call) String() string { return c.Op + " " + c.Bucket + "/" + c.Key }

// Object is one object of a bucket.
type Object struct {
	Body        []byte
	ETag        string // with its quotes
	ContentType string
	Metadata    map[string]string
	Modified    time.Time // when it was last written, by the clock [S3].Now
	VersionID   string    // set by S3 in a bucket that keeps versions, else empty
	Archived    bool      // in a storage class from which it has to be restored
}

// version is one version of a key that its bucket keeps.
type version struct {
	Object
	deleteMarker bool
}

// S3 has methods of an S3 client. The zero value is ready for use. A bucket exists as
// soon as something is written to it; in one that nothing was written to, no object is
// found.
type S3 struct {
	// Around is called in place of each call; do does it, and nil for Around does every
	// call. Around may refuse a call (return an error without do), lose its reply (do,
	// then return an error), send it twice, as the SDK does after a lost reply, or run
	// other code before it.
	Around func(c Call, do func() error) error
	// PageSize is how many keys a page of a list has; 0: S3's 1,000.
	PageSize int
	// Now is the clock by which objects have a LastModified in lists; nil: they have none.
	Now func() time.Time
	// Versioned names the buckets that keep versions. Set it before anything is written.
	Versioned []string

	mu       sync.Mutex
	buckets  map[string]map[string]Object
	versions map[string]map[string][]version // by bucket and key, the oldest first
	made     int                             // how many versions there were
	calls    []Call
	aborted  []string
	uploads  int // multipart uploads that were begun
}

// Error makes the SDK's error of an answer of S3 with this HTTP status and code, such
// as 412 and PreconditionFailed.
func Error(status int, code string) error {
	return &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status, Header: http.Header{}}},
		Err:      &smithy.GenericAPIError{Code: code, Message: code},
	}}
}

// Set puts an object at a key. Like every method that is not one of a client's, it does
// not count as a call and does not call Around.
func (s *S3) Set(bucket, key string, o Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(bucket, key, o)
}

func (s *S3) set(bucket, key string, o Object) Object {
	if s.buckets == nil {
		s.buckets = map[string]map[string]Object{}
	}
	if s.buckets[bucket] == nil {
		s.buckets[bucket] = map[string]Object{}
	}
	if o.ETag == "" {
		sum := md5.Sum(o.Body)
		o.ETag = `"` + hex.EncodeToString(sum[:]) + `"`
	}
	if o.Modified.IsZero() && s.Now != nil {
		o.Modified = s.Now()
	}
	if slices.Contains(s.Versioned, bucket) {
		o.VersionID = s.keep(bucket, key, version{Object: o})
	}
	s.buckets[bucket][key] = o
	return o
}

// keep adds a version of a key and returns its id.
func (s *S3) keep(bucket, key string, v version) string {
	if s.versions == nil {
		s.versions = map[string]map[string][]version{}
	}
	if s.versions[bucket] == nil {
		s.versions[bucket] = map[string][]version{}
	}
	s.made++
	v.VersionID = fmt.Sprintf("version-%d", s.made)
	s.versions[bucket][key] = append(s.versions[bucket][key], v)
	return v.VersionID
}

// remove deletes an object; in a bucket that keeps versions a delete marker hides
// them.
func (s *S3) remove(bucket, key string) {
	if slices.Contains(s.Versioned, bucket) {
		s.keep(bucket, key, version{deleteMarker: true})
	}
	delete(s.buckets[bucket], key)
}

// RemoveVersion deletes one version for good, as its expiry does. If it is the newest,
// the object is gone. It does not count as a call.
func (s *S3) RemoveVersion(bucket, key, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions[bucket][key] = slices.DeleteFunc(s.versions[bucket][key], func(v version) bool { return v.VersionID == id })
	if s.buckets[bucket][key].VersionID == id {
		delete(s.buckets[bucket], key)
	}
}

// Object returns the object at a key; false if there is none. It does not count as a
// call.
func (s *S3) Object(bucket, key string) (Object, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.buckets[bucket][key]
	return o, ok
}

// Remove deletes the object at a key. It does not count as a call.
func (s *S3) Remove(bucket, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(bucket, key)
}

// Keys returns the keys in a bucket that begin with a prefix, sorted. It does not count
// as a call.
func (s *S3) Keys(bucket, prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(s.buckets[bucket])) {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	return keys
}

// Calls returns the calls of these operations, such as PutObject, that were done, in
// their order; without an operation it returns all. A call that Around refused is not
// among them.
func (s *S3) Calls(ops ...string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var calls []Call
	for _, c := range s.calls {
		if len(ops) == 0 || slices.Contains(ops, c.Op) {
			calls = append(calls, c)
		}
	}
	return calls
}

// Aborted returns the ids of the multipart uploads that were aborted, in order.
func (s *S3) Aborted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.aborted)
}

// call does one call as Around says. do is called under the lock, and Around without
// it, so that Around can make calls itself.
func (s *S3) call(ctx context.Context, op string, bucket, key *string, do func() error) error {
	c := Call{op, aws.ToString(bucket), aws.ToString(key)}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	done := func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls = append(s.calls, c)
		return do()
	}
	if s.Around == nil {
		return done()
	}
	return s.Around(c, done)
}

// find returns the object at a key, or S3's error. A version id finds that version,
// also where a newer one or a delete marker hides it.
func (s *S3) find(bucket, key, ifMatch, versionID *string) (Object, error) {
	o, ok := s.buckets[aws.ToString(bucket)][aws.ToString(key)]
	if versionID != nil {
		versions := s.versions[aws.ToString(bucket)][aws.ToString(key)]
		i := slices.IndexFunc(versions, func(v version) bool { return v.VersionID == *versionID })
		if i < 0 {
			return o, Error(http.StatusNotFound, "NoSuchVersion")
		}
		if versions[i].deleteMarker {
			return o, Error(http.StatusMethodNotAllowed, "MethodNotAllowed")
		}
		o, ok = versions[i].Object, true
		o.VersionID = *versionID
	}
	switch {
	case !ok:
		return o, Error(http.StatusNotFound, "NoSuchKey")
	case ifMatch != nil && *ifMatch != o.ETag:
		return o, Error(http.StatusPreconditionFailed, "PreconditionFailed")
	}
	return o, nil
}

// GetObject reads an object, or a version of it, if it has the ETag that is asked for
// and is not archived.
func (s *S3) GetObject(ctx context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	var out *s3.GetObjectOutput
	err := s.call(ctx, "GetObject", in.Bucket, in.Key, func() error {
		o, err := s.find(in.Bucket, in.Key, in.IfMatch, in.VersionId)
		if err != nil {
			return err
		}
		if o.Archived {
			return Error(http.StatusForbidden, "InvalidObjectState")
		}
		out = &s3.GetObjectOutput{
			Body: io.NopCloser(bytes.NewReader(o.Body)), ETag: &o.ETag, ContentLength: aws.Int64(int64(len(o.Body))),
			ContentType: &o.ContentType, Metadata: maps.Clone(o.Metadata), VersionId: o.version(),
		}
		return nil
	})
	return out, err
}

// version returns the VersionId of an answer: nil where the bucket keeps none.
func (o Object) version() *string {
	if o.VersionID == "" {
		return nil
	}
	return &o.VersionID
}

// HeadObject returns what GetObject would of an object but for its bytes, and that of
// an archived object too.
func (s *S3) HeadObject(ctx context.Context, in *s3.HeadObjectInput, _ ...func(*s3.Options)) (*s3.HeadObjectOutput, error) {
	var out *s3.HeadObjectOutput
	err := s.call(ctx, "HeadObject", in.Bucket, in.Key, func() error {
		o, err := s.find(in.Bucket, in.Key, in.IfMatch, in.VersionId)
		if err != nil {
			return err
		}
		out = &s3.HeadObjectOutput{
			ETag: &o.ETag, ContentLength: aws.Int64(int64(len(o.Body))), ContentType: &o.ContentType, Metadata: maps.Clone(o.Metadata), VersionId: o.version(),
		}
		if o.Archived {
			out.StorageClass = types.StorageClassGlacier
		}
		return nil
	})
	return out, err
}

// HeadBucket returns no error for any bucket.
func (s *S3) HeadBucket(ctx context.Context, in *s3.HeadBucketInput, _ ...func(*s3.Options)) (*s3.HeadBucketOutput, error) {
	return &s3.HeadBucketOutput{}, s.call(ctx, "HeadBucket", in.Bucket, nil, func() error { return nil })
}

// PutObject writes an object, under the conditions If-Match and If-None-Match: *.
func (s *S3) PutObject(ctx context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	var body []byte
	if in.Body != nil {
		var err error
		if body, err = io.ReadAll(in.Body); err != nil {
			return nil, err
		}
	}
	var out *s3.PutObjectOutput
	err := s.call(ctx, "PutObject", in.Bucket, in.Key, func() error {
		_, err := s.find(in.Bucket, in.Key, in.IfMatch, nil)
		switch {
		case in.IfMatch != nil && err != nil:
			return err
		case aws.ToString(in.IfNoneMatch) == "*" && err == nil:
			return Error(http.StatusPreconditionFailed, "PreconditionFailed")
		}
		o := s.set(*in.Bucket, *in.Key, Object{
			Body: body, ContentType: aws.ToString(in.ContentType), Metadata: maps.Clone(in.Metadata),
		})
		out = &s3.PutObjectOutput{ETag: &o.ETag, VersionId: o.version()}
		return nil
	})
	return out, err
}

// DeleteObject deletes an object. It returns no error if there is none.
func (s *S3) DeleteObject(ctx context.Context, in *s3.DeleteObjectInput, _ ...func(*s3.Options)) (*s3.DeleteObjectOutput, error) {
	return &s3.DeleteObjectOutput{}, s.call(ctx, "DeleteObject", in.Bucket, in.Key, func() error {
		s.remove(*in.Bucket, *in.Key)
		return nil
	})
}

const defaultPage = 1000 // keys, S3's

// ListObjectsV2 lists one page of keys in their order. The token of the next page is
// the last key of this one.
func (s *S3) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, _ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	out := &s3.ListObjectsV2Output{}
	err := s.call(ctx, "ListObjectsV2", in.Bucket, in.Prefix, func() error {
		*out = s3.ListObjectsV2Output{IsTruncated: aws.Bool(false)}
		after, size := aws.ToString(in.StartAfter), s.PageSize
		if in.ContinuationToken != nil {
			after = *in.ContinuationToken
		}
		if size == 0 {
			size = defaultPage
		}
		for _, key := range slices.Sorted(maps.Keys(s.buckets[*in.Bucket])) {
			if !strings.HasPrefix(key, aws.ToString(in.Prefix)) || key <= after {
				continue
			}
			if len(out.Contents) == size {
				out.IsTruncated, out.NextContinuationToken = aws.Bool(true), out.Contents[size-1].Key
				return nil
			}
			listed := types.Object{Key: aws.String(key)}
			if at := s.buckets[*in.Bucket][key].Modified; !at.IsZero() {
				listed.LastModified = &at
			}
			out.Contents = append(out.Contents, listed)
		}
		return nil
	})
	return out, err
}

// CreateMultipartUpload returns the upload ids upload-1, upload-2 and so on.
func (s *S3) CreateMultipartUpload(ctx context.Context, in *s3.CreateMultipartUploadInput, _ ...func(*s3.Options)) (*s3.CreateMultipartUploadOutput, error) {
	var out *s3.CreateMultipartUploadOutput
	err := s.call(ctx, "CreateMultipartUpload", in.Bucket, in.Key, func() error {
		s.uploads++
		out = &s3.CreateMultipartUploadOutput{UploadId: aws.String(fmt.Sprintf("upload-%d", s.uploads))}
		return nil
	})
	return out, err
}

// ListObjectVersions lists the first MaxKeys versions and delete markers after the
// two markers of the request: by key, and the newest first.
func (s *S3) ListObjectVersions(ctx context.Context, in *s3.ListObjectVersionsInput, _ ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error) {
	out := &s3.ListObjectVersionsOutput{}
	err := s.call(ctx, "ListObjectVersions", in.Bucket, in.Prefix, func() error {
		*out = s3.ListObjectVersionsOutput{IsTruncated: aws.Bool(false)}
		size := int(aws.ToInt32(in.MaxKeys))
		if size == 0 {
			size = defaultPage
		}
		after, afterVersion := aws.ToString(in.KeyMarker), aws.ToString(in.VersionIdMarker)
		for _, key := range slices.Sorted(maps.Keys(s.versions[*in.Bucket])) {
			if !strings.HasPrefix(key, aws.ToString(in.Prefix)) || key < after || key == after && afterVersion == "" {
				continue
			}
			versions := s.versions[*in.Bucket][key]
			passed := key != after
			for i, v := range slices.Backward(versions) {
				if !passed {
					passed = v.VersionID == afterVersion
					continue
				}
				if len(out.Versions)+len(out.DeleteMarkers) == size {
					out.IsTruncated = aws.Bool(true)
					return nil
				}
				newest := aws.Bool(i == len(versions)-1)
				if v.deleteMarker {
					out.DeleteMarkers = append(out.DeleteMarkers, types.DeleteMarkerEntry{Key: aws.String(key), VersionId: aws.String(v.VersionID), IsLatest: newest})
					continue
				}
				out.Versions = append(out.Versions, types.ObjectVersion{Key: aws.String(key), VersionId: aws.String(v.VersionID), ETag: aws.String(v.ETag), IsLatest: newest})
			}
		}
		return nil
	})
	return out, err
}

// AbortMultipartUpload adds the upload's id to what [S3.Aborted] returns.
func (s *S3) AbortMultipartUpload(ctx context.Context, in *s3.AbortMultipartUploadInput, _ ...func(*s3.Options)) (*s3.AbortMultipartUploadOutput, error) {
	return &s3.AbortMultipartUploadOutput{}, s.call(ctx, "AbortMultipartUpload", in.Bucket, in.Key, func() error {
		s.aborted = append(s.aborted, aws.ToString(in.UploadId))
		return nil
	})
}
