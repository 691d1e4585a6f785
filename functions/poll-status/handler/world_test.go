package handler

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
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
	events func(ctx context.Context, id string) iter.Seq2[cyberun.Event, error]
	cancel func(ctx context.Context, id string) error
}

func (f fakeCyberun) Task(ctx context.Context, id string) (cyberun.Task, error) {
	return f.task(ctx, id)
}
func (f fakeCyberun) Events(ctx context.Context, id string) iter.Seq2[cyberun.Event, error] {
	return f.events(ctx, id)
}
func (f fakeCyberun) Cancel(ctx context.Context, id string) error { return f.cancel(ctx, id) }

type fakeWaker struct {
	wake func(token string) error
}

func (f fakeWaker) Wake(_ context.Context, token string) error { return f.wake(token) }

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
	looks []look // the last one stays
	h     *Handler
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
		Records: w.records(),
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
			cancel: func(ctx context.Context, id string) error {
				timed(ctx)
				w.log = append(w.log, "cancel "+id)
				return nil
			},
		},
		Waker: fakeWaker{func(token string) error { w.log = append(w.log, "wake "+token); return nil }},
		Log:   slog.New(slog.NewTextHandler(io.Discard, nil)),
		Now:   func() time.Time { return w.now },
		Sleep: func(_ context.Context, d time.Duration) error {
			w.log = append(w.log, "sleep "+d.String())
			w.now = w.now.Add(d)
			return nil
		},
	}
	return w
}

func (w *world) records() *store.Store { return &store.Store{S3: w.s3, Bucket: stateBucket} }

// record puts a waiting run there, as Submit leaves it.
func (w *world) record(change func(*run.Record)) *world {
	w.t.Helper()
	r := run.Record{RunID: "r1", StartedAt: began, AcceptedAt: began, Status: run.Waiting, TaskID: "t1", MaxSeconds: 3600, Workflow: "x", Prefix: run.DefaultPrefix}
	if change != nil {
		change(&r)
	}
	if _, err := w.records().Create(w.t.Context(), r); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.records().Claim(w.t.Context(), r.TaskID, store.Claim{RunID: "r1"}); err != nil {
		w.t.Fatal(err)
	}
	w.log = nil
	return w
}

func (w *world) handle() (Output, error) {
	return w.h.Handle(context.Background(), Input{RunID: "r1"})
}

func (w *world) progress() run.Progress {
	w.t.Helper()
	p, err := w.records().Progress(w.t.Context(), "r1")
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

func answered(status int) error {
	return &cyberun.APIError{Status: status, Message: http.StatusText(status)}
}

func wantName(t *testing.T, err error, name, text string) {
	t.Helper()
	e, ok := named.As(err)
	if !ok || e.Name != name || !strings.Contains(e.Message(), text) {
		t.Errorf("got %v, want %s with %q", err, name, text)
	}
}
