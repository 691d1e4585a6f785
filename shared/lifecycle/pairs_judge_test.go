package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// pair is the world in which two actors meet.
type pair struct {
	*world
	name   string
	acting bool   // the first is at work, and not held up
	seams  int    // its calls so far
	at     int    // the call that it is held up before
	second func() // who comes then
	dies   string // calls that begin so end the call of whoever makes them

	marked           Run // of the call whose POST is under way
	attempts, posted int
	begun            map[string][]string // the tasks that each run's POSTs started
	receipts         []string            // the tasks of which a receipt was taken

	records    map[string]run.Record // as last seen
	ownerships map[string]run.Ownership
}

func newPair(t *testing.T, from string) *pair {
	p := &pair{
		world: newWorld(t), name: from, attempts: 1, begun: map[string][]string{},
		records: map[string]run.Record{}, ownerships: map[string]run.Ownership{},
	}
	p.around = func(call string, do func() error) error {
		if p.dies != "" && strings.HasPrefix(call, p.dies) {
			return errReset
		}
		p.pause()
		if !strings.HasPrefix(call, "PutObject "+stateBucket) {
			return do()
		}
		defer p.watch()
		return do()
	}
	p.runs.Cyberun = fakeCyberun{
		task:   func(ctx context.Context, id string) (cyberun.Task, error) { p.pause(); return p.task(ctx, id) },
		cancel: func(ctx context.Context, id string) error { p.pause(); return p.cancel(ctx, id) },
	}
	p.runs.Executions = fakeExecutions{describe: func(arn string) (executions.Execution, error) { p.pause(); return p.describe(arn) }}
	p.execution("r1", executions.Running, 0, "", "")
	situations[from](p)
	return p
}

func (p *pair) errorf(format string, args ...any) {
	p.t.Helper()
	p.t.Errorf("%s: %s", p.name, fmt.Sprintf(format, args...))
}

// pause lets the second actor in before the call at which the first is held up.
func (p *pair) pause() {
	if !p.acting {
		return
	}
	if p.seams++; p.seams == p.at {
		p.acting = false
		p.second()
		p.acting = true
	}
}

// allowed reports that a verb did its work. A refusal under a name is an answer
// as well; anything else is none.
func (p *pair) allowed(err error) bool {
	p.t.Helper()
	if err == nil {
		return true
	}
	if _, ok := named.As(err); !ok && !errors.Is(err, ErrNoRecord) {
		p.errorf("an error without a name: %v", err)
	}
	return false
}

func (p *pair) candidates(id string) (list []run.Candidate) {
	for _, taskID := range p.begun[id] {
		list = append(list, run.Candidate{TaskID: taskID, CreatedAt: began, TaskStatus: string(p.tasks[taskID])})
	}
	return list
}

// stopsAt ends a running execution, for whom a step or a person ended it.
func (p *pair) stopsAt(id string, state executions.Status, name string) executions.Execution {
	e := p.executions[id]
	if e.Status == executions.Running {
		e = p.execution(id, state, e.Redrives, name, "x")
	}
	return e
}

// ends ends a running execution, and has close-run hear of it.
func (p *pair) ends(id string, state executions.Status, name string) {
	p.closeEvent(p.stopsAt(id, state, name))
}

// closeEvent is what close-run does for an event, and for each run in a sweep.
func (p *pair) closeEvent(event executions.Execution) {
	ctx := p.t.Context()
	e, sure, ended, err := p.close.Ended(ctx, event)
	if !p.allowed(err) {
		return
	}
	if !ended {
		p.allowed(p.close.RepairError(ctx, event.Name))
		return
	}
	if _, err = p.close.Close(ctx, e, sure); !p.allowed(err) {
		return
	}
	r, err := p.close.Get(ctx, e.Name)
	if p.allowed(err) && !r.Status.Open() && r.InDoubt() && r.CandidatesAt.IsZero() {
		p.allowed(p.close.NameCandidates(ctx, r, p.candidates(e.Name)))
	}
}

func (p *pair) sweep() {
	for _, id := range []string{"r1", "r2"} {
		e, there := p.executions[id]
		if !there || !e.Status.Unsuccessful() {
			continue
		}
		if due, err := p.close.DueOf(p.t.Context(), e); p.allowed(err) && due != NothingDue {
			p.closeEvent(e)
		}
	}
}

