package handler

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"math"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// Input is what the states PollStatus and AwaitWebhook send; only the latter has
// a token.
type Input struct {
	RunID     string `json:"run_id"`
	TaskToken string `json:"task_token,omitempty"`
}

// ID names the run in the log.
func (in Input) ID() string { return in.RunID }

// Output is what the state IsTaskDone decides by.
type Output struct {
	Status      cyberun.Status `json:"status"`
	Done        bool           `json:"done"`
	Park        bool           `json:"park"`
	WaitSeconds int            `json:"wait_seconds"`
}

// Cyberun is what poll-status asks of the service.
type Cyberun interface {
	Task(ctx context.Context, id string) (cyberun.Task, error)
	Events(ctx context.Context, taskID string) iter.Seq2[cyberun.Event, error]
	Cancel(ctx context.Context, id string) error
}

// Records is what it does to the state bucket.
type Records interface {
	Continue(ctx context.Context, runID string) (run.Record, error)
	Update(ctx context.Context, runID string, change func(*run.Record) error) (run.Record, error)
	MayCancel(ctx context.Context, r run.Record) (may bool, owner string, err error)
	Progress(ctx context.Context, runID string) (run.Progress, error)
	PutProgress(ctx context.Context, p run.Progress) error
	PutToken(ctx context.Context, runID, token string) error
}

// Waker lets a parked execution go on.
type Waker interface {
	Wake(ctx context.Context, token string) error
}

// Handler looks at a run's task, and says how long to wait for the next look.
type Handler struct {
	Cyberun  Cyberun
	Records  Records
	Waker    Waker
	Hold     time.Duration // how long the event stream is held; 0: never
	Webhooks bool
	Log      *slog.Logger
	Now      func() time.Time
	Sleep    func(ctx context.Context, d time.Duration) error
}

const (
	// callTime bounds one call to Cyberun: two thirds of an HTTP API's 30 s, as
	// everywhere in the relay.
	callTime = 20 * time.Second
	// parkTime is AwaitWebhook's time-out. A run that ends sooner than that polls,
	// or its task would be paid for past max_seconds.
	parkTime = 5 * time.Minute
	// newTask is how long a 404 may mean that the task is not there yet.
	newTask = time.Minute
)

// Handle is the states PollStatus and AwaitWebhook.
func (h *Handler) Handle(ctx context.Context, in Input) (Output, error) {
	record, err := h.Records.Continue(ctx, in.RunID)
	if err != nil {
		return Output{}, err
	}
	if in.TaskToken != "" {
		return h.park(ctx, record, in.TaskToken)
	}
	progress, err := h.Records.Progress(ctx, in.RunID)
	if err != nil {
		h.Log.WarnContext(ctx, "the progress object cannot be read", "run_id", in.RunID, "cause", err.Error())
	}
	progress.Polls++
	task, err := h.look(ctx, record)
	if err == nil && !task.Status.Terminal() {
		if budget := h.budget(ctx, record); budget > 0 {
			progress.TaskStatus = string(task.Status)
			h.hold(ctx, record, &progress, budget)
			task, err = h.look(ctx, record)
		} else {
			task, err = h.linger(ctx, record, task)
		}
	}
	if err == nil {
		progress.TaskStatus = string(task.Status)
		if task.Status == cyberun.StatusCompleted {
			progress.Progress = 1 // no event says so: the last tick comes before the end
		}
	}
	h.save(ctx, &progress)
	return h.decide(ctx, record, task, err)
}

func (h *Handler) look(ctx context.Context, record run.Record) (cyberun.Task, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return h.Cyberun.Task(ctx, record.TaskID)
}

// young is how long after its start a task that is not held is looked at within
// one call: two waits of 3 s cost a sixth of the transitions that they replace,
// and keep the history of a 30 s run under 100 events.
const young = 2 * run.MinWait

// linger looks at a young task again without leaving the call.
func (h *Handler) linger(ctx context.Context, record run.Record, task cyberun.Task) (cyberun.Task, error) {
	for h.Hold == 0 && !h.Webhooks && h.Now().Sub(record.AcceptedAt) < young && h.Now().Before(record.Deadline()) {
		if err := h.Sleep(ctx, run.MinWait); err != nil {
			return task, nil
		}
		var err error
		if task, err = h.look(ctx, record); err != nil || task.Status.Terminal() {
			return task, err
		}
	}
	return task, nil
}

