package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/aws/smithy-go"
	"github.com/rs/xid"
)

// strangers sends a request without a signature.
func (s *smoke) strangers(ctx context.Context) (string, error) {
	status, _, err := s.knock(ctx, http.MethodGet, s.outputs["ApiUrl"]+"/workflows", "", nil)
	if err != nil {
		return "", err
	}
	if status != http.StatusForbidden {
		return "", fmt.Errorf("an unsigned call got HTTP %d, not 403", status)
	}
	return "HTTP 403 without a signature", nil
}

// oneRun goes from the command line to the fetched file, and looks at what S3 has of it.
func (s *smoke) oneRun(ctx context.Context) (string, error) {
	folder, err := os.MkdirTemp("", "relay-smoke-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(folder)
	var v view
	if err := s.cli(ctx, &v, "run", s.workflow, "-p", "prompt="+s.prompt, "--watch", "--out", folder); err != nil {
		return "", err
	}
	s.runs = append(s.runs, v.RunID)
	if err := succeeded(v); err != nil {
		return "", err
	}
	var bytes int64
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil || len(files) < len(v.Outputs) {
		return "", fmt.Errorf("%d files were fetched of %d outputs: %w", len(files), len(v.Outputs), err)
	}
	for _, o := range v.Outputs {
		head, err := s.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(s.outputs["OutputBucket"]), Key: &o.Key, ChecksumMode: s3types.ChecksumModeEnabled})
		if err != nil {
			return "", err
		}
		if aws.ToInt64(head.ContentLength) != o.Bytes {
			return "", fmt.Errorf("%s has %d bytes, the manifest says %d", o.Key, aws.ToInt64(head.ContentLength), o.Bytes)
		}
		if !s.standIn && (aws.ToString(head.ChecksumCRC32) == "" || head.ChecksumType != s3types.ChecksumTypeFullObject) {
			return "", fmt.Errorf("%s has no CRC32 of the whole object: %q, %s", o.Key, aws.ToString(head.ChecksumCRC32), head.ChecksumType)
		}
		bytes += o.Bytes
	}
	return fmt.Sprintf("run %s, %d outputs of %d bytes", v.RunID, len(v.Outputs), bytes), nil
}

func succeeded(v view) error {
	if v.Status == "succeeded" && len(v.Outputs) > 0 {
		return nil
	}
	if v.Error != nil {
		return fmt.Errorf("run %s %s: %s: %s", v.RunID, v.Status, v.Error.Name, v.Error.Cause)
	}
	return fmt.Errorf("run %s %s with %d outputs", v.RunID, v.Status, len(v.Outputs))
}

// photoName has what S3's events might spell in two ways.
const photoName = "my photo+1 ä.png"

// upload puts a picture into the inbox and waits for the run that it starts.
func (s *smoke) upload(ctx context.Context) (string, error) {
	if s.fileWorkflow == "" {
		return "", &skipped{"no -file-workflow is named"}
	}
	before, err := s.list(ctx)
	if err != nil {
		return "", err
	}
	var picture bytes.Buffer
	canvas := image.NewRGBA(image.Rect(0, 0, 64, 64))
	for i := range 64 * 64 {
		canvas.Set(i%64, i/64, color.RGBA{uint8(i % 256), uint8(i / 16), 128, 255})
	}
	if err := png.Encode(&picture, canvas); err != nil {
		return "", err
	}
	key := "files/" + s.fileWorkflow + "/" + s.fileParameter + "/" + photoName
	if _, err := s.s3.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(s.outputs["InboxBucket"]), Key: &key, Body: bytes.NewReader(picture.Bytes()), ContentType: aws.String("image/png"),
	}); err != nil {
		return "", err
	}
	for {
		now, err := s.list(ctx)
		if err != nil {
			return "", err
		}
		for id := range now {
			if !before[id] && strings.HasPrefix(id, "my-photo-1") {
				return s.ended(ctx, id)
			}
		}
		if err := s.rejected(ctx, key); err != nil {
			return "", err
		}
		if err := pause(ctx, 2*time.Second); err != nil {
			return "", fmt.Errorf("no run came of s3://%s/%s: %w", s.outputs["InboxBucket"], key, err)
		}
	}
}

// rejected is an error if the upload was refused.
func (s *smoke) rejected(ctx context.Context, key string) error {
	found, err := s.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(s.outputs["InboxBucket"]), Prefix: aws.String("rejected/" + key)})
	if err != nil || len(found.Contents) == 0 {
		return err
	}
	newest := found.Contents[0]
	for _, object := range found.Contents {
		if object.LastModified.After(*newest.LastModified) {
			newest = object
		}
	}
	if time.Since(*newest.LastModified) > s.patience {
		return nil // an earlier pass's
	}
	return fmt.Errorf("it was rejected: s3://%s/%s says why", s.outputs["InboxBucket"], aws.ToString(newest.Key))
}

// ended watches a run to its end, which must be a good one.
func (s *smoke) ended(ctx context.Context, id string) (string, error) {
	s.runs = append(s.runs, id)
	var v view
	if err := s.cli(ctx, &v, "status", id, "--watch"); err != nil {
		return "", err
	}
	return "run " + id, succeeded(v)
}

