package transfer

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
)

// passing is a failure that trying again may cure.
type passing struct {
	err   error
	after time.Duration // what Retry-After asked for
}

func (p *passing) Error() string { return p.err.Error() }
func (p *passing) Unwrap() error { return p.err }

func isPassing(err error) bool {
	var p *passing
	return errors.As(err, &p)
}

// Inside the package: the multipart upload is gone, by another invocation that
// completed it or by an abort; the object's state decides which.
var errUploadGone = errors.New("the multipart upload no longer exists")

// Inside the package: what was begun cannot be gone on with; begin anew.
var errBeginAnew = errors.New("the copy has to begin anew")

// oneStreamError says why ranges of the output cannot be joined. Inside the
// package: the copy begins anew with the whole in one answer.
type oneStreamError struct{ why string }

func (e *oneStreamError) Error() string { return "the output's ranges cannot be joined: " + e.why }

var (
	errOriginStalled = errors.New("the origin sent nothing for too long")
	errStoreStalled  = errors.New("S3 neither read nor answered for too long")
)

// withoutURL drops the address that net/http puts into its errors: it is signed.
func withoutURL(err error) error {
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	return err
}

// unsigned is an error of net/http that may quote what the origin said, and so an
// address with its signature.
type unsigned struct{ error }

var query = regexp.MustCompile(`(\?|(?i:x-amz-))[^\s"]*`)

func (u unsigned) Error() string { return query.ReplaceAllString(u.error.Error(), "…") }
func (u unsigned) Unwrap() error { return u.error }

// asNamed makes any failure one of the errors that a run may end with. A context
// that ended is told as such: it says nothing about origin or store.
func asNamed(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := named.As(err); ok {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return named.Errorf(named.Unavailable, "copying the output: %w", withoutURL(err))
}

// storeError sorts S3's answers to a call: passing ones are tried again, a
// vanished upload is looked into, a bucket that takes no such write is told at
// once, and the rest is told as it is.
func storeError(bucket, call string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := named.As(err); ok || isPassing(err) || errors.Is(err, errUploadGone) {
		return err
	}
	code, status := s3errors.Code(err)
	if code == "NoSuchUpload" {
		return errUploadGone
	}
	if reason, refused := s3errors.RefusedByBucket(err); refused && call != "GetObject" {
		return named.Errorf(named.OutputBucketRefused, "the bucket %s refuses S3's %s: %s", bucket, call, reason)
	}
	told := named.Errorf(named.Unavailable, "S3 %s: %w", call, withoutURL(err))
	if passingCode(code) || passingStatus(status) {
		return &passing{err: told}
	}
	return told
}

// passingStatus holds for the statuses of S3 that speak of one attempt only,
// whatever code comes with them; 0 is no answer at all.
func passingStatus(status int) bool {
	switch status {
	case 0, http.StatusTemporaryRedirect, http.StatusConflict, http.StatusTooManyRequests:
		return true
	}
	return status >= http.StatusInternalServerError
}

// passingCode lists the refusals below 500 that speak of one attempt only.
func passingCode(code string) bool {
	switch code {
	case "SlowDown", "RequestTimeout", "RequestTimeTooSkewed", "InternalError", "ServiceUnavailable", "OperationAborted", "ConditionalRequestConflict",
		"BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "InvalidDigest":
		return true
	}
	return strings.HasPrefix(strings.TrimPrefix(code, "KMS."), "Throttl")
}
