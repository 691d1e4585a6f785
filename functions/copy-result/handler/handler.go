package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
	"github.com/cyberun-cloud/cyberun-relay/shared/workflows"
)

// Input is what the state CopyResult sends.
type Input struct {
	RunID string `json:"run_id"`
}

// ID names the run in the log.
func (in Input) ID() string { return in.RunID }

// Output is what the state IsCopied decides by; with done, the rest is the
// execution's output. Every field is always there: the state machine selects
// them by path, and a path that is missing fails the run.
type Output struct {
	Done        bool   `json:"done"`
	RunID       string `json:"run_id"`
	TaskID      string `json:"task_id"`
	Bucket      string `json:"bucket"`
	ManifestKey string `json:"manifest_key"` // empty until done
}

// Cyberun is what copy-result asks of the service.
type Cyberun interface {
	Result(ctx context.Context, id string) (cyberun.Result, error)
}

// Records is what it does to the state bucket.
type Records interface {
	Continue(ctx context.Context, runID string) (run.Record, error)
	Get(ctx context.Context, runID string) (run.Record, error)
	Update(ctx context.Context, runID string, change func(*run.Record) error) (run.Record, error)
	Progress(ctx context.Context, runID string) (run.Progress, error)
	Copy(ctx context.Context, runID, outputID string, state any) (bool, error)
	PutCopy(ctx context.Context, runID, outputID string, state any) error
	ClearCopies(ctx context.Context, runID string) error
	ClearOpen(ctx context.Context, runID string) error
}

// Bucket is what it does to the output bucket beside the copies themselves.
type Bucket interface {
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	DeleteObject(context.Context, *s3.DeleteObjectInput, ...func(*s3.Options)) (*s3.DeleteObjectOutput, error)
}

// Copier copies one output; see shared/transfer.
type Copier interface {
	Copy(ctx context.Context, src transfer.Source, dst transfer.Target, from *transfer.Checkpoint, save func(context.Context, transfer.Checkpoint) error) (transfer.Result, error)
}

// Handler copies all outputs of a run, the manifest last, and closes the record.
type Handler struct {
	Cyberun      Cyberun
	Records      Records
	Bucket       Bucket
	NewCopier    func(stopBefore time.Time, connections int) Copier // one for each call: its copies share what it bounds
	OutputBucket string
	Log          *slog.Logger
	Now          func() time.Time
}

const (
	// callTime bounds one call to Cyberun, as everywhere in the relay.
	callTime = 20 * time.Second
	// stopMargin before the call's deadline no new part begins: a part of 16 MiB
	// takes 20 s at under 1 MB/s, and what it has not finished then is cut off.
	stopMargin = 30 * time.Second
	// endMargin is kept to store how far the copies have come.
	endMargin = 5 * time.Second
)

// Handle is the state CopyResult.
func (h *Handler) Handle(ctx context.Context, in Input) (Output, error) {
	record, err := h.Records.Continue(ctx, in.RunID)
	if err != nil {
		return Output{}, err
	}
	if record.Status == run.Succeeded { // an earlier call closed it, and its reply was lost
		return h.output(record), h.tidy(ctx, record)
	}
	outputs, err := h.outputs(ctx, record)
	if err != nil {
		return Output{}, err
	}
	record, err = h.Records.Update(ctx, in.RunID, func(r *run.Record) error {
		switch {
		case r.Stopping():
			return named.Errorf(named.RunCancelled, "the run was stopped before its outputs were copied")
		case !r.Status.Open():
			return errClosed // a second live call delivered it: writing on would open it again
		}
		if r.CopyStartedAt.IsZero() {
			r.CopyStartedAt = h.Now().UTC()
		}
		r.Status = run.Copying
		r.Copies++
		return nil
	})
	if err != nil {
		return h.closed(ctx, in.RunID, err)
	}
	copied, done, err := h.copyAll(ctx, record, outputs)
	switch {
	case err != nil:
		return h.closed(ctx, in.RunID, err)
	case !done:
		return Output{RunID: record.RunID, TaskID: record.TaskID, Bucket: h.OutputBucket}, nil
	}
	return h.deliver(ctx, record, copied)
}

// closed is what errClosed comes to: somebody closed the record under this call.
// A second live call that delivered has done this one's work. Any other error is
// the call's own.
func (h *Handler) closed(ctx context.Context, runID string, err error) (Output, error) {
	if !errors.Is(err, errClosed) {
		return Output{}, err
	}
	record, err := h.Records.Get(ctx, runID)
	switch {
	case err != nil:
		return Output{}, err
	case record.Status == run.Succeeded:
		return h.output(record), h.tidy(ctx, record)
	}
	return Output{}, named.Errorf(named.RunCancelled, "the run was closed as %s while its outputs were copied", record.Status)
}

// outputs asks for the result: fresh URLs, and every output's id.
func (h *Handler) outputs(ctx context.Context, record run.Record) ([]workflows.RemoteOutput, error) {
	result, err := h.result(ctx, record.TaskID)
	if err != nil {
		return nil, err
	}
	outputs := workflows.RemoteOutputs(result)
	if len(outputs) == 0 {
		return nil, named.Errorf(named.NoOutputs, "the task %s is %s and its result has no download URL", record.TaskID, result.Status)
	}
	return outputs, nil
}

