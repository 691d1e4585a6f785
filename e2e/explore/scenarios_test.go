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
)

// tooMany is the bound of scenarios whose states take minutes with one fault.
const tooMany = 40_000

// scenarios, the eight that matter most first: those run in `make test`.
var scenarios = []scenario{
	{name: "submit twice", build: func(faults int) *universe {
		u := withWitness(faults)
		u.start("r1", request)
		u.machine("r1", "PollStatus")
		u.late("r1")
		return u
	}},
	{name: "close beside a redrive", build: func(faults int) *universe {
		u := withWitness(faults)
		u.lostReply("r1")
		u.event("r1", 0)
		u.warm(closing)
		u.redriverNow("r1", "PollStatus")
		return u
	}},
	{name: "two runs, one lost reply", build: func(faults int) *universe {
		u := withWitness(faults)
		u.lostReply("r1")
		u.redriverNow("r1", "PollStatus")
		u.warm(reading)
		u.start("r2", request)
		u.machine("r2", "PollStatus")
		return u
	}},
	{name: "two runs, two lost replies", build: func(faults int) *universe {
		u := withWitness(faults)
		u.lostReply("r1")
		u.lostReply("r2")
		u.redriverNow("r1", "PollStatus")
		u.warm(reading)
		u.redriverNow("r2", "PollStatus")
		return u
	}},
	{name: "manifest beside a stop", build: func(faults int) *universe {
		u := withWitness(faults)
		u.runFor = time.Second
		u.waiting("r1", "CopyResult")
		u.machine("r1", "")
		u.person("r1")
		u.event("r1", 0)
		return u
	}},
	{name: "a person's word twice, beside a redrive", build: func(faults int) *universe {
		u := newUniverse(faults)
		u.lostRequest("r1")
		u.closed("r1")
		u.add("person 1", "r1", true, nil, func() { u.decide("r1", `{"not_started":true}`) })
		u.add("person 2", "r1", true, nil, func() { u.decide("r1", `{"not_started":true}`) })
		u.redriver("r1", "PollStatus")
		return u
	}},
	{name: "submit twice, stop and close", build: func(faults int) *universe {
		u := withWitness(faults)
		u.start("r1", request)
		u.machine("r1", "PollStatus")
		u.person("r1")
		u.event("r1", 0)
		return u
	}},
	{name: "a late call of an ended life beside a close", build: func(faults int) *universe {
		u := withWitness(faults)
		u.start("r1", request)
		u.gaveUp("r1")
		u.late("r1")
		u.warm(posting)
		u.event("r1", 0)
		return u
	}},
	{name: "submit twice, stop", bounded: tooMany, build: func(faults int) *universe {
		u := withWitness(faults)
		u.start("r1", request)
		u.machine("r1", "PollStatus")
		u.warm(marking)
		u.late("r1")
		u.warm(posting)
		u.person("r1")
		return u
	}},
	{name: "rescue, doubt and redrive", bounded: tooMany, build: func(faults int) *universe {
		u := withWitness(faults)
		u.lostReply("r1")
		u.event("r1", 0)
		u.warm(closing)
		u.rescuer("r5", "t2-r1", func() bool { return u.execs["r1"].state.Ended() })
		u.redriver("r1", "PollStatus")
		return u
	}},
	{name: "late receipt beside a redrive", bounded: tooMany, build: func(faults int) *universe {
		u := withWitness(faults)
		u.start("r1", request)
		u.gaveUp("r1")
		u.late("r1")
		u.warm(posting, accepting)
		u.event("r1", 0)
		u.warm(closing)
		u.redriver("r1", "PollStatus")
		return u
	}},
	{name: "two runs, a request and a reply lost", build: func(faults int) *universe {
		u := withWitness(faults)
		u.lostRequest("r1")
		u.lostReply("r2")
		u.redriverNow("r1", "PollStatus")
		u.warm(reading)
		u.redriverNow("r2", "PollStatus")
		return u
	}},
	{name: "close beside a redrive, DELETE", build: func(faults int) *universe {
		u := withWitness(faults)
		u.failedWaiting("r1")
		u.event("r1", 0)
		u.redriver("r1", "PollStatus")
		u.person("r1")
		return u
	}},
	{name: "rescue beside a close", build: func(faults int) *universe {
		u := withWitness(faults)
		u.failedWaiting("r1")
		u.event("r1", 0)
		u.event("r1", 0) // delivered twice
		u.rescuer("r5", "t2-r1", nil)
		return u
	}},
	{name: "manifest beside a redrive", bounded: tooMany, build: func(faults int) *universe {
		u := withWitness(faults)
		u.runFor = time.Second
		u.waiting("r1", "CopyResult")
		u.gaveUp("r1")
		u.lateCopy("r1")
		u.warm(delivering)
		u.event("r1", 0)
		u.warm(closing)
		u.redriver("r1", "")
		return u
	}},
	{name: "sweep beside a redrive", lostEvents: true, build: func(faults int) *universe {
		u := withWitness(faults)
		u.lostReply("r1")
		u.sweeper()
		u.redriverNow("r1", "PollStatus")
		return u
	}},
	{name: "no record, sweep", lostEvents: true, build: func(faults int) *universe {
		u := withWitness(faults)
		u.start("r1", request)
		u.gaveUp("r1")
		u.late("r1")
		u.sweeper()
		return u
	}},
	{name: "ExecutionDoesNotExist beside a step", build: func(faults int) *universe {
		u := withWitness(faults)
		u.add("start", "r1", true, nil, func() { _ = machine{u}.Start(context.Background(), "r1", request) })
		u.add("machine:r1", "r1", true, func() bool { return u.execs["r1"] != nil }, func() { u.drive("r1", "PollStatus") })
		u.person("r1")
		u.event("r1", 0)
		return u
	}},
	{name: "park, webhook and stop", build: func(faults int) *universe {
		u := withWitness(faults)
		u.runFor = 10 * time.Second
		u.waiting("r1", "PollStatus")
		u.token["webhooks are on"] = true
		u.machine("r1", "CopyResult")
		u.add("webhook", "r1", true, nil, func() { u.webhook("t2-r1") })
		u.person("r1")
		return u
	}},
	{name: "submit twice, stop and close, a late call", build: func(faults int) *universe {
		u := withWitness(faults)
		u.start("r1", request)
		u.machine("r1", "PollStatus")
		u.warm(posting)
		u.late("r1")
		u.warm(posting)
		u.person("r1")
		u.event("r1", 0)
		return u
	}},
	{name: "an event twice, beside a late call", bounded: tooMany, build: func(faults int) *universe {
		u := withWitness(faults)
		u.start("r1", request)
		u.gaveUp("r1")
		u.late("r1")
		u.warm(posting, accepting)
		u.event("r1", 0)
		u.warm(closing)
		u.spared() // the other one is the same, and is not
		u.event("r1", 0)
		u.warm(closing)
		return u
	}},
	{name: "a stranger's task, absent-only", bounded: tooMany, build: func(faults int) *universe {
		u := withWitness(faults)
		u.inDoubt = "absent-only"
		u.lostRequest("r1")
		u.stranger()
		u.event("r1", 0)
		u.warm(closing)
		u.redriverNow("r1", "PollStatus")
		u.person("r1")
		return u
	}},
	{name: "a stranger's task, stop", bounded: tooMany, build: func(faults int) *universe {
		u := withWitness(faults)
		u.inDoubt = "stop"
		u.lostRequest("r1")
		u.stranger()
		u.event("r1", 0)
		u.warm(closing)
		u.redriverNow("r1", "PollStatus")
		u.person("r1")
		return u
	}},
	{name: "a person names the task twice, beside a redrive", build: func(faults int) *universe {
		u := newUniverse(faults)
		u.lostReply("r1")
		u.closed("r1")
		u.add("person 1", "r1", true, nil, func() { u.decide("r1", `{"task_id":"t1-r1"}`) })
		u.add("person 2", "r1", true, nil, func() { u.decide("r1", `{"task_id":"t1-r1"}`) })
		u.redriver("r1", "PollStatus")
		return u
	}},
	{name: "manifest beside a stop, events lost", lostEvents: true, build: func(faults int) *universe {
		u := withWitness(faults)
		u.runFor = time.Second
		u.waiting("r1", "CopyResult")
		u.machine("r1", "")
		u.person("r1")
		u.sweeper()
		return u
	}},
	{name: "submit, stop, events lost", lostEvents: true, build: func(faults int) *universe {
		u := withWitness(faults)
		u.start("r1", request)
		u.machine("r1", "PollStatus")
		u.person("r1")
		u.sweeper()
		return u
	}},
}

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

