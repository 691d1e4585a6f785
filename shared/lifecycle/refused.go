package lifecycle

import (
	"errors"
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// BucketRefuses reports whether S3 will never take the write, as far as a retry
// can tell, and S3's own word for it.
func BucketRefuses(err error) (why string, refused bool) {
	var answer *awshttp.ResponseError
	if !errors.As(err, &answer) {
		return "", false
	}
	switch answer.HTTPStatusCode() {
	case http.StatusMovedPermanently, http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		return http.StatusText(answer.HTTPStatusCode()), true
	}
	return "", false
}
