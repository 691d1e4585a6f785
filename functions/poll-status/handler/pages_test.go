package handler

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named/namedtest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// waiting makes a run that waits for the task that its receipt named, which runs.
func waiting(w *functiontest.World) (r lifecycle.Run, task *functiontest.Task) {
	w.T.Helper()
	e := w.Executions.Begin("r1", "{}", w.Now)
	r, err := w.Runs().Begin(w.T.Context(), lifecycle.Call{RunID: "r1", ExecutionARN: e.ARN, StartedAt: w.Now, Redrives: new(int)}, run.Request{Workflow: functiontest.WorkflowRef}, functiontest.OutputBucket, "")
	if err == nil {
		r, err = w.Runs().Accept(w.T.Context(), r, w.Cyberun.Start(map[string]any{"prompt": "r1"}))
	}
	if err != nil {
		w.T.Fatal(err)
	}
	task = w.Cyberun.Of(r.TaskID)
	task.Status = cyberun.StatusRunning
	return r, task
}

// TestPages: what stands between the relay and Cyberun answers a call with a page of
// its own, under every status there is, once or for five minutes, while a run waits
// for its task. The run goes on, and its task is cancelled at its deadline alone.
func TestPages(t *testing.T) {
	for _, test := range []struct {
		call    string // all: every one
		last    time.Duration
		expires bool // the task outlives the run's time
	}{
		{call: "task"}, {call: "task", last: 5 * time.Minute},
		{call: "events"}, {call: "events", last: 5 * time.Minute},
		{call: "all"}, {call: "all", last: 5 * time.Minute},
		{call: "cancel", expires: true},
		{call: "list", last: 15 * time.Minute}, // read where a task is said to be gone for ten
	} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			t.Parallel()
			l := functiontest.NewLoopback(t)
			client := l.Client()
			for _, status := range functiontest.Statuses() {
				w := functiontest.New(t)
				r, task := waiting(w)
				began, met := w.Now, 0
				l.World, l.HTMLPage = w, func(call string) (int, bool) {
					switch {
					case test.call == "list" && call == "task" && w.Now.Sub(began) < test.last:
						return http.StatusNotFound, false
					case call != test.call && test.call != "all", met > 0 && w.Now.Sub(began) >= test.last:
						return 0, false
					}
					met++
					return status, false
				}
				runs := w.Runs()
				runs.Cyberun = client
				h := &Handler{Cyberun: client, Runs: runs, Hold: 30 * time.Second, Now: w.Time, Sleep: w.Sleep}
				for polls := 0; ; polls++ {
					if w.Now.Sub(began) > test.last+time.Minute && !test.expires {
						task.Status = cyberun.StatusCompleted
					}
					out, err := h.Handle(w.Lambda(5*time.Minute), Input{Call: lifecycle.Call{RunID: "r1", Redrives: new(int)}})
					if test.expires && err != nil {
						namedtest.Want(t, err, "RunTimedOut", r.TaskID)
						if task.Status != cyberun.StatusCancelled {
							t.Errorf("%d: the task is %s", status, task.Status)
						}
						break
					}
					if err != nil || polls > 2000 {
						t.Errorf("%d: poll %d ends as %v", status, polls, err)
						break
					}
					if out.Done {
						break
					}
					w.Now = w.Now.Add(time.Duration(out.WaitSeconds) * time.Second)
					if test.expires {
						w.Now = r.Deadline()
					}
				}
				if met == 0 {
					t.Errorf("%d: no such call came", status)
				}
				if len(w.Cyberun.Paid("r1")) != 1 || !test.expires && task.Status != cyberun.StatusCompleted {
					t.Errorf("%d: paid %v, the task is %s", status, w.Cyberun.Paid("r1"), task.Status)
				}
			}
		})
	}
}
