package transfer

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
)

// S3 has the calls of *s3.Client that a copy makes.
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

// bucketClient makes the requests of one output to the bucket that it is copied into.
type bucketClient struct {
	s3       S3
	bucket   string
	metadata map[string]string
	retry    retryPolicy
	stall    time.Duration // without S3 reading or answering, after which a request is given up
}

// call makes a request without a body of ours, again while its failure is transient.
func (s *bucketClient) call(ctx context.Context, operation string, do func() error) error {
	return s.retry.do(ctx, func() error { return s3Error(s.bucket, operation, do()) })
}

// s3Error classifies S3's answer to a call: errUploadGone; OutputBucketRefused
// for a bucket that takes no such write; else Unavailable, transient where another
// attempt may be answered differently.
func s3Error(bucket, operation string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := named.As(err); ok || isTransient(err) {
		return err
	}
	code, status := s3errors.Code(err)
	if code == "NoSuchUpload" {
		return errUploadGone
	}
	if reason, refused := s3errors.RefusedByBucket(err); refused && operation != "GetObject" {
		return named.Errorf(named.OutputBucketRefused, "the bucket %s refuses S3's %s: %s", bucket, operation, reason)
	}
	unavailable := named.Errorf(named.Unavailable, "S3 %s: %w", operation, redact.Error(err))
	if isTransientAnswer(code, status) {
		return &transientError{err: unavailable}
	}
	return unavailable
}

// isTransientAnswer reports whether another attempt may be answered differently, by the
// status of S3's answer, whatever its code (0: there was no answer), or by its code.
func isTransientAnswer(code string, status int) bool {
	switch status {
	case 0, http.StatusTemporaryRedirect, http.StatusConflict, http.StatusTooManyRequests:
		return true
	}
	switch code {
	case "SlowDown", "RequestTimeout", "RequestTimeTooSkewed", "InternalError", "ServiceUnavailable", "OperationAborted", "ConditionalRequestConflict",
		"BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "InvalidDigest":
		return true
	}
	return status >= http.StatusInternalServerError || strings.HasPrefix(strings.TrimPrefix(code, "KMS."), "Throttl")
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
