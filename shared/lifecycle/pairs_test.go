package lifecycle

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// TestPairs has every actor meet every other one, in every situation in which
// the first may begin: the first is held up before each of its calls to S3,
// Cyberun and Step Functions in turn, the second does all that it does, the first
// goes on. The other order is the pair turned round. watch holds what must be
// true after every write, judge what must be true once all has come to rest.
func TestPairs(t *testing.T) {
	var meetings atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d ordered pairs of actors, %d meetings", len(actors)*len(actors), meetings.Load())
		if !t.Failed() && meetings.Load() < 10_000/stride {
			t.Errorf("%d meetings: most of what there is to see was not seen", meetings.Load())
		}
	})
	for _, a := range actors {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			for _, b := range actors {
				for _, from := range a.from {
					for at, met := 1, true; met; at += stride {
						p := newPair(t, from)
						p.at, p.second = at, func() { b.act(p) }
						p.name = fmt.Sprintf("%s: held up before its call %d by %s", from, at, b.name)
						p.acting = true
						a.act(p)
						p.acting = false
						if met = p.seams >= at; !met { // it came to its end: one after the other
							b.act(p)
						}
						meetings.Add(1)
						p.rest()
						p.judge()
					}
				}
			}
		})
	}
}

// situations are where the run r1 may stand when two actors meet. The task that
// its POST started, if there is one, is t1.
var situations = map[string]func(p *pair){
	"no record":  func(*pair) {},
	"submitting": func(p *pair) { p.begin("r1", 0) },
	"in doubt, started": func(p *pair) {
		p.marked = p.doubt("r1")
		p.post("r1")
	},
	"in doubt, not started": func(p *pair) { p.doubt("r1") },
	"waiting":               func(p *pair) { p.submit("r1") },
	"stopping": func(p *pair) {
		p.submit("r1")
		_, _, err := p.runs.Stop(p.t.Context(), "r1", p.executions["r1"], outputBucket, "")
		p.allowed(err)
	},
	"copying": func(p *pair) {
		p.submit("r1")
		_, err := p.runs.StartCopy(p.t.Context(), p.get("r1"))
		p.allowed(err)
	},
	"delivering": func(p *pair) { // the call died before it wrote the manifest
		p.submit("r1")
		p.dies = "PutObject " + outputBucket
		p.deliver("r1")
		p.dies = ""
	},
	"failed": func(p *pair) {
		p.submit("r1")
		p.ends("r1", executions.Failed, named.Unavailable)
	},
	"failed in doubt, started": func(p *pair) {
		p.marked = p.doubt("r1")
		p.post("r1")
		p.ends("r1", executions.Failed, named.SubmitOutcomeUnknown)
	},
	"failed in doubt, not started": func(p *pair) {
		p.doubt("r1")
		p.ends("r1", executions.Failed, named.SubmitOutcomeUnknown)
	},
	"stopped in doubt": func(p *pair) {
		p.marked = p.doubt("r1")
		p.post("r1")
		p.ends("r1", executions.Aborted, "")
	},
	"stopped": func(p *pair) {
		p.submit("r1")
		p.ends("r1", executions.Aborted, "")
	},
	"succeeded": func(p *pair) {
		p.submit("r1")
		p.deliver("r1")
	},
}

var (
	openOnes = []string{"no record", "submitting", "in doubt, started", "in doubt, not started", "waiting", "stopping", "copying", "delivering"}
	doubted  = []string{"failed in doubt, started", "failed in doubt, not started"}
	closed   = append([]string{"failed", "stopped in doubt", "stopped"}, doubted...)
	all      = append(append([]string{"succeeded"}, openOnes...), closed...)
)

