// Package handler reads how a run's task stands, follows its event stream meanwhile, and
// says how long to wait until it is read again.
package handler

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"math"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/doubt"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/workflows"
)

// Input is the payload of the states PollStatus and AwaitWebhook; only the latter
// sends a token.
type Input struct {
	lifecycle.Call
	Retries   int    `json:"attempts,omitempty"` // how often this state was tried before this call
	TaskToken string `json:"task_token,omitempty"`
}

// Response is what the state IsTaskDone chooses the next state by.
type Response struct {
	Status      cyberun.Status `json:"status"`
	Done        bool           `json:"done"`         // the task has completed: copy its outputs
	Park        bool           `json:"park"`         // wait for a webhook
	WaitSeconds int            `json:"wait_seconds"` // neither: wait so long, then poll again
}

// Cyberun is the part of the client that poll-status needs.
type Cyberun interface {
	lifecycle.Cyberun
	workflows.TaskLister
	TaskEvents(ctx context.Context, taskID string) iter.Seq2[cyberun.TaskEvent, error]
}

// Resumer resumes an execution that awaits a webhook.
type Resumer interface {
	Resume(ctx context.Context, token string) error
}

// Handler runs the states PollStatus and AwaitWebhook.
type Handler struct {
	Cyberun  Cyberun
	Runs     *lifecycle.Runs
	Resumer  Resumer
	Hold     time.Duration // how long after the run got its task polls follow its event stream; later ones follow it for 1 s; 0: none does
	Webhooks bool
	Now      func() time.Time
	Sleep    func(ctx context.Context, d time.Duration) error
}

const (
	// parkTime is AwaitWebhook's time-out. A run that ends sooner than that polls,
	// or its task would be paid for past max_seconds.
	parkTime = 5 * time.Minute
	// timeOutBudget is how long the cancel at a deadline may take in this call;
	// close-run goes on with it.
	timeOutBudget = 12 * time.Second
)

// Handle reads how the run's task stands, and decides which state comes next.
func (h *Handler) Handle(ctx context.Context, in Input) (Response, error) {
	r, err := h.Runs.Continue(ctx, in.Call)
	if err != nil {
		return Response{}, err
	}
	if r.Status == run.Succeeded || r.Status == run.Delivering { // copy-result answers for it
		return Response{Status: cyberun.StatusCompleted, Done: true}, nil
	}
	progress, err := h.Runs.Progress(ctx, in.RunID)
	if err != nil {
		observe.Log(ctx).WarnContext(ctx, "the progress object cannot be read", "cause", err.Error())
	}
	if in.TaskToken != "" {
		return h.park(ctx, r, &progress, in)
	}
	progress.Polls++
	progress.HistoryEvents += run.PollEvents + in.Retries*run.RetryEvents
	task, err := h.readTask(ctx, r)
	if err == nil && !task.Status.Terminal() {
		if most := h.streamTime(ctx, r.Record, in.Retries); most > 0 {
			progress.TaskStatus = string(task.Status)
			h.follow(ctx, r.TaskID, &progress, most)
			task, err = h.readTask(ctx, r)
		} else {
			task, err = h.pollInline(ctx, r, task, in.Retries)
		}
	}
	if err == nil {
		progress.TaskStatus = string(task.Status)
		if task.Status == cyberun.StatusCompleted {
			progress.Fraction = 1 // no event says so: the last tick comes before the end
		}
	}
	out, err := h.decide(ctx, r, &progress, task, err)
	h.save(ctx, &progress)
	return out, err
}

// readTask asks the status endpoint about the run's task.
func (h *Handler) readTask(ctx context.Context, r lifecycle.Run) (cyberun.Task, error) {
	ctx, cancel := context.WithTimeout(ctx, cyberun.CallTime)
	defer cancel()
	return h.Cyberun.Task(ctx, r.TaskID)
}

