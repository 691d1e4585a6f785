package handler

import (
	"encoding/json"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/eventstest"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/google/go-cmp/cmp"
)

// TestSamples puts each of events/submit*.json through the types and the handler.
func TestSamples(t *testing.T) {
	want := map[string]string{"submit.json": "", "submit-rescue.json": "", "submit-invalid.json": named.InvalidRequest}
	eventstest.Each(t, "submit*.json", want, func(t *testing.T, name string, raw []byte) {
		var in Input
		eventstest.RoundTrip(t, raw, &in)
		w := newWorld(t)
		w.Now = in.StartedAt
		w.Cyberun.Started = []functiontest.Task{{Task: cyberun.Task{ID: "0b8f8a52-6f0e-4a3d-9d5c-2f7f6f1f7a11"}}}
		out, err := w.drive(in)
		switch {
		case name != "":
			namedtest.Want(t, err, name, "")
		case err != nil || out.RunID != in.RunID || out.TaskID == "":
			t.Errorf("%+v, %v", out, err)
		}
	})
}

// TestInputIsWhatTheStateSends: every field of Input, and no other, is in the
// state's Parameters; what it selects of the result is in Response.
func TestInputIsWhatTheStateSends(t *testing.T) {
	state := eventstest.Machine(t)["Submit"]
	if diff := cmp.Diff(eventstest.Sent(state.Parameters), eventstest.Fields(t, Input{
		Call: lifecycle.Call{RunID: "r", ExecutionARN: "a", StartedAt: began, Redrives: new(int)}, Request: json.RawMessage("{}"),
	})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(state.Selected(), eventstest.Fields(t, Response{})); diff != "" {
		t.Error(diff)
	}
}
