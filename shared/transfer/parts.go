package transfer

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
	"golang.org/x/sync/errgroup"
)

// Checkpoint is what finds a multipart upload again: stored by the caller when
// Copy calls save, given back to the next Copy, or to Abort. It holds no URL.
type Checkpoint struct {
	Key             string `json:"key"`
	UploadID        string `json:"upload_id"`
	PartSize        int64  `json:"part_size"`
	Total           int64  `json:"total"` // -1: the origin does not say
	ETag            string `json:"etag,omitempty"`
	LastModified    string `json:"last_modified,omitempty"`
	ContentType     string `json:"content_type,omitempty"`
	ContentEncoding string `json:"content_encoding,omitempty"`
	ChecksumType    string `json:"checksum_type,omitempty"` // what the store granted
	// Stream: the origin has no ranges, so that the next call can only abort the
	// upload and begin anew.
	Stream bool `json:"stream,omitempty"`
	// Restarts counts the uploads before this one that were given up because the
	// origin had another file.
	Restarts int `json:"restarts,omitempty"`
}

func (cp Checkpoint) remote() Remote {
	return Remote{
		ContentType: cp.ContentType, ContentEncoding: cp.ContentEncoding,
		ETag: cp.ETag, LastModified: cp.LastModified, Total: cp.Total, Ranges: !cp.Stream,
	}
}

func (cp Checkpoint) fullObject() bool {
	return cp.ChecksumType == string(types.ChecksumTypeFullObject)
}

// upload is a multipart upload under way: parts[i] is part number i+1.
type upload struct {
	Checkpoint
	mu    sync.Mutex // guards parts while several workers copy
	parts []part
}

type part struct {
	size int64
	crc  uint32
	etag string // empty: not there yet
}

// plan cuts the total into parts.
func (u *upload) plan() {
	u.parts = make([]part, (u.Total+u.PartSize-1)/u.PartSize)
	for i := range u.parts {
		u.parts[i].size = min(u.PartSize, u.Total-int64(i)*u.PartSize)
	}
}

func (u *upload) missing() []int {
	u.mu.Lock()
	defer u.mu.Unlock()
	var missing []int
	for i := range u.parts {
		if u.parts[i].etag == "" {
			missing = append(missing, i)
		}
	}
	return missing
}

func (u *upload) size(i int) int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.parts[i].size
}

func (u *upload) crc32() (crc uint32) {
	for _, p := range u.parts {
		crc = combineCRC32(crc, p.crc, p.size)
	}
	return crc
}

// multipart copies a file whose ranges can be had. It is given the probe's slot.
func (j *job) multipart(ctx context.Context, key string, first *span) (Result, error) {
	size, err := partSize(first.known.Total, j.PartSize)
	var up *upload
	if err == nil {
		up, err = j.create(ctx, key, first.known, size)
	}
	if err != nil {
		first.close()
		j.release()
		return Result{}, err
	}
	up.plan()
	return j.goOn(ctx, up, first)
}

// partSize grows from the usual one until S3's count of parts is enough.
func partSize(total, usual int64) (int64, error) {
	if total > maxPart*maxParts { // before the sum below can overflow
		return 0, named.Errorf(named.Unavailable, "the output has %d bytes, more than an S3 object can hold", total)
	}
	size := max(usual, (total+maxParts-1)/maxParts)
	if size > usual {
		size = (size + partStep - 1) / partStep * partStep
	}
	return size, nil
}

// create begins the upload and has the caller store what finds it again, before
// the first byte: an upload that nobody knows is paid for until a rule ends it.
func (j *job) create(ctx context.Context, key string, remote Remote, size int64) (*upload, error) {
	input := &s3.CreateMultipartUploadInput{
		Bucket: &j.dst.Bucket, Key: &key, Metadata: j.dst.Metadata,
		ContentType: aws.String(contentType(remote.ContentType)), ContentEncoding: orNil(remote.ContentEncoding),
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: types.ChecksumTypeFullObject,
	}
	var out *s3.CreateMultipartUploadOutput
	err := j.retry(ctx, "CreateMultipartUpload", func() (err error) {
		out, err = j.S3.CreateMultipartUpload(ctx, input)
		return err
	})
	if err != nil {
		return nil, err
	}
	up := &upload{Checkpoint: Checkpoint{
		Key: key, UploadID: aws.ToString(out.UploadId), PartSize: size, Total: remote.Total,
		ETag: remote.ETag, LastModified: remote.LastModified, ContentType: remote.ContentType,
		ContentEncoding: remote.ContentEncoding, ChecksumType: string(out.ChecksumType), Stream: !remote.Ranges, Restarts: j.restarts,
	}}
	if j.save == nil {
		return up, nil
	}
	if err := j.save(ctx, up.Checkpoint); err != nil {
		j.abort(ctx, up)
		return nil, err
	}
	return up, nil
}

