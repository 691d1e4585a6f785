package handler

import (
	"encoding/json"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/eventstest"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// TestSamples puts each of events/close-run-*.json through the types and the
// handler, with an execution that ended as the event says.
func TestSamples(t *testing.T) {
	want := map[string]run.Status{
		"close-run-aborted.json": run.Cancelled, "close-run-failed.json": run.Failed, "close-run-timed-out.json": run.Failed, "close-run-sweep.json": "",
	}
	eventstest.Each(t, "close-run*.json", want, func(t *testing.T, status run.Status, raw []byte) {
		var in Input
		var event struct {
			Detail struct {
				Name, Status, Error, Cause, Input string
				ExecutionARN                      string `json:"executionArn"`
			}
		}
		for _, v := range []any{&in, &event} {
			if err := json.Unmarshal(raw, v); err != nil {
				t.Fatal(err)
			}
		}
		if in.ID() != event.Detail.Name || in.Detail.ExecutionARN != event.Detail.ExecutionARN {
			t.Errorf("read as %+v", in)
		}
		if in.Sweep != (status == "") {
			t.Errorf("sweep %v", in.Sweep)
		}
		w := newWorld(t)
		if !in.Sweep {
			d := event.Detail
			e := executions.New(d.ExecutionARN, d.Status, d.Error, d.Cause, in.Detail.RedriveCount, began)
			e.Input = d.Input
			w.Executions.Put(e)
		}
		out, err := w.handler().Handle(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if in.Sweep {
			return
		}
		record, failure := w.closed(in.ID())
		if out.Closed != 1 || record.Status != status || failure == nil {
			t.Errorf("%+v, %+v, %+v", out, record, failure)
		}
	})
}
