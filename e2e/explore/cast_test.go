package explore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/doubt"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// scene is what a search begins with: a world and its actors.
type scene struct {
	*world
	actors []*actor
}

func newScene() *scene { return &scene{world: &world{now: began}} }

// request is what every run of the scenarios asks for.
const request = `{"workflow":"w","parameters":{}}`

// Where calls stand that began before the search.
const (
	reading    = "GetObject state/runs/"
	marking    = "PutObject state/submitting/"
	posting    = "POST run"
	accepting  = "PutObject state/runs/" // the receipt in hand
	delivering = "PutObject state/manifests/"
	closing    = "PutObject " + outputBucket + "/"
)

// ---- what worlds begin with

// witness is a task of the workflow that the stack has had an hour ago.
func (s *scene) witness() {
	created := began.Add(-time.Hour)
	s.tasks = append(s.tasks, task{id: "t1-r0", owner: "r0", ended: cyberun.StatusCompleted, created: created})
	r := run.Record{RunID: "r0", Workflow: workflowRef, WorkflowID: workflowID, TaskID: "t1-r0", Evidence: run.ByReceipt,
		Submission: &run.Submission{MarkedAt: created.Add(-time.Second), PostUntil: created.Add(24 * time.Second)}}
	seen := cyberun.Task{ID: "t1-r0", WorkflowID: workflowID, Status: cyberun.StatusCompleted, CreatedAt: cyberun.Time{Time: created}}
	if err := doubt.RecordTaskEnd(context.Background(), alone(s.world, "r0").runs().Store, r, seen); err != nil {
		panic(err)
	}
	body, _ := json.Marshal(run.Ownership{StartedBy: "r0", Evidence: run.ByReceipt, DeliveredBy: "r0"})
	s.set(stateBucket, "tasks/t1-r0", content(body))
}

// stranger is somebody outside the stack who starts a task while a submission is
// under way.
func (s *scene) stranger() {
	s.tasks = append(s.tasks, task{id: fmt.Sprintf("t%d-stranger", len(s.tasks)+1), owner: "stranger", created: began.Add(5 * time.Second)})
}

// waiting is a run whose task runs, and whose execution stands at a state.
func (s *scene) waiting(id, at string) {
	s.start(id, request)
	alone(s.world, id).drive("PollStatus")
	s.now = s.now.Add(2 * time.Second)
	if at == "CopyResult" {
		alone(s.world, id).drive(at)
	}
	s.exec(id).at = at
}

// refused is the end of an execution whose key was revoked.
func (s *scene) refused(id string) {
	s.end(id, executions.Failed, *named.Errorf(named.Unauthorized, "the key is refused"))
}

// failedWaiting is a run that failed while it waited, and is not closed yet.
func (s *scene) failedWaiting(id string) {
	s.waiting(id, "PollStatus")
	s.refused(id)
}

// gaveUp ends an execution as ten deaths in a row do. A late call of it lives on,
// and does not ask Step Functions: whether it began before that makes no difference.
func (s *scene) gaveUp(id string) {
	s.end(id, executions.Failed, *named.Errorf(named.Unavailable, "ten deaths"))
}

// lostReply is a run whose POST was answered to nobody, and whose execution has
// ended in doubt, not closed yet; lostRequest one whose POST never arrived.
func (s *scene) lostReply(id string)   { s.lost(id, lostReply) }
func (s *scene) lostRequest(id string) { s.lost(id, lostRequest) }

// refusedPost is a run whose POST was refused, and whose execution has ended.
func (s *scene) refusedPost(id string) {
	s.start(id, request)
	u := alone(s.world, id)
	u.refused = true
	_ = u.callSubmit(0)
	s.refused(id)
}

// lost has a run's POST lost. The POSTs of several runs are under way at once: none of
// them knows of another one's doubt yet.
func (s *scene) lost(id string, how fate) {
	doubts := map[string]storetest.Object{}
	for _, key := range s.keys(stateBucket, "doubt/") {
		doubts[key], _ = s.object(stateBucket, key)
		s.remove(stateBucket, key)
	}
	s.start(id, request)
	u := alone(s.world, id)
	u.fate = how
	_ = u.callSubmit(0)
	for key, o := range doubts {
		s.put(stateBucket, key, o)
	}
	s.refused(id)
}

// closed closes a run that has ended, and lets its doubt be old.
func (s *scene) closed(id string) {
	for _, e := range s.events {
		if e.id == id {
			alone(s.world, id).deliverEvent(e)
		}
	}
	s.now = s.now.Add(time.Hour)
}

// ---- who takes part

func (s *scene) add(name, owner string, body func(*universe)) *actor {
	a := &actor{name: name, index: len(s.actors), owner: owner, mortal: true, body: body}
	s.actors = append(s.actors, a)
	return a
}

// from lets an actor go on alone before the search, until it is about to do what is
// named, one after the other.
func (a *actor) from(ops ...string) { a.warm = ops }

// when lets an actor start only once that is so.
func (a *actor) when(enabled func(*world) bool) *actor {
	a.enabled = enabled
	return a
}

// spared keeps faults from an actor.
func (a *actor) spared() *actor {
	a.mortal = false
	return a
}

// machine is the state machine of an execution that runs.
func (s *scene) machine(id, until string) *actor {
	return s.add("machine:"+id, id, func(u *universe) { u.drive(until) })
}

// late is a call of Submit that Step Functions gave up on, and that lives on: it
// takes its time.
func (s *scene) late(id string) *actor {
	a := s.add("late:"+id, id, func(u *universe) { _ = u.callSubmit(0) })
	a.slow = true
	return a
}

// lateCopy is the same of CopyResult.
func (s *scene) lateCopy(id string) *actor {
	a := s.add("late:"+id, id, func(u *universe) { _, _ = u.invoke(0) })
	a.slow = true
	return a
}

// person sends a DELETE.
func (s *scene) person(id string) *actor { return s.add("DELETE", id, (*universe).stop) }

// decision is a person's decision on a run in doubt.
func (s *scene) decision(id, decision string) *actor {
	return s.add(fmt.Sprintf("person:%d", len(s.actors)), id, func(u *universe) { u.decide(decision) })
}

// event is EventBridge's first event of an execution.
func (s *scene) event(id string) *actor {
	return s.add(fmt.Sprintf("event:%d", len(s.actors)), id, func(u *universe) { u.deliverEvent(u.execution().event) }).
		when(func(w *world) bool { return w.event(id, 0) != nil })
}

func (s *scene) sweeper() *actor {
	return s.add(fmt.Sprintf("sweep:%d", len(s.actors)), "", func(u *universe) { _ = u.sweep() })
}

// redriver redrives an execution once it has ended.
func (s *scene) redriver(id, until string) *actor {
	return s.redriverNow(id, until).when(func(w *world) bool { return w.ended(id) })
}

// redriverNow redrives an execution that has ended before the search.
func (s *scene) redriverNow(id, until string) *actor {
	return s.add("redrive:"+id, id, func(u *universe) { u.redrive(until) })
}

// rescuer is another run that rescues a task.
func (s *scene) rescuer(id, taskID string) *actor {
	s.start(id, fmt.Sprintf(`{"task_id":%q}`, taskID))
	return s.machine(id, "PollStatus")
}