func (h *Handler) result(ctx context.Context, taskID string) (cyberun.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	result, err := h.Cyberun.Result(ctx, taskID)
	switch {
	case cyberun.IsNotFound(err):
		return result, named.Errorf(named.OutputExpired, "Cyberun no longer has a result of the task %s: %w", taskID, err)
	case err != nil:
		return result, cyberun.RemoteError("read the result of the task "+taskID, err)
	}
	return result, nil
}

// deliver writes the manifest, then closes the record: if the manifest is there,
// everything is there.
func (h *Handler) deliver(ctx context.Context, record run.Record, outputs []run.Output) (Output, error) {
	key := record.OutputPrefix() + run.ManifestName
	manifest, err := h.manifest(ctx, record, outputs)
	if err != nil {
		return Output{}, err
	}
	// A stop that came during the copy wins over a manifest not yet written.
	if _, err := h.Records.Continue(ctx, record.RunID); err != nil {
		return Output{}, err
	}
	body, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return Output{}, fmt.Errorf("encode the manifest: %w", err)
	}
	if _, err := h.Bucket.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &h.OutputBucket, Key: &key, Body: bytes.NewReader(append(body, '\n')),
		ContentType: aws.String("application/json"), Metadata: metadata(record, ""),
	}); err != nil {
		return Output{}, named.Errorf(named.Unavailable, "S3 could not write s3://%s/%s: %w", h.OutputBucket, key, err)
	}
	closed, err := h.Records.Update(ctx, record.RunID, func(r *run.Record) error {
		if !r.Status.Open() {
			return errClosed
		}
		r.ManifestKey = key
		r.Close(run.Succeeded, manifest.Timings.FinishedAt, nil)
		return nil
	})
	if errors.Is(err, errClosed) {
		return h.lateFor(ctx, closed, key)
	}
	if err != nil {
		return Output{}, err
	}
	return h.output(closed), h.tidy(ctx, closed)
}

var errClosed = errors.New("the record is closed")

// lateFor: somebody closed the record between the manifest and our close.
func (h *Handler) lateFor(ctx context.Context, closed run.Record, manifestKey string) (Output, error) {
	if closed.Status == run.Succeeded {
		return h.output(closed), nil
	}
	if err := h.remove(ctx, manifestKey); err != nil {
		return Output{}, err
	}
	return Output{}, named.Errorf(named.RunCancelled, "the run was closed as %s while its manifest was written", closed.Status)
}

// tidy takes away what only an open run needs, and what an earlier failure left.
// All of it can be done again. That the record tells of no failure does not mean
// that there was none: a close-run that died had left error.json already.
func (h *Handler) tidy(ctx context.Context, record run.Record) error {
	if err := h.remove(ctx, record.OutputPrefix()+run.ErrorName); err != nil {
		return err
	}
	before := record
	before.TaskID = "" // it failed before it had a task: {task_id} was filled in otherwise
	if before.OutputPrefix() != record.OutputPrefix() {
		if err := h.remove(ctx, before.OutputPrefix()+run.ErrorName); err != nil {
			return err
		}
	}
	if err := h.Records.ClearCopies(ctx, record.RunID); err != nil {
		return err
	}
	return h.Records.ClearOpen(ctx, record.RunID)
}

func (h *Handler) remove(ctx context.Context, key string) error {
	if _, err := h.Bucket.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &h.OutputBucket, Key: &key}); err != nil {
		return named.Errorf(named.Unavailable, "S3 could not remove s3://%s/%s: %w", h.OutputBucket, key, err)
	}
	return nil
}

func (h *Handler) manifest(ctx context.Context, record run.Record, outputs []run.Output) (run.Manifest, error) {
	progress, err := h.Records.Progress(ctx, record.RunID)
	if err != nil {
		return run.Manifest{}, err
	}
	var fetched int64
	for _, o := range outputs {
		fetched += o.Bytes
	}
	return run.Manifest{
		RunID: record.RunID, TaskID: record.TaskID, Workflow: record.Workflow, Adopted: record.Adopted, Outputs: outputs,
		Timings: run.Timings{
			StartedAt: record.StartedAt, SubmittedAt: record.AcceptedAt, TaskCompletedAt: record.CompletedAt,
			CopyStartedAt: record.CopyStartedAt, FinishedAt: h.Now().UTC(),
		},
		Usage: run.Usage{
			Polls: progress.Polls, HeldSeconds: progress.HeldSeconds, CopiedBytes: fetched,
			Transitions: run.Transitions(progress.Polls, record.Copies),
		},
	}, nil
}

func (h *Handler) output(record run.Record) Output {
	return Output{Done: true, RunID: record.RunID, TaskID: record.TaskID, Bucket: h.OutputBucket, ManifestKey: record.ManifestKey}
}

func metadata(record run.Record, outputID string) map[string]string {
	m := map[string]string{
		"cyberun-task-id": run.MetadataValue(record.TaskID),
		"cyberun-run-id":  run.MetadataValue(record.RunID),
	}
	if outputID != "" {
		m["cyberun-output-id"] = run.MetadataValue(outputID)
	}
	return m
}
