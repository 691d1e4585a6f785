package handler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/media"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

// inputFile is a file parameter whose value is an S3 object, which is uploaded to
// Cyberun.
type inputFile struct {
	parameter   string
	uri         string
	bucket, key string
	pin         run.InputVersion // what the request names; empty: what lies there now
	version     *string          // of the pin, that S3 is asked for; nil: the current one
	etag        string           // with its quotes
	size        int64
	contentType string
}

// inputFiles checks every s3:// value before anything is uploaded: an object that is
// missing, forbidden, too large or of the wrong type is a violation. pins are the
// request's input_versions: of a parameter that has one, that version is checked and no
// other; InputReplaced and InputGone say that it no longer exists.
func (h *Handler) inputFiles(ctx context.Context, w cyberun.Workflow, parameters map[string]any, pins map[string]run.InputVersion) ([]inputFile, named.Violations, error) {
	var files []inputFile
	var violations named.Violations
	for _, p := range w.Parameters {
		uri, _ := parameters[p.Key].(string)
		if p.Type != cyberun.TypeFile || !run.IsS3URI(uri) {
			continue
		}
		file, problem, err := h.inspect(ctx, p, uri, pinOf(pins, p.Key))
		if err != nil {
			return nil, nil, err
		}
		if problem != "" {
			violations = append(violations, named.Violation{Parameter: p.Key, Message: uri + " " + problem})
			continue
		}
		files = append(files, file)
	}
	return files, violations, nil
}

// pinOf returns the input version of a parameter, empty if it has none. Parameters that
// came as text have the workflow's spelling by now; their pins are spelled as they came.
func pinOf(pins map[string]run.InputVersion, parameter string) run.InputVersion {
	if pin, ok := pins[parameter]; ok {
		return pin
	}
	for name, pin := range pins {
		if strings.EqualFold(name, parameter) {
			return pin
		}
	}
	return run.InputVersion{}
}

// inspect asks S3 about the object that a file parameter names. problem says why it
// cannot be an input; err is passing, InputReplaced or InputGone.
func (h *Handler) inspect(ctx context.Context, p cyberun.Parameter, uri string, pin run.InputVersion) (file inputFile, problem string, err error) {
	bucket, key, err := run.ParseS3URI(uri)
	if err != nil {
		return file, "does not name an S3 object", nil
	}
	if bucket == h.StateBucket { // submit's role may read it; a request may not
		return file, "may not be read: it is the relay's own state", nil
	}
	file = inputFile{parameter: p.Key, uri: uri, bucket: bucket, key: key, pin: pin}
	if pin.VersionID != "" {
		file.version = &pin.VersionID
	}
	ask := &s3.HeadObjectInput{Bucket: &bucket, Key: &key, VersionId: file.version}
	if pin.ETag != "" {
		ask.IfMatch = aws.String(`"` + pin.ETag + `"`)
	}
	head, err := h.Buckets.HeadObject(ctx, ask)
	if lost := file.pinError(err); lost != nil {
		return file, "", lost
	}
	switch _, status := s3errors.Code(err); status {
	case http.StatusNotFound:
		return file, "is not there", nil
	case http.StatusForbidden:
		return file, forbidden, nil
	case http.StatusBadRequest, http.StatusMovedPermanently:
		return file, "cannot be read: its bucket lies in another region, or the key or the version id is not valid", nil
	}
	if err != nil {
		return file, "", named.Errorf(named.Unavailable, "S3 could not look up %s: %w", uri, err)
	}
	file.etag, file.size, file.contentType = aws.ToString(head.ETag), aws.ToInt64(head.ContentLength), aws.ToString(head.ContentType)
	if pin.ETag != "" && strings.Trim(file.etag, `"`) != pin.ETag { // a server that knows no If-Match
		return file, "", file.replaced()
	}
	if store.Archived(head) {
		return file, store.InArchive, nil
	}
	return file, file.problem(p.Accept), nil
}

// pinError returns the named error of an answer that a pinned version no longer exists:
// 412 that other bytes lie there, 404 that it was deleted or has expired, 405 that
// the version is a delete marker. It is nil without a pin, and for other answers.
func (f inputFile) pinError(err error) error {
	if f.pin == (run.InputVersion{}) {
		return nil
	}
	switch _, status := s3errors.Code(err); status {
	case http.StatusPreconditionFailed:
		return f.replaced()
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		if f.pin.VersionID != "" {
			return named.Errorf(named.InputGone, "%s: the version %s of %s is gone", f.parameter, f.pin.VersionID, f.uri)
		}
		return named.Errorf(named.InputGone, "%s: %s is gone; its ETag was %s", f.parameter, f.uri, f.pin.ETag)
	}
	return nil
}

func (f inputFile) replaced() error {
	return named.Errorf(named.InputReplaced, "%s: %s has other bytes by now than those with the ETag %s", f.parameter, f.uri, cmp.Or(f.pin.ETag, f.etag))
}

