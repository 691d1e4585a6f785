package handler

import (
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/eventstest"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/google/go-cmp/cmp"
)

// TestSamples puts each of events/poll-status*.json through the types and the handler.
func TestSamples(t *testing.T) {
	eventstest.Each(t, "poll-status*.json", map[string]bool{"poll-status.json": false}, func(t *testing.T, done bool, raw []byte) {
		var in Input
		eventstest.RoundTrip(t, raw, &in)
		w := newWorld(t, look{status: "running"}).record(nil)
		w.Now = w.Now.Add(time.Minute)
		in.RunID = "r1" // the record's
		if out, err := w.h.Handle(t.Context(), in); err != nil || out.Done != done {
			t.Errorf("%+v, %v", out, err)
		}
	})
}

// TestStatesFit: what the states send is Input, and what they select is in Response.
func TestStatesFit(t *testing.T) {
	states := eventstest.Machine(t)
	payload, _ := states["AwaitWebhook"].Parameters["Payload"].(map[string]any)
	if diff := cmp.Diff(eventstest.Sent(payload), eventstest.Fields(t, Input{Call: lifecycle.Call{RunID: "r", Redrives: new(int)}, Retries: 1, TaskToken: "t"})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(eventstest.Sent(states["PollStatus"].Parameters), eventstest.Fields(t, Input{Call: lifecycle.Call{RunID: "r", Redrives: new(int)}, Retries: 1})); diff != "" {
		t.Error(diff)
	}
	if got := time.Duration(states["AwaitWebhook"].TimeoutSeconds) * time.Second; got != parkTime {
		t.Errorf("AwaitWebhook waits for %s", got)
	}
	if diff := cmp.Diff(states["PollStatus"].Selected(), eventstest.Fields(t, Response{})); diff != "" {
		t.Error(diff)
	}
}
