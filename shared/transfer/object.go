package transfer

import (
	"context"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
)

// put stores res.Bytes bytes as one object, and completes res.
func (s *bucketClient) put(ctx context.Context, res Result, open openBody) (Result, error) {
	input := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: &res.Key, ContentLength: &res.Bytes,
		ContentType: &res.ContentType, ContentEncoding: orNil(res.ContentEncoding), Metadata: s.metadata,
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, // a bucket with Object Lock demands the header
	}
	request := func(ctx context.Context, body io.Reader, options ...func(*s3.Options)) (*string, error) {
		input.Body = body
		out, err := s.s3.PutObject(ctx, input, options...)
		if err != nil {
			return nil, err
		}
		res.ETag = aws.ToString(out.ETag)
		return out.ChecksumCRC32, nil
	}
	var err error
	if res.Bytes == 0 { // no body, no trailer
		input.ChecksumCRC32 = aws.String(encodeCRC32(0))
		err = s.call(ctx, "PutObject", func() error {
			_, err := request(ctx, nil)
			return err
		})
	} else {
		res.CRC32, err = s.send(ctx, "PutObject", res.Bytes, open, request)
	}
	return res, err
}

func newResult(key string, file OriginFile) Result {
	return Result{
		Done: true, Key: key, Bytes: file.Total,
		ContentType: contentType(file.ContentType), ContentEncoding: file.ContentEncoding,
	}
}

// maxContentType bounds the type that an object is stored with, in bytes. S3 takes
// 8 KB of headers in all; a type with its parameters has some 50.
const maxContentType = 1 << 10

// contentType returns the type that an object is stored with. A header that is
// not printable ASCII (a file's name among its parameters, mostly) would break the
// signature of the request to S3, and a very long one be refused: its parameters
// are left out, or all of it.
func contentType(header string) string {
	printable := func(s string) bool {
		return s != "" && len(s) <= maxContentType && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
	}
	base, _, _ := strings.Cut(header, ";")
	for _, usable := range []string{header, strings.TrimSpace(base)} {
		if printable(usable) {
			return usable
		}
	}
	return "application/octet-stream"
}

// find returns the object that an earlier call, or another one at the same time, has
// stored for this output: one of that size (-1: of any) with all of the target's
// metadata.
func (s *bucketClient) find(ctx context.Context, key string, size int64) (res Result, found bool, err error) {
	if len(s.metadata) == 0 {
		return Result{}, false, nil // nothing distinguishes it from another output
	}
	var head *s3.HeadObjectOutput
	err = s.call(ctx, "HeadObject", func() (err error) {
		head, err = s.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
		if _, status := s3errors.Code(err); slices.Contains(absentStatuses, status) {
			head, err = nil, nil
		}
		return err
	})
	if err != nil || head == nil {
		return Result{}, false, err
	}
	bytes := aws.ToInt64(head.ContentLength)
	if size >= 0 && bytes != size || !hasMetadata(head.Metadata, s.metadata) {
		return Result{}, false, nil
	}
	res = Result{
		Done: true, Skipped: true, Key: key, Bytes: bytes, ETag: aws.ToString(head.ETag),
		ContentType: aws.ToString(head.ContentType), ContentEncoding: aws.ToString(head.ContentEncoding),
	}
	if crc, ok := decodeCRC32(head.ChecksumCRC32); ok && head.ChecksumType != types.ChecksumTypeComposite {
		res.CRC32 = crc
		return res, true, nil
	}
	// S3 kept only a checksum of checksums, or none: the bytes have to be read.
	res.CRC32, err = s.readBack(ctx, key, res.ETag, bytes)
	return res, err == nil, err
}

// absentStatuses are the answers to a HeadObject after which the copy goes on as if there
// were no object. That is what 404 says, and 403 without the right to list the bucket.
// For a bucket of another region or a wrong name, the answer to a HEAD has a status and
// no reason; the answer to the write that follows has one.
var absentStatuses = []int{
	http.StatusNotFound, http.StatusForbidden, http.StatusMovedPermanently, http.StatusBadRequest, http.StatusMethodNotAllowed,
}

// hasMetadata reports that stored, whose keys the SDK gives in small letters, has every
// key and value of wanted.
func hasMetadata(stored, wanted map[string]string) bool {
	for k, v := range wanted {
		if stored[strings.ToLower(k)] != v {
			return false
		}
	}
	return true
}

// readBack returns the CRC32 of an object by reading it, with nothing of it held
// in memory. A connection that breaks is opened again at the byte it had reached;
// an object that is not that ETag's any more is OutputChanged.
func (s *bucketClient) readBack(ctx context.Context, key, etag string, size int64) (uint32, error) {
	sum, next := crc32.NewIEEE(), int64(0)
	for retries := s.retry.start(); ; {
		n, err := s.readRest(ctx, key, etag, size, next, sum)
		if next += n; err == nil {
			return sum.Sum32(), nil
		}
		if n >= minProgress {
			retries = s.retry.start()
		}
		if err = retries.next(ctx, err); err != nil {
			return 0, err
		}
	}
}

// readRest adds the object's bytes from next on to sum, by one request, and
// returns how many they were.
func (s *bucketClient) readRest(ctx context.Context, key, etag string, size, next int64, sum hash.Hash) (int64, error) {
	input := &s3.GetObjectInput{Bucket: &s.bucket, Key: &key, IfMatch: orNil(etag)}
	if next > 0 {
		input.Range = aws.String(fmt.Sprintf("bytes=%d-", next))
	}
	out, err := s.s3.GetObject(ctx, input)
	if code, status := s3errors.Code(err); code == "PreconditionFailed" || status == http.StatusPreconditionFailed {
		return 0, named.Errorf(named.OutputChanged, "the object s3://%s/%s is no longer the one that was begun", s.bucket, key)
	}
	if err != nil {
		return 0, s3Error(s.bucket, "GetObject", err)
	}
	defer out.Body.Close()
	part := contentRange{total: aws.ToInt64(out.ContentLength)}
	if next > 0 {
		part, err = parseContentRange(aws.ToString(out.ContentRange))
	}
	if err != nil || part.from != next || part.total != size || aws.ToString(out.ETag) != etag {
		return 0, &transientError{err: named.Errorf(named.Unavailable, "S3 GetObject answered with another range than asked")}
	}
	n, err := io.CopyN(sum, out.Body, size-next)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return n, &transientError{err: named.Errorf(named.Unavailable, "reading s3://%s/%s: %w", s.bucket, key, redact.Error(err))}
	}
	// At the end itself the SDK compares the bytes with the object's checksum, if it has one.
	if _, err := out.Body.Read(make([]byte, 1)); err != nil && err != io.EOF {
		return n, named.Errorf(named.Unavailable, "the end of s3://%s/%s: %w", s.bucket, key, redact.Error(err))
	}
	return n, nil
}
