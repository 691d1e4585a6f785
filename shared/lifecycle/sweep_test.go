package lifecycle

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// sweep collects what a sweep looks at. listed are the executions that ended, by
// how long ago they did.
func (w *world) sweep(listed map[string]time.Duration) (names []string, left int, err error) {
	w.t.Helper()
	paced := 0
	pace := func(context.Context) error { paced++; return nil }
	list := fakeExecutions{ended: func(stopped, started time.Time, each func(executions.Execution) bool) error {
		if age := w.clock().Sub(started); age != oldestStart {
			w.t.Errorf("it asks for starts of the last %s", age)
		}
		for _, name := range slices.Sorted(maps.Keys(listed)) {
			if ended := w.clock().Add(-listed[name]); !ended.Before(stopped) && !each(executions.Execution{ARN: arnPrefix + name, Name: name, Status: executions.Failed, StartedAt: began}) {
				return nil
			}
		}
		return nil
	}}
	left, err = w.close.Sweep(w.t.Context(), list, pace, func(e executions.Execution) { names = append(names, e.Name) })
	if paced == 0 {
		w.t.Error("Step Functions was asked without a pace")
	}
	return names, left, err
}

// TestSweeps the last 30 hours each time, nine days once a day.
func TestSweeps(t *testing.T) {
	w := newWorld(t)
	w.advance(30 * 24 * time.Hour)
	listed := map[string]time.Duration{"now": 0, "yesterday": 29 * time.Hour, "days ago": 8 * 24 * time.Hour, "weeks ago": 10 * 24 * time.Hour}
	whole, recent := []string{"days ago", "now", "yesterday"}, []string{"now", "yesterday"}
	for i, want := range [][]string{whole, recent, recent} {
		if got, left, err := w.sweep(listed); err != nil || left > 0 || !slices.Equal(got, want) {
			t.Errorf("sweep %d: %v, %d left, %v", i, got, left, err)
		}
		w.advance(time.Second)
	}
	w.advance(daily)
	if got, _, err := w.sweep(listed); err != nil || !slices.Equal(got, whole) {
		t.Errorf("a day later: %v, %v", got, err)
	}
}

// TestSweepsTheForgotten: once a day, records of nine to ten days ago that are
// still open, which no list of executions may name.
func TestSweepsTheForgotten(t *testing.T) {
	w := newWorld(t)
	begin := func(id string, ago time.Duration, closed bool) {
		c := call(id, 0)
		c.StartedAt = w.clock().Add(-ago)
		if _, err := w.runs.Begin(t.Context(), c, w.request(), outputBucket, ""); err != nil {
			t.Fatal(err)
		}
		if closed {
			e := w.execution(id, executions.Failed, 0, named.TaskFailed, "x")
			e.StartedAt = c.StartedAt
			if did, err := w.close.Close(t.Context(), e, true); err != nil || !did {
				t.Fatal(did, err)
			}
		}
	}
	begin("young", forgotten-time.Hour, false)
	begin("forgotten", forgotten+time.Hour, false)
	begin("closed", forgotten+2*time.Hour, true)
	begin("expired", forgotten+3*time.Hour, false)
	w.s3.Remove(stateBucket, "runs/expired.json")
	begin("last", forgotten+daily-time.Second, false)
	begin("older", forgotten+daily+time.Hour, false)
	if got, _, err := w.sweep(nil); err != nil || !slices.Equal(got, []string{"forgotten", "last"}) {
		t.Errorf("%v, %v", got, err)
	}
	// What Step Functions has forgotten is closed as failed, what it knows is not.
	delete(w.executions, "forgotten")
	closed, r, _ := w.closes(executions.Execution{ARN: arnPrefix + "forgotten", Name: "forgotten", Status: executions.Running, StartedAt: began})
	if !closed || r.Status != run.Failed || !named.Is(r.Error, named.Unavailable) {
		t.Errorf("%v, %+v", closed, r.Record)
	}
	w.execution("last", executions.Running, 0, "", "")
	if closed, r, _ := w.closes(executions.Execution{ARN: arnPrefix + "last", Name: "last", Status: executions.Running, StartedAt: began}); closed || !r.Status.Open() {
		t.Errorf("%v, %+v", closed, r.Record)
	}
	if got, _, err := w.sweep(nil); err != nil || len(got) > 0 {
		t.Errorf("an hour later again: %v, %v", got, err)
	}
}

