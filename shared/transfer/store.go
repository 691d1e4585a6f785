package transfer

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
)

// S3 lists the calls of *s3.Client that a copy makes.
type S3 interface {
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	CreateMultipartUpload(context.Context, *s3.CreateMultipartUploadInput, ...func(*s3.Options)) (*s3.CreateMultipartUploadOutput, error)
	UploadPart(context.Context, *s3.UploadPartInput, ...func(*s3.Options)) (*s3.UploadPartOutput, error)
	ListParts(context.Context, *s3.ListPartsInput, ...func(*s3.Options)) (*s3.ListPartsOutput, error)
	CompleteMultipartUpload(context.Context, *s3.CompleteMultipartUploadInput, ...func(*s3.Options)) (*s3.CompleteMultipartUploadOutput, error)
	AbortMultipartUpload(context.Context, *s3.AbortMultipartUploadInput, ...func(*s3.Options)) (*s3.AbortMultipartUploadOutput, error)
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// retry makes one of S3's small calls until it is answered.
func (j *job) retry(ctx context.Context, call string, do func() error) error {
	for tries := j.newTries(); ; {
		err := storeError(j.dst.Bucket, call, do())
		if err == nil {
			return nil
		}
		if err = tries.again(ctx, err); err != nil {
			return err
		}
	}
}

// origin is what a body is read from: a span of the remote file or a buffer.
type origin interface {
	io.Reader
	close()
}

// send makes one request to S3 with a body of that length, again from the
// body's start when it fails: S3 keeps nothing of a body that broke off.
func (j *job) send(ctx context.Context, call string, length int64, open func(context.Context) origin,
	do func(context.Context, io.Reader, func(*s3.Options)) (stored *string, err error),
) (uint32, error) {
	for tries := j.newTries(); ; {
		crc, err := j.sendOnce(ctx, call, length, open, do)
		if err == nil {
			return crc, nil
		}
		if err = tries.again(ctx, err); err != nil {
			return 0, err
		}
	}
}

func (j *job) sendOnce(ctx context.Context, call string, length int64, open func(context.Context) origin,
	do func(context.Context, io.Reader, func(*s3.Options)) (*string, error),
) (uint32, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	source := open(ctx)
	defer source.close()
	body := newPayload(source, length, j.StoreStall, func() { cancel(errStoreStalled) })
	stored, err := do(ctx, body, body.options)
	cause := body.failure() // before the next line makes one
	if err != nil {
		cancel(err) // or a Read that still waits for the origin would hold up close
	}
	body.close()
	if cause != nil {
		return 0, cause
	}
	if errors.Is(context.Cause(ctx), errStoreStalled) {
		err = &passing{err: named.Errorf(named.Unavailable, "S3 %s: %w", call, errStoreStalled)}
	}
	if err != nil {
		return 0, storeError(j.dst.Bucket, call, err)
	}
	crc, whole := body.sum()
	if !whole { // answered before it had everything
		return 0, &passing{err: named.Errorf(named.Unavailable, "S3 %s was answered before the body was sent", call)}
	}
	if theirs, ok := decodeCRC32(stored); ok && theirs != crc {
		return 0, &passing{err: named.Errorf(named.Unavailable, "S3 %s stored other bytes than were sent", call)}
	}
	return crc, nil
}

// single puts a file of at most one part straight from the open answer.
func (j *job) single(ctx context.Context, key string, first *span) (Result, error) {
	res := j.result(key, first.known)
	if res.Bytes == 0 {
		if _, err := first.Read(make([]byte, 1)); err != io.EOF {
			return Result{}, err
		}
		return j.putEmpty(ctx, res)
	}
	open := j.firstThenAnew(first, first.known, 0, res.Bytes)
	crc, err := j.send(ctx, "PutObject", res.Bytes, open, j.putObject(&res))
	res.CRC32 = crc
	return res, err
}

// firstThenAnew gives the open span to the first attempt and a fresh one of the
// same bytes to each after it. first may be nil.
func (j *job) firstThenAnew(first *span, remote Remote, from, to int64) func(context.Context) origin {
	return func(ctx context.Context) origin {
		if first == nil {
			return j.newSpan(ctx, remote, from, to)
		}
		s, cancel := first, first.cancel
		first = nil
		s.ctx, s.end = ctx, to
		// Opened before this attempt, its answer does not know the attempt's end.
		context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
		return s
	}
}

// alreadyThere looks whether an earlier invocation, or one still alive, has
// stored this output. size -1: any size.
func (j *job) alreadyThere(ctx context.Context, key string, size int64) (Result, bool, error) {
	if len(j.dst.Metadata) == 0 {
		return Result{}, false, nil // nothing would tell it from another run's
	}
	var head *s3.HeadObjectOutput
	err := j.retry(ctx, "HeadObject", func() (err error) {
		head, err = j.S3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &j.dst.Bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
		if _, status := s3errors.Code(err); toldByTheWrite(status) {
			head, err = nil, nil
		}
		return err
	})
	if err != nil || head == nil {
		return Result{}, false, err
	}
	bytes := aws.ToInt64(head.ContentLength)
	if size >= 0 && bytes != size || !contains(head.Metadata, j.dst.Metadata) {
		return Result{}, false, nil
	}
	res := Result{
		Done: true, Skipped: true, Key: key, Bytes: bytes, ETag: aws.ToString(head.ETag),
		ContentType: aws.ToString(head.ContentType), ContentEncoding: aws.ToString(head.ContentEncoding),
	}
	if crc, ok := decodeCRC32(head.ChecksumCRC32); ok && head.ChecksumType != types.ChecksumTypeComposite {
		res.CRC32 = crc
		return res, true, nil
	}
	// The store kept only a checksum of checksums: the bytes themselves tell.
	res.CRC32, err = j.readBack(ctx, res)
	return res, err == nil, err
}

// toldByTheWrite holds for the answers to a HeadObject after which the copy goes
// on as if nothing were there. 404 says so; without the right to list the bucket
// S3 says 403 of what is not there. A bucket of another region or a wrong name
// answers a HEAD with a status and no reason: the write that follows is told one.
func toldByTheWrite(status int) bool {
	switch status {
	case http.StatusNotFound, http.StatusForbidden, http.StatusMovedPermanently, http.StatusBadRequest, http.StatusMethodNotAllowed:
		return true
	}
	return false
}

func contains(all, wanted map[string]string) bool {
	lower := maps.Collect(func(yield func(string, string) bool) {
		for k, v := range all {
			if !yield(http.CanonicalHeaderKey(k), v) {
				return
			}
		}
	})
	for k, v := range wanted {
		if lower[http.CanonicalHeaderKey(k)] != v {
			return false
		}
	}
	return true
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
