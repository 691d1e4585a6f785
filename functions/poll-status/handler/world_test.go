package handler

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

const stateBucket = functiontest.StateBucket

var (
	// began is when the run r1 began and its task t1 was accepted.
	began = functiontest.Began

	errNetwork = functiontest.ErrNetwork
	answered   = functiontest.Answered
	page       = functiontest.HTMLPage
)

// look is one answer of the status endpoint about the task t1.
type look struct {
	status cyberun.Status
	err    error
	change func(*cyberun.Task)
}

// resumer resumes an execution by its token.
type resumer func(token string) error

func (r resumer) Resume(_ context.Context, token string) error { return r(token) }

// events is the event stream of a task.
type events = func(ctx context.Context, taskID string) iter.Seq2[cyberun.TaskEvent, error]

// world is everything around poll-status. log is what it did, in order.
type world struct {
	*functiontest.World
	looks  []look // the next answers of the status endpoint; the last one stays
	stream events // nil: nobody is to follow it
	lists  bool   // the task list may be read
	runs   *lifecycle.Runs
	h      *Handler
	log    []string
}

func newWorld(t *testing.T, looks ...look) *world {
	w := &world{World: functiontest.New(t), looks: looks}
	w.Now, w.TimePerCall = began.Add(5*time.Second), 0
	w.Cyberun.MaxTime = cyberun.CallTime
	w.Cyberun.PutTask("t1", cyberun.StatusPending)
	w.Executions.Begin("r1", "", began)
	around := w.S3.Around
	w.S3.Around = func(c storetest.Call, do func() error) error {
		if c.Op == "PutObject" {
			w.note("put " + c.Key)
		}
		return around(c, do)
	}
	service := service{w.Cyberun, w}
	w.runs = w.Runs()
	w.runs.Cyberun, w.runs.Sleep = service, w.sleep
	w.runs.OutputS3 = nil // as the function has it
	w.h = &Handler{
		Cyberun: service, Runs: w.runs, Now: w.Time, Sleep: w.sleep,
		Resumer: resumer(func(token string) error { w.note("resume " + token); return nil }),
	}
	return w
}

// service is the world's Cyberun, which answers looks as the world says.
type service struct {
	*functiontest.Cyberun
	w *world
}

func (s service) Task(ctx context.Context, id string) (cyberun.Task, error) {
	s.w.note("look")
	next := s.w.looks[0]
	if len(s.w.looks) > 1 {
		s.w.looks = s.w.looks[1:]
	}
	if around := s.w.Around; next.err != nil {
		s.w.Fails("Task", next.err)
		defer func() { s.w.Around = around }()
	} else if t := s.Of(id); t != nil {
		if t.Status = next.status; t.Status.Terminal() {
			t.CompletedAt.Time = s.w.Now
		}
		if next.change != nil {
			next.change(&t.Task)
		}
	}
	return s.Cyberun.Task(ctx, id)
}

func (s service) Tasks(ctx context.Context, page cyberun.Page) (cyberun.TaskList, error) {
	s.w.note(fmt.Sprint("list ", page.Number))
	if !s.w.lists {
		s.w.T.Error("the task list was read")
	}
	return s.Cyberun.Tasks(ctx, page)
}

func (s service) Cancel(ctx context.Context, id string) error {
	s.w.note("cancel " + id)
	return s.Cyberun.Cancel(ctx, id)
}

func (s service) TaskEvents(ctx context.Context, id string) iter.Seq2[cyberun.TaskEvent, error] {
	if s.w.stream == nil {
		s.w.T.Error("the stream was held")
		return sends(nil)(ctx, id)
	}
	return s.w.stream(ctx, id)
}

func (w *world) sleep(ctx context.Context, d time.Duration) error {
	w.note("sleep " + d.String())
	return w.Sleep(ctx, d)
}

// note adds to the log.
func (w *world) note(entry string) { w.log = append(w.log, entry) }

// did returns the log's entries that begin with a prefix.
func (w *world) did(prefix string) (entries []string) {
	for _, entry := range w.log {
		if strings.HasPrefix(entry, prefix) {
			entries = append(entries, entry)
		}
	}
	return entries
}

// record puts a waiting run there, as Submit leaves it.
func (w *world) record(change func(*run.Record)) *world {
	r := run.Record{
		RunID: "r1", LifeStartedAt: began, TaskKnownAt: began, Status: run.Waiting, TaskID: "t1", Evidence: run.ByReceipt, MaxSeconds: 3600, Workflow: "x",
	}
	if change != nil {
		change(&r)
	}
	w.Record(r)
	return w
}

func (w *world) get() run.Record { return w.Run("r1").Record }

func (w *world) progress() (p run.Progress) {
	w.T.Helper()
	w.Undisturbed(func() {
		var err error
		if p, err = w.runs.Progress(w.T.Context(), "r1"); err != nil {
			w.T.Fatal(err)
		}
	})
	return p
}

func (w *world) handle() (Response, error) { return w.h.Handle(context.Background(), w.input()) }

// input is a call of the run's first life.
func (w *world) input() Input { return Input{Call: lifecycle.Call{RunID: "r1", Redrives: new(int)}} }
