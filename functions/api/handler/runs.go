package handler

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/api"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/httpapi"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

const (
	// maxLongPoll keeps ?wait within the 30 s of an HTTP API.
	maxLongPoll = 20 * time.Second
	// longPollStep is how often a waiting call looks at the record.
	longPollStep = time.Second

	// describeAgain and describePause bound how long an unknown run is looked for.
	describeAgain = 3
	describePause = 400 * time.Millisecond
)

// getRun answers at once, or with ?wait=SECONDS when the run has ended, if that
// is sooner. A reading that fails because S3 or Step Functions is away does not end the
// wait: the answer is what the last reading found.
func (h *Handler) getRun(ctx context.Context, r httpapi.Request) (none httpapi.Response, err error) {
	q, err := httpapi.Query(r)
	if err != nil {
		return none, err
	}
	wait, err := longPoll(q.Get("wait"))
	if err != nil {
		return none, err
	}
	until := h.Now().Add(wait)
	id, outputsAfter := r.PathParameters["id"], q.Get("outputs_after")
	v, err := h.view(ctx, id, outputsAfter)
	for err == nil && v.Status.Open() && h.Now().Before(until) {
		if h.Sleep(ctx, min(longPollStep, until.Sub(h.Now()))) != nil {
			break
		}
		next, failed := h.view(ctx, id, outputsAfter)
		if named.Is(failed, named.Unavailable) {
			observe.Log(ctx).WarnContext(ctx, "the wait goes on after a reading that failed", "cause", failed.Error())
			continue
		}
		v, err = next, failed
	}
	if err != nil {
		return none, err
	}
	return httpapi.JSON(http.StatusOK, v)
}

func longPoll(value string) (time.Duration, error) {
	n, err := strconv.Atoi(cmp.Or(value, "0"))
	if err != nil || n < 0 {
		return 0, named.Violations{{Parameter: "wait", Message: "must be a number of seconds from 0 to 20"}}.Err()
	}
	return time.Duration(min(n, int(maxLongPoll.Seconds()))) * time.Second, nil // in this order: no product overflows
}

// view returns a run with everything that is known of it. A run that was accepted
// a moment ago has no record yet: Step Functions knows it.
func (h *Handler) view(ctx context.Context, id, outputsAfter string) (api.Run, error) {
	r, err := h.Runs.Get(ctx, id)
	if errors.Is(err, lifecycle.ErrNoRecord) {
		return h.unrecorded(ctx, id)
	}
	if err != nil {
		return api.Run{}, err
	}
	v := h.summary(r.Record)
	if r.TaskID != "" {
		progress, err := h.Runs.Progress(ctx, id)
		if err != nil {
			return v, err
		}
		v.TaskStatus = cmp.Or(v.TaskStatus, progress.TaskStatus)
		if progress.Polls > 0 {
			v.Progress = &progress
		}
	}
	if v.ManifestKey != "" {
		v.Outputs, v.OutputsNext, err = h.outputs(ctx, r.Record, v.Bucket, outputsAfter)
	}
	return v, err
}

// summary returns what the record alone says of a run, as lists show it.
func (h *Handler) summary(r run.Record) api.Run {
	v := api.Run{
		RunID: r.RunID, Status: r.Status.Shown(), Workflow: cmp.Or(r.TaskWorkflow, r.Workflow), TaskID: r.TaskID,
		TaskStatus: r.TaskStatus, Adopted: r.Adopted, StartedAt: r.StartedAt, EndedAt: r.EndedAt,
		Candidates: r.Candidates, ExtraTasks: r.ExtraTasks, Cancel: r.Cancel, Error: r.Error,
	}
	if r.InDoubt() {
		v.Submission = r.Submission
	}
	if r.Status == run.Succeeded {
		v.Bucket, v.ManifestKey = cmp.Or(r.Bucket, h.OutputBucket), r.ManifestKey
	}
	return v
}

// unrecorded returns what Step Functions knows of a run without a record.
func (h *Handler) unrecorded(ctx context.Context, id string) (api.Run, error) {
	execution, err := h.find(ctx, id)
	if errors.Is(err, executions.ErrNotFound) {
		return api.Run{}, notFound(id)
	}
	if err != nil {
		return api.Run{}, err
	}
	request, _ := run.ParseRequest([]byte(execution.Input))
	return api.Run{RunID: id, Status: statusOf(execution.Status), StartedAt: execution.StartedAt, Workflow: request.Workflow, Error: execution.Error}, nil
}

func notFound(id string) error {
	return named.Errorf(named.RunNotFound, "there is no run %s, or it ended over 90 days ago", id)
}

// find describes the execution of a run, and asks again if there is none: it may have
// been started a moment ago, and Step Functions' reads are eventually consistent.
func (h *Handler) find(ctx context.Context, id string) (executions.Execution, error) {
	for again := 0; ; again++ {
		execution, err := h.Executions.Describe(ctx, h.Executions.ExecutionARN(id))
		if !errors.Is(err, executions.ErrNotFound) || again == describeAgain {
			return execution, err
		}
		if h.Sleep(ctx, describePause) != nil {
			return execution, named.Errorf(named.Unavailable, "Step Functions does not show the run %s yet, and the time of the request is over", id)
		}
	}
}

// statusOf returns the status of a run without a record.
func statusOf(s executions.Status) run.Status {
	switch s {
	case executions.Succeeded:
		return run.Succeeded
	case executions.Aborted:
		return run.Cancelled
	case executions.Failed, executions.TimedOut:
		return run.Failed
	}
	return run.Submitting
}
