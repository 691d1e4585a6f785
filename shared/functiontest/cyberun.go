package functiontest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
)

// WorkflowID and WorkflowRef name the workflow that a new world has.
const (
	WorkflowID  = "wf-1"
	WorkflowRef = "text-to-image@2"
)

// TextToImage returns the workflow that a new world has.
func TextToImage() cyberun.Workflow {
	low, high := 1.0, 50.0
	return cyberun.Workflow{
		ID: WorkflowID, Slug: "text-to-image", Status: cyberun.WorkflowActive,
		Parameters: []cyberun.Parameter{
			{Key: "prompt", Type: cyberun.TypeString, Required: true},
			{Key: "steps", Type: cyberun.TypeInteger, Min: &low, Max: &high},
			{Key: "image", Type: cyberun.TypeFile, Accept: []string{"image/*", "txt"}},
		},
	}
}

// Cyberun is the service as its client sees it. Started has every task that was
// started, also one whose reply was lost: these are what is paid. The other fields
// change what the service answers.
type Cyberun struct {
	Flow    cyberun.Workflow
	Started []Task                    // the oldest first, unless a test puts them elsewhere
	Uploads []string                  // file_key=content, of each upload
	Results map[string]cyberun.Result // by task id

	Skew   time.Duration // how far its clock is ahead of the world's
	NoDate bool          // its answers have no Date
	// Refuse returns the error of a POST, which starts no task then; nil, or a nil error,
	// starts one.
	Refuse func() error
	// Cancels are the errors of the next cancels, nil for one that is done; after the
	// last, each is done. A cancel of a task that has ended changes nothing.
	Cancels   []error
	Cancelled []string // the task of each cancel that was done
	// MaxTime, if it is not 0, is the most time that the context of a call but Upload may
	// leave it. A call without a deadline, or with one further away, fails the test.
	MaxTime time.Duration

	// What the task list answers.
	Ascending  bool                    // the oldest task first
	PerPage    int                     // rows, whatever was asked for; 0: as asked
	Lag        time.Duration           // from a task's created_at until the list has it
	Cached     time.Duration           // how old the answer is, by its Age; its rows are as old, and it has no Date
	StaleRows  time.Duration           // how old the rows are, with the Date of a new answer and no Age
	SnapshotID string                  // the workflow id of the rows; empty: Flow's
	LiveOnly   bool                    // it leaves out tasks that have ended
	Shifted    time.Duration           // added to each created_at, as local time without a zone is
	Spoil      func(*cyberun.TaskList) // changes each answer; nil: none

	world *World
	keys  int
	tries []time.Time // when each cancel came
}

// Task is a task that was started, with the parameters of its POST.
type Task struct {
	cyberun.Task
	Parameters map[string]any
}

// Clock returns the time by the service's own clock.
func (c *Cyberun) Clock() time.Time { return c.world.Time().Add(c.Skew) }

func (c *Cyberun) date() time.Time {
	if c.NoDate {
		return time.Time{}
	}
	return c.Clock().Truncate(time.Second)
}

// call does one call of the service with the context that its caller gave it.
func (c *Cyberun) call(ctx context.Context, name string, do func() error) error {
	if ends, ok := ctx.Deadline(); c.MaxTime > 0 && (!ok || time.Until(ends) > c.MaxTime) {
		c.world.T.Errorf("the call %s of Cyberun has no time of its own, or more than %s", name, c.MaxTime)
	}
	return c.world.Call(name, do)
}

// Answered returns the error of an answer of Cyberun's own: a status with a JSON
// object.
func Answered(status int) error {
	return &cyberun.APIError{Status: status, Message: http.StatusText(status), JSON: true}
}

// HTMLPage returns the error of an answer of a proxy: a status with an HTML page.
func HTMLPage(status int) error {
	return &cyberun.APIError{Status: status, Message: "<html>" + http.StatusText(status) + "</html>"}
}

// Refused returns the error of a POST that Cyberun refused with a status: it surely
// started nothing.
func Refused(status int) error {
	return &cyberun.StartError{NotStarted: true, Err: Answered(status)}
}

