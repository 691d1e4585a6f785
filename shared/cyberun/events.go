package cyberun

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"

	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
	"github.com/tmaxmax/go-sse"
)

// maxEvent bounds one event, in bytes. Those documented are below 1 KiB, but for
// the output that completed carries: some 200 bytes for each file of a task.
const maxEvent = 256 << 10

// EventProgress is the type of the events that say how far a task has come. The set of
// types is open. The other documented ones are status, completed, failed, cancelled,
// and error; the stream may go on after error. Of an event of any other type only the
// task's status is of use.
const EventProgress = "progress"

// TaskEvent is one event of a task's stream. It says that the task may have changed;
// [Client.Task] says how the task stands.
type TaskEvent struct {
	Type        string  // "message" if the server named none
	Status      Status  // set at least if Type is a terminal status
	Progress    float64 // 0 to 1
	CurrentNode string  // the workflow's node under way
	StepCurrent *int
	StepTotal   *int
	Stage       string // of a nerfstudio task: download, process_data, train, export, upload
	Message     string // one redacted line of at most 4 KiB
	Error       string // as [Task].Error
}

// TaskEvents reads a task's event stream until the server closes it, with or without a
// terminal event, which is no error. If the stream cannot be opened or breaks, the last
// pair has an empty event and an error of the package's list. The stream ends with ctx
// or with the loop over it. TaskEvents does not connect a second time.
func (c *Client) TaskEvents(ctx context.Context, taskID string) iter.Seq2[TaskEvent, error] {
	return func(yield func(TaskEvent, error) bool) {
		escaped, err := escapeSegment("task", taskID)
		if err != nil {
			yield(TaskEvent{}, err)
			return
		}
		r := request{method: http.MethodGet, path: "/r/tasks/" + escaped + "/events", accept: "text/event-stream"}
		hc := c.api()
		hc.Timeout = 0 // meant for calls; a stream lasts as long as its context
		res, secrets, err := c.open(ctx, r, hc.Do)
		if err != nil {
			yield(TaskEvent{}, err)
			return
		}
		defer res.Body.Close()
		for e, err := range readEvents(res.Body) {
			if cause := context.Cause(ctx); cause != nil {
				e, err = TaskEvent{}, cause
			}
			if err != nil {
				yield(TaskEvent{}, networkError(http.MethodGet, r.path, fmt.Errorf("the event stream broke off: %w", err), secrets))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// readEvents parses a stream. An event whose data is not an object is left out,
// unless its type alone says that the task has ended.
func readEvents(r io.Reader) iter.Seq2[TaskEvent, error] {
	return func(yield func(TaskEvent, error) bool) {
		for raw, err := range sse.Read(r, &sse.ReadConfig{MaxEventSize: maxEvent}) {
			if err != nil {
				yield(TaskEvent{}, err)
				return
			}
			if e, ok := parseEvent(raw.Type, raw.Data); ok && !yield(e, nil) {
				return
			}
		}
	}
}

func parseEvent(kind, data string) (TaskEvent, bool) {
	o, ok := parseLooseJSON([]byte(data))
	terminal := Status(kind).Terminal()
	if !ok && !terminal {
		return TaskEvent{}, false
	}
	e := TaskEvent{
		Type: kind, Status: o.taskStatus(), CurrentNode: o.text("current_node"),
		StepCurrent: o.integer("step_current"), StepTotal: o.integer("step_total"), Stage: o.text("stage"),
		Message: redact.Line(maxTaskError, o.text("message")), Error: o.errorText("error"),
	}
	if e.Type == "" {
		e.Type = "message" // as browsers name it
	}
	if e.Status == "" && terminal {
		e.Status = Status(kind)
	}
	if p := o.number("progress"); p != nil {
		e.Progress = min(max(*p, 0), 1)
	}
	return e, true
}
