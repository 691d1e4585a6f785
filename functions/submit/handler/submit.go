package handler

import (
	"context"
	"errors"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

const (
	// maxPosts bounds how often a submission that surely never started is made
	// again: by then it is not the network.
	maxPosts = 5
	// leastPost: with less time than this left of a POST's own, none is begun.
	leastPost = time.Second
)

var (
	errMarked = errors.New("another call of this step submits the run")
	// errEnded: this call outlived its execution. A task that it started now
	// would be paid for and delivered by nobody.
	errEnded = errors.New("the run was closed while this call prepared it; nothing was submitted")
)

// submit marks, posts once, and records. Its order is the protocol's: see ADR 4.
func (h *Handler) submit(ctx context.Context, record run.Record, r ready) (Output, error) {
	if record.Posts >= maxPosts {
		e := named.Errorf(named.RunRejected, "%d submissions in a row reached Cyberun and never started a task", record.Posts)
		e.Hint = "look at Cyberun's own status, then start a new run; no task was paid for"
		return Output{}, e
	}
	marked, err := h.mark(ctx, record, r)
	if err != nil {
		return Output{}, err
	}
	left := h.Waits.Post - h.Now().Sub(r.clock.local)
	if left < min(leastPost, h.Waits.Post/2) {
		return Output{}, h.notStarted(ctx, marked, named.Errorf(named.Unavailable, "the state bucket was too slow to submit in time; nothing was submitted"))
	}
	postCtx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	receipt, err := h.Cyberun.Run(postCtx, r.ref, r.parameters)
	if err == nil {
		return h.accept(ctx, marked, receipt.TaskID)
	}
	var failed *cyberun.RunError
	if errors.As(err, &failed) && failed.Outcome == cyberun.NotStarted {
		return Output{}, h.notStarted(ctx, marked, cyberun.SubmitError(r.ref, err))
	}
	return Output{}, named.Errorf(named.SubmitInDoubt, "submit %s: %w", r.ref, err)
}

// mark says, before the POST, that there may be one: first to the other runs of
// the workflow, then in the record. Only the call whose mark stands posts.
func (h *Handler) mark(ctx context.Context, record run.Record, r ready) (run.Record, error) {
	submission := run.Submission{Attempt: h.NewID(), MarkedAt: r.clock.server, PostUntil: r.clock.server.Add(h.Waits.Post)}
	if err := h.Records.PutMarker(ctx, r.workflowID, submission.Marker(record.RunID)); err != nil {
		return record, err
	}
	marked, err := h.Records.Update(ctx, record.RunID, func(rec *run.Record) error {
		switch {
		case rec.Submission != nil && rec.Submission.Attempt == submission.Attempt:
			return nil
		case rec.Stopping():
			return stopped(*rec)
		case rec.TaskID != "" || rec.Submission != nil:
			return errMarked
		case !rec.Status.Open():
			return errEnded
		}
		rec.Status, rec.WorkflowID, rec.Submission = run.Submitting, r.workflowID, &submission
		rec.Posts++
		return nil
	})
	switch {
	case errors.Is(err, errMarked):
		err = named.Errorf(named.SubmitInDoubt, "%w", err)
	case errors.Is(err, errEnded), named.Is(err, named.RunCancelled):
	default:
		return marked, err
	}
	return marked, errors.Join(err, h.Records.ClearMarker(ctx, r.workflowID, record.RunID, submission.Attempt))
}

// accept stores the task id first: from here on it cannot be lost.
func (h *Handler) accept(ctx context.Context, record run.Record, taskID string) (Output, error) {
	accepted, err := h.store(ctx, record.RunID, taskID, func(*run.Record) {})
	if err != nil {
		return Output{}, err
	}
	return h.settle(ctx, accepted)
}

// store gives the record its task. A run that was stopped meanwhile gets it too,
// so that the task can be named and cancelled.
func (h *Handler) store(ctx context.Context, runID, taskID string, how func(*run.Record)) (run.Record, error) {
	record, err := h.Records.Update(ctx, runID, func(r *run.Record) error {
		if r.TaskID != "" {
			return nil
		}
		r.TaskID, r.AcceptedAt, r.Submission, r.Candidates = taskID, h.Now().UTC(), nil, nil
		if r.Status.Open() {
			r.Status = run.Waiting
		}
		how(r)
		return nil
	})
	if err != nil {
		return record, unstored(taskID, err)
	}
	return record, nil
}

// unstored names the task: its id stands nowhere else, and a person may have to find it.
func unstored(taskID string, err error) error {
	told, ok := named.As(err)
	if !ok {
		told = named.Errorf(named.Unavailable, "%w", err)
	}
	return &named.Error{Name: told.Name, Cause: "the task " + taskID + " is this run's, and its id could not be stored: " + told.Cause, Hint: told.Hint, Err: err}
}

// notStarted takes the mark back: surely no task was made, and the next try may
// post at once.
func (h *Handler) notStarted(ctx context.Context, record run.Record, reason *named.Error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	_, err := h.Records.Update(ctx, record.RunID, func(r *run.Record) error {
		if r.Submission != nil && r.Submission.Attempt == record.Submission.Attempt {
			r.Submission = nil
			r.Posts-- // refused, or never sent: an hour of 429 is not five lost submissions
		}
		return nil
	})
	if err != nil {
		return err // the mark stands: the next try will look before it posts
	}
	if err := h.Records.ClearMarker(ctx, record.WorkflowID, record.RunID, record.Submission.Attempt); err != nil {
		return err
	}
	return reason
}

// cleanupTime is for a few small S3 writes that must happen although the call's
// own time is over.
const cleanupTime = 10 * time.Second
