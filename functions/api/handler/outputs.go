package handler

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/api"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/s3errors"
)

const (
	// urlValidity is how long the addresses of outputs in an answer can be fetched.
	// docs/openapi.yaml and cmd/relay/download.go name the 15 minutes.
	urlValidity = 15 * time.Minute
	// maxManifest bounds what is read of a manifest: some 300 bytes an output.
	maxManifest = 8 << 20
	// maxSigned is how many outputs one answer has. With the session token of a
	// role, an output takes some 2 KB of the 6 MB that Lambda can answer.
	maxSigned = 1000
)

// outputs reads a manifest and signs an address for each output after the one
// named, 1,000 at most; next is the last of them if there are more. Only keys
// under the run's own prefix are signed: others may write to the user's bucket,
// and this function's role may read all of it. A manifest that was moved or has
// expired is no fault of the run.
func (h *Handler) outputs(ctx context.Context, r run.Record, bucket, after string) (views []api.Output, next string, err error) {
	object, err := h.OutputS3.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &r.ManifestKey})
	if _, status := s3errors.Code(err); status == http.StatusNotFound {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", named.Errorf(named.Unavailable, "S3 could not read s3://%s/%s: %w", bucket, r.ManifestKey, err)
	}
	defer object.Body.Close()
	var manifest run.Manifest
	if err := json.NewDecoder(io.LimitReader(object.Body, maxManifest)).Decode(&manifest); err != nil {
		return nil, "", named.Errorf(named.Unavailable, "s3://%s/%s cannot be read: %w", bucket, r.ManifestKey, err)
	}
	outputs := manifest.Outputs
	if after != "" {
		i := slices.IndexFunc(outputs, func(o run.Output) bool { return o.ID == after })
		if i < 0 {
			return nil, "", named.Violations{{Parameter: "outputs_after", Message: "is not the id of an output of this run"}}.Err()
		}
		outputs = outputs[i+1:]
	}
	if len(outputs) > maxSigned {
		outputs = outputs[:maxSigned]
		next = outputs[maxSigned-1].ID
	}
	views = make([]api.Output, len(outputs))
	for i, o := range outputs {
		views[i] = api.Output{Output: o, S3URI: "s3://" + bucket + "/" + o.Key}
		if !ownOutput(r, o.Key) {
			continue
		}
		signed, err := h.Presign.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &o.Key}, s3.WithPresignExpires(urlValidity))
		if err != nil {
			return nil, "", named.Errorf(named.Unavailable, "no address could be signed for s3://%s/%s: %w", bucket, o.Key, err)
		}
		views[i].URL = signed.URL
	}
	return views, next, nil
}

// ownOutput reports whether a key of a manifest is one of the run's own outputs.
func ownOutput(r run.Record, key string) bool {
	prefix := r.KeyPrefix()
	return prefix != "" && strings.HasPrefix(key, prefix) && key != prefix+run.ManifestName && key != prefix+run.ErrorName
}