// ErrNetwork is the error of a call that got no answer.
var ErrNetwork = errors.New("connection reset by peer")

// Workflow returns the workflow Flow by its slug, or a 404.
func (c *Cyberun) Workflow(ctx context.Context, ref string) (w cyberun.Workflow, err error) {
	err = c.call(ctx, "Workflow", func() error {
		if slug, _, _ := strings.Cut(ref, "@"); slug != c.Flow.Slug {
			return Answered(http.StatusNotFound)
		}
		w = c.Flow
		w.Date = c.date()
		return nil
	})
	return w, err
}

// WorkflowByID returns the workflow Flow by its id, or a 404.
func (c *Cyberun) WorkflowByID(ctx context.Context, id string) (w cyberun.Workflow, err error) {
	err = c.call(ctx, "WorkflowByID", func() error {
		if id != c.Flow.ID {
			return Answered(http.StatusNotFound)
		}
		w = c.Flow
		return nil
	})
	return w, err
}

// StartTask starts a task, as [cyberun.Client.StartTask] does. It starts none if the
// world's clock has passed the caller's deadline since the call began.
func (c *Cyberun) StartTask(ctx context.Context, _ string, parameters map[string]any) (taskID string, err error) {
	entered := c.world.Now
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline) + time.Second // the test's own time is not the world's
	err = c.call(ctx, "StartTask", func() error {
		if c.world.Now.Sub(entered) > left {
			return &cyberun.StartError{NotStarted: true, Err: context.DeadlineExceeded}
		}
		if c.Refuse != nil {
			if err := c.Refuse(); err != nil {
				return err
			}
		}
		taskID = c.Start(parameters)
		return nil
	})
	var told *cyberun.StartError
	if err != nil && !errors.As(err, &told) {
		err = &cyberun.StartError{Err: err}
	}
	return taskID, err
}

// Start starts a task of the workflow Flow, without a call, and returns its id.
func (c *Cyberun) Start(parameters map[string]any) string {
	id := fmt.Sprintf("task-%d", c.world.next())
	c.Started = append(c.Started, Task{
		Task:       cyberun.Task{ID: id, WorkflowID: c.Flow.ID, Status: cyberun.StatusPending, CreatedAt: cyberun.Time{Time: c.Clock()}},
		Parameters: parameters,
	})
	return id
}

// PutTask puts a task of the workflow Flow with an id and a status there, without a call, or
// gives that status to the one that is there.
func (c *Cyberun) PutTask(id string, status cyberun.Status) *Task {
	if c.Of(id) == nil {
		c.Started = append(c.Started, Task{Task: cyberun.Task{ID: id, WorkflowID: c.Flow.ID, CreatedAt: cyberun.Time{Time: c.Clock()}}})
	}
	t := c.Of(id)
	t.Status = status
	return t
}

// Strangers starts n tasks of a workflow that no run of this stack started, a second
// apart, the first at the time at by the service's clock. It returns the id of the
// first.
func (c *Cyberun) Strangers(n int, workflow string, at time.Time) (first string) {
	for i := range n {
		id := c.Start(map[string]any{"prompt": "a stranger's"})
		t := c.Of(id)
		t.WorkflowID, t.CreatedAt.Time = workflow, at.Add(time.Duration(i)*time.Second)
		first = cmp.Or(first, id)
	}
	slices.SortStableFunc(c.Started, func(a, b Task) int { return a.CreatedAt.Compare(b.CreatedAt.Time) })
	return first
}

// Of returns the task with an id; nil if there is none.
func (c *Cyberun) Of(id string) *Task {
	i := slices.IndexFunc(c.Started, func(t Task) bool { return t.ID == id })
	if i < 0 {
		return nil
	}
	return &c.Started[i]
}

// Paid returns the ids of the tasks that were started with a prompt.
func (c *Cyberun) Paid(prompt string) (ids []string) {
	for _, t := range c.Started {
		if t.Parameters["prompt"] == prompt {
			ids = append(ids, t.ID)
		}
	}
	return ids
}

