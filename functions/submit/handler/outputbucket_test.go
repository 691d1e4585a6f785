package handler

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// TestOutputBucketRefuses: what the output bucket will not take is told before
// anything is paid, and it is proven where the outputs go, by what they need.
func TestOutputBucketRefuses(t *testing.T) {
	tests := []struct {
		name string
		call string
		err  error
		want string
		text string
	}{
		{name: "a policy", call: "CreateMultipartUpload outputs/runs/r1/manifest.json", err: storetest.Error(http.StatusForbidden, "AccessDenied"), want: named.OutputBucketRefused, text: "s3://outputs/runs/r1/manifest.json (HTTP 403 AccessDenied"},
		{name: "no bucket", call: "CreateMultipartUpload", err: storetest.Error(http.StatusNotFound, "NoSuchBucket"), want: named.OutputBucketRefused, text: "HTTP 404 NoSuchBucket"},
		{name: "another region", call: "CreateMultipartUpload", err: storetest.Error(http.StatusMovedPermanently, "PermanentRedirect"), want: named.OutputBucketRefused, text: "HTTP 301 PermanentRedirect"},
		{name: "a key that is disabled", call: "CreateMultipartUpload", err: storetest.Error(http.StatusBadRequest, "KMS.DisabledException"), want: named.OutputBucketRefused, text: "KmsKeyArn"},
		{name: "no right to abort", call: "AbortMultipartUpload", err: storetest.Error(http.StatusForbidden, "AccessDenied"), want: named.OutputBucketRefused},
		{name: "away", call: "CreateMultipartUpload", err: errNetwork, want: named.Unavailable, text: "the output bucket outputs cannot be reached"},
		{name: "slow", call: "CreateMultipartUpload", err: storetest.Error(http.StatusServiceUnavailable, "SlowDown"), want: named.Unavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			in := w.input("r1", prompted("r1"))
			w.Fails(test.call, test.err)
			_, name, err, _ := w.once(in)
			namedtest.Want(t, err, test.want, test.text)
			if name != test.want || len(w.Cyberun.Started) > 0 {
				t.Errorf("Step Functions sees %q; paid %v", name, w.Cyberun.Started)
			}
			if test.want == named.OutputBucketRefused {
				namedtest.Want(t, err, test.want, "redrive the run; nothing was paid")
			}
			if keys := w.S3.Keys(outputBucket, ""); len(keys) > 0 {
				t.Errorf("the proof left %v", keys)
			}
			// Corrected, a redrive goes on.
			w.Around = nil
			w.fail("r1", err)
			w.submits("r1", w.redrive(in))
		})
	}
}

// TestProofIsRemembered for ten minutes by a warm function, and ends its upload.
func TestProofIsRemembered(t *testing.T) {
	w := newWorld(t)
	h := w.handler()
	for i, test := range []struct {
		after  time.Duration
		proofs int
	}{{after: 0, proofs: 1}, {after: 9 * time.Minute, proofs: 1}, {after: 2 * time.Minute, proofs: 2}} {
		w.Now = w.Now.Add(test.after)
		id := fmt.Sprint("r", i)
		if _, err := h.Handle(t.Context(), w.input(id, prompted(id))); err != nil {
			t.Fatal(err)
		}
		if got := len(w.S3.Calls("CreateMultipartUpload")); got != test.proofs || len(w.S3.Aborted()) != test.proofs {
			t.Errorf("%d proofs, %d aborted, after run %d", got, len(w.S3.Aborted()), i)
		}
	}
	// A refusal is not remembered as a proof.
	w.Now = w.Now.Add(time.Hour)
	h.Buckets = refusing{w.S3}
	if _, err := h.Handle(t.Context(), w.input("r8", prompted("r8"))); !named.Is(err, named.OutputBucketRefused) {
		t.Error(err)
	}
	if _, err := h.Handle(t.Context(), w.input("r9", prompted("r9"))); !named.Is(err, named.OutputBucketRefused) {
		t.Error(err)
	}
}

type refusing struct{ *storetest.S3 }

func (refusing) CreateMultipartUpload(context.Context, *s3.CreateMultipartUploadInput, ...func(*s3.Options)) (*s3.CreateMultipartUploadOutput, error) {
	return nil, storetest.Error(http.StatusForbidden, "AccessDenied")
}