// goOn copies what is missing and completes, as often as the store, or another
// invocation at work on the same upload, makes it necessary.
func (j *job) goOn(ctx context.Context, up *upload, first *span) (Result, error) {
	const rounds = 3 // two invocations that meet need one more; a store that never agrees is left
	var err error
	for range rounds {
		if err = j.copyParts(ctx, up, first); err != nil {
			break
		}
		first = nil
		if len(up.missing()) > 0 {
			return Result{}, nil // out of time
		}
		var res Result
		if res, err = j.complete(ctx, up); err == nil {
			return res, nil
		}
		if code, _ := s3errors.Code(err); code != "InvalidPart" && code != "InvalidPartOrder" {
			break
		}
		if listErr := j.list(ctx, up); listErr != nil {
			err = listErr
			break
		}
	}
	return j.giveUp(ctx, up, err)
}

// giveUp looks whether another invocation has stored the object, which explains
// an upload that is gone, cannot be completed or, at some stores, only ever
// breaks the connection; else it aborts what no later call could go on with.
func (j *job) giveUp(ctx context.Context, up *upload, err error) (Result, error) {
	if ctx.Err() != nil {
		return Result{}, err
	}
	gone := errors.Is(err, errUploadGone)
	res, there, headErr := j.alreadyThere(ctx, up.Key, up.Total)
	if there && headErr == nil {
		j.abort(ctx, up) // it may have come by another upload, and this one is nobody's now
		return res, nil
	}
	if gone && headErr != nil {
		return Result{}, headErr
	}
	if gone {
		return Result{}, errBeginAnew
	}
	if endsUpload(err) {
		j.abort(ctx, up)
	}
	return Result{}, err
}

// endsUpload holds for the errors that no later call could go on from.
func endsUpload(err error) bool {
	var split *oneStreamError
	if code, _ := s3errors.Code(err); code == "BadDigest" || errors.As(err, &split) {
		return true
	}
	for _, name := range []string{named.OutputChanged, named.OutputTruncated, named.OutputExpired, named.OutputUnavailable} {
		if named.Is(err, name) {
			return true
		}
	}
	return false
}

// copyParts has workers fetch the missing parts until none is left or it is
// time to stop. The first worker has the probe's open answer, and its slot.
func (j *job) copyParts(ctx context.Context, up *upload, first *span) error {
	missing := up.missing()
	workers := min(j.Connections, len(missing))
	if first != nil {
		missing = missing[1:] // the open answer is the first part and no other
	}
	queue := make(chan int, len(missing))
	for _, i := range missing {
		queue <- i
	}
	close(queue)
	group, ctx := errgroup.WithContext(ctx)
	for range workers {
		mine := first
		first = nil
		group.Go(func() error { return j.work(ctx, up, queue, mine) })
	}
	return group.Wait()
}

func (j *job) work(ctx context.Context, up *upload, queue <-chan int, first *span) error {
	if first != nil {
		err := j.copyPart(ctx, up, 0, first)
		first.close()
		j.release()
		if err != nil {
			return err
		}
	}
	for {
		if err := j.acquire(ctx); err != nil {
			return err
		}
		i, more := 0, false
		if !j.stopped() {
			i, more = <-queue
		}
		if !more {
			j.release()
			return nil
		}
		err := j.copyPart(ctx, up, i, nil)
		j.release()
		if err != nil {
			return err
		}
	}
}

// copyPart leads a range of the origin straight into one part.
func (j *job) copyPart(ctx context.Context, up *upload, i int, first *span) error {
	from := int64(i) * up.PartSize
	size := up.size(i)
	err := j.uploadPart(ctx, up, i, j.firstThenAnew(first, up.remote(), from, from+size))
	if err == nil {
		j.stored.Add(size)
	}
	return err
}

func (j *job) uploadPart(ctx context.Context, up *upload, i int, open func(context.Context) origin) error {
	var etag string
	size := up.size(i)
	crc, err := j.send(ctx, "UploadPart", size, open, func(ctx context.Context, body io.Reader, opt func(*s3.Options)) (*string, error) {
		out, err := j.S3.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &j.dst.Bucket, Key: &up.Key, UploadId: &up.UploadID,
			PartNumber: aws.Int32(int32(i + 1)), Body: body, ContentLength: &size, // #nosec G115 -- at most maxParts
			ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, // a bucket with Object Lock demands the header
		}, opt)
		if err != nil {
			return nil, err
		}
		etag = aws.ToString(out.ETag)
		return out.ChecksumCRC32, nil
	})
	if err != nil {
		return err
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	up.parts[i] = part{size: size, crc: crc, etag: etag}
	return nil
}