// withWitness is a world whose stack has had a task of the workflow an hour ago.
func withWitness(faults int) *universe {
	u := newUniverse(faults)
	created := began.Add(-time.Hour)
	u.tasks = append(u.tasks, task{"t1-r0", "r0", cyberun.StatusCompleted, created})
	r := run.Record{RunID: "r0", Workflow: workflowRef, WorkflowID: workflowID, TaskID: "t1-r0", How: run.Receipt,
		Submission: &run.Submission{MarkedAt: created.Add(-time.Second), PostUntil: created.Add(24 * time.Second)}}
	seen := cyberun.Task{ID: "t1-r0", WorkflowID: workflowID, Status: cyberun.StatusCompleted, CreatedAt: cyberun.Time{Time: created}}
	if err := doubt.SawEnd(context.Background(), u.runs().Store, r, seen); err != nil {
		panic(err)
	}
	body, _ := json.Marshal(run.Ownership{StartedBy: "r0", How: run.Receipt, DeliveredBy: "r0"})
	u.s3.Set(stateBucket, "tasks/t1-r0", object(body))
	return u
}

// machine is the state machine of an execution that runs.
func (u *universe) machine(id, until string) {
	u.add("machine:"+id, id, true, nil, func() { u.drive(id, until) })
}

// late is a call of Submit that Step Functions gave up on, and that lives on.
func (u *universe) late(id string) {
	u.slow("late:"+id, id, func() { _ = u.callSubmit(id, 0) })
}