// actors are all who change what the state bucket holds of a run, as the handlers
// call the verbs: each begins in some situations, and may be met in any.
var actors = []struct {
	name string
	from []string
	act  func(p *pair)
}{
	{"create", openOnes, func(p *pair) {
		_, err := p.runs.Begin(p.t.Context(), p.call("r1"), p.request(), outputBucket, "")
		p.allowed(err)
	}},
	// With a record that is in doubt it adopts what the POST started, or submits again.
	{"submit", openOnes, func(p *pair) { p.submit("r1") }},
	{"a submit whose reply is lost", []string{"no record", "submitting"}, func(p *pair) {
		r, err := p.runs.Begin(p.t.Context(), p.call("r1"), p.request(), outputBucket, "")
		if p.allowed(err) && r.TaskID == "" && !r.InDoubt() {
			if r, err = p.mark(r); p.allowed(err) {
				p.post("r1")
				p.allowed(p.runs.AnnounceDoubt(p.t.Context(), r.Record))
			}
		}
	}},
	{"a late receipt", []string{"in doubt, started", "failed in doubt, started", "stopped in doubt"}, func(p *pair) {
		if p.marked.RunID != "" {
			p.accept(p.marked, "t1")
		}
	}},
	{"a doubt that gives up", []string{"in doubt, started", "in doubt, not started"}, func(p *pair) {
		r, err := p.runs.Begin(p.t.Context(), p.call("r1"), p.request(), outputBucket, "")
		if !p.allowed(err) || !r.InDoubt() {
			return
		}
		if err = p.runs.LeaveToPerson(p.t.Context(), r, p.candidates("r1")); p.allowed(err) {
			p.stopsAt("r1", executions.Failed, named.SubmitOutcomeUnknown)
		}
	}},
	{"redrive and submit", append([]string{"waiting"}, closed...), func(p *pair) {
		p.redrive("r1")
		p.submit("r1")
	}},
	{"redrive and copy", []string{"failed", "stopped", "delivering"}, func(p *pair) {
		p.redrive("r1")
		p.deliver("r1")
	}},
	{"rescue", append([]string{"waiting", "copying", "delivering", "stopping"}, closed...), func(p *pair) { p.rescue() }},
	{"DELETE", all, func(p *pair) { p.stop(false) }},
	{"DELETE that stops first", all, func(p *pair) { p.stop(true) }},
	{"copy and deliver", []string{"waiting", "stopping", "copying", "delivering", "failed", "stopped", "succeeded"}, func(p *pair) { p.deliver("r1") }},
	{"a failure and its close", all, func(p *pair) { p.ends("r1", executions.Failed, named.Unavailable) }},
	{"the deadline and its close", all, func(p *pair) { p.ends("r1", executions.Failed, named.RunTimedOut) }},
	{"StopExecution and its close", all, func(p *pair) { p.ends("r1", executions.Aborted, "") }},
	{"an event again", closed, func(p *pair) { p.closeEvent(p.executions["r1"]) }},
	{"sweep", all, func(p *pair) { p.sweep() }},
	{"a person names the task", doubted, func(p *pair) {
		if tasks := p.begun["r1"]; len(tasks) > 0 {
			p.decide(run.Decision{TaskID: tasks[0], DecidedBy: "a person"})
		}
	}},
	{"a person says not started", doubted, func(p *pair) {
		if len(p.begun["r1"]) == 0 {
			p.decide(run.Decision{NotStarted: true, DecidedBy: "a person"})
		}
	}},
}

// ---- what the actors are made of

// call is a step's, in the life in which the execution is.
func (p *pair) call(id string) Call { return call(id, p.executions[id].Redrives) }

func (p *pair) mark(r Run) (Run, error) {
	p.attempts++
	return p.runs.Mark(p.t.Context(), r, "wf-1", p.submission(fmt.Sprint("a", p.attempts)))
}

// post is Cyberun's part: a task begins.
func (p *pair) post(id string) (taskID string) {
	p.posted++
	taskID = fmt.Sprint("t", p.posted)
	p.tasks[taskID] = cyberun.StatusRunning
	p.begun[id] = append(p.begun[id], taskID)
	return taskID
}

func (p *pair) accept(r Run, taskID string) (Run, error) {
	r, err := p.runs.Accept(p.t.Context(), r, taskID)
	if err != nil {
		p.errorf("the receipt of %s is refused: %v", taskID, err)
	}
	p.receipts = append(p.receipts, taskID)
	return r, err
}

