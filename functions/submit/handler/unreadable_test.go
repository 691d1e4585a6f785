package handler

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// archive is S3 whose objects have a storage class.
type archive struct {
	*storetest.S3
	head func(*s3.HeadObjectOutput)
}

func (a archive) HeadObject(ctx context.Context, in *s3.HeadObjectInput, options ...func(*s3.Options)) (*s3.HeadObjectOutput, error) {
	out, err := a.S3.HeadObject(ctx, in, options...)
	if err == nil {
		a.head(out)
	}
	return out, err
}

const photoRequest = `{"workflow":"text-to-image","parameters":{"prompt":"r1","image":"s3://inbox/x.png"}}`

// TestArchived is told from the object's head, before anything is announced; what
// was restored can be read.
func TestArchived(t *testing.T) {
	tests := []struct {
		class    types.StorageClass
		status   types.ArchiveStatus
		restore  string
		archived bool
	}{
		{types.StorageClassGlacier, "", "", true},
		{types.StorageClassDeepArchive, "", `ongoing-request="true"`, true},
		{types.StorageClassDeepArchive, "", `ongoing-request="false", expiry-date="Fri, 21 Dec 2029 00:00:00 GMT"`, false},
		{types.StorageClassIntelligentTiering, types.ArchiveStatusArchiveAccess, "", true},
		{types.StorageClassIntelligentTiering, "", "", false},
		{types.StorageClassGlacierIr, "", "", false},
		{"", "", "", false},
	}
	for _, test := range tests {
		w := newWorld(t)
		w.S3.Set(inboxBucket, "x.png", storetest.Object{Body: []byte("x"), ContentType: "image/png"})
		h := w.handler()
		h.Buckets = archive{w.S3, func(out *s3.HeadObjectOutput) {
			out.StorageClass, out.ArchiveStatus = test.class, test.status
			if test.restore != "" {
				out.Restore = aws.String(test.restore)
			}
		}}
		_, err := h.Handle(t.Context(), w.input("r1", photoRequest))
		if !test.archived {
			if err != nil {
				t.Errorf("%+v: %v", test, err)
			}
			continue
		}
		namedtest.Want(t, err, named.InvalidRequest, "image: s3://inbox/x.png lies in an archive: restore it")
		if len(w.Cyberun.Uploads) > 0 || len(w.Cyberun.Started) > 0 {
			t.Errorf("%+v: uploads %v, tasks %v", test, w.Cyberun.Uploads, w.Cyberun.Started)
		}
	}
}

// TestUnreadableInput: the head was given and the body is not. That is said at once,
// and not after an hour of retries.
func TestUnreadableInput(t *testing.T) {
	tests := []struct {
		status int
		code   string
		want   string
		text   string
	}{
		{http.StatusForbidden, "InvalidObjectState", named.InvalidRequest, "image: s3://inbox/x.png lies in an archive: restore it"},
		{http.StatusForbidden, "AccessDenied", named.InvalidRequest, "kms:Decrypt"},
		{http.StatusForbidden, "KMS.AccessDeniedException", named.InvalidRequest, "kms:Decrypt"},
		{http.StatusBadRequest, "KMS.DisabledException", named.InvalidRequest, "kms:Decrypt"},
		{http.StatusBadRequest, "KMS.ThrottlingException", named.Unavailable, "could not read"},
		{http.StatusForbidden, "RequestTimeTooSkewed", named.Unavailable, "could not read"},
		{http.StatusServiceUnavailable, "SlowDown", named.Unavailable, "could not read"},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.status, test.code), func(t *testing.T) {
			w := newWorld(t)
			w.S3.Set(inboxBucket, "x.png", storetest.Object{Body: []byte("x"), ContentType: "image/png"})
			w.Fails("GetObject inbox", storetest.Error(test.status, test.code))
			_, _, err, _ := w.once(w.input("r1", photoRequest))
			namedtest.Want(t, err, test.want, test.text)
			if len(w.Cyberun.Uploads) > 0 || len(w.Cyberun.Started) > 0 {
				t.Errorf("uploads %v, tasks %v", w.Cyberun.Uploads, w.Cyberun.Started)
			}
		})
	}
}