// lateCopy is the same of CopyResult.
func (u *universe) lateCopy(id string) {
	u.slow("late:"+id, id, func() { _, _ = u.invoke(id, 0) })
}

// gaveUp ends an execution as ten deaths in a row do. A late call of it lives on,
// and does not ask Step Functions: whether it began before that makes no difference.
func (u *universe) gaveUp(id string) {
	machine{u}.end(id, executions.Failed, *named.Errorf(named.Unavailable, "ten deaths"))
}

// spared keeps faults from the actor added last.
func (u *universe) spared() { u.actors[len(u.actors)-1].mortal = false }

// person sends a DELETE.
func (u *universe) person(id string) { u.add("DELETE", id, true, nil, func() { u.stop(id) }) }

// event is EventBridge's n-th event of an execution.
func (u *universe) event(id string, n int) {
	of := func() *endEvent {
		for i, seen := 0, 0; i < len(u.events); i++ {
			if u.events[i].id == id {
				if seen == n {
					return &u.events[i]
				}
				seen++
			}
		}
		return nil
	}
	u.add(fmt.Sprintf("event:%d", len(u.actors)), id, true, func() bool { return of() != nil }, func() { u.deliverEvent(*of()) })
}

// stranger is somebody outside the stack who starts a task while a submission is
// under way.
func (u *universe) stranger() {
	u.tasks = append(u.tasks, task{fmt.Sprintf("t%d-stranger", len(u.tasks)+1), "stranger", cyberun.StatusRunning, began.Add(5 * time.Second)})
}

func (u *universe) sweeper() {
	u.add(fmt.Sprintf("sweep:%d", len(u.actors)), "", true, nil, func() { _ = u.sweep() })
}

// redriver redrives an execution once it has ended.
func (u *universe) redriver(id, until string) {
	u.add("redrive:"+id, id, true, func() bool { return u.execs[id].state.Ended() }, func() { u.redrive(id, until) })
}

// redriverNow redrives an execution that has ended before the search.
func (u *universe) redriverNow(id, until string) {
	u.add("redrive:"+id, id, true, nil, func() { u.redrive(id, until) })
}

// rescuer is another run that rescues a task.
func (u *universe) rescuer(id, taskID string, enabled func() bool) {
	u.start(id, fmt.Sprintf(`{"task_id":%q}`, taskID))
	u.add("machine:"+id, id, true, enabled, func() { u.drive(id, "PollStatus") })
}

// waiting is a run whose task runs, and whose execution stands at a state.
func (u *universe) waiting(id, at string) {
	u.start(id, request)
	u.cur = &actor{name: "setup", owner: id}
	u.drive(id, "PollStatus")
	u.cur = nil
	u.now = u.now.Add(2 * time.Second)
	if at == "CopyResult" {
		u.drive(id, at)
	}
	u.execs[id].at = at
}

// failedWaiting is a run that failed while it waited: its key was revoked. It is
// not closed yet.
func (u *universe) failedWaiting(id string) {
	u.waiting(id, "PollStatus")
	machine{u}.end(id, executions.Failed, *named.Errorf(named.Unauthorized, "the key is refused"))
}

// lostReply is a run whose POST was answered to nobody, and whose execution has
// ended in doubt, not closed yet; lostRequest one whose POST never arrived.
func (u *universe) lostReply(id string)   { u.lost(id, lostReply) }
func (u *universe) lostRequest(id string) { u.lost(id, lostRequest) }

func (u *universe) lost(id string, how decision) {
	u.start(id, request)
	faults := u.faults
	u.quiet, u.faults = false, 1
	left := u.actors
	u.actors = nil
	u.objects = nil
	u.add("setup:"+id, id, true, nil, func() { _ = u.callSubmit(id, 0) })
	u.begin()
	for {
		choices := u.choices()
		if len(choices) == 0 {
			break
		}
		c := choices[0]
		if u.actors[0].pending.name == "POST run" {
			c.how = how
		}
		u.step(c)
	}
	u.actors, u.quiet, u.faults, u.objects = left, true, faults, nil
	machine{u}.end(id, executions.Failed, *named.Errorf(named.Unauthorized, "the key is refused"))
}

// closed closes a run that has ended, and lets its doubt be old.
func (u *universe) closed(id string) {
	for _, e := range u.events {
		if e.id == id {
			u.deliverEvent(e)
		}
	}
	u.now = u.now.Add(time.Hour)
}
