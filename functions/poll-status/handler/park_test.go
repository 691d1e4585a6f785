package handler

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

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
			w.now = began.Add(test.now)
			out, err := w.handle()
			if err != nil || out.Park != test.park || out.WaitSeconds < 1 && !out.Done {
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
		{"the task is gone", look{err: answered(404)}, 2 * time.Minute, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, test.look).record(nil)
			w.now = began.Add(test.now)
			if _, err := w.h.Handle(context.Background(), Input{RunID: "r1", TaskToken: "tok"}); err != nil {
				t.Fatal(err)
			}
			want := "[put wake/r1.json put progress/r1.json look]"
			if test.wake {
				want = "[put wake/r1.json put progress/r1.json look wake tok]"
			}
			if fmt.Sprint(w.log) != want {
				t.Error(w.log)
			}
			if token, err := w.records().Token(t.Context(), "r1"); err != nil || token != "tok" {
				t.Errorf("%q, %v", token, err)
			}
			if p := w.progress(); p.Parks != 1 || p.Polls != 0 {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestParkRefuses(t *testing.T) {
	w := newWorld(t).record(func(r *run.Record) { r.StopRequestedAt = began })
	_, err := w.h.Handle(context.Background(), Input{RunID: "r1", TaskToken: "tok"})
	wantName(t, err, named.RunCancelled, "")
	if w.log != nil {
		t.Error(w.log)
	}
}

// TestTokenCannotBeStored: without it nothing could wake the run, so the state is
// tried again.
func TestTokenCannotBeStored(t *testing.T) {
	w := newWorld(t, look{status: "running"}).record(nil)
	w.s3.Around = func(c storetest.Call, do func() error) error {
		if strings.HasPrefix(c.Key, "wake/") {
			return errNetwork
		}
		return do()
	}
	_, err := w.h.Handle(context.Background(), Input{RunID: "r1", TaskToken: "tok"})
	wantName(t, err, named.Unavailable, "")
	if w.did("look") != nil {
		t.Error(w.log)
	}
}

func TestWakeFails(t *testing.T) {
	w := newWorld(t, look{status: cyberun.StatusCompleted}).record(nil)
	w.h.Waker = fakeWaker{func(string) error { return named.Errorf(named.Unavailable, "x") }}
	_, err := w.h.Handle(context.Background(), Input{RunID: "r1", TaskToken: "tok"})
	wantName(t, err, named.Unavailable, "")
}