// webhook signs one as Cyberun does, of a task that no run has.
func (s *smoke) webhook(ctx context.Context) (string, error) {
	body := `{"event_type":"task.completed","task_id":"smoke-` + xid.New().String() + `","task_status":"completed"}`
	post := func(secret string) (int, string, error) {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(body))
		return s.knock(ctx, http.MethodPost, s.outputs["WebhookUrl"], body, map[string]string{"X-Webhook-Signature-256": "sha256=" + hex.EncodeToString(mac.Sum(nil))})
	}
	status, answer, err := post("whsec_forged")
	switch {
	case err != nil:
		return "", err
	case status == http.StatusNotFound && !strings.Contains(answer, `"message"`): // with which the gateway says that it has no such route
		return "", &skipped{"webhooks are off: deploy with WebhooksEnabled=true and store a secret to try them"}
	case status != http.StatusUnauthorized:
		return "", fmt.Errorf("a forged one got HTTP %d, not 401: %.200s", status, answer)
	}
	stored, err := s.secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(s.outputs["WebhookSecretArn"])})
	if err != nil {
		return "", fmt.Errorf("the webhook secret cannot be read to sign with: %w", err)
	}
	if status, answer, err = post(strings.TrimSpace(aws.ToString(stored.SecretString))); err != nil {
		return "", err
	}
	if status != http.StatusNoContent {
		return "", fmt.Errorf("a signed one got HTTP %d, not 204: %.200s", status, answer)
	}
	return "HTTP 204 signed, 401 forged", nil
}

// stopRun stops a run as soon as it is started.
func (s *smoke) stopRun(ctx context.Context) (string, error) {
	var v view
	if err := s.cli(ctx, &v, "run", s.workflow, "-p", "prompt="+s.prompt); err != nil {
		return "", err
	}
	id := v.RunID
	s.runs = append(s.runs, id)
	if err := s.cli(ctx, &v, "cancel", id); err != nil {
		return "", err
	}
	if err := s.cli(ctx, &v, "status", id, "--watch"); err != nil {
		return "", err
	}
	if v.Status != "cancelled" {
		return "", fmt.Errorf("run %s is %s", id, v.Status)
	}
	for {
		execution, err := s.execution(ctx, id)
		if err != nil {
			return "", err
		}
		if execution.Status == sfntypes.ExecutionStatusAborted {
			return fmt.Sprintf("run %s is cancelled, its execution %s", id, execution.Status), nil
		}
		if s.standIn && execution.Status != sfntypes.ExecutionStatusRunning {
			return fmt.Sprintf("run %s is cancelled, its execution %s (ABORTED on AWS)", id, execution.Status), nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return "", fmt.Errorf("the execution of run %s is %s: %w", id, execution.Status, err)
		}
	}
}

// redrive fails a run before anything is paid, with a workflow that does not exist,
// and redrives it: it must come to the same end once more, by the same execution.
func (s *smoke) redrive(ctx context.Context) (string, error) {
	id := "smoke-" + xid.New().String()
	input := `{"workflow": "smoke-there-is-no-such-workflow"}`
	if _, err := s.sfn.StartExecution(ctx, &sfn.StartExecutionInput{StateMachineArn: aws.String(s.outputs["StateMachineArn"]), Name: &id, Input: &input}); err != nil {
		return "", err
	}
	s.runs = append(s.runs, id)
	const want = "WorkflowNotFound"
	if err := s.failedAs(ctx, id, want, 0); err != nil {
		return "", err
	}
	var answer struct{}
	if err := s.cli(ctx, &answer, "redrive", id); err != nil {
		if s.standIn && strings.Contains(err.Error(), "InvalidAction") {
			return "", &skipped{"the stand-in for Step Functions knows no RedriveExecution"}
		}
		return "", err
	}
	if err := s.failedAs(ctx, id, want, 1); err != nil {
		return "", err
	}
	return "run " + id + " failed as " + want + ", before and after", nil
}

// failedAs waits until an execution that was redriven so often has failed by that name.
func (s *smoke) failedAs(ctx context.Context, id, name string, redriven int32) error {
	for {
		execution, err := s.execution(ctx, id)
		var unknown smithy.APIError
		switch {
		case errors.As(err, &unknown) && unknown.ErrorCode() == "ExecutionDoesNotExist": // not shown yet
		case err != nil:
			return err
		case execution.Status == sfntypes.ExecutionStatusFailed && aws.ToInt32(execution.RedriveCount) == redriven:
			if aws.ToString(execution.Error) != name {
				return fmt.Errorf("the execution of run %s failed as %s, not %s: %s", id, aws.ToString(execution.Error), name, aws.ToString(execution.Cause))
			}
			return nil
		case execution.Status != sfntypes.ExecutionStatusFailed && execution.Status != sfntypes.ExecutionStatusRunning:
			return fmt.Errorf("the execution of run %s is %s", id, execution.Status)
		}
		if err := pause(ctx, time.Second); err != nil {
			return fmt.Errorf("the execution of run %s has not failed after %d redrives: %w", id, redriven, err)
		}
	}
}

// remove deletes the stack and looks that its buckets are still there.
func (s *smoke) remove(ctx context.Context) (string, error) {
	if _, err := s.cloudformation.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: &s.stack}); err != nil {
		return "", err
	}
	waiter := cloudformation.NewStackDeleteCompleteWaiter(s.cloudformation)
	if err := waiter.Wait(ctx, &cloudformation.DescribeStacksInput{StackName: &s.stack}, s.patience); err != nil {
		return "", err
	}
	var kept []string
	for _, name := range []string{"InboxBucket", "OutputBucket", "StateBucket"} {
		bucket := s.outputs[name]
		if _, err := s.s3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket}); err != nil {
			return "", fmt.Errorf("the bucket %s is gone: %w", bucket, err)
		}
		kept = append(kept, bucket)
	}
	return "what stays, and is yours to empty and delete: " + strings.Join(kept, ", "), nil
}
