package transfer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	state "github.com/cyberun-cloud/cyberun-relay/shared/store"
)

// s3Answers is what becomes of each of S3's answers to each call that a run makes
// of it, over HTTP and with the SDK's own client and its own three tries:
//
//	again    the call is made again, and one such answer costs nothing; if S3 keeps
//	         to it, Unavailable, which the state machine tries again for an hour
//	told     Unavailable, without the call being made again
//	refused  OutputBucketRefused at once: no try of the state machine would help
//	nothing  goes on as if nothing were there: the copy begins anew, and the write
//	         that follows is told what is wrong with the bucket
//	exists   the state bucket has another's object: the caller reads it
//	absent   there is no such object in the state bucket
//	-        S3 has no such answer to this call
//
// A code of "-" is an answer without a body, as to a HEAD, or a proxy's. 200 with an
// error inside is S3's to calls that take long; of those a run makes one.
//
// The columns are the calls: of a copy PutObject, CreateMultipartUpload, UploadPart,
// CompleteMultipartUpload, ListParts, HeadObject; of the state bucket a conditional
// create and update, a read, a delete and a list.
const s3Answers = `
HTTP code                        | Put      | Create   | Part     | Complete | Parts    | Head     | create   | update   | read     | delete   | list     | which says
301 PermanentRedirect            | refused  | refused  | refused  | refused  | refused  | nothing  | told     | told     | told     | told     | told     | a bucket of another region
301 -                            | refused  | refused  | refused  | refused  | refused  | nothing  | told     | told     | told     | told     | told     | the same, as to a HEAD
307 TemporaryRedirect            | again    | again    | again    | again    | again    | again    | told     | told     | told     | told     | told     | a bucket in the making
400 AuthorizationHeaderMalformed | refused  | refused  | refused  | refused  | refused  | nothing  | told     | told     | told     | told     | told     | signed for another region
400 InvalidRequest               | refused  | refused  | refused  | told     | refused  | nothing  | told     | told     | told     | told     | told     | Object Lock wants what is not there
400 BadDigest                    | again    | again    | again    | again    | again    | nothing  | told     | told     | told     | told     | told     | other bytes arrived
400 IncompleteBody               | again    | again    | again    | again    | again    | nothing  | told     | told     | told     | told     | told     | a body that broke off
400 RequestTimeout               | again    | again    | again    | again    | again    | nothing  | again    | again    | again    | again    | again    | a body that was too slow
400 InvalidPart                  | told     | told     | told     | again    | told     | nothing  | told     | told     | told     | told     | told     | a part that is gone
400 ExpiredToken                 | told     | told     | told     | told     | told     | nothing  | told     | told     | told     | told     | told     | credentials ran out
400 KMS.DisabledException        | refused  | refused  | refused  | refused  | refused  | nothing  | told     | told     | told     | told     | told     | a disabled key
400 KMS.NotFoundException        | refused  | refused  | refused  | refused  | refused  | nothing  | told     | told     | told     | told     | told     | no such key
400 KMS.KMSInvalidStateException | refused  | refused  | refused  | refused  | refused  | nothing  | told     | told     | told     | told     | told     | a key about to be deleted
400 KMS.ThrottlingException      | again    | again    | again    | again    | again    | nothing  | told     | told     | told     | told     | told     | a throttled key
400 KMS.DependencyTimeoutException | told     | told     | told     | told     | told     | nothing  | told     | told     | told     | told     | told     | KMS is late
403 AccessDenied                 | refused  | refused  | refused  | refused  | refused  | nothing  | told     | told     | told     | told     | told     | no right
403 AllAccessDisabled            | refused  | refused  | refused  | refused  | refused  | nothing  | told     | told     | told     | told     | told     | no right to anything
403 KMS.AccessDeniedException    | refused  | refused  | refused  | refused  | refused  | nothing  | told     | told     | told     | told     | told     | a key without the right
403 RequestTimeTooSkewed         | again    | again    | again    | again    | again    | nothing  | told     | told     | told     | told     | told     | a wrong clock
403 InvalidAccessKeyId           | told     | told     | told     | told     | told     | nothing  | told     | told     | told     | told     | told     | a wrong key
403 -                            | told     | told     | told     | told     | told     | nothing  | told     | told     | told     | told     | told     | a proxy's page, or a HEAD
404 NoSuchBucket                 | refused  | refused  | refused  | refused  | refused  | nothing  | told     | told     | told     | told     | told     | no such bucket
404 NoSuchUpload                 | told     | told     | again    | again    | nothing  | nothing  | told     | absent   | absent   | told     | told     | the upload was aborted or completed
404 NoSuchKey                    | told     | told     | told     | told     | told     | nothing  | told     | absent   | absent   | told     | told     | no such object
404 -                            | told     | told     | told     | told     | told     | nothing  | told     | absent   | absent   | told     | told     | the same, as to a HEAD
405 MethodNotAllowed             | refused  | refused  | refused  | refused  | refused  | nothing  | told     | told     | told     | told     | told     | not allowed
409 ConditionalRequestConflict   | again    | again    | again    | again    | again    | again    | again    | again    | told     | told     | told     | another writer at the same time
409 OperationAborted             | again    | again    | again    | again    | again    | again    | again    | again    | told     | told     | told     | another call at work
412 PreconditionFailed           | told     | told     | told     | told     | told     | told     | exists   | again    | told     | told     | told     | another writer was first
429 TooManyRequests              | again    | again    | again    | again    | again    | again    | again    | again    | again    | again    | again    | throttled
500 InternalError                | again    | again    | again    | again    | again    | again    | again    | again    | again    | again    | again    | S3 failed
500 KMS.KMSInternalException     | again    | again    | again    | again    | again    | again    | again    | again    | again    | again    | again    | KMS failed
501 NotImplemented               | again    | again    | again    | again    | again    | again    | told     | told     | told     | told     | told     | not known to this store
503 SlowDown                     | again    | again    | again    | again    | again    | again    | again    | again    | again    | again    | again    | throttled
503 -                            | again    | again    | again    | again    | again    | again    | again    | again    | again    | again    | again    | a gateway's page
200 InternalError                | -        | -        | -        | again    | -        | -        | -        | -        | -        | -        | -        | failed after its 200
200 SlowDown                     | -        | -        | -        | again    | -        | -        | -        | -        | -        | -        | -        | throttled after its 200
`

