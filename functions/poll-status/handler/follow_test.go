package handler

import (
	"context"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// sends yields events, and then ends as the error says.
func sends(err error, list ...cyberun.TaskEvent) events {
	return func(context.Context, string) iter.Seq2[cyberun.TaskEvent, error] {
		return func(yield func(cyberun.TaskEvent, error) bool) {
			for _, e := range list {
				if !yield(e, nil) {
					return
				}
			}
			if err != nil {
				yield(cyberun.TaskEvent{}, err)
			}
		}
	}
}

func tick(p float64, step int) cyberun.TaskEvent {
	total := 30
	return cyberun.TaskEvent{Type: "progress", Progress: p, StepCurrent: &step, StepTotal: &total, CurrentNode: "KSampler", Stage: "train"}
}

// TestHoldBreaks: whatever a stream does, the status endpoint decides.
func TestHoldBreaks(t *testing.T) {
	streams := map[string]events{
		"closes at once":              sends(nil),
		"breaks at once":              sends(errNetwork),
		"refused":                     sends(answered(404)),
		"breaks later":                sends(errNetwork, tick(0.1, 3)),
		"says completed":              sends(nil, cyberun.TaskEvent{Type: "completed", Status: cyberun.StatusCompleted}),
		"says failed":                 sends(nil, cyberun.TaskEvent{Type: "failed", Status: cyberun.StatusFailed, Error: "x"}),
		"says cancelled":              sends(errNetwork, cyberun.TaskEvent{Type: "cancelled", Status: cyberun.StatusCancelled}),
		"error event":                 sends(nil, cyberun.TaskEvent{Type: "error", Error: "no status"}),
		"an event of an unknown type": sends(nil, cyberun.TaskEvent{Type: "thought", Message: "hm"}),
		"an unknown status":           sends(nil, cyberun.TaskEvent{Type: "status", Status: "warming_up"}),
		"an event without type":       sends(nil, cyberun.TaskEvent{}),
	}
	for name, stream := range streams {
		for _, then := range []cyberun.Status{cyberun.StatusRunning, cyberun.StatusCompleted} {
			t.Run(name+", then "+string(then), func(t *testing.T) {
				w := newWorld(t, look{status: "running"}, look{status: then}).record(nil)
				w.stream, w.h.Hold = stream, 30*time.Second
				out, err := w.handle()
				if err != nil || out.Done != (then == cyberun.StatusCompleted) || out.Status != then {
					t.Errorf("%+v, %v", out, err)
				}
				if p := w.progress(); p.TaskStatus != string(then) {
					t.Errorf("%+v", p)
				}
			})
		}
	}
}

// TestHoldFailsLook: an outage after the stream is an outage, no more.
func TestHoldFailsLook(t *testing.T) {
	w := newWorld(t, look{status: "running"}, look{err: errNetwork}).record(nil)
	w.stream, w.h.Hold = sends(nil, tick(0.5, 15)), 30*time.Second
	if out, err := w.handle(); err != nil || out.Done || out.WaitSeconds != 3 {
		t.Errorf("%+v, %v", out, err)
	}
	if p := w.progress(); p.Fraction != 0.5 || p.TaskStatus != "running" {
		t.Errorf("%+v", p)
	}
}

// TestHoldIsBounded in a bubble of its own time: a stream that never says a word.
func TestHoldIsBounded(t *testing.T) {
	tests := []struct {
		name     string
		hold     time.Duration
		age      time.Duration // of the task
		left     time.Duration // of the call; 0: no end
		max      int
		want     time.Duration
		webhooks bool
		retries  int
	}{
		{name: "a fresh task, for HoldSeconds", hold: 30 * time.Second, max: 3600, want: 30 * time.Second},
		{name: "a task of 20 s, for the rest", hold: 30 * time.Second, age: 20 * time.Second, max: 3600, want: 10 * time.Second},
		{name: "an older one, at a glance", hold: 30 * time.Second, age: 10 * time.Minute, max: 3600, want: time.Second},
		{name: "webhooks hold as well", hold: 30 * time.Second, max: 3600, want: 30 * time.Second, webhooks: true},
		{name: "within the call", hold: 300 * time.Second, left: 60 * time.Second, max: 3600, want: 25 * time.Second},
		{name: "no time left", hold: 300 * time.Second, left: 30 * time.Second, max: 3600},
		{name: "within the run", hold: 300 * time.Second, max: 7, want: 7 * time.Second},
		{name: "the deadline has passed", hold: 300 * time.Second, age: 8 * time.Second, max: 7},
		{name: "never", age: 10 * time.Minute, max: 3600},
		{name: "after a throttled attempt", hold: 30 * time.Second, max: 3600, retries: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, look{status: "running"})
				start := time.Now()
				w.h.Now, w.runs.Now = time.Now, time.Now
				w.record(func(r *run.Record) {
					r.StartedAt, r.LifeStartedAt, r.TaskKnownAt, r.MaxSeconds = start, start, start, test.max
				})
				time.Sleep(test.age)
				held := time.Duration(-1)
				w.stream = func(ctx context.Context, _ string) iter.Seq2[cyberun.TaskEvent, error] {
					return func(yield func(cyberun.TaskEvent, error) bool) {
						from := time.Now()
						<-ctx.Done()
						held = time.Since(from)
						yield(cyberun.TaskEvent{}, ctx.Err())
					}
				}
				w.h.Hold, w.h.Webhooks = test.hold, test.webhooks
				ctx := t.Context()
				if test.left > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.left)
					defer cancel()
				}
				in := w.input()
				in.Retries = test.retries
				_, err := w.h.Handle(ctx, in)
				if test.max == 7 {
					namedtest.Want(t, err, named.RunTimedOut, "")
				} else if err != nil {
					t.Error(err)
				}
				if test.want == 0 {
					if held >= 0 {
						t.Errorf("held for %s", held)
					}
					return
				}
				if p := w.progress(); held != test.want || p.HeldSeconds != test.want.Seconds() {
					t.Errorf("held for %s, told as %v s", held, p.HeldSeconds)
				}
			})
		})
	}
}

