package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// rejection is the document under rejected/.
type rejection struct {
	Key       string           `json:"key"`
	Sequencer string           `json:"sequencer,omitempty"`
	Error     *named.Error     `json:"error"`
	Reasons   named.Violations `json:"reasons"`
}

// reject writes why an upload became no run into the inbox, and returns the key.
func (h *Handler) reject(ctx context.Context, u upload, e *named.Error) (string, error) {
	key := rejectedKey(u)
	body, err := json.MarshalIndent(rejection{Key: u.key, Sequencer: u.sequencer, Error: e, Reasons: e.Violations}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encode the rejection: %w", err)
	}
	if _, err := h.Inbox.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &u.bucket, Key: &key, Body: bytes.NewReader(append(body, '\n')), ContentType: aws.String("application/json"),
	}); err != nil {
		return "", named.Errorf(named.Unavailable, "S3 could not write s3://%s/%s: %w", u.bucket, key, err)
	}
	h.Log.InfoContext(ctx, "rejected", "bucket", u.bucket, "key", u.key, "reasons_in", key, "violations", len(e.Violations))
	return key, nil
}
