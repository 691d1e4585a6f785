package transfer

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
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

// storeError sorts S3's answers: passing ones are tried again, a vanished upload
// is looked into, the rest is told as it is.
func storeError(call string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := named.As(err); ok || isPassing(err) || errors.Is(err, errUploadGone) {
		return err
	}
	code, status := storeCode(err)
	switch {
	case code == "NoSuchUpload":
		return errUploadGone
	case passingCode(code) || status >= 500 || status == http.StatusTooManyRequests || status == 0:
		return &passing{err: named.Errorf(named.Unavailable, "S3 %s: %w", call, withoutURL(err))}
	}
	return named.Errorf(named.Unavailable, "S3 %s: %w", call, withoutURL(err))
}

func storeCode(err error) (code string, status int) {
	var api smithy.APIError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	return code, status
}

// passingCode lists the refusals below 500 that speak of one attempt only.
func passingCode(code string) bool {
	switch code {
	case "SlowDown", "RequestTimeout", "RequestTimeTooSkewed", "InternalError", "ServiceUnavailable", "OperationAborted", "ConditionalRequestConflict",
		"BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "InvalidDigest":
		return true
	}
	return strings.HasPrefix(code, "Throttl")
}
