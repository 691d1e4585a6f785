package handler

import (
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/eventstest"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/google/go-cmp/cmp"
)

// TestSamples puts each of events/copy-result*.json through the types and the handler.
func TestSamples(t *testing.T) {
	eventstest.Each(t, "copy-result*.json", map[string]bool{"copy-result.json": true}, func(t *testing.T, done bool, raw []byte) {
		var in Input
		eventstest.RoundTrip(t, raw, &in)
		w := newWorld(t).record(func(r *run.Record) { r.RunID = in.RunID })
		if out, err := w.h.Handle(t.Context(), in); err != nil || out.Done != done || out.RunID != in.RunID {
			t.Errorf("%+v, %v", out, err)
		}
	})
}

// TestStateFits: every path that the state selects is there, done or not. One that
// is missing fails the run.
func TestStateFits(t *testing.T) {
	state := eventstest.Machine(t)["CopyResult"]
	for _, out := range []Response{{}, {Done: true, RunID: "r", TaskID: "t", Bucket: "b", ManifestKey: "k"}} {
		if diff := cmp.Diff(state.Selected(), eventstest.Fields(t, out)); diff != "" {
			t.Error(diff)
		}
	}
	if diff := cmp.Diff(eventstest.Sent(state.Parameters), eventstest.Fields(t, Input{Call: lifecycle.Call{RunID: "r", Redrives: new(int)}, Retries: 1})); diff != "" {
		t.Error(diff)
	}
}
