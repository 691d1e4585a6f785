package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

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