// decide turns what was seen into what the state machine does next. The status
// endpoint alone decides; an outage costs waiting, until the run's deadline.
func (h *Handler) decide(ctx context.Context, record run.Record, task cyberun.Task, err error) (Output, error) {
	if err != nil {
		if e := h.lasting(record, err); e != nil {
			return Output{}, e
		}
	} else if task.Status.Terminal() {
		return h.finish(ctx, record, task)
	}
	now := h.Now()
	if !now.Before(record.Deadline()) {
		return h.timeOut(ctx, record)
	}
	out := Output{Status: task.Status, Park: h.Webhooks && err == nil && record.Deadline().Sub(now) > parkTime}
	if err != nil {
		out.Status = "unknown"
	}
	wait := run.NextWait(now.Sub(record.AcceptedAt), time.Duration(record.MaxSeconds)*time.Second)
	var answer *cyberun.APIError
	if errors.As(err, &answer) {
		wait = max(wait, min(answer.RetryAfter, run.MaxWait))
	}
	wait = min(wait, record.Deadline().Sub(now))
	out.WaitSeconds = max(1, int(math.Ceil(wait.Seconds())))
	return out, nil
}

// lasting is the error that waiting does not mend; nil for an outage.
func (h *Handler) lasting(record run.Record, err error) *named.Error {
	if cyberun.IsNotFound(err) {
		if h.Now().Sub(record.AcceptedAt) < newTask {
			return nil
		}
		return named.Errorf(named.TaskFailed, "Cyberun no longer knows the task %s: %w", record.TaskID, err)
	}
	e := cyberun.RemoteError("look at the task "+record.TaskID, err)
	if e.Name == named.Unauthorized || e.Name == named.FeatureNotLicensed {
		return e
	}
	return nil
}

// finish records how the task ended; only a completed one goes on.
func (h *Handler) finish(ctx context.Context, record run.Record, task cyberun.Task) (Output, error) {
	latest, err := h.Records.Update(ctx, record.RunID, func(r *run.Record) error {
		r.TaskStatus, r.CompletedAt = string(task.Status), task.CompletedAt.Time
		return nil
	})
	if err != nil {
		return Output{}, err
	}
	switch task.Status {
	case cyberun.StatusFailed:
		message := task.Error
		if message == "" {
			message = "it gave no reason"
		}
		return Output{}, named.Errorf(named.TaskFailed, "the task %s failed at Cyberun: %s", record.TaskID, message)
	case cyberun.StatusCancelled:
		if latest.Stopping() {
			return Output{}, named.Errorf(named.RunCancelled, "the run was stopped, and its task %s was cancelled", record.TaskID)
		}
		if record.MayCancelTask() && !h.Now().Before(record.Deadline()) {
			// By a call of ours that died after it, most likely.
			return Output{}, named.Errorf(named.RunTimedOut, "max_seconds (%d) passed before the task %s ended; it was cancelled", record.MaxSeconds, record.TaskID)
		}
		return Output{}, named.Errorf(named.TaskCancelled, "the task %s was cancelled at Cyberun", record.TaskID)
	}
	return Output{Status: task.Status, Done: true}, nil
}

// timeOut stops paying and looks once more: a task that completed in the last
// moment is delivered after all.
func (h *Handler) timeOut(ctx context.Context, record run.Record) (Output, error) {
	may, owner, err := h.Records.MayCancel(ctx, record)
	switch {
	case err != nil:
		return Output{}, err
	case owner != "": // since the record was read
		return Output{}, named.Errorf(named.TaskTaken, "the task %s was taken over by the run %s", record.TaskID, owner)
	}
	left := "was left running, since this run did not start it"
	if may {
		left = "was cancelled"
		cancelCtx, cancel := context.WithTimeout(ctx, callTime)
		defer cancel()
		if err := h.Cyberun.Cancel(cancelCtx, record.TaskID); err != nil {
			left = "could not be cancelled yet (" + err.Error() + ")"
		}
	}
	if task, err := h.look(ctx, record); err == nil && task.Status == cyberun.StatusCompleted {
		return h.finish(ctx, record, task)
	}
	return Output{}, named.Errorf(named.RunTimedOut, "max_seconds (%d) passed before the task %s ended; it %s", record.MaxSeconds, record.TaskID, left)
}

// park keeps the token first and looks then: a webhook that came before the
// token is seen in the task's status.
func (h *Handler) park(ctx context.Context, record run.Record, token string) (Output, error) {
	if err := h.Records.PutToken(ctx, record.RunID, token); err != nil {
		return Output{}, err
	}
	progress, err := h.Records.Progress(ctx, record.RunID)
	if err == nil {
		progress.Parks++
		h.save(ctx, &progress)
	}
	task, err := h.look(ctx, record)
	decides := err == nil && task.Status.Terminal() || err != nil && h.lasting(record, err) != nil ||
		record.Deadline().Sub(h.Now()) <= parkTime // no look by itself before the deadline: PollStatus takes over
	if !decides {
		return Output{Status: task.Status}, nil // the webhook, or the state's time-out, wakes it
	}
	return Output{Status: task.Status}, h.Waker.Wake(ctx, token)
}
