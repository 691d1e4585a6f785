package handler

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// awaits is a call of the state AwaitWebhook.
func (w *world) awaits() (Response, error) {
	in := w.input()
	in.TaskToken = "tok"
	return w.h.Handle(context.Background(), in)
}

// TestParks only while there is time to be woken in.
func TestParks(t *testing.T) {
	tests := []struct {
		name string
		look look
		now  time.Duration
		park bool
	}{
		{"waits for its webhook", look{status: "running"}, 100 * time.Second, true},
		{"an outage polls", look{err: errNetwork}, 100 * time.Second, false},
		{"near the deadline it polls", look{status: "running"}, time.Hour - parkTime, false},
		{"just before that", look{status: "running"}, time.Hour - parkTime - time.Second, true},
		{"done", look{status: "completed"}, 100 * time.Second, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.look).record(nil)
			w.h.Webhooks = true
			w.Now = began.Add(test.now)
			out, err := w.handle()
			if err != nil || out.Park != test.park || out.WaitSeconds < 1 && !out.Done && !out.Park {
				t.Errorf("%+v, %v", out, err)
			}
		})
	}
}

// TestAwaitsWebhook: the token is stored first, then the task is looked at, so an
// early webhook is seen in the task's status. Whatever only PollStatus can decide
// wakes it.
func TestAwaitsWebhook(t *testing.T) {
	tests := []struct {
		name string
		look look
		now  time.Duration
		wake bool
	}{
		{"running", look{status: "running"}, time.Minute, false},
		{"the webhook came before the token", look{status: "completed"}, time.Minute, true},
		{"failed meanwhile", look{status: "failed"}, time.Minute, true},
		{"cancelled: no webhook is ever sent", look{status: "cancelled"}, time.Minute, true},
		{"the deadline comes before the next look", look{status: "running"}, time.Hour - parkTime, true},
		{"the deadline has passed", look{status: "running"}, time.Hour, true},
		{"an outage", look{err: errNetwork}, time.Minute, false},
		{"an outage past the deadline", look{err: errNetwork}, time.Hour, true},
		{"the key was revoked", look{err: answered(401)}, time.Minute, true},
		{"a page says that the key was revoked", look{err: page(401)}, time.Minute, false},
		{"a 404: PollStatus or the next look tells whether it is gone", look{err: answered(404)}, 2 * time.Minute, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.look).record(nil)
			w.Now = began.Add(test.now)
			if _, err := w.awaits(); err != nil {
				t.Fatal(err)
			}
			want := "[put wake/r1.json look put progress/r1.json]"
			if test.wake {
				want = "[put wake/r1.json look put progress/r1.json resume tok]"
			}
			if fmt.Sprint(w.log) != want {
				t.Error(w.log)
			}
			if runID, token, err := w.runs.TaskToken(t.Context(), "t1"); err != nil || runID != "r1" || token != "tok" {
				t.Errorf("%q, %q, %v", runID, token, err)
			}
			if p := w.progress(); p.Parks != 1 || p.Polls != 0 {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestParkRefuses(t *testing.T) {
	w := newWorld(t).record(func(r *run.Record) { r.StopRequestedAt = began })
	_, err := w.awaits()
	namedtest.Want(t, err, named.RunCancelled, "")
	if w.log != nil {
		t.Error(w.log)
	}
}

// TestTokenCannotBeStored: without it nothing could wake the run, so the state is
// tried again.
func TestTokenCannotBeStored(t *testing.T) {
	w := newWorld(t, look{status: "running"}).record(nil)
	w.Fails("PutObject state/wake/", errNetwork)
	_, err := w.awaits()
	namedtest.Want(t, err, named.Unavailable, "")
	if w.did("look") != nil {
		t.Error(w.log)
	}
}

func TestResumeFails(t *testing.T) {
	w := newWorld(t, look{status: cyberun.StatusCompleted}).record(nil)
	w.h.Resumer = resumer(func(string) error { return named.Errorf(named.Unavailable, "x") })
	_, err := w.awaits()
	namedtest.Want(t, err, named.Unavailable, "")
}

// TestChecksAfterAWake: a wake that found nothing is followed by polls, 3 s apart,
// doubling to 60 s, before the run parks again: a state machine that is woken for
// nothing, by whoever sends webhooks, does not spin.
func TestChecksAfterAWake(t *testing.T) {
	w := newWorld(t, look{status: "running"}).record(func(r *run.Record) { r.MaxSeconds = 86400 })
	w.h.Webhooks = true
	w.Now = began.Add(time.Hour)
	out, err := w.handle()
	if err != nil || !out.Park {
		t.Fatalf("before any wake: %+v, %v", out, err)
	}
	for range 3 {
		if _, err := w.awaits(); err != nil {
			t.Fatal(err)
		}
		var waits []int
		for len(waits) < 20 {
			if out, err = w.handle(); err != nil || out.Park {
				break
			}
			waits = append(waits, out.WaitSeconds)
			w.Now = w.Now.Add(time.Duration(out.WaitSeconds) * time.Second)
		}
		if err != nil || fmt.Sprint(waits) != "[3 6 12 24 48 60]" {
			t.Errorf("waited %v, then %+v, %v", waits, out, err)
		}
	}
}

// TestParkedTaskIsGone: looks of the parked run count as PollStatus's do, and one
// that finds the task ends the count.
func TestParkedTaskIsGone(t *testing.T) {
	gone, there := look{err: answered(404)}, look{status: "running"}
	tests := []struct {
		name   string
		looks  []look
		resume bool
	}{
		{"five over ten minutes", []look{gone, gone, gone, gone, gone}, true},
		{"one found it between", []look{gone, gone, gone, gone, there, gone}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.looks...).record(nil)
			w.lists = true
			w.Cyberun.Spoil = func(list *cyberun.TaskList) { list.Tasks = nil }
			for range test.looks {
				w.Now = w.Now.Add(3 * time.Minute)
				if _, err := w.awaits(); err != nil {
					t.Fatal(err)
				}
			}
			if resumed := w.did("resume") != nil; resumed != test.resume {
				t.Errorf("%v", w.log)
			}
		})
	}
}

// TestParkedHistory: the looks of a parked run fill the history too.
func TestParkedHistory(t *testing.T) {
	w := newWorld(t, look{status: "running"}).record(nil)
	w.Set("progress/r1.json", run.Progress{RunID: "r1", Parks: 1, HistoryEvents: run.FullHistory - run.ParkEvents - 1})
	if _, err := w.awaits(); err != nil || w.did("resume") != nil {
		t.Fatalf("%v, %v", err, w.log)
	}
	if _, err := w.awaits(); err != nil || w.did("resume") == nil {
		t.Errorf("%v, %v", err, w.log)
	}
	_, err := w.handle()
	namedtest.Want(t, err, named.HistoryFull, "t1")
}