// watch holds what no write may do: each record and ownership against what it was.
func (p *pair) watch() {
	for _, id := range []string{"r1", "r2"} {
		var now run.Record
		if !p.read(recordKey(id), &now) {
			continue
		}
		before, known := p.records[id]
		p.records[id] = now
		if !known || before.WriteID == now.WriteID {
			continue
		}
		forgot := func(what string, lost bool) {
			if lost {
				p.errorf("%s: %s:\n%+v\n%+v", id, what, before, now)
			}
		}
		forgot("its life went back", now.Life < before.Life)
		forgot("it was closed and is open without a redrive", !before.Status.Open() && now.Status.Open() && now.Life == before.Life)
		forgot("what succeeded or was stopped is that no more", (before.Status == run.Succeeded || before.Status == run.Cancelled) && now.Status != before.Status)
		forgot("past its point of no return it was stopped", before.Status == run.Delivering && now.Status == run.Cancelled)
		forgot("it was stopped, and is delivered", before.Status.Open() && before.WasStopped() && before.Status != run.Delivering && now.Status == run.Delivering)
		forgot("its stop is forgotten", !before.StopRequestedAt.IsZero() && now.StopRequestedAt.IsZero())
		forgot("its task is another", before.TaskID != "" && now.TaskID != before.TaskID)
		forgot("who started its task is known less surely", before.TaskID != "" && before.Evidence.StrongerThan(now.Evidence))
		forgot("an extra task is forgotten", len(now.ExtraTasks) < len(before.ExtraTasks))
		forgot("an accepted cancel is forgotten", before.Cancel != nil && !before.Cancel.AcceptedAt.IsZero() && (now.Cancel == nil || now.Cancel.AcceptedAt.IsZero()))
		forgot("its submission is forgotten, and it started a task", before.InDoubt() && now.TaskID == "" && now.Submission == nil && len(p.begun[id]) > 0)
		forgot("another decision of a person stands", before.Decision != nil && now.Decision != nil && !now.Decision.Same(*before.Decision))
	}
	for taskID := range p.tasks {
		var now run.Ownership
		if !p.read(ownershipKey(taskID), &now) {
			continue
		}
		before, known := p.ownerships[taskID]
		p.ownerships[taskID] = now
		if known && (before.Evidence.StrongerThan(now.Evidence) || before.Evidence == now.Evidence && before.StartedBy != now.StartedBy || before.DeliveredBy != "" && now.DeliveredBy == "") {
			p.errorf("the ownership of %s was %+v and is %+v", taskID, before, now)
		}
		// One that was redriven may have come back between a rescue's look and its write:
		// two deliverers do no harm.
		by := p.records[before.DeliveredBy]
		if e := p.executions[before.DeliveredBy]; now.DeliveredBy != before.DeliveredBy && by.Status.Open() && by.TaskID == taskID && e.Status == executions.Running && e.Redrives == 0 {
			p.errorf("%s is %s's to deliver no more, and that run lives", taskID, before.DeliveredBy)
		}
	}
}

func (p *pair) read(key string, v any) bool {
	o, there := p.s3.Object(stateBucket, key)
	if there && json.Unmarshal(o.Body, v) != nil {
		p.errorf("%s cannot be read: %s", key, o.Body)
	}
	return there
}

// rest is what follows when nobody is held up any more: executions that run are
// driven on to an end, then close-run hears of every end twice, then it sweeps.
func (p *pair) rest() {
	p.advance(time.Minute)
	for id, steps := range map[string][]func() (bool, error){
		"r1": {func() (bool, error) { return p.submit("r1") }, func() (bool, error) { return p.deliver("r1") }},
		"r2": {p.rescue, func() (bool, error) { return p.deliver("r2") }},
	} {
		for _, step := range steps {
			for tries := 0; p.executions[id].Status == executions.Running; tries++ {
				done, err := step()
				if done {
					break
				}
				e, _ := named.As(err)
				if tries > 3 || e != nil && e.Name != named.Unavailable && e.Name != named.SubmitInDoubt {
					if e == nil {
						e = named.Errorf(named.Unavailable, "%v", err)
					}
					p.stopsAt(id, executions.Failed, e.Name)
				}
			}
		}
	}
	for range 2 {
		for _, id := range []string{"r1", "r2"} {
			if e := p.executions[id]; e.Status.Unsuccessful() {
				p.closeEvent(e)
			}
		}
	}
	p.sweep()
}

