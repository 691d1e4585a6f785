package handler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"golang.org/x/sync/errgroup"
)

// leaveError writes error.json, if there is a prefix to write it under.
func (h *Handler) leaveError(ctx context.Context, record run.Record, reason *named.Error) error {
	if record.Prefix == "" {
		return nil
	}
	body, err := json.MarshalIndent(run.Failure{RunID: record.RunID, TaskID: record.TaskID, Error: reason}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode error.json: %w", err)
	}
	key := record.OutputPrefix() + run.ErrorName
	if _, err := h.Bucket.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &h.OutputBucket, Key: &key, Body: bytes.NewReader(append(body, '\n')), ContentType: aws.String("application/json"),
	}); err != nil {
		return named.Errorf(named.Unavailable, "S3 could not write s3://%s/%s: %w", h.OutputBucket, key, err)
	}
	return nil
}

// closedByAnother: if that was copy-result, an error.json that this call or one
// that died before it wrote is wrong.
func (h *Handler) closedByAnother(ctx context.Context, closed run.Record) error {
	if closed.Status == run.Succeeded {
		key := closed.OutputPrefix() + run.ErrorName
		if _, err := h.Bucket.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &h.OutputBucket, Key: &key}); err != nil {
			return named.Errorf(named.Unavailable, "S3 could not remove s3://%s/%s: %w", h.OutputBucket, key, err)
		}
	}
	if err := h.stopLate(ctx, closed); err != nil {
		return err
	}
	return h.tidy(ctx, closed)
}

// stopLate cancels a task that Submit stored after its run had been stopped, and
// died before it could cancel it itself. A task that was cancelled before stays so.
func (h *Handler) stopLate(ctx context.Context, closed run.Record) error {
	if closed.Status != run.Cancelled || closed.TaskID == "" {
		return nil
	}
	_, err := h.stopPaying(ctx, closed)
	return err
}

// tidy takes away what only an open run needs. The markers of a run that was
// closed in doubt stay: its task may be there, and another run in doubt about the
// same half minute must not adopt it. They hold up nobody else.
func (h *Handler) tidy(ctx context.Context, record run.Record) error {
	if record.WorkflowID != "" && !record.InDoubt() {
		if err := h.clearMarkers(ctx, record); err != nil {
			return err
		}
	}
	if err := h.abortUploads(ctx, record); err != nil {
		return err
	}
	return h.Records.ClearOpen(ctx, record.RunID)
}

const (
	// maxSwept bounds what one sweep lists: 20 pages of S3's, names alone.
	maxSwept = 20_000
	// sweepers close runs side by side: while Cyberun hangs, each cancel takes all
	// of callTime, and the runs behind it have to be reached all the same.
	sweepers = 8
	// sweepRest is kept of the function's time for those under way and the markers.
	sweepRest = callTime + 10*time.Second
)

// sweep looks at every open run: the events are best effort, and one that was
// lost would leave a record open, and perhaps a task running, for ever. It takes
// them in no order: what one sweep has no time for, another has.
func (h *Handler) sweep(ctx context.Context) (Output, error) {
	var ids []string
	if err := h.Records.OpenRuns(ctx, func(runID string) bool {
		ids = append(ids, runID)
		return len(ids) < maxSwept
	}); err != nil {
		return Output{}, err
	}
	rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	begin := ctx
	if deadline, bounded := ctx.Deadline(); bounded {
		var cancel context.CancelFunc
		begin, cancel = context.WithDeadline(ctx, deadline.Add(-sweepRest))
		defer cancel()
	}
	var closed, failed atomic.Int64
	var group errgroup.Group
	group.SetLimit(sweepers)
	for _, id := range ids {
		group.Go(func() error {
			if begin.Err() != nil {
				return nil
			}
			n, err := h.sweepOne(ctx, id)
			if err != nil {
				failed.Add(1)
				h.Log.WarnContext(ctx, "could not be closed; the next sweep tries again", "run_id", id, "cause", err.Error())
			}
			closed.Add(int64(n))
			return nil
		})
	}
	_ = group.Wait()
	return Output{Closed: int(closed.Load()), Failed: int(failed.Load())}, h.sweepMarkers(ctx)
}

func (h *Handler) sweepOne(ctx context.Context, runID string) (int, error) {
	record, err := h.Records.Get(ctx, runID)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil // being claimed right now, or expired: its marker expires as well
	}
	if err != nil {
		return 0, err
	}
	if !record.Status.Open() { // its close, or a call after it, died or could not cancel
		return 0, h.closedByAnother(ctx, record)
	}
	return h.close(ctx, record.ExecutionARN)
}

// clearMarkers claims first, for a submit that stored its task and died each time
// before it could: a task with neither claim nor marker is one that another run in
// doubt would adopt.
func (h *Handler) clearMarkers(ctx context.Context, record run.Record) error {
	if record.TaskID != "" {
		if _, err := h.Records.Claim(ctx, record.TaskID, store.Claim{RunID: record.RunID}); err != nil {
			return err
		}
	}
	return h.Records.ClearMarkers(ctx, record.WorkflowID, record.RunID)
}

// sweepMarkers clears what a submit left that died after its run was closed. One
// that cannot be cleared keeps no other: a marker left behind holds up later doubts.
func (h *Handler) sweepMarkers(ctx context.Context) error {
	type marker struct{ workflowID, runID string }
	var markers []marker
	if err := h.Records.AllMarkers(ctx, func(workflowID, runID string) bool {
		markers = append(markers, marker{workflowID, runID})
		return len(markers) < maxSwept
	}); err != nil {
		return err
	}
	var failures []error
	for _, m := range markers {
		if ctx.Err() != nil { // the rest is the next sweep's
			return errors.Join(append(failures, ctx.Err())...)
		}
		if err := h.sweepMarker(ctx, m.workflowID, m.runID); err != nil {
			h.Log.WarnContext(ctx, "its markers could not be cleared; the next sweep tries again", "run_id", m.runID, "cause", err.Error())
			failures = append(failures, fmt.Errorf("the marker of the run %s: %w", m.runID, err))
		}
	}
	return errors.Join(failures...)
}

func (h *Handler) sweepMarker(ctx context.Context, workflowID, runID string) error {
	record, err := h.Records.Get(ctx, runID)
	switch {
	case errors.Is(err, store.ErrNotFound): // expired, as its markers will
	case err != nil:
		return err
	case record.Status.Open() || record.InDoubt():
		return nil
	default:
		if err := h.stopLate(ctx, record); err != nil {
			return err
		}
		record.WorkflowID = workflowID
		return h.clearMarkers(ctx, record)
	}
	return h.Records.ClearMarkers(ctx, workflowID, runID)
}
