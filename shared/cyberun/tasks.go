package cyberun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// Task is what a run pays for.
type Task struct {
	ID             string    `json:"id"`
	WorkflowID     string    `json:"workflow_id"`
	Status         Status    `json:"task_status"`
	Error          string    `json:"task_error,omitempty"` // the remote's, as one text of at most 4 KiB
	RetryCount     int       `json:"retry_count"`
	CreatedAt      Time      `json:"created_at"`
	StartedAt      Time      `json:"started_at"`
	CompletedAt    Time      `json:"completed_at"`
	AgentID        string    `json:"agent_id,omitempty"`
	GPUType        string    `json:"gpu_type,omitempty"`
	DispatchTarget string    `json:"dispatch_target,omitempty"`
	ToolType       string    `json:"tool_type,omitempty"`
	Date           time.Time `json:"-"` // the server's clock, with Client.Task
}

func (t *Task) UnmarshalJSON(b []byte) error {
	o, ok := parseObject(b)
	if !ok {
		return errors.New("but a task that is not an object")
	}
	*t = Task{
		ID: o.id("id", "task_id"), WorkflowID: o.id("workflow_id"), Status: o.taskStatus(), Error: o.fault("task_error"),
		RetryCount: o.count("retry_count"), CreatedAt: o.time("created_at"), StartedAt: o.time("started_at"),
		CompletedAt: o.time("completed_at"), AgentID: o.text("agent_id"), GPUType: o.text("gpu_type"),
		DispatchTarget: o.text("dispatch_target"), ToolType: o.text("tool_type"),
	}
	if t.ID == "" {
		return errors.New("but without a task's id")
	}
	return nil
}

func (o object) taskStatus() Status { return Status(firstText(o, "task_status", "status")) }

// Task reads one task.
func (c *Client) Task(ctx context.Context, id string) (Task, error) {
	a, err := c.task(ctx, http.MethodGet, id, "")
	if err != nil {
		return Task{}, err
	}
	return a.task(id)
}

func (c *Client) task(ctx context.Context, method, id, below string) (answer, error) {
	escaped, err := element("task", id)
	if err != nil {
		return answer{}, err
	}
	return c.do(ctx, call{method: method, path: "/r/tasks/" + escaped + below})
}

func (a answer) task(id string) (Task, error) {
	var t Task
	if err := a.decode(&t); err != nil {
		return Task{}, err
	}
	// Some other task's state would deliver some other task's files.
	if !strings.EqualFold(t.ID, id) {
		return Task{}, a.bad("but about the task %q", t.ID)
	}
	t.Date = a.date
	return t, nil
}

// TaskList is one page. The order is not documented.
type TaskList struct {
	Tasks []Task
	Page  PageMeta
	Date  time.Time     // the server's clock
	Age   time.Duration // how long the answer lay in a cache; 0: it did not
}

// Tasks lists the team's tasks. A row that cannot be read fails the whole call:
// whoever looks for a task must not take it for absent.
func (c *Client) Tasks(ctx context.Context, page Page) (TaskList, error) {
	a, err := c.do(ctx, call{method: http.MethodGet, path: "/r/tasks", query: page.query()})
	if err != nil {
		return TaskList{}, err
	}
	return a.taskList()
}

func (a answer) taskList() (TaskList, error) {
	var o object
	if err := a.decode(&o); err != nil {
		return TaskList{}, err
	}
	rows, err := a.rows(o, "task_list")
	if err != nil {
		return TaskList{}, err
	}
	list := TaskList{Tasks: make([]Task, 0, len(rows)), Page: o.pageMeta(), Date: a.date, Age: a.age}
	for i, row := range rows {
		var t Task
		if err := t.UnmarshalJSON(row); err != nil {
			return TaskList{}, a.bad("%s (row %d)", err, i+1)
		}
		list.Tasks = append(list.Tasks, t)
	}
	return list, nil
}

// Result is what a terminal task left. The addresses live about an hour; asking
// again mints fresh ones. Marshalled, they are redacted.
type Result struct {
	ID           string               `json:"id"`
	Status       Status               `json:"task_status"`
	Output       json.RawMessage      `json:"task_output,omitempty"` // the remote's, as it is
	DownloadURL  SignedURL            `json:"download_url,omitempty"`
	DownloadURLs map[string]SignedURL `json:"download_urls,omitempty"` // by output id; no empty ones
	ExpiresAt    Time                 `json:"expires_at"`
	Error        string               `json:"task_error,omitempty"`
	CompletedAt  Time                 `json:"completed_at"`
	Date         time.Time            `json:"-"`
}

func (r *Result) UnmarshalJSON(b []byte) error {
	o, ok := parseObject(b)
	if !ok {
		return errors.New("but a result that is not an object")
	}
	*r = Result{
		ID: o.id("id", "task_id"), Status: o.taskStatus(),
		ExpiresAt: o.time("expires_at"), Error: o.fault("task_error"), CompletedAt: o.time("completed_at"),
	}
	if o.present("task_output") {
		r.Output = o["task_output"]
	}
	var err error
	if r.DownloadURL, err = o.address("download_url"); err != nil || !o.present("download_urls") {
		return err
	}
	urls, ok := parseObject(o["download_urls"])
	if !ok {
		return errors.New("but download_urls is not an object")
	}
	r.DownloadURLs = make(map[string]SignedURL, len(urls))
	for id := range urls {
		u, err := urls.address(id)
		if err != nil {
			return err
		}
		if u != "" {
			r.DownloadURLs[id] = u
		}
	}
	return nil
}

// address reads an output's address. Missing, null and empty are no output; any
// other shape is an error, since leaving it out would lose a file without a word.
func (o object) address(name string) (SignedURL, error) {
	if !o.present(name) {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(o[name], &s); err != nil {
		return "", fmt.Errorf("but the address of %.100q is not a string", name)
	}
	return SignedURL(s), nil
}

// Result asks for a terminal task's outputs.
func (c *Client) Result(ctx context.Context, id string) (Result, error) {
	a, err := c.task(ctx, http.MethodGet, id, "/result")
	if err != nil {
		return Result{}, err
	}
	return a.result(id)
}

func (a answer) result(id string) (Result, error) {
	var r Result
	if err := a.decode(&r); err != nil {
		return Result{}, err
	}
	// The id was in the path and nothing hangs on its echo, unless it is another's.
	if r.ID == "" {
		r.ID = id
	}
	if !strings.EqualFold(r.ID, id) {
		return Result{}, a.bad("but about the task %q", r.ID)
	}
	r.Date = a.date
	return r, nil
}

// Cancel asks for the end of a task; on a terminal one it does nothing. It
// returns nil only for an answer that is Cyberun's own, a JSON object that does
// not deny success: a proxy's page says nothing about the task. Whoever gets an
// error looks at the task, and asks again.
func (c *Client) Cancel(ctx context.Context, id string) error {
	a, err := c.task(ctx, http.MethodPost, id, "/cancel")
	if err != nil {
		return err
	}
	var o object
	if err := a.decode(&o); err != nil {
		return err
	}
	if o == nil {
		return a.bad("but not with a JSON object: null")
	}
	if o.present("success") && !o.truth("success") {
		return a.bad("but without success: %s", redact.Line(maxMessage, string(a.body[:min(len(a.body), maxErrorRead)]), a.secrets...))
	}
	return nil
}

// eventsCall is the address of a task's event stream.
func eventsCall(id string) (call, error) {
	escaped, err := element("task", id)
	return call{method: http.MethodGet, path: "/r/tasks/" + escaped + "/events", query: url.Values{}, accept: "text/event-stream"}, err
}
