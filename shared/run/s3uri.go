package run

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

const s3Scheme = "s3://"

// IsS3URI reports whether the value of a file parameter is the address of an S3 object,
// which submit uploads to Cyberun, and not the file_key of an upload.
func IsS3URI(s string) bool { return strings.HasPrefix(s, s3Scheme) }

// bucketName is S3's rule for the names of buckets. An access point's ARN does not
// fit: behind it lies a bucket that no check of names would recognise.
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// ParseS3URI returns the bucket and the key of s3://bucket/key. Nothing in the key is
// decoded: blanks, plus signs and percent signs are part of it. The text of the error
// is the message of a violation.
func ParseS3URI(s string) (bucket, key string, err error) {
	bucket, key, found := strings.Cut(strings.TrimPrefix(s, s3Scheme), "/")
	if !found || bucket == "" || key == "" {
		return "", "", fmt.Errorf("%q does not name an S3 object: write s3://bucket/key", named.Quote(s))
	}
	if !bucketName.MatchString(bucket) {
		return "", "", fmt.Errorf("%q is not the name of a bucket: write s3://bucket/key, with a bucket's own name and no ARN", named.Quote(bucket))
	}
	return bucket, key, nil
}
