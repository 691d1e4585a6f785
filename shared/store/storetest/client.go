package storetest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// call does one call as Around says, and returns the answer of the last do that
// succeeded. do is called under the lock, and Around without it, so that Around can make
// calls itself.
func call[Out any](ctx context.Context, s *S3, op string, bucket, key *string, do func() (*Out, error)) (out *Out, err error) {
	c := Call{op, aws.ToString(bucket), aws.ToString(key)}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", c, err)
	}
	done := func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls = append(s.calls, c)
		answer, err := do()
		if err == nil {
			out = answer
		}
		return err
	}
	if s.Around == nil {
		err = done()
	} else {
		err = s.Around(c, done)
	}
	return out, err
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
	return call(ctx, s, "GetObject", in.Bucket, in.Key, func() (*s3.GetObjectOutput, error) {
		o, err := s.find(in.Bucket, in.Key, in.IfMatch, in.VersionId)
		if err != nil {
			return nil, err
		}
		if o.Archived {
			return nil, Error(http.StatusForbidden, "InvalidObjectState")
		}
		return &s3.GetObjectOutput{
			Body: io.NopCloser(bytes.NewReader(o.Body)), ETag: &o.ETag, ContentLength: aws.Int64(int64(len(o.Body))),
			ContentType: &o.ContentType, Metadata: maps.Clone(o.Metadata), VersionId: o.version(),
		}, nil
	})
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
	return call(ctx, s, "HeadObject", in.Bucket, in.Key, func() (*s3.HeadObjectOutput, error) {
		o, err := s.find(in.Bucket, in.Key, in.IfMatch, in.VersionId)
		out := &s3.HeadObjectOutput{
			ETag: &o.ETag, ContentLength: aws.Int64(int64(len(o.Body))), ContentType: &o.ContentType, Metadata: maps.Clone(o.Metadata), VersionId: o.version(),
		}
		if o.Archived {
			out.StorageClass = types.StorageClassGlacier
		}
		return out, err
	})
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
	return call(ctx, s, "PutObject", in.Bucket, in.Key, func() (*s3.PutObjectOutput, error) {
		_, err := s.find(in.Bucket, in.Key, in.IfMatch, nil)
		switch {
		case in.IfMatch != nil && err != nil:
			return nil, err
		case aws.ToString(in.IfNoneMatch) == "*" && err == nil:
			return nil, Error(http.StatusPreconditionFailed, "PreconditionFailed")
		}
		o := s.set(*in.Bucket, *in.Key, Object{
			Body: body, ContentType: aws.ToString(in.ContentType), Metadata: maps.Clone(in.Metadata),
		})
		return &s3.PutObjectOutput{ETag: &o.ETag, VersionId: o.version()}, nil
	})
}

// DeleteObject deletes an object. It returns no error if there is none.
func (s *S3) DeleteObject(ctx context.Context, in *s3.DeleteObjectInput, _ ...func(*s3.Options)) (*s3.DeleteObjectOutput, error) {
	return call(ctx, s, "DeleteObject", in.Bucket, in.Key, func() (*s3.DeleteObjectOutput, error) {
		s.remove(*in.Bucket, *in.Key)
		return &s3.DeleteObjectOutput{}, nil
	})
}

const defaultPage = 1000 // keys, S3's

// ListObjectsV2 lists one page of keys in their order. The token of the next page is
// the last key of this one.
func (s *S3) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, _ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	return call(ctx, s, "ListObjectsV2", in.Bucket, in.Prefix, func() (*s3.ListObjectsV2Output, error) {
		out := &s3.ListObjectsV2Output{IsTruncated: aws.Bool(false)}
		after := cmp.Or(aws.ToString(in.ContinuationToken), aws.ToString(in.StartAfter))
		size := cmp.Or(s.PageSize, defaultPage)
		for _, key := range under(s.buckets[*in.Bucket], aws.ToString(in.Prefix)) {
			if key <= after {
				continue
			}
			if len(out.Contents) == size {
				out.IsTruncated, out.NextContinuationToken = aws.Bool(true), out.Contents[size-1].Key
				return out, nil
			}
			listed := types.Object{Key: aws.String(key)}
			if at := s.buckets[*in.Bucket][key].Modified; !at.IsZero() {
				listed.LastModified = &at
			}
			out.Contents = append(out.Contents, listed)
		}
		return out, nil
	})
}

// CreateMultipartUpload returns the upload ids upload-1, upload-2 and so on.
func (s *S3) CreateMultipartUpload(ctx context.Context, in *s3.CreateMultipartUploadInput, _ ...func(*s3.Options)) (*s3.CreateMultipartUploadOutput, error) {
	return call(ctx, s, "CreateMultipartUpload", in.Bucket, in.Key, func() (*s3.CreateMultipartUploadOutput, error) {
		s.uploads++
		return &s3.CreateMultipartUploadOutput{UploadId: aws.String(fmt.Sprintf("upload-%d", s.uploads))}, nil
	})
}

// ListObjectVersions lists the first MaxKeys versions and delete markers after the
// two markers of the request: by key, and the newest first.
func (s *S3) ListObjectVersions(ctx context.Context, in *s3.ListObjectVersionsInput, _ ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error) {
	return call(ctx, s, "ListObjectVersions", in.Bucket, in.Prefix, func() (*s3.ListObjectVersionsOutput, error) {
		out := &s3.ListObjectVersionsOutput{IsTruncated: aws.Bool(false)}
		size := cmp.Or(int(aws.ToInt32(in.MaxKeys)), defaultPage)
		after, afterVersion := aws.ToString(in.KeyMarker), aws.ToString(in.VersionIdMarker)
		for _, key := range under(s.versions[*in.Bucket], aws.ToString(in.Prefix)) {
			if key < after || key == after && afterVersion == "" {
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
					return out, nil
				}
				newest := aws.Bool(i == len(versions)-1)
				if v.deleteMarker {
					out.DeleteMarkers = append(out.DeleteMarkers, types.DeleteMarkerEntry{Key: aws.String(key), VersionId: aws.String(v.VersionID), IsLatest: newest})
					continue
				}
				out.Versions = append(out.Versions, types.ObjectVersion{Key: aws.String(key), VersionId: aws.String(v.VersionID), ETag: aws.String(v.ETag), IsLatest: newest})
			}
		}
		return out, nil
	})
}

// AbortMultipartUpload adds the upload's id to what [S3.Aborted] returns.
func (s *S3) AbortMultipartUpload(ctx context.Context, in *s3.AbortMultipartUploadInput, _ ...func(*s3.Options)) (*s3.AbortMultipartUploadOutput, error) {
	return call(ctx, s, "AbortMultipartUpload", in.Bucket, in.Key, func() (*s3.AbortMultipartUploadOutput, error) {
		s.aborted = append(s.aborted, aws.ToString(in.UploadId))
		return &s3.AbortMultipartUploadOutput{}, nil
	})
}
