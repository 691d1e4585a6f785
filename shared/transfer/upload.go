package transfer

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
)

// S3's own limits of a multipart upload.
const (
	maxParts    = 10_000
	maxPartSize = 5 << 30
)

// Checkpoint is what is needed to resume or abort a multipart upload. [Copier.Copy]
// gives it to save, which stores it for the next Copy, or for [Abort]. It has no URL in
// it.
type Checkpoint struct {
	Key          string `json:"key"`
	UploadID     string `json:"upload_id"`
	PartSize     int64  `json:"part_size"` // bytes
	OriginFile          // the output, as the first answer described it
	ChecksumType string `json:"checksum_type,omitempty"` // as S3 granted it
	// Stream says that the output is copied from one answer of the origin, so that the
	// next call can only abort the upload and start again.
	Stream bool `json:"stream,omitempty"`
	// Restarts counts the uploads of this output that were aborted because the origin had
	// another file by then.
	Restarts int `json:"restarts,omitempty"`
}

// Save stores the checkpoint of one output where the next call will find it.
type Save = func(context.Context, Checkpoint) error

// resumable reports that the checkpoint is of an upload that multipart can have
// created.
func (cp Checkpoint) resumable() bool {
	return cp.UploadID != "" && cp.PartSize > 0 && cp.PartSize <= maxPartSize &&
		cp.Total > 0 && (cp.Total-1)/cp.PartSize < maxParts
}

// partSizeFor returns the size of parts that hold total bytes: usual, or more, in
// whole MiB, where S3's number of parts would not do.
func partSizeFor(total, usual int64) (int64, error) {
	if total > maxPartSize*maxParts { // before the sum below can overflow
		return 0, named.Errorf(named.Unavailable, "the output has %d bytes, more than an S3 object can hold", total)
	}
	const step = 1 << 20
	size := max(usual, (total+maxParts-1)/maxParts)
	if size > usual {
		size = (size + step - 1) / step * step
	}
	return size, nil
}

// multipartUpload is a multipart upload under way: parts[i] is part number i+1.
type multipartUpload struct {
	*bucketClient
	Checkpoint
	mu    sync.Mutex // guards parts while put and reserve are called side by side
	parts []part
}

type part struct {
	crc  uint32
	etag string // empty: not stored yet
}

// plan divides the total into parts.
func (u *multipartUpload) plan() { u.parts = make([]part, (u.Total+u.PartSize-1)/u.PartSize) }

// size returns how many bytes part i has, once the total is known.
func (u *multipartUpload) size(i int) int64 { return min(u.PartSize, u.Total-int64(i)*u.PartSize) }

// reserve makes part i the last one, not stored yet.
func (u *multipartUpload) reserve(i int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts = append(u.parts[:i], part{})
}

// missing returns the parts that are not stored yet; no put may be under way.
func (u *multipartUpload) missing() (missing []int) {
	for i, p := range u.parts {
		if p.etag == "" {
			missing = append(missing, i)
		}
	}
	return missing
}