// judge holds what must be true at a run's end.
func (p *pair) judge() {
	delivered := map[string][]string{}
	for _, id := range []string{"r1", "r2"} {
		e, there := p.executions[id]
		if !there {
			continue
		}
		r, known := p.records[id]
		switch {
		case !known:
			p.errorf("%s has no record", id)
			continue
		case e.Status == executions.Running || r.Status.Open():
			p.errorf("%s is %s, and its execution %s", id, r.Status, e.Status)
			continue
		case e.Status == executions.Succeeded && r.Status != run.Succeeded:
			p.errorf("%s is %s, and its execution succeeded", id, r.Status)
		}
		p.judgeDocuments(id, r)
		if r.Status == run.Succeeded {
			delivered[r.TaskID] = append(delivered[r.TaskID], id)
		}
		if len(p.begun[id]) > 1 {
			p.errorf("%s paid for %v", id, p.begun[id])
		}
		if r.Status == run.Cancelled || r.Status == run.Failed && r.Error != nil && r.Error.Name == named.RunTimedOut {
			p.judgeCancel(id, r)
		}
		if r.CleanUpDue {
			p.errorf("%s is closed and not settled: %+v", id, r)
		}
		if left := p.keys(markersOf("wf-1", id)); len(left) > 0 && !r.InDoubt() && r.WorkflowID != "" {
			p.errorf("%s is closed, not in doubt, and leaves %v", id, left)
		}
	}
	for _, taskID := range p.receipts {
		r, o := p.records["r1"], p.ownerships[taskID]
		extra := slices.ContainsFunc(r.ExtraTasks, func(x run.ExtraTask) bool { return x.TaskID == taskID })
		if (r.TaskID != taskID || r.Evidence != run.ByReceipt) && !extra || o.StartedBy != "r1" || o.Evidence != run.ByReceipt {
			p.errorf("the receipt of %s is lost: %+v, %+v", taskID, r, o)
		}
	}
	for taskID, by := range delivered {
		if o := p.ownerships[taskID]; !slices.Contains(by, o.DeliveredBy) {
			p.errorf("%s is delivered by %v, its ownership says %+v", taskID, by, o)
		}
	}
}

// judgeDocuments: a manifest or an error.json, as the record says, never both.
func (p *pair) judgeDocuments(id string, r run.Record) {
	_, manifest := p.s3.Object(outputBucket, r.KeyPrefix()+run.ManifestName)
	raw, failure := p.s3.Object(outputBucket, r.KeyPrefix()+run.ErrorName)
	if manifest != (r.Status == run.Succeeded) || failure == manifest {
		p.errorf("%s is %s with manifest %v, error.json %v", id, r.Status, manifest, failure)
		return
	}
	var said run.Failure
	if failure && (json.Unmarshal(raw.Body, &said) != nil || said.Error == nil || r.Error == nil || said.Error.Name != r.Error.Name || said.TaskID != r.TaskID) {
		p.errorf("%s: error.json says %s, the record %+v", id, raw.Body, r)
	}
}

// judgeCancel: what a run that is stopped, or out of time, paid for is cancelled, or
// it is named to whoever asks.
func (p *pair) judgeCancel(id string, r run.Record) {
	raw, _ := p.s3.Object(outputBucket, r.KeyPrefix()+run.ErrorName)
	record, _ := json.Marshal(r)
	for _, taskID := range p.begun[id] {
		if p.tasks[taskID] == cyberun.StatusCancelled {
			continue
		}
		if !strings.Contains(string(raw.Body), taskID) || !strings.Contains(string(record), taskID) {
			p.errorf("%s is %s, its task %s is %s and is not named: %+v", id, r.Status, taskID, p.tasks[taskID], r)
		}
		if p.ownerships[taskID].MayCancel(id) && p.tasks[taskID] == cyberun.StatusRunning {
			p.errorf("%s is %s, and its task %s runs on: %+v", id, r.Status, taskID, r)
		}
	}
}