// inlinePolling is how long after its start a task whose events are not followed is
// polled within one call: two waits of 3 s cost a fifteenth of the transitions that
// they replace, and keep the history of a 30 s run under 100 events.
const inlinePolling = 2 * run.MinWait

// pollInline polls a task that started a moment ago without leaving the call. As for
// the event stream, a call after a failed try does not wait.
func (h *Handler) pollInline(ctx context.Context, r lifecycle.Run, task cyberun.Task, retries int) (cyberun.Task, error) {
	for h.Hold == 0 && retries == 0 && !h.Webhooks && h.Now().Sub(r.TaskKnownAt) < inlinePolling && h.Now().Before(r.Deadline()) {
		if err := h.Sleep(ctx, run.MinWait); err != nil {
			return task, nil
		}
		var err error
		if task, err = h.readTask(ctx, r); err != nil || task.Status.Terminal() {
			return task, err
		}
	}
	return task, nil
}

// decide returns what the state machine does next, by the status endpoint's answer:
// task, or err. An outage costs waiting, until the run's deadline.
func (h *Handler) decide(ctx context.Context, r lifecycle.Run, progress *run.Progress, task cyberun.Task, err error) (Response, error) {
	if err != nil {
		if e := h.finalError(ctx, r, progress, err); e != nil {
			return Response{}, e
		}
	} else {
		progress.Missing = nil
		if task.Status.Terminal() {
			return h.finish(ctx, r, task)
		}
	}
	now := h.Now()
	switch {
	case !now.Before(r.Deadline()):
		return h.timeOut(ctx, r)
	case progress.HistoryEvents >= run.FullHistory:
		return Response{}, named.Errorf(named.HistoryFull, "the task %s is %s and the execution's history has some %d events of 25,000", r.TaskID, task.Status, progress.HistoryEvents)
	}
	out := Response{Status: task.Status}
	if err != nil {
		out.Status = "unknown"
	}
	if h.Webhooks && err == nil && r.Deadline().Sub(now) > parkTime && h.mayPark(progress) {
		out.Park = true
		return out, nil
	}
	wait := run.NextWait(now.Sub(r.TaskKnownAt), r.Deadline().Sub(now), progress.HistoryEvents)
	if progress.EarlyPolls > 0 {
		wait = run.EarlyWait(progress.EarlyPolls)
	}
	if answer, ok := errors.AsType[*cyberun.APIError](err); ok {
		wait = max(wait, min(answer.RetryAfter, run.MaxWait))
	}
	wait = min(wait, r.Deadline().Sub(now))
	out.WaitSeconds = max(1, int(math.Ceil(wait.Seconds())))
	return out, nil
}

// mayPark reports whether the run may await a webhook, and counts in progress.EarlyPolls how
// often it said no. After a webhook that came although the task had not ended the run
// polls first: one that is resumed for nothing again and again would fill its history.
func (h *Handler) mayPark(progress *run.Progress) bool {
	if progress.Parks == 0 || progress.EarlyPolls > 0 && run.EarlyWait(progress.EarlyPolls) == run.MaxWait {
		progress.EarlyPolls = 0
		return true
	}
	progress.EarlyPolls++
	return false
}

// finalError returns the named error of a failed request to Cyberun that ends the run, and
// nil for one that waiting may mend. That a task no longer exists is believed after five
// answers over ten minutes, and a task list without it.
func (h *Handler) finalError(ctx context.Context, r lifecycle.Run, progress *run.Progress, err error) error {
	if cyberun.SaysMissing(err) {
		gone, listErr := workflows.Gone(ctx, h.Cyberun, r.TaskID, &progress.Missing, h.Now())
		if listErr != nil {
			observe.Log(ctx).WarnContext(ctx, "the task list cannot be read", "cause", listErr.Error())
		}
		if gone {
			return named.Errorf(named.TaskFailed, "Cyberun no longer knows the task %s, nor does its task list: %w", r.TaskID, err)
		}
		return nil
	}
	if e := cyberun.RemoteError("look at the task "+r.TaskID, err); e.EndsPolling() {
		return e
	}
	return nil
}

