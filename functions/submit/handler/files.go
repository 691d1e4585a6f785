package handler

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/media"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// maxInputFile is Cyberun's default limit for a file; a deployment may have set
// another, which its presign then tells.
const maxInputFile = 500 << 20

// inputFile is a file parameter whose value is an object to give to Cyberun.
type inputFile struct {
	parameter   string
	uri         string
	bucket, key string
	etag        string
	size        int64
	contentType string
}

// inputFiles looks at every s3:// value before anything is uploaded: what is
// missing, forbidden, too large or of the wrong type is a fault of the request.
func (h *Handler) inputFiles(ctx context.Context, w cyberun.Workflow, parameters map[string]any) ([]inputFile, named.Violations, error) {
	var files []inputFile
	var faults named.Violations
	for _, p := range w.Parameters {
		uri, _ := parameters[p.Key].(string)
		if p.Type != cyberun.TypeFile || !run.IsS3URI(uri) {
			continue
		}
		file, problem, err := h.inspect(ctx, p, uri)
		if err != nil {
			return nil, nil, err
		}
		if problem != "" {
			faults = append(faults, named.Violation{Parameter: p.Key, Message: uri + " " + problem})
			continue
		}
		files = append(files, file)
	}
	return files, faults, nil
}

func (h *Handler) inspect(ctx context.Context, p cyberun.Parameter, uri string) (file inputFile, problem string, err error) {
	bucket, key, err := run.ParseS3URI(uri)
	if err != nil {
		return file, "does not name an S3 object", nil
	}
	if bucket == h.StateBucket { // submit's role may read it; a request may not
		return file, "may not be read: it is the relay's own state", nil
	}
	head, err := h.Buckets.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) {
		switch answer.HTTPStatusCode() {
		case http.StatusNotFound:
			return file, "is not there", nil
		case http.StatusForbidden:
			return file, forbidden, nil
		case http.StatusBadRequest, http.StatusMovedPermanently:
			return file, "cannot be read: its bucket lies in another region, or the key is not valid", nil
		}
	}
	if err != nil {
		return file, "", named.Errorf(named.Unavailable, "S3 could not look up %s: %w", uri, err)
	}
	file = inputFile{
		parameter: p.Key, uri: uri, bucket: bucket, key: key,
		etag: aws.ToString(head.ETag), size: aws.ToInt64(head.ContentLength), contentType: aws.ToString(head.ContentType),
	}
	if archived(head) {
		return file, inArchive, nil
	}
	return file, file.problem(p.Accept), nil
}

// What is told of an object that no retry makes readable.
const (
	forbidden = "may not be read by the relay: put it into the inbox bucket, or name its bucket in the stack parameter ExtraInputBucketArns; if a KMS key of its own encrypts it, that key's policy has to let the submit function's role use kms:Decrypt"
	inArchive = "lies in an archive: restore it, or copy it to a storage class that can be read at once"
)

// archived reports whether the object would have to be restored before it can be read.
func archived(head *s3.HeadObjectOutput) bool {
	restored := strings.Contains(aws.ToString(head.Restore), `ongoing-request="false"`)
	deep := head.StorageClass == types.StorageClassGlacier || head.StorageClass == types.StorageClassDeepArchive
	return (deep || head.ArchiveStatus != "") && !restored
}

// unreadable is what keeps an object that is there from being read, for good; empty:
// that may pass.
func unreadable(err error) string {
	var answer smithy.APIError
	if !errors.As(err, &answer) {
		return ""
	}
	switch answer.ErrorCode() {
	case "InvalidObjectState":
		return inArchive
	case "AccessDenied", "KMS.AccessDeniedException", "KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException":
		return forbidden
	}
	return ""
}

// problem is what keeps a file that is there from being an input.
func (f inputFile) problem(accept []string) string {
	switch {
	case f.size == 0:
		return "is empty"
	case f.size > maxInputFile:
		return "is larger than the 500 MiB that Cyberun takes for a file"
	case !media.Accepts(accept, f.key, f.contentType):
		return "is of a type that is not accepted; accepted are " + strings.Join(accept, ", ")
	}
	return ""
}

// fileKept is how long an uploaded file is counted on: Cyberun removes input
// files after a day, and a task may start some hours after its submission.
const fileKept = 18 * time.Hour

// uploadFiles gives each file to Cyberun, once: the record keeps its file_key,
// so that a step tried again does not upload it again. A redrive days later does.
func (h *Handler) uploadFiles(ctx context.Context, r lifecycle.Run, files []inputFile, parameters map[string]any) error {
	for _, f := range files {
		done, ok := r.Uploads[f.parameter]
		if !ok || done.Source != f.uri || done.ETag != f.etag || h.Now().Sub(done.At) > fileKept {
			fileKey, err := h.upload(ctx, f)
			if err != nil {
				return err
			}
			done = run.Upload{Source: f.uri, ETag: f.etag, FileKey: fileKey, At: h.Now().UTC()}
			if r, err = h.Runs.Note(ctx, r, func(rec *run.Record) {
				uploads := maps.Clone(rec.Uploads)
				if uploads == nil {
					uploads = map[string]run.Upload{}
				}
				uploads[f.parameter] = done
				rec.Uploads = uploads
			}); err != nil {
				return err
			}
		}
		parameters[f.parameter] = done.FileKey
	}
	return nil
}

func (h *Handler) upload(ctx context.Context, f inputFile) (string, error) {
	callCtx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	presigned, err := h.Cyberun.Presign(callCtx, cyberun.PresignRequest{FileName: path.Base(f.key), FileSize: f.size, ContentType: media.Type(f.key, f.contentType)})
	if err != nil {
		return "", cyberun.PrepareError("announce the file "+f.uri, err)
	}
	object, err := h.Buckets.GetObject(ctx, &s3.GetObjectInput{Bucket: &f.bucket, Key: &f.key, IfMatch: &f.etag})
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusPreconditionFailed {
		return "", named.Violations{{Parameter: f.parameter, Message: f.uri + " changed while the run was prepared"}}.Err()
	}
	if problem := unreadable(err); problem != "" {
		return "", named.Violations{{Parameter: f.parameter, Message: f.uri + " " + problem}}.Err()
	}
	if err != nil {
		return "", named.Errorf(named.Unavailable, "S3 could not read %s: %w", f.uri, err)
	}
	defer object.Body.Close()
	if err := h.Cyberun.Upload(ctx, presigned, object.Body, f.size); err != nil {
		return "", uploadError(f.uri, err)
	}
	return presigned.FileKey, nil
}

// uploadError: the store that takes files is not the API. Its 403 is an address
// that ran out or was signed otherwise, which a new one mends, and no licence; its
// 400 is a stall or a broken body (RequestTimeout, IncompleteBody) as well.
func uploadError(uri string, err error) error {
	var answer *cyberun.APIError
	if errors.As(err, &answer) && (answer.Status == http.StatusRequestEntityTooLarge || answer.Code == "EntityTooLarge") {
		return cyberun.PrepareError("upload the file "+uri, err)
	}
	if told, ok := named.As(err); ok { // the address leads where none may
		return told
	}
	return named.Errorf(named.Unavailable, "upload the file %s: %w", uri, err)
}
