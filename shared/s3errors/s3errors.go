// Package s3errors says what S3's answers mean to whoever writes to a bucket:
// whether it was this attempt that failed, or whether the bucket takes no such
// write at all, so that no retry helps and a person has to correct its region,
// policy, key or name. It imports shared/named and smithy, the SDK's own types
// of errors, and nothing else of the project.
package s3errors

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// Code returns S3's own code for an error of the SDK and the status of the
// answer that it came with; empty and 0 for an error that is no answer.
func Code(err error) (code string, status int) {
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

// RefusedByBucket reports whether the error of a call that writes an object, or
// a part of one, says that the bucket takes no such write, and S3's reason: the
// status, the code, S3's message and, where the answer names it, the region that
// the bucket lies in. It is false for what speaks of one attempt alone (5xx,
// throttling, 409, 412, an error inside a 200), for credentials, for a clock
// that is wrong, and for pages of a proxy, which carry none of S3's codes.
func RefusedByBucket(err error) (reason string, ok bool) {
	code, status := Code(err)
	if !refusal(code, status, operation(err)) {
		return "", false
	}
	reason = fmt.Sprintf("HTTP %d %s", status, code)
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorMessage() != "" {
		reason += ": " + short(api.ErrorMessage())
	}
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.Response != nil {
		if region := response.Response.Header.Get("x-amz-bucket-region"); region != "" {
			reason += " (the bucket lies in " + short(region) + ")"
		}
	}
	return reason, true
}

// WriteError makes the error of a call that writes to a bucket a named one:
// OutputBucketRefused where the bucket takes no such write, else Unavailable.
// call says what was called, such as "PutObject of runs/1/manifest.json".
func WriteError(bucket, call string, err error) *named.Error {
	if reason, refused := RefusedByBucket(err); refused {
		return named.Errorf(named.OutputBucketRefused, "the bucket %s refuses S3's %s: %s", bucket, call, reason)
	}
	return named.Errorf(named.Unavailable, "S3's %s into the bucket %s: %w", call, bucket, err)
}

// refusal is the table of answers that no retry changes. InvalidRequest is what
// S3 says of a write without what Object Lock demands; of Complete it speaks of
// the list of parts.
func refusal(code string, status int, operation string) bool {
	switch code {
	case "AccessDenied", "AllAccessDisabled", "AccountProblem", "NoSuchBucket", "InvalidBucketName",
		"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "MethodNotAllowed":
		return true
	case "InvalidRequest":
		return status == http.StatusBadRequest && operation != "CompleteMultipartUpload"
	}
	if name, isKey := strings.CutPrefix(code, "KMS."); isKey {
		return status < http.StatusInternalServerError && !passingKey(name)
	}
	return status == http.StatusMovedPermanently || status == http.StatusMethodNotAllowed
}

// passingKey holds for KMS's failures that speak of one attempt; S3 hands them
// on with the status 400 as well.
func passingKey(name string) bool {
	switch name {
	case "DependencyTimeoutException", "KMSInternalException", "KeyUnavailableException", "LimitExceededException":
		return true
	}
	return strings.HasPrefix(name, "Throttl")
}

// operation is the SDK's name for the call that failed; empty if it is not known.
func operation(err error) string {
	var failed *smithy.OperationError
	if errors.As(err, &failed) {
		return failed.Operation()
	}
	return ""
}

// maxMessage bounds what is repeated of S3's message: its longest, on a denied
// right, names the caller, the action and the resource, each an ARN of some 100
// bytes.
const maxMessage = 400

// short makes S3's text one line of bounded length.
func short(text string) string {
	return named.Shorten(maxMessage, strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " "))
}