// s3Calls are the columns. Each makes its call, perhaps among others that are
// answered well, and operation and condition say which of the requests it is.
var s3Calls = []struct {
	name, operation, condition string
	make                       func(t *testing.T, f *fakeS3, client *s3.Client) error
}{
	{"Put", "PutObject", "", func(t *testing.T, f *fakeS3, client *s3.Client) error { return copyTo(t, client, testPart/2) }},
	{"Create", "CreateMultipartUpload", "", copyOfParts},
	{"Part", "UploadPart", "", copyOfParts},
	{"Complete", "CompleteMultipartUpload", "", copyOfParts},
	{"Parts", "ListParts", "", resumedCopy},
	{"Head", "HeadObject", "", copyOfParts},
	{"create", "PutObject", "If-None-Match", func(t *testing.T, f *fakeS3, client *s3.Client) error {
		f.put("record", []byte("another's"))
		_, err := stateBucket(client).Create(t.Context(), "record", []byte("{}"))
		return err
	}},
	{"update", "PutObject", "If-Match", func(t *testing.T, f *fakeS3, client *s3.Client) error {
		f.put("record", []byte("{}"))
		_, err := stateBucket(client).Update(t.Context(), "record", state.Object{}, func(body []byte) ([]byte, error) { return append(body, ' '), nil })
		return err
	}},
	{"read", "GetObject", "", func(t *testing.T, f *fakeS3, client *s3.Client) error {
		f.put("record", []byte("{}"))
		_, err := stateBucket(client).Get(t.Context(), "record")
		return err
	}},
	{"delete", "DeleteObject", "", func(t *testing.T, _ *fakeS3, client *s3.Client) error {
		return stateBucket(client).Delete(t.Context(), "record")
	}},
	{"list", "ListObjectsV2", "", func(t *testing.T, _ *fakeS3, client *s3.Client) error {
		return stateBucket(client).List(t.Context(), "record", "", func(state.Entry) bool { return true })
	}},
}

func stateBucket(client *s3.Client) *state.Store {
	return &state.Store{S3: client, Bucket: "bucket", NoPause: true}
}

func copyOfParts(t *testing.T, _ *fakeS3, client *s3.Client) error {
	return copyTo(t, client, 3*testPart)
}

func copyTo(t *testing.T, client *s3.Client, size int) error {
	_, err := impatient(t, client).Copy(t.Context(), Source{URL: newFakeOrigin(size).serve(t)}, testTarget(), nil, nil)
	return err
}

func impatient(t *testing.T, client *s3.Client) *Copier {
	copier := testCopier(t, client)
	copier.attempts, copier.backoff, copier.Connections = 2, time.Microsecond, 1
	return copier
}