// finish records how the task ended. It returns the named error of a task that failed
// or was cancelled.
func (h *Handler) finish(ctx context.Context, r lifecycle.Run, task cyberun.Task) (Response, error) {
	if err := doubt.RecordTaskEnd(ctx, h.Runs.Store, r.Record, task); err != nil {
		observe.Log(ctx).WarnContext(ctx, "the task's end could not be noted for later runs", "cause", err.Error())
	}
	r, err := h.Runs.Note(ctx, r, func(rec *run.Record) {
		rec.TaskStatus, rec.CompletedAt = string(task.Status), task.CompletedAt.Time
	})
	if err != nil {
		return Response{}, err
	}
	switch task.Status {
	case cyberun.StatusFailed:
		return Response{}, named.Errorf(named.TaskFailed, "the task %s failed at Cyberun: %s", r.TaskID, cmp.Or(task.Error, "it gave no reason"))
	case cyberun.StatusCancelled:
		switch late := !h.Now().Before(r.Deadline()); {
		case late && (r.Cancel != nil || r.Evidence == run.ByReceipt): // by a call of the relay that died after it, most likely
			return Response{}, named.Errorf(named.RunTimedOut, "max_seconds (%d) passed before the task %s ended; it was cancelled", r.MaxSeconds, r.TaskID)
		case r.Cancel != nil:
			return Response{}, named.Errorf(named.TaskCancelled, "the task %s was cancelled before the run was redriven: its max_seconds had passed, or a person had stopped it", r.TaskID)
		}
		return Response{}, named.Errorf(named.TaskCancelled, "the task %s was cancelled at Cyberun", r.TaskID)
	}
	return Response{Status: task.Status, Done: true}, nil
}

// timeOut cancels the task at the run's deadline and reads its status once more: a
// task that completed after all is delivered.
func (h *Handler) timeOut(ctx context.Context, r lifecycle.Run) (Response, error) {
	r, err := h.Runs.CancelTask(ctx, r, timeOutBudget)
	if err != nil {
		return Response{}, err
	}
	if task, err := h.readTask(ctx, r); err == nil && task.Status == cyberun.StatusCompleted {
		return h.finish(ctx, r, task)
	}
	left := "it was left running, since no receipt says that this run started it, or another run delivers it"
	if r.Cancel != nil {
		left = r.Cancel.Text(r.TaskID)
	}
	return Response{}, named.Errorf(named.RunTimedOut, "max_seconds (%d) passed before the task %s ended; %s", r.MaxSeconds, r.TaskID, left)
}

// park stores the token first and reads the task's status then: what a webhook
// reported before there was a token shows in that status. If the task has ended, or
// the run cannot wait any longer, it resumes the execution at once.
func (h *Handler) park(ctx context.Context, r lifecycle.Run, progress *run.Progress, in Input) (Response, error) {
	if err := h.Runs.PutTaskToken(ctx, r.RunID, in.TaskToken); err != nil {
		return Response{}, err
	}
	progress.Parks++
	progress.HistoryEvents += run.ParkEvents
	task, err := h.readTask(ctx, r)
	if err == nil {
		progress.Missing = nil
	}
	decides := err == nil && task.Status.Terminal() || err != nil && h.finalError(ctx, r, progress, err) != nil ||
		r.Deadline().Sub(h.Now()) <= parkTime || // no look by itself before the deadline: PollStatus takes over
		progress.HistoryEvents >= run.FullHistory
	h.save(ctx, progress)
	if !decides {
		return Response{Status: task.Status}, nil // the webhook, or the state's time-out, wakes it
	}
	return Response{Status: task.Status}, h.Resumer.Resume(ctx, in.TaskToken)
}
