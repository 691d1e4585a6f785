package s3errors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// answer is one that S3 gives, or something before it.
type answer struct {
	name    string
	status  int
	code    string // of S3's XML; empty: the body below
	body    string
	region  string // x-amz-bucket-region
	refused bool
	not     string // the one operation that it says nothing to
	reason  string // part of the reason
}

// answers are S3's documented ones, with the bodies of real answers shortened.
var answers = []answer{
	{name: "another region", status: 301, code: "PermanentRedirect", region: "eu-central-1", refused: true, reason: "HTTP 301 PermanentRedirect: as the test says (the bucket lies in eu-central-1)"},
	{name: "another region, without a body", status: 301, region: "eu-central-1", refused: true, reason: "(the bucket lies in eu-central-1)"},
	{name: "a bucket that is being made", status: 307, code: "TemporaryRedirect"},
	{name: "signed for another region", status: 400, code: "AuthorizationHeaderMalformed", region: "us-west-2", refused: true, reason: "us-west-2"},
	{name: "Object Lock without a checksum", status: 400, code: "InvalidRequest", refused: true, not: "CompleteMultipartUpload"},
	{name: "the bytes were others", status: 400, code: "BadDigest"},
	{name: "a part that is gone", status: 400, code: "InvalidPart"},
	{name: "a body that broke off", status: 400, code: "IncompleteBody"},
	{name: "a body that was too slow", status: 400, code: "RequestTimeout"},
	{name: "credentials that ran out", status: 400, code: "ExpiredToken"},
	{name: "no right", status: 403, code: "AccessDenied", refused: true, reason: "HTTP 403 AccessDenied: as the test says"},
	{name: "no right to anything", status: 403, code: "AllAccessDisabled", refused: true},
	{name: "an account that is closed", status: 403, code: "AccountProblem", refused: true},
	{name: "a wrong clock", status: 403, code: "RequestTimeTooSkewed"},
	{name: "a wrong key", status: 403, code: "InvalidAccessKeyId"},
	{name: "a wrong signature", status: 403, code: "SignatureDoesNotMatch"},
	{name: "a proxy's page", status: 403, body: "<html><body><h1>403 Forbidden</h1></body></html>"},
	{name: "a proxy's empty answer", status: 403},
	{name: "a key that is disabled", status: 400, code: "KMS.DisabledException", refused: true},
	{name: "a key that is gone", status: 400, code: "KMS.NotFoundException", refused: true},
	{name: "a key about to be deleted", status: 400, code: "KMS.KMSInvalidStateException", refused: true},
	{name: "a key without the right", status: 403, code: "KMS.AccessDeniedException", refused: true},
	{name: "a key that is throttled", status: 400, code: "KMS.ThrottlingException"},
	{name: "KMS fails", status: 500, code: "KMS.KMSInternalException"},
	{name: "KMS is late", status: 400, code: "KMS.DependencyTimeoutException"},
	{name: "no such bucket", status: 404, code: "NoSuchBucket", refused: true},
	{name: "no such upload", status: 404, code: "NoSuchUpload"},
	{name: "a proxy's 404", status: 404, body: "<html></html>"},
	{name: "not allowed", status: 405, code: "MethodNotAllowed", refused: true},
	{name: "another call at work", status: 409, code: "OperationAborted"},
	{name: "another writer", status: 409, code: "ConditionalRequestConflict"},
	{name: "a precondition", status: 412, code: "PreconditionFailed"},
	{name: "throttled", status: 503, code: "SlowDown"},
	{name: "S3 fails", status: 500, code: "InternalError"},
	{name: "no such thing", status: 501, code: "NotImplemented"},
	{name: "a gateway's page", status: 502, body: "<html></html>"},
	{name: "an error inside a 200", status: 200, code: "InternalError"},
	{name: "throttled inside a 200", status: 200, code: "SlowDown"},
}

func TestRefusedByBucket(t *testing.T) {
	for _, a := range answers {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if a.region != "" {
				w.Header().Set("x-amz-bucket-region", a.region)
			}
			w.WriteHeader(a.status)
			if a.code != "" {
				fmt.Fprintf(w, "<Error><Code>%s</Code><Message>as the\n test says</Message></Error>", a.code)
			}
			_, _ = io.WriteString(w, a.body)
		}))
		for name, call := range writes(server.URL) {
			if a.status == 200 && name != "CompleteMultipartUpload" {
				continue // S3 answers so to the call that takes long, and the SDK looks there
			}
			err := call(t.Context())
			reason, refused := RefusedByBucket(err)
			if want := a.refused && a.not != name; err == nil || refused != want || refused && !strings.Contains(reason, a.reason) {
				t.Errorf("%s, %s: refused %t (%s), want %t: %v", a.name, name, refused, reason, want, err)
			}
		}
		server.Close()
	}
}

// writes are the calls that write to the output bucket.
func writes(endpoint string) map[string]func(context.Context) error {
	client := s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &endpoint, UsePathStyle: true, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("local", "locallocal", ""),
	})
	bucket, key, id := aws.String("bucket-1"), aws.String("k"), aws.String("up1")
	return map[string]func(context.Context) error{
		"PutObject": func(ctx context.Context) error {
			_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("x")})
			return err
		},
		"CreateMultipartUpload": func(ctx context.Context) error {
			_, err := client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key})
			return err
		},
		"UploadPart": func(ctx context.Context) error {
			_, err := client.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: key, UploadId: id, PartNumber: aws.Int32(1), Body: strings.NewReader("x")})
			return err
		},
		"CompleteMultipartUpload": func(ctx context.Context) error {
			_, err := client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
				Bucket: bucket, Key: key, UploadId: id, MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: aws.String("e")}}},
			})
			return err
		},
	}
}

func TestNoAnswer(t *testing.T) {
	for _, err := range []error{nil, errors.New("dial tcp: refused"), context.Canceled} {
		if reason, refused := RefusedByBucket(err); refused {
			t.Errorf("%v: %s", err, reason)
		}
	}
}

func TestShort(t *testing.T) {
	if got := short(strings.Repeat("ä ", 1000)); len(got) > maxMessage+len("…") || !strings.HasSuffix(got, "…") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
	if got := short("a\r\n\tb\xff"); got != "a b" {
		t.Errorf("%q", got)
	}
}