// resumedCopy goes on with an upload whose parts another call has stored.
func resumedCopy(t *testing.T, f *fakeS3, client *s3.Client) error {
	url, fault := newFakeOrigin(3*testPart).serve(t), f.fault
	var stored *Checkpoint
	f.setFault(onCompletion)
	_, err := impatient(t, client).Copy(t.Context(), Source{URL: url}, testTarget(), nil, func(_ context.Context, cp Checkpoint) error {
		stored = &cp
		return nil
	})
	f.setFault(fault)
	if err == nil || stored == nil {
		t.Fatal("the first call was to end before its object was there")
	}
	_, err = impatient(t, client).Copy(t.Context(), Source{URL: url}, testTarget(), stored, nil)
	return err
}

func onCompletion(op string, _ int, w http.ResponseWriter, _ *http.Request) bool {
	if op != "CompleteMultipartUpload" {
		return false
	}
	fail(w, http.StatusServiceUnavailable, "SlowDown")
	return true
}

func TestS3Answers(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(s3Answers), "\n")
	for _, line := range lines[1:] {
		cells := strings.Split(line, "|")
		if len(cells) != 1+len(s3Calls)+1 {
			t.Fatalf("%d cells in %q", len(cells), line)
		}
		answer := strings.TrimSpace(cells[0])
		t.Run(answer, func(t *testing.T) {
			var got strings.Builder
			fmt.Fprintf(&got, "%-32s", answer)
			wrong := false
			for i, c := range s3Calls {
				want := strings.TrimSpace(cells[i+1])
				cell := want
				if want != "-" {
					cell = outcome(t, answer, c.operation, c.condition, c.make)
				}
				fmt.Fprintf(&got, " | %-8s", cell)
				wrong = wrong || cell != want
			}
			if wrong {
				t.Errorf("\n got %s\nwant %s", got.String(), line)
			}
		})
	}
}

// outcome makes a call whose request is answered so, once and then for good.
func outcome(t *testing.T, answer, operation, condition string, call func(*testing.T, *fakeS3, *s3.Client) error) string {
	t.Helper()
	var status int
	var code string
	if _, err := fmt.Sscan(answer, &status, &code); err != nil {
		t.Fatalf("%q: %v", answer, err)
	}
	answered := func(most int) (times int, err error) {
		f := newFakeS3()
		f.fault = func(op string, _ int, w http.ResponseWriter, r *http.Request) bool {
			if op != operation || condition != "" && r.Header.Get(condition) == "" {
				return false
			}
			f.mu.Lock()
			times++
			hit := times <= most
			f.mu.Unlock()
			if hit {
				w.Header().Set("x-amz-bucket-region", "eu-central-1")
				if code == "-" {
					w.WriteHeader(status)
				} else {
					fail(w, status, code)
				}
			}
			return hit
		}
		server := httptest.NewServer(f)
		defer server.Close()
		err = call(t, f, productionClient(t, server.URL))
		return times, err
	}
	_, once := answered(1)
	times, always := answered(1 << 20)
	told, isNamed := named.As(always)
	if isNamed && !told.Redrivable() {
		t.Errorf("%s: it could not be redriven: %v", operation, told)
	}
	switch {
	case times == 0:
		t.Fatalf("%s was never called", operation)
	case always == nil:
		return "nothing"
	case errors.Is(always, state.ErrExists):
		return "exists"
	case errors.Is(always, state.ErrNotFound):
		return "absent"
	case !isNamed:
		t.Fatalf("%s: an error without a name: %v", operation, always)
	case told.Name == named.OutputBucketRefused && once != nil && times == 1:
		for _, want := range []string{"the bucket bucket refuses S3's " + operation, strings.Trim(code, "-"), "the bucket lies in eu-central-1"} {
			if !strings.Contains(told.Cause, want) {
				t.Errorf("%s: the cause does not say %q: %s", operation, want, told.Cause)
			}
		}
		return "refused"
	case told.Name == named.Unavailable && once == nil:
		return "again"
	case told.Name == named.Unavailable && times == 1:
		return "told"
	}
	return fmt.Sprintf("%s after %d calls, once: %v", told.Name, times, once)
}

// productionClient tries three times, as the functions' clients do, without a pause.
func productionClient(t *testing.T, endpoint string) *s3.Client {
	pool := NewS3Client()
	t.Cleanup(pool.CloseIdleConnections)
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &endpoint, UsePathStyle: true, HTTPClient: pool,
		Credentials: credentials.NewStaticCredentialsProvider("local", "locallocal", ""),
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
			o.RateLimiter = noLimit{}
		}),
	})
}

type noLimit struct{}

func (noLimit) GetToken(context.Context, uint) (func() error, error) {
	return func() error { return nil }, nil
}
func (noLimit) AddTokens(uint) error { return nil }
