package cyberun

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// Task is one execution of a workflow, which Cyberun bills.
type Task struct {
	ID          string `json:"id"`
	WorkflowID  string `json:"workflow_id"`
	Status      Status `json:"task_status"`
	Error       string `json:"task_error,omitempty"` // why it failed, in Cyberun's words: one redacted text of at most 4 KiB
	CreatedAt   Time   `json:"created_at"`
	StartedAt   Time   `json:"started_at"` // when an agent began it
	CompletedAt Time   `json:"completed_at"`
}

// UnmarshalJSON reads a task. Only its id has to be there: see [Time] and the
// package's notes for what else the remote may write.
func (t *Task) UnmarshalJSON(b []byte) error {
	o, ok := parseLooseJSON(b)
	if !ok {
		return errors.New("but a task that is not an object")
	}
	*t = Task{
		ID: o.id("id", "task_id"), WorkflowID: o.id("workflow_id"), Status: o.taskStatus(), Error: o.errorText("task_error"),
		CreatedAt: o.time("created_at"), StartedAt: o.time("started_at"), CompletedAt: o.time("completed_at"),
	}
	if t.ID == "" {
		return errors.New("but without a task's id")
	}
	return nil
}

func (o looseJSON) taskStatus() Status { return Status(firstText(o, "task_status", "status")) }

// Task reads one task by its id. [SaysMissing] reports whether the error says that there is
// none, or none for this key.
func (c *Client) Task(ctx context.Context, id string) (Task, error) {
	t, a, err := readTask[Task](ctx, c, http.MethodGet, id, "", 0)
	if err == nil && !strings.EqualFold(t.ID, id) {
		// Another task's state would deliver another task's files.
		err = a.unusable("but about the task %q", t.ID)
	}
	if err != nil {
		return Task{}, err
	}
	return t, nil
}

// readTask sends a request about one task and decodes its answer. below is the end of
// the path, behind the id; most is that of [request].
func readTask[T any](ctx context.Context, c *Client, method, id, below string, most int64) (v T, a response, err error) {
	escaped, err := escapeSegment("task", id)
	if err != nil {
		return v, a, err
	}
	return read[T](ctx, c, request{method: method, path: "/r/tasks/" + escaped + below, most: most})
}

// TaskList is one page of the team's tasks. Their order is not documented.
type TaskList struct {
	Tasks []Task
	Page  PageMeta
	Date  time.Time     // the server's clock; zero if the answer came from a cache
	Age   time.Duration // how long the answer lay in a cache; 0: it did not
}

// Tasks lists one page of the team's tasks. A row that cannot be read fails the whole
// call with an [*AnswerError]: left out, its task would be taken for absent.
func (c *Client) Tasks(ctx context.Context, page Page) (TaskList, error) {
	tasks, meta, a, err := list[Task](ctx, c, "/r/tasks", page, "task_list")
	if err != nil {
		return TaskList{}, err
	}
	return TaskList{Tasks: tasks, Page: meta, Date: a.date, Age: a.age}, nil
}

// SignedURL is an address whose query gives access, as a password does. It prints, logs
// and marshals without its query; string(u) is the whole address.
type SignedURL = redact.SignedURL

// Result is where the outputs of a terminal task can be downloaded. The addresses
// are valid for about an hour (X-Amz-Expires=3600); [Client.Result] gives fresh ones.
type Result struct {
	ID           string               `json:"id"`
	Status       Status               `json:"task_status"`
	DownloadURL  SignedURL            `json:"download_url,omitempty"`  // the only output, of a task that names none
	DownloadURLs map[string]SignedURL `json:"download_urls,omitempty"` // by output id, those with an address alone
}

// UnmarshalJSON reads a result. An address that is not a string is an error, since
// leaving it out would lose an output silently.
func (r *Result) UnmarshalJSON(b []byte) error {
	o, ok := parseLooseJSON(b)
	if !ok {
		return errors.New("but a result that is not an object")
	}
	*r = Result{ID: o.id("id", "task_id"), Status: o.taskStatus()}
	var err error
	if r.DownloadURL, err = o.address("download_url"); err != nil || !o.present("download_urls") {
		return err
	}
	urls, ok := parseLooseJSON(o["download_urls"])
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

// address reads the address of an output: "" if it is missing, null or empty, and
// an error if it is anything but a string.
func (o looseJSON) address(name string) (SignedURL, error) {
	if !o.present(name) {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(o[name], &s); err != nil {
		return "", fmt.Errorf("but the address of %.100q is not a string", name)
	}
	return SignedURL(s), nil
}

// Result reads where a terminal task's outputs are. [SaysMissing] reports whether the error
// says that there is no such task or result, or none for this key.
func (c *Client) Result(ctx context.Context, id string) (Result, error) {
	r, a, err := readTask[Result](ctx, c, http.MethodGet, id, "/result", maxResult)
	if err != nil {
		return Result{}, err
	}
	// An answer without an id is believed, since the id stood in the path; one that
	// names another task is not.
	if r.ID = cmp.Or(r.ID, id); !strings.EqualFold(r.ID, id) {
		return Result{}, a.unusable("but about the task %q", r.ID)
	}
	return r, nil
}

// Cancel asks Cyberun to end a task. It changes nothing for a task that has ended. It
// returns nil only if Cyberun itself accepted, by a JSON object that does not deny
// success: a proxy's page says nothing about the task. After an error the task may have
// been cancelled or not: read it with [Client.Task], and cancel it again.
func (c *Client) Cancel(ctx context.Context, id string) error {
	o, a, err := readTask[looseJSON](ctx, c, http.MethodPost, id, "/cancel", 0)
	if err != nil {
		return err
	}
	if o == nil {
		return a.unusable("but not with a JSON object: null")
	}
	if o.present("success") && !o.boolean("success") {
		return a.unusable("but without success: %s", a.start(maxMessage))
	}
	return nil
}