// TestSweepIsBounded: what is not reached is told, and the whole is looked at again.
func TestSweepIsBounded(t *testing.T) {
	w := newWorld(t)
	w.advance(30 * 24 * time.Hour)
	listed := map[string]time.Duration{}
	for i := range maxSwept + 7 {
		listed[fmt.Sprintf("r%05d", i)] = 0
	}
	for range 2 {
		if got, left, err := w.sweep(listed); err != nil || len(got) != maxSwept || left != 7 {
			t.Errorf("%d, %d left, %v", len(got), left, err)
		}
	}
	if got, _, err := w.sweep(map[string]time.Duration{"old": 8 * 24 * time.Hour}); err != nil || len(got) != 1 {
		t.Errorf("the day counts as looked at: %v, %v", got, err)
	}
	// Once its time is over, what the list still names is left for the next one.
	ctx, cancel := context.WithCancel(t.Context())
	list := fakeExecutions{ended: func(_, _ time.Time, each func(executions.Execution) bool) error {
		each(executions.Execution{Name: "r1"})
		cancel()
		each(executions.Execution{Name: "r2"})
		return nil
	}}
	reached := 0
	left, err := w.close.Sweep(ctx, list, func(context.Context) error { return nil }, func(executions.Execution) { reached++ })
	if err != nil || left != 1 || reached != 1 {
		t.Errorf("reached %d, %d left, %v", reached, left, err)
	}
}

func TestSweepFails(t *testing.T) {
	w := newWorld(t)
	away := named.Errorf(named.Unavailable, "throttled")
	list := fakeExecutions{ended: func(_, _ time.Time, _ func(executions.Execution) bool) error { return away }}
	for range 2 { // and the day does not count as looked at
		if _, err := w.close.Sweep(t.Context(), list, func(context.Context) error { return nil }, func(executions.Execution) {}); err != away {
			t.Error(err)
		}
	}
	if len(w.keys("sweep/")) > 0 {
		t.Errorf("%v", w.keys(""))
	}
	w.around = refuses("GetObject state/sweep/", 503)
	if _, err := w.close.Sweep(t.Context(), list, func(context.Context) error { return nil }, func(executions.Execution) {}); !named.Is(err, named.Unavailable) {
		t.Error(err)
	}
}

// TestDue: the sweep describes only what it may have something to do for.
func TestDue(t *testing.T) {
	fails := func(w *world) { w.closes(w.execution("r1", executions.Failed, 0, named.TaskFailed, "x")) }
	tests := []struct {
		name     string
		prepare  func(w *world)
		redrives int
		want     Due
	}{
		{name: "no record", prepare: func(*world) {}, want: CloseDue},
		{name: "open", prepare: func(w *world) { w.submit("r1", "t1") }, want: CloseDue},
		{name: "open, in a later life", prepare: func(w *world) { w.begin("r1", 1) }},
		{name: "open, of the life that ended", prepare: func(w *world) { w.begin("r1", 1) }, redrives: 1, want: CloseDue},
		{name: "closed", prepare: func(w *world) { w.submit("r1", "t1"); fails(w) }},
		{name: "closed in doubt", prepare: func(w *world) { w.doubt("r1"); fails(w) }, want: WorkDue},
		{name: "its cancel is not confirmed", prepare: func(w *world) {
			w.submit("r1", "t1")
			w.answers["t1"] = slices.Repeat([]error{errServer}, 99)
			w.closes(w.execution("r1", executions.Aborted, 0, "", ""))
		}, want: WorkDue},
		{name: "its cancel is not confirmed for 7 days", prepare: func(w *world) {
			w.submit("r1", "t1")
			w.answers["t1"] = slices.Repeat([]error{errServer}, 99)
			w.closes(w.execution("r1", executions.Aborted, 0, "", ""))
			w.advance(run.MaxRunTime + time.Second)
		}},
		{name: "a late receipt", prepare: func(w *world) {
			r := w.mark(w.begin("r1", 0), "a1")
			fails(w)
			if _, err := w.runs.Accept(w.t.Context(), r, "t1"); err != nil {
				w.t.Fatal(err)
			}
		}, want: WorkDue},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			test.prepare(w)
			got, err := w.close.DueOf(t.Context(), executions.Execution{ARN: arnPrefix + "r1", Name: "r1", Status: executions.Failed, Redrives: test.redrives})
			if err != nil || got != test.want {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	w := newWorld(t)
	w.around = func(string, func() error) error { return errReset }
	if _, err := w.close.DueOf(t.Context(), executions.Execution{Name: "r1"}); !named.Is(err, named.Unavailable) {
		t.Error(err)
	}
}