// submit is the step Submit, with a task list that tells the truth.
func (p *pair) submit(id string) (done bool, err error) {
	ctx := p.t.Context()
	r, err := p.runs.Begin(ctx, p.call(id), p.request(), outputBucket, "")
	if err == nil && r.TaskID == "" && r.InDoubt() {
		taskID := ""
		if tasks := p.begun[id]; len(tasks) > 0 {
			taskID = tasks[len(tasks)-1]
		}
		if d := r.Decision; d != nil && d.AttemptID == r.Submission.AttemptID {
			taskID = d.TaskID
		}
		if taskID == "" {
			r, err = p.runs.NotStarted(ctx, r)
		} else if r, err = p.runs.AttachTask(ctx, r, taskID); err != nil && strings.Contains(err.Error(), "was found to be the run") {
			p.errorf("%v", err)
		}
	}
	if err == nil && r.TaskID == "" && !r.InDoubt() {
		if r, err = p.mark(r); err == nil {
			if r, err = p.accept(r, p.post(id)); err == nil {
				r, err = p.runs.Reread(ctx, r)
			}
		}
	} else if err == nil && r.TaskID != "" {
		r, err = p.runs.CompleteSubmission(ctx, r)
	}
	return p.allowed(err) && r.TaskID != "", err
}

// deliver is the step CopyResult, of a task that has completed.
func (p *pair) deliver(id string) (done bool, err error) {
	ctx := p.t.Context()
	r, err := p.runs.Continue(ctx, p.call(id))
	if err == nil && r.Status != run.Succeeded {
		if p.tasks[r.TaskID] == cyberun.StatusRunning {
			p.tasks[r.TaskID] = cyberun.StatusCompleted
		}
		if p.tasks[r.TaskID] != cyberun.StatusCompleted {
			return false, named.Errorf(named.TaskCancelled, "the task %q of %s is %s", r.TaskID, id, p.tasks[r.TaskID])
		}
		if r, err = p.runs.StartCopy(ctx, r); err == nil && r.Status != run.Succeeded {
			r, err = p.runs.Deliver(ctx, r, manifestOf(r))
		}
	}
	if done = p.allowed(err) && r.Status == run.Succeeded; done {
		p.stopsAt(id, executions.Succeeded, "")
	}
	return done, err
}

// rescue is the submit step of another run, r2, that wants t1.
func (p *pair) rescue() (done bool, err error) {
	if _, there := p.executions["r2"]; !there {
		p.execution("r2", executions.Running, 0, "", "")
	}
	if _, exists := p.tasks["t1"]; !exists {
		return false, nil
	}
	r, err := p.runs.Begin(p.t.Context(), p.call("r2"), p.request(), outputBucket, "")
	if err == nil && r.TaskID == "" {
		r, err = p.runs.RescueTask(p.t.Context(), r, "t1", "text-to-image")
	} else if err == nil {
		r, err = p.runs.CompleteSubmission(p.t.Context(), r)
	}
	if e, ok := named.As(err); ok && !p.allowed(err) {
		p.stopsAt("r2", executions.Failed, e.Name)
	}
	return err == nil && r.TaskID != "", err
}

// stop is DELETE /runs/r1: the request to stop, then the cancel and the stop side by side.
func (p *pair) stop(executionFirst bool) {
	ctx := p.t.Context()
	r, effects, err := p.runs.Stop(ctx, "r1", executions.Execution{}, outputBucket, "")
	if err == ErrNoRecord || err == nil && r.Status == run.Failed {
		e, _ := p.runs.Executions.Describe(ctx, arnPrefix+"r1")
		if r, effects, err = p.runs.Stop(ctx, "r1", e, outputBucket, ""); err == ErrNoRecord {
			return
		}
	}
	if !p.allowed(err) {
		return
	}
	stopExecution := func() {
		if effects&MustStopExecution != 0 {
			p.pause()
			p.stopsAt("r1", executions.Aborted, "")
		}
	}
	if executionFirst {
		stopExecution()
	}
	if effects&MustCancelTask != 0 {
		_, _, err := p.runs.StopCancel(ctx, r)
		p.allowed(err)
	}
	if !executionFirst {
		stopExecution()
	}
}

// decide is POST /runs/r1/outcome, and the redriven step.
func (p *pair) decide(decision run.Decision) {
	r, err := p.runs.DecideOutcome(p.t.Context(), "r1", decision, nil)
	if p.allowed(err) && r.Status == run.Failed && r.InDoubt() {
		p.redrive("r1")
		p.submit("r1")
	}
}

func (p *pair) redrive(id string) {
	p.pause()
	if e := p.executions[id]; e.Status.Unsuccessful() {
		p.execution(id, executions.Running, e.Redrives+1, "", "")
	}
}
