package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

const stateBucket = "state"

var (
	began      = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	errNetwork = errors.New("connection reset by peer")
)

type fakeCyberun struct {
	task   func(ctx context.Context, id string) (cyberun.Task, error)
	tasks  func(ctx context.Context, page cyberun.Page) (cyberun.TaskList, error)
	events func(ctx context.Context, id string) iter.Seq2[cyberun.Event, error]
	cancel func(ctx context.Context, id string) error
}

func (f fakeCyberun) Task(ctx context.Context, id string) (cyberun.Task, error) {
	return f.task(ctx, id)
}
func (f fakeCyberun) Tasks(ctx context.Context, page cyberun.Page) (cyberun.TaskList, error) {
	return f.tasks(ctx, page)
}
func (f fakeCyberun) Events(ctx context.Context, id string) iter.Seq2[cyberun.Event, error] {
	return f.events(ctx, id)
}
func (f fakeCyberun) Cancel(ctx context.Context, id string) error { return f.cancel(ctx, id) }

type fakeResumer struct {
	resume func(token string) error
}

func (f fakeResumer) Resume(_ context.Context, token string) error { return f.resume(token) }

// look is one answer of the status endpoint.
type look struct {
	status cyberun.Status
	err    error
	change func(*cyberun.Task)
}

// world is what poll-status works in. log is what it did, in order.
type world struct {
	t     *testing.T
	s3    *storetest.S3
	now   time.Time
	looks []look                                            // the last one stays
	list  func(page cyberun.Page) (cyberun.TaskList, error) // nil: nobody is to read it
	h     *Handler
	runs  *lifecycle.Runs
	log   []string
}

func newWorld(t *testing.T, looks ...look) *world {
	w := &world{t: t, s3: &storetest.S3{}, now: began.Add(5 * time.Second), looks: looks}
	w.s3.Around = func(c storetest.Call, do func() error) error {
		if c.Op == "PutObject" {
			w.log = append(w.log, "put "+c.Key)
		}
		return do()
	}
	timed := func(ctx context.Context) {
		if d, ok := ctx.Deadline(); !ok || time.Until(d) > callTime {
			t.Error("a call to Cyberun has no time of its own")
		}
	}
	w.h = &Handler{
		Cyberun: fakeCyberun{
			task: func(ctx context.Context, id string) (cyberun.Task, error) {
				timed(ctx)
				w.log = append(w.log, "look")
				l := w.looks[0]
				if len(w.looks) > 1 {
					w.looks = w.looks[1:]
				}
				task := cyberun.Task{ID: id, Status: l.status}
				if l.status.Terminal() {
					task.CompletedAt.Time = w.now
				}
				if l.change != nil {
					l.change(&task)
				}
				return task, l.err
			},
			events: func(context.Context, string) iter.Seq2[cyberun.Event, error] {
				t.Error("the stream was held")
				return func(func(cyberun.Event, error) bool) {}
			},
			tasks: func(ctx context.Context, page cyberun.Page) (cyberun.TaskList, error) {
				timed(ctx)
				w.log = append(w.log, fmt.Sprint("list ", page.Number))
				if w.list == nil {
					t.Error("the task list was read")
					return cyberun.TaskList{}, errNetwork
				}
				return w.list(page)
			},
			cancel: func(ctx context.Context, id string) error {
				timed(ctx)
				w.log = append(w.log, "cancel "+id)
				return nil
			},
		},
		Resumer: fakeResumer{func(token string) error { w.log = append(w.log, "resume "+token); return nil }},
		Now:     func() time.Time { return w.now },
		Sleep: func(_ context.Context, d time.Duration) error {
			w.log = append(w.log, "sleep "+d.String())
			w.now = w.now.Add(d)
			return nil
		},
	}
	ids := 0
	w.runs = &lifecycle.Runs{
		Store: &store.Store{S3: w.s3, Bucket: stateBucket, NoPause: true},
		Now:   func() time.Time { return w.h.Now() }, Sleep: w.h.Sleep, NewID: func() string { ids++; return fmt.Sprint("w", ids) },
	}
	w.h.Runs = w.runs
	return w.talking(w.h.Cyberun.(fakeCyberun))
}

// talking gives the handler, and the runs it cancels by, another Cyberun.
func (w *world) talking(fake fakeCyberun) *world {
	w.h.Cyberun, w.runs.Cyberun = fake, fake
	return w
}

// record puts a waiting run there, as Submit leaves it.
func (w *world) record(change func(*run.Record)) *world {
	w.t.Helper()
	r := run.Record{
		RunID: "r1", ExecutionARN: "arn:r1", StartedAt: began, LifeStartedAt: began, AcceptedAt: began, Status: run.Waiting, TaskID: "t1", How: run.Receipt,
		MaxSeconds: 3600, Workflow: "x", Prefix: "runs/r1/", Bucket: "outputs",
	}
	if change != nil {
		change(&r)
	}
	w.set("runs/r1.json", r)
	if r.How != "" {
		w.set("tasks/t1", run.Ownership{StartedBy: "r1", How: r.How, DeliveredBy: "r1"})
	}
	w.log = nil
	return w
}

// set puts an object there, as another function does.
func (w *world) set(key string, v any) {
	w.t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	w.s3.Set(stateBucket, key, storetest.Object{Body: body})
}

func (w *world) get() run.Record {
	w.t.Helper()
	r, err := w.runs.Get(w.t.Context(), "r1")
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Record
}

// change has another function change the record.
func (w *world) change(how func(*run.Record)) {
	r := w.get()
	how(&r)
	w.set("runs/r1.json", r)
}

func (w *world) handle() (Output, error) { return w.h.Handle(context.Background(), w.input()) }

// input is a call of the run's first life.
func (w *world) input() Input { return Input{RunID: "r1", RedriveCount: new(int)} }

func (w *world) progress() run.Progress {
	w.t.Helper()
	p, err := w.runs.Progress(w.t.Context(), "r1")
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// did are the log's entries that begin so.
func (w *world) did(prefix string) (entries []string) {
	for _, entry := range w.log {
		if strings.HasPrefix(entry, prefix) {
			entries = append(entries, entry)
		}
	}
	return entries
}

// answered is a refusal that Cyberun itself gave.
func answered(status int) error {
	return &cyberun.APIError{Status: status, Message: http.StatusText(status), JSON: true}
}

// page is a refusal by what stands before it.
func page(status int) error {
	return &cyberun.APIError{Status: status, Message: "<html>"}
}