// create begins an upload of the checkpoint's key, and completes the checkpoint.
func (s *bucketClient) create(ctx context.Context, cp Checkpoint) (*multipartUpload, error) {
	input := &s3.CreateMultipartUploadInput{
		Bucket: &s.bucket, Key: &cp.Key, Metadata: s.metadata,
		ContentType: aws.String(contentType(cp.ContentType)), ContentEncoding: orNil(cp.ContentEncoding),
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: types.ChecksumTypeFullObject,
	}
	err := s.call(ctx, "CreateMultipartUpload", func() error {
		out, err := s.s3.CreateMultipartUpload(ctx, input)
		if err == nil {
			cp.UploadID, cp.ChecksumType = aws.ToString(out.UploadId), string(out.ChecksumType)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &multipartUpload{bucketClient: s, Checkpoint: cp}, nil
}

// put stores part i, of that size.
func (u *multipartUpload) put(ctx context.Context, i int, size int64, open openBody) error {
	var stored part
	input := &s3.UploadPartInput{
		Bucket: &u.bucket, Key: &u.Key, UploadId: &u.UploadID, PartNumber: aws.Int32(int32(i + 1)), ContentLength: &size,
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, // a bucket with Object Lock demands the header
	}
	var err error
	stored.crc, err = u.send(ctx, "UploadPart", size, open, func(ctx context.Context, body io.Reader, options ...func(*s3.Options)) (*string, error) {
		input.Body = body
		out, err := u.s3.UploadPart(ctx, input, options...)
		if err != nil {
			return nil, err
		}
		stored.etag = aws.ToString(out.ETag)
		return out.ChecksumCRC32, nil
	})
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.parts[i] = stored
	return nil
}

// list asks S3 which parts are stored. One without a CRC32, or of another size, is
// copied again: nothing would vouch for it.
func (u *multipartUpload) list(ctx context.Context) error {
	clear(u.parts)
	input := &s3.ListPartsInput{Bucket: &u.bucket, Key: &u.Key, UploadId: &u.UploadID}
	for {
		var page *s3.ListPartsOutput
		err := u.call(ctx, "ListParts", func() (err error) {
			page, err = u.s3.ListParts(ctx, input)
			return err
		})
		if err != nil {
			return err
		}
		for _, p := range page.Parts {
			i := int(aws.ToInt32(p.PartNumber)) - 1
			crc, ok := decodeCRC32(p.ChecksumCRC32)
			if ok && i >= 0 && i < len(u.parts) && u.size(i) == aws.ToInt64(p.Size) {
				u.parts[i] = part{crc: crc, etag: aws.ToString(p.ETag)}
			}
		}
		next := aws.ToString(page.NextPartNumberMarker)
		if !aws.ToBool(page.IsTruncated) || next == "" || next == aws.ToString(input.PartNumberMarker) {
			return nil
		}
		input.PartNumberMarker = &next
	}
}

// complete makes the object of the parts. Where S3 granted FULL_OBJECT it compares
// the CRC32 and the size of the whole itself; else it has compared each part's.
func (u *multipartUpload) complete(ctx context.Context) (Result, error) {
	res := newResult(u.Key, u.OriginFile)
	input := &s3.CompleteMultipartUploadInput{
		Bucket: &u.bucket, Key: &u.Key, UploadId: &u.UploadID,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: make([]types.CompletedPart, len(u.parts))},
	}
	for i, p := range u.parts {
		res.CRC32 = combineCRC32(res.CRC32, p.crc, u.size(i))
		input.MultipartUpload.Parts[i] = types.CompletedPart{
			PartNumber: aws.Int32(int32(i + 1)), ETag: aws.String(p.etag), ChecksumCRC32: aws.String(encodeCRC32(p.crc)),
		}
	}
	if u.ChecksumType == string(types.ChecksumTypeFullObject) {
		input.ChecksumType = types.ChecksumTypeFullObject
		input.ChecksumCRC32 = aws.String(encodeCRC32(res.CRC32))
		input.MpuObjectSize = &u.Total
	}
	err := u.call(ctx, "CompleteMultipartUpload", func() error {
		out, err := u.s3.CompleteMultipartUpload(ctx, input)
		if err == nil {
			res.ETag = aws.ToString(out.ETag)
		}
		return err
	})
	return res, err
}

// abortTime bounds an abort, which has a time of its own: the context may be what
// ended the copy.
const abortTime = 15 * time.Second

// abort ends an upload that no later call could resume. Its failure is not
// reported: the bucket's rule for incomplete uploads ends what is left.
func (u *multipartUpload) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	_ = Abort(ctx, u.s3, u.bucket, u.Checkpoint)
}

// Aborter has the one call of *s3.Client that [Abort] makes.
type Aborter interface {
	AbortMultipartUpload(context.Context, *s3.AbortMultipartUploadInput, ...func(*s3.Options)) (*s3.AbortMultipartUploadOutput, error)
}

// Abort ends the multipart upload of a checkpoint and deletes its parts, for
// whoever closes a run whose copy nothing will resume. An upload that no longer
// exists, or a checkpoint without one, is no error; any other is Unavailable.
func Abort(ctx context.Context, client Aborter, bucket string, cp Checkpoint) error {
	if cp.UploadID == "" {
		return nil
	}
	_, err := client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: &cp.Key, UploadId: &cp.UploadID})
	if code, _ := s3errors.Code(err); err == nil || code == "NoSuchUpload" {
		return nil
	}
	return named.Errorf(named.Unavailable, "S3 AbortMultipartUpload: %w", redact.Error(err))
}