// Task returns a task, or a 404.
func (c *Cyberun) Task(ctx context.Context, id string) (task cyberun.Task, err error) {
	err = c.call(ctx, "Task", func() error {
		t := c.Of(id)
		if t == nil {
			return Answered(http.StatusNotFound)
		}
		task = t.Task
		return nil
	})
	return task, err
}

// Tasks returns one page of the task list, changed as the fields of [Cyberun] say.
func (c *Cyberun) Tasks(ctx context.Context, page cyberun.Page) (list cyberun.TaskList, err error) {
	err = c.call(ctx, "Tasks", func() error {
		size := page.Size
		if c.PerPage > 0 {
			size = min(size, c.PerPage)
		}
		clock := c.Clock().Add(-c.Cached - c.StaleRows)
		var rows []cyberun.Task
		for _, t := range c.Started {
			if clock.Sub(t.CreatedAt.Time) < c.Lag || c.LiveOnly && t.Status.Terminal() {
				continue
			}
			row := t.Task
			if !row.CreatedAt.IsZero() {
				row.CreatedAt.Time = row.CreatedAt.Add(c.Shifted)
			}
			if c.SnapshotID != "" && row.WorkflowID == c.Flow.ID {
				row.WorkflowID = c.SnapshotID
			}
			rows = append(rows, row)
		}
		if !c.Ascending {
			slices.Reverse(rows)
		}
		from := min((page.Number-1)*size, len(rows))
		list = cyberun.TaskList{
			Tasks: slices.Clone(rows[from:min(from+size, len(rows))]),
			Page:  cyberun.PageMeta{CurrentPage: page.Number, PerPage: size, TotalCount: len(rows)}, Date: c.date(), Age: c.Cached,
		}
		if c.Cached > 0 {
			list.Date = time.Time{}
		}
		if c.Spoil != nil {
			c.Spoil(&list)
		}
		return nil
	})
	return list, err
}

// Cancel ends a task as cancelled, unless Cancels has an error for it.
func (c *Cyberun) Cancel(ctx context.Context, id string) error {
	return c.call(ctx, "Cancel", func() error { return c.end(id) })
}

// end is what a cancel does.
func (c *Cyberun) end(id string) error {
	c.tries = append(c.tries, c.world.Time())
	if len(c.Cancels) > 0 {
		answer := c.Cancels[0]
		c.Cancels = c.Cancels[1:]
		if answer != nil {
			return answer
		}
	}
	c.Cancelled = append(c.Cancelled, id)
	if t := c.Of(id); t != nil && !t.Status.Terminal() {
		t.Status = cyberun.StatusCancelled
	}
	return nil
}

// CancelTimes returns when each cancel came that Around let through, refused or done,
// counted from a time of the world's clock.
func (c *Cyberun) CancelTimes(from time.Time) (times []time.Duration) {
	for _, at := range c.tries {
		times = append(times, at.Sub(from))
	}
	return times
}

// Result returns the result in Results, or a 404.
func (c *Cyberun) Result(ctx context.Context, id string) (result cyberun.Result, err error) {
	err = c.call(ctx, "Result", func() error {
		known, ok := c.Results[id]
		if !ok {
			return Answered(http.StatusNotFound)
		}
		result = known
		return nil
	})
	return result, err
}

// Presign returns a new file key at each call.
func (c *Cyberun) Presign(ctx context.Context, r cyberun.PresignRequest) (p cyberun.Presigned, err error) {
	err = c.call(ctx, "Presign", func() error {
		c.keys++
		p = cyberun.Presigned{FileKey: fmt.Sprintf("file-%d-%s", c.keys, r.FileName), UploadURL: "https://files.example/put"}
		return nil
	})
	return p, err
}

// Upload adds the file to Uploads.
func (c *Cyberun) Upload(_ context.Context, p cyberun.Presigned, body io.Reader, size int64) error {
	read, err := io.ReadAll(body)
	if err != nil || int64(len(read)) != size {
		return fmt.Errorf("read %d of %d: %w", len(read), size, err)
	}
	return c.world.Call("Upload", func() error {
		c.Uploads = append(c.Uploads, p.FileKey+"="+string(read))
		return nil
	})
}