// forbidden is the message about an object that no retry makes readable.
const forbidden = "may not be read by the relay: put it into the inbox bucket, or name its bucket in the stack parameter ExtraInputBucketArns; if a KMS key of its own encrypts it, that key's policy has to let the submit function's role use kms:Decrypt"

// forbiddenCodes are S3's codes of an object that is forbidden.
var forbiddenCodes = []string{
	"AccessDenied", "KMS.AccessDeniedException", "KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException",
}

// problem returns why an object that exists cannot be an input; empty if it can.
func (f inputFile) problem(accept []string) string {
	switch {
	case f.size == 0:
		return "is empty"
	case f.size > run.MaxInputFile:
		return fmt.Sprintf("is larger than the %d MiB that Cyberun takes for a file", run.MaxInputFile>>20)
	case !media.Accepts(accept, f.key, f.contentType):
		return "is of a type that is not accepted; accepted are " + strings.Join(accept, ", ")
	}
	return ""
}

// fileKept is how long an uploaded file is counted on: Cyberun removes input
// files after a day, and a task may start some hours after its submission.
const fileKept = 18 * time.Hour

// uploadFiles gives each file to Cyberun, and puts its file_key in place of the
// s3:// address in parameters. The record keeps the keys, so that a step tried
// again does not upload them again; a redrive after fileKept does. It returns the
// run as the record stands then.
func (h *Handler) uploadFiles(ctx context.Context, r lifecycle.Run, files []inputFile, parameters map[string]any) (lifecycle.Run, error) {
	for _, f := range files {
		done, ok := r.SentFiles[f.parameter]
		if !ok || done.Source != f.uri || done.ETag != f.etag || h.Now().Sub(done.At) > fileKept {
			fileKey, err := h.upload(ctx, f)
			if err != nil {
				return r, err
			}
			done = run.SentFile{Source: f.uri, ETag: f.etag, FileKey: fileKey, At: h.Now().UTC()}
			if r, err = h.Runs.Note(ctx, r, func(rec *run.Record) {
				if rec.SentFiles == nil {
					rec.SentFiles = map[string]run.SentFile{}
				}
				rec.SentFiles[f.parameter] = done
			}); err != nil {
				return r, err
			}
		}
		parameters[f.parameter] = done.FileKey
	}
	return r, nil
}

// maxFileName bounds the name that a file is announced with, in bytes: file systems
// take 255.
const maxFileName = 255

// fileName returns the name that a file is announced to Cyberun with: the last element
// of its key, as far as it can be the name of a file anywhere. Of a long one the
// beginning and the extension stay.
func fileName(key string) string {
	name := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '_'
		}
		return r
	}, path.Base(key))
	if strings.Trim(name, "./ ") == "" {
		return "file"
	}
	if len(name) <= maxFileName {
		return name
	}
	ext := path.Ext(name)
	if len(ext) > maxFileName/2 {
		ext = ""
	}
	return strings.ToValidUTF8(name[:maxFileName-len(ext)], "") + ext
}

// upload gives one object to Cyberun, and returns the file_key.
func (h *Handler) upload(ctx context.Context, f inputFile) (string, error) {
	callCtx, cancel := context.WithTimeout(ctx, cyberun.CallTime)
	defer cancel()
	presigned, err := h.Cyberun.Presign(callCtx, cyberun.PresignRequest{FileName: fileName(f.key), FileSize: f.size, ContentType: media.Type(f.key, f.contentType)})
	if err != nil {
		return "", cyberun.PrepareError("announce the file "+f.uri, err)
	}
	object, err := h.Buckets.GetObject(ctx, &s3.GetObjectInput{Bucket: &f.bucket, Key: &f.key, VersionId: f.version, IfMatch: &f.etag})
	if lost := f.pinError(err); lost != nil {
		return "", lost
	}
	problem := "" // that no retry mends
	switch code, status := s3errors.Code(err); {
	case status == http.StatusPreconditionFailed:
		problem = "changed while the run was prepared"
	case code == "InvalidObjectState":
		problem = store.InArchive
	case slices.Contains(forbiddenCodes, code):
		problem = forbidden
	}
	if problem != "" {
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

// uploadError names the error of an upload to a presigned address. The server behind
// it is not Cyberun's API: its 403 is an expired or wrongly signed address, which a
// new one mends, and its 400 may be a stall or a broken body (RequestTimeout,
// IncompleteBody). Only a file that is too large is refused for good, by S3's code
// for that or by a JSON object with status 413.
func uploadError(uri string, err error) error {
	if answer, ok := errors.AsType[*cyberun.APIError](err); ok && (answer.JSON && answer.Status == http.StatusRequestEntityTooLarge || answer.Code == "EntityTooLarge") {
		return named.Errorf(named.RunRejected, "upload the file %s: %w", uri, err)
	}
	if e, ok := named.As(err); ok { // such as OriginRefused: an upload address that no client may follow
		return e
	}
	return named.Errorf(named.Unavailable, "upload the file %s: %w", uri, err)
}
