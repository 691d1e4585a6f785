package cyberun

import (
	"context"
	"fmt"
	"io"
	"iter"
	"math"
	"net/http"

	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
	"github.com/tmaxmax/go-sse"
)

// maxEvent bounds one event. Those documented are below 1 KiB, but for the
// output that completed carries: some 200 bytes for each file of a task.
const maxEvent = 256 << 10

// Event types as documented; the set is open.
const (
	EventStatus    = "status"
	EventProgress  = "progress"
	EventCompleted = "completed"
	EventFailed    = "failed"
	EventCancelled = "cancelled"
	EventError     = "error" // the server could not read the status; the stream may go on
)

// Event is one event of a task's stream. It only wakes: Client.Task decides.
type Event struct {
	Type        string // "message" if the server named none
	TaskID      string
	Status      Status  // with a terminal type always set
	Progress    float64 // 0 to 1
	CurrentNode string
	StepCurrent *int
	StepTotal   *int
	Stage       string // nerfstudio: download, process_data, train, export, upload
	Message     string
	Error       string
	Timestamp   Time
}

// Events reads a task's stream. It ends without an error when the server closes
// it, with or without a terminal event, and with one error (and an empty event)
// otherwise. It never connects a second time, and has no goroutine of its own.
func (c *Client) Events(ctx context.Context, taskID string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		k, err := eventsCall(taskID)
		if err != nil {
			yield(Event{}, err)
			return
		}
		hc := c.api()
		hc.Timeout = 0 // meant for calls; a stream lasts as long as its context
		res, secrets, err := c.open(ctx, k, hc.Do)
		if err != nil {
			yield(Event{}, err)
			return
		}
		defer res.Body.Close()
		for e, err := range readEvents(res.Body) {
			if cause := context.Cause(ctx); cause != nil {
				e, err = Event{}, cause
			}
			if err != nil {
				yield(Event{}, networkError(http.MethodGet, k.path, fmt.Errorf("the event stream broke off: %w", err), secrets))
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
func readEvents(r io.Reader) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for raw, err := range sse.Read(r, &sse.ReadConfig{MaxEventSize: maxEvent}) {
			if err != nil {
				yield(Event{}, err)
				return
			}
			if e, ok := parseEvent(raw.Type, raw.Data); ok && !yield(e, nil) {
				return
			}
		}
	}
}

func parseEvent(kind, data string) (Event, bool) {
	o, ok := parseObject([]byte(data))
	terminal := Status(kind).Terminal()
	if !ok && !terminal {
		return Event{}, false
	}
	e := Event{
		Type: kind, TaskID: o.id("task_id"), Status: o.taskStatus(), CurrentNode: o.text("current_node"),
		StepCurrent: o.integer("step_current"), StepTotal: o.integer("step_total"), Stage: o.text("stage"),
		Message: redact.Line(maxTaskError, o.text("message")), Error: o.fault("error"), Timestamp: o.time("timestamp"),
	}
	if e.Type == "" {
		e.Type = "message" // as browsers name it
	}
	if e.Status == "" && terminal {
		e.Status = Status(kind)
	}
	if p := o.number("progress"); p != nil {
		e.Progress = math.Min(math.Max(*p, 0), 1)
	}
	return e, true
}