// TestProgress is written at most every 5 s while the stream is held, and keeps
// what an event does not tell.
func TestProgress(t *testing.T) {
	w := newWorld(t, look{status: "queued"}, look{status: "running"}).record(nil)
	w.h.Hold = 300 * time.Second
	w.stream = func(context.Context, string) iter.Seq2[cyberun.TaskEvent, error] {
		return func(yield func(cyberun.TaskEvent, error) bool) {
			for i := range 60 {
				w.Now = w.Now.Add(time.Second)
				if !yield(tick(float64(i)/60, i), nil) {
					return
				}
			}
			yield(cyberun.TaskEvent{Type: "status", Status: "uploading"}, nil)
		}
	}
	if _, err := w.handle(); err != nil {
		t.Fatal(err)
	}
	if writes := len(w.did("put progress/")); writes < 12 || writes > 14 {
		t.Errorf("%d writes", writes)
	}
	p := w.progress()
	if p.Fraction != 59.0/60 || *p.StepCurrent != 59 || *p.StepTotal != 30 || p.CurrentNode != "KSampler" || p.Stage != "train" || p.HeldSeconds != 60 || p.Polls != 1 || !p.UpdatedAt.Equal(w.Now) {
		t.Errorf("%+v", p)
	}
	if p.TaskStatus != "running" { // the status endpoint's word
		t.Errorf("%+v", p)
	}
}

func TestProgressIsWhole(t *testing.T) {
	w := newWorld(t, look{status: "running"}, look{status: "completed"}).record(nil)
	w.stream, w.h.Hold = sends(nil, tick(0.97, 29)), time.Second
	for range 3 { // and counts on
		if _, err := w.handle(); err != nil {
			t.Fatal(err)
		}
	}
	if p := w.progress(); p.Fraction != 1 || p.Polls != 3 {
		t.Errorf("%+v", p)
	}
}

// TestRemoteTextIsBounded: a remote's prose does not fill the bucket.
func TestRemoteTextIsBounded(t *testing.T) {
	long := make([]byte, 10_000)
	for i := range long {
		long[i] = 'x'
	}
	e := tick(0.5, 1)
	e.Message, e.CurrentNode, e.Stage = string(long), string(long), string(long)
	w := newWorld(t, look{status: "running"}).record(nil)
	w.stream, w.h.Hold = sends(nil, e), time.Second
	if _, err := w.handle(); err != nil {
		t.Fatal(err)
	}
	p := w.progress()
	for _, text := range []string{p.Message, p.CurrentNode, p.Stage} {
		if kept, cut := strings.CutSuffix(text, "…"); !cut || len(kept) != maxText {
			t.Errorf("%d bytes: %s", len(text), text)
		}
	}
}
