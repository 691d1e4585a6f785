package transfer

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

const bodies = "PutObject UploadPart"

// s3Faults are the ways in which S3 goes wrong.
func s3Faults() []fault {
	return []fault{
		{name: "S3 SlowDown once", set: onCall(bodies, 1, refuse(http.StatusServiceUnavailable, "SlowDown"))},
		{name: "S3 SlowDown for good", want: named.Unavailable, set: onCall(bodies, 0, refuse(http.StatusServiceUnavailable, "SlowDown"))},
		{name: "S3 SlowDown at the third part", set: onCall("UploadPart", 3, refuse(http.StatusServiceUnavailable, "SlowDown"))},
		{name: "S3 fails to create once", set: onCall("CreateMultipartUpload", 1, refuse(http.StatusInternalServerError, "InternalError"))},
		{name: "S3 refuses to create", want: named.OutputBucketRefused, set: onCall("CreateMultipartUpload PutObject", 0, refuse(http.StatusForbidden, "AccessDenied"))},
		{name: "S3 refuses the checksum once", set: onCall(bodies, 1, refuse(http.StatusBadRequest, "BadDigest"))},
		{name: "S3 refuses every checksum", want: named.Unavailable, set: onCall(bodies, 0, refuse(http.StatusBadRequest, "BadDigest"))},
		{name: "S3 knows no trailers", want: named.Unavailable, set: onCall(bodies, 0, refuse(http.StatusNotImplemented, "NotImplemented"))},
		{name: "S3 refuses the whole's checksum", want: named.Unavailable, in: severalParts, set: onCall("CompleteMultipartUpload", 0, refuse(http.StatusBadRequest, "BadDigest"))},
		{name: "S3 resets in the body", set: onCall(bodies, 2, func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = io.CopyN(io.Discard, r.Body, 1000)
			return hijack(w, "")
		})},
		{name: "S3 reads nothing", want: named.Unavailable, set: func(f *fixture) {
			f.copier.s3Stall, f.copier.attempts = 50*time.Millisecond, 2
			onCall(bodies, 0, func(_ http.ResponseWriter, r *http.Request) bool {
				select { // unread, the server does not see the client go
				case <-r.Context().Done():
				case <-time.After(200 * time.Millisecond):
				}
				panic(http.ErrAbortHandler) // a client that is late to give up must not read a 200 here
			})(f)
		}},
		{name: "S3 stores other bytes", set: func(f *fixture) {
			f.s3.after = func(op string, n int, w http.ResponseWriter, _ *http.Request) bool {
				if !strings.Contains(bodies, op) || n > 1 {
					return false
				}
				w.Header().Set("ETag", `"other"`)
				w.Header().Set("X-Amz-Checksum-Crc32", "AAAAAA==")
				w.WriteHeader(http.StatusOK)
				return true
			}
		}},
		{name: "the answer to a part is lost", set: lost(bodies, 1)},
		{name: "the answer to Complete is lost", set: lost("CompleteMultipartUpload", 1)},
		{name: "every answer to Complete is lost", set: lost("CompleteMultipartUpload", 0)},
		{name: "the answer to Create is lost", set: lost("CreateMultipartUpload", 1)},
		{name: "S3 fails to complete once", set: onCall("CompleteMultipartUpload", 1, refuse(http.StatusInternalServerError, "InternalError"))},
		{name: "S3 fails to complete, with 200", set: onCall("CompleteMultipartUpload", 1, refuse(http.StatusOK, "InternalError"))},
		{name: "S3 fails to complete for good", want: named.Unavailable, in: severalParts, set: onCall("CompleteMultipartUpload", 0, refuse(http.StatusInternalServerError, "InternalError"))},
		{name: "another invocation's part: InvalidPart", want: named.Unavailable, in: inStream, set: onCall("CompleteMultipartUpload", 1, refuse(http.StatusBadRequest, "InvalidPart"))},
		{name: "InvalidPart for good", want: named.Unavailable, in: severalParts, set: onCall("CompleteMultipartUpload", 0, refuse(http.StatusBadRequest, "InvalidPart"))},
		{name: "the upload is aborted by somebody", set: onCall("UploadPart", 2, func(w http.ResponseWriter, r *http.Request) bool {
			return refuse(http.StatusNotFound, "NoSuchUpload")(w, r)
		})},
		{name: "the upload is always aborted", want: named.Unavailable, in: severalParts, set: onCall("UploadPart", 0, refuse(http.StatusNotFound, "NoSuchUpload"))},
		{name: "aborted before Complete", set: onCall("CompleteMultipartUpload", 1, refuse(http.StatusNotFound, "NoSuchUpload"))},
		{name: "no right to look", set: onCall("HeadObject", 0, status(http.StatusForbidden))},
		{name: "S3 cannot look", want: named.Unavailable, set: onCall("HeadObject", 0, status(http.StatusInternalServerError))},
		{name: "the checkpoint cannot be saved", want: named.Unavailable, in: severalParts, set: func(f *fixture) {
			f.save = func(context.Context, Checkpoint) error { return named.Errorf(named.Unavailable, "the record") }
		}},
		{name: "the run is cancelled", want: "cancelled", in: manyRequests, set: func(f *fixture) {
			ctx, cancel := context.WithCancel(f.ctx)
			f.ctx = ctx
			f.origin.fault = func(n int, _ http.ResponseWriter, _ *http.Request) bool {
				if n == 3 {
					cancel()
				}
				return false
			}
		}},
	}
}

// onCall makes S3 answer the nth of these calls (0: each) with answer.
func onCall(ops string, n int, answer func(http.ResponseWriter, *http.Request) bool) func(*fixture) {
	return func(f *fixture) {
		f.s3.fault = func(op string, i int, w http.ResponseWriter, r *http.Request) bool {
			return strings.Contains(ops, op) && (n == 0 || n == i) && answer(w, r)
		}
	}
}

func refuse(code int, name string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		fail(w, code, name)
		return true
	}
}

// lost does the call's work and loses the answer.
func lost(ops string, n int) func(*fixture) {
	return func(f *fixture) {
		f.s3.after = func(op string, i int, w http.ResponseWriter, _ *http.Request) bool {
			return strings.Contains(ops, op) && (n == 0 || n == i) && hijack(w, "")
		}
	}
}
