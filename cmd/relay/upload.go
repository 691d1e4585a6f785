package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/cyberun-cloud/cyberun-relay/shared/media"
)

const (
	// uploadPrefix keeps clear of jobs/ and files/, where an upload would start
	// a run of its own.
	uploadPrefix = "cli/"
	// uploadTimeout is for the largest file at 150 KiB/s.
	uploadTimeout = time.Hour
	// sniffed is what http.DetectContentType looks at.
	sniffed = 512
)

// uploader puts local files into the inbox bucket.
type uploader struct {
	*session
	bucket         string // empty: the stack's
	idempotencyKey string // the run's
}

// upload puts the file of a parameter there and returns its s3:// address. The object's
// key follows from the Idempotency-Key and the content: the same command
// with the same Idempotency-Key makes the same request, and uploads nothing twice.
func (u *uploader) upload(ctx context.Context, name, parameter string) (string, error) {
	cfg, err := u.config(ctx)
	if err != nil {
		return "", err
	}
	bucket := u.bucket
	if bucket == "" {
		if bucket, err = u.stackOutput(ctx, "InboxBucket", "--inbox-bucket (RELAY_INBOX_BUCKET)"); err != nil {
			return "", err
		}
	}
	file, err := os.Open(name)
	if err != nil {
		return "", cannotUpload(name, err)
	}
	defer file.Close()
	folder, kind, length, err := identify(file, parameter, u.idempotencyKey)
	if err != nil {
		return "", cannotUpload(name, err)
	}
	key := uploadPrefix + folder + "/" + filepath.Base(name)
	uri := "s3://" + bucket + "/" + key
	u.console.notef("uploading %s (%s) to %s", name, formatBytes(length), uri)

	ctx, cancel := context.WithTimeout(ctx, uploadTimeout)
	defer cancel()
	// A stand-in at an address of its own has no names for buckets.
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = cfg.BaseEndpoint != nil
		// Two of the same command at once: S3 asks the later to try again, and has then the file.
		o.Retryer = retry.AddWithErrorCodes(o.Retryer, "ConditionalRequestConflict")
	})
	_, err = client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &bucket, Key: &key, Body: file, ContentLength: &length, ContentType: &kind, IfNoneMatch: aws.String("*"),
	})
	if refused, ok := errors.AsType[smithy.APIError](err); ok && refused.ErrorCode() == "PreconditionFailed" {
		return uri, nil // it is there already, byte for byte: its object key says so
	}
	if err != nil {
		return "", awsFailure(fmt.Sprintf("%s cannot be uploaded to %s", name, uri), err, "s3:PutObject on the inbox bucket", "a file that is in S3 already: "+parameter+"=s3://…")
	}
	return uri, nil
}

// identify reads the file for its folder in the bucket, its media type and length.
func identify(file *os.File, parameter, idempotencyKey string) (folder, kind string, length int64, err error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s\n", idempotencyKey, parameter)
	if length, err = io.Copy(sum, file); err != nil {
		return "", "", 0, err
	}
	if kind = media.TypeByName(file.Name()); kind == "" {
		head := make([]byte, min(sniffed, length))
		if _, err := file.ReadAt(head, 0); err != nil {
			return "", "", 0, err
		}
		kind = http.DetectContentType(head)
	}
	_, err = file.Seek(0, io.SeekStart)
	return hex.EncodeToString(sum.Sum(nil)[:10]), kind, length, err
}

func cannotUpload(name string, err error) *failure {
	return &failure{code: codeUsage, what: fmt.Sprintf("%s cannot be uploaded: %v", name, err)}
}
