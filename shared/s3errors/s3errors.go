// Package s3errors says what an error of S3 means to a caller that writes to a
// bucket: that this attempt failed, or that the bucket takes no such write at all, so
// that no retry helps and a person has to correct its region, policy, encryption key or name.
//
// It imports shared/named and smithy, the SDK's own types of errors.
package s3errors

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// Code returns S3's own code, such as NoSuchUpload, of an error of the SDK, and the
// HTTP status of the answer. They are empty and 0 for an error without an answer of S3.
func Code(err error) (code string, status int) {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		code = api.ErrorCode()
	}
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		status = response.HTTPStatusCode()
	}
	return code, status
}

// RefusedByBucket reports whether the error of a call that writes an object, or a part
// of one, says that the bucket takes no such write. reason has the status, S3's code
// and message and, where the answer names it, the bucket's region. ok is false for an
// error of one attempt (5xx, throttling, 409, 412, an error in a 200), of the
// credentials, or of the clock, and for an answer of a proxy, which has none of S3's
// codes.
func RefusedByBucket(err error) (reason string, ok bool) {
	code, status := Code(err)
	operation := "" // the SDK's name for the call that failed
	if failed, ok := errors.AsType[*smithy.OperationError](err); ok {
		operation = failed.Operation()
	}
	if !refusal(code, status, operation) {
		return "", false
	}
	reason = fmt.Sprintf("HTTP %d %s", status, code)
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorMessage() != "" {
		reason += ": " + short(api.ErrorMessage())
	}
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && response.Response != nil {
		if region := response.Response.Header.Get("x-amz-bucket-region"); region != "" {
			reason += " (the bucket lies in " + short(region) + ")"
		}
	}
	return reason, true
}

// refusal reports whether no retry changes an answer, by S3's list of error codes.
// InvalidRequest is the answer to a write that lacks what Object Lock demands; to
// CompleteMultipartUpload it means that the list of parts is wrong.
func refusal(code string, status int, operation string) bool {
	switch code {
	case "AccessDenied", "AllAccessDisabled", "AccountProblem", "NoSuchBucket", "InvalidBucketName",
		"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "MethodNotAllowed":
		return true
	case "InvalidRequest":
		return status == http.StatusBadRequest && operation != "CompleteMultipartUpload"
	}
	if name, isKey := strings.CutPrefix(code, "KMS."); isKey {
		return status < http.StatusInternalServerError && !slices.Contains(passingKMS, name) && !strings.HasPrefix(name, "Throttl")
	}
	return status == http.StatusMovedPermanently || status == http.StatusMethodNotAllowed
}

// passingKMS are the failures of KMS that a retry may get past, beside its throttles. S3
// answers these with the status 400 like the others.
var passingKMS = []string{"DependencyTimeoutException", "KMSInternalException", "KeyUnavailableException", "LimitExceededException"}

// maxMessage bounds what is repeated of S3's message: its longest, on a denied
// right, names the caller, the action and the resource, each an ARN of some 100
// bytes.
const maxMessage = 400

// short returns S3's text as one line of bounded length.
func short(text string) string {
	return named.Shorten(maxMessage, strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " "))
}
