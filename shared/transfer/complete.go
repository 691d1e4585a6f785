package transfer

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
)

// resume goes on with an upload of an earlier call. Each range it fetches is
// held against the checkpoint, so that a file that has changed since ends the
// upload and the copy begins anew.
func (j *job) resume(ctx context.Context, cp Checkpoint) (Result, error) {
	if cp.UploadID == "" {
		return Result{}, errBeginAnew
	}
	up := &upload{Checkpoint: cp}
	j.restarts = cp.Restarts
	if cp.Stream {
		res, there, err := j.alreadyThere(ctx, cp.Key, cp.Total)
		if err != nil || there && cp.Total >= 0 {
			return res, err
		}
		j.abort(ctx, up)
		return Result{}, errBeginAnew
	}
	if cp.PartSize <= 0 || cp.PartSize > maxPart || cp.Total <= 0 || (cp.Total-1)/cp.PartSize >= maxParts { // none that create stored
		return Result{}, errBeginAnew
	}
	up.plan()
	if err := j.list(ctx, up); err != nil {
		return j.giveUp(ctx, up, err)
	}
	res, err := j.goOn(ctx, up, nil)
	var split *oneStreamError
	if !named.Is(err, named.OutputChanged) && !errors.As(err, &split) {
		return res, err
	}
	// Aborted already. What is another output at each call, or has another ETag at
	// each node, is fetched in one stream in the end.
	if j.restarts++; j.restarts > maxRestarts {
		j.inOneStream()
	}
	return Result{}, errBeginAnew
}

// list learns from S3 which parts are there. One without a CRC32, or of another
// size, is copied again: nothing would vouch for it.
func (j *job) list(ctx context.Context, up *upload) error {
	for i := range up.parts {
		up.parts[i].etag = ""
	}
	input := &s3.ListPartsInput{Bucket: &j.dst.Bucket, Key: &up.Key, UploadId: &up.UploadID}
	for {
		var page *s3.ListPartsOutput
		err := j.retry(ctx, "ListParts", func() (err error) {
			page, err = j.S3.ListParts(ctx, input)
			return err
		})
		if err != nil {
			return err
		}
		for _, p := range page.Parts {
			i := int(aws.ToInt32(p.PartNumber)) - 1
			crc, ok := decodeCRC32(p.ChecksumCRC32)
			if ok && i >= 0 && i < len(up.parts) && up.parts[i].size == aws.ToInt64(p.Size) {
				up.parts[i].crc, up.parts[i].etag = crc, aws.ToString(p.ETag)
			}
		}
		next := aws.ToString(page.NextPartNumberMarker)
		if !aws.ToBool(page.IsTruncated) || next == "" || next == aws.ToString(input.PartNumberMarker) {
			return nil
		}
		input.PartNumberMarker = &next
	}
}

// complete makes the object. Where the store granted FULL_OBJECT it checks the
// CRC32 and the size of the whole itself; elsewhere each part's were checked.
func (j *job) complete(ctx context.Context, up *upload) (Result, error) {
	res := j.result(up.Key, up.remote())
	res.Bytes, res.CRC32 = up.Total, up.crc32()
	input := &s3.CompleteMultipartUploadInput{
		Bucket: &j.dst.Bucket, Key: &up.Key, UploadId: &up.UploadID,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: make([]types.CompletedPart, len(up.parts))},
	}
	for i, p := range up.parts {
		input.MultipartUpload.Parts[i] = types.CompletedPart{
			PartNumber: aws.Int32(int32(i + 1)), ETag: aws.String(p.etag), // #nosec G115 -- at most maxParts
			ChecksumCRC32: aws.String(encodeCRC32(p.crc)),
		}
	}
	if up.fullObject() {
		input.ChecksumType = types.ChecksumTypeFullObject
		input.ChecksumCRC32 = aws.String(encodeCRC32(res.CRC32))
		input.MpuObjectSize = &up.Total
	}
	err := j.retry(ctx, "CompleteMultipartUpload", func() error {
		out, err := j.S3.CompleteMultipartUpload(ctx, input)
		if err == nil {
			res.ETag = aws.ToString(out.ETag)
		}
		return err
	})
	return res, err
}

// abort ends an upload that no later call could go on with. The context may be
// what ended the copy, so this has a time of its own.
func (j *job) abort(ctx context.Context, up *upload) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
	defer cancel()
	_ = Abort(ctx, j.S3, j.dst.Bucket, up.Checkpoint) // the bucket's rule for incomplete uploads is behind it
}

// Aborter is the one call of *s3.Client that Abort makes.
type Aborter interface {
	AbortMultipartUpload(context.Context, *s3.AbortMultipartUploadInput, ...func(*s3.Options)) (*s3.AbortMultipartUploadOutput, error)
}

// Abort ends the upload of a checkpoint, for whoever closes a run. One that no
// longer exists is no error.
func Abort(ctx context.Context, client Aborter, bucket string, cp Checkpoint) error {
	if cp.UploadID == "" {
		return nil
	}
	_, err := client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: &cp.Key, UploadId: &cp.UploadID})
	if code, _ := s3errors.Code(err); err == nil || code == "NoSuchUpload" {
		return nil
	}
	return named.Errorf(named.Unavailable, "S3 AbortMultipartUpload: %w", withoutURL(err))
}
