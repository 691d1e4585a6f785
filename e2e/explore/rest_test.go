package explore

import (
	"context"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// judge brings a world to rest and returns what is wrong with it: then, and after
// what failed was redriven.
func (sc scenario) judge(end *world) []string {
	j := &judge{world: end.clone(), early: sc.early}
	j.faults = 0
	j.notes = append(j.notes, j.wrong...)
	j.markers()
	j.rest(!sc.lostEvents)
	j.runs()
	if j.redriveAll() {
		j.rest(!sc.lostEvents)
		j.runs()
	}
	if sc.after != nil {
		sc.after(j)
	}
	return j.notes
}

// rest is what follows when nothing goes wrong any more: Step Functions drives on,
// EventBridge's events come if they are not lost, the sweep comes every hour.
func (j *judge) rest(events bool) {
	for range 3 {
		for _, id := range j.ids() {
			u := alone(j.world, id)
			if j.running(id) {
				u.drive(j.restAt())
			}
			if j.running(id) && j.exec(id).at == "PollStatus" {
				u.pollOnce()
			}
		}
		if events {
			for i := 0; i < len(j.events); i++ {
				if j.events[i].handled { // one that comes again would hide what the first one has left undone
					continue
				}
				j.events[i].handled = true
				j.now = j.now.Add(time.Second)
				alone(j.world, j.events[i].id).deliverEvent(j.events[i])
			}
		}
		j.now = j.now.Add(time.Hour)
		if failure := alone(j.world, "").sweep(); failure != nil {
			j.note("the sweep fails without a fault: %s", failure)
		}
	}
}

// pollOnce is the next poll of a task that goes on: a step ends the execution of a
// run that was stopped meanwhile.
func (u *universe) pollOnce() {
	next, failure := u.invoke(u.execution().redrives)
	if failure != nil && pauses[failure.Name] == 0 {
		u.w.end(u.owner, executions.Failed, *failure)
	} else if failure == nil {
		u.w.exec(u.owner).at = next
	}
}

// restAt is where an execution may stand at the end: tasks that never complete
// keep it polling.
func (w *world) restAt() string {
	if w.runFor == 0 {
		return "PollStatus"
	}
	return ""
}

// redriveAll redrives what failed and can be redriven, without faults: what was
// paid is delivered then, and nothing is paid again.
func (j *judge) redriveAll() (any bool) {
	j.runFor = time.Second // what was paid completes
	for _, id := range j.ids() {
		r, recorded := j.record(id)
		if !recorded || r.Status != run.Failed || r.Error == nil || !j.ended(id) {
			continue
		}
		any = true
		before := len(j.paid(id))
		alone(j.world, id).redrive("")
		r, _ = j.record(id)
		x := j.exec(id)
		if len(j.paid(id)) > max(before, 1) {
			j.note("%s was redriven and paid again: %v", id, j.paid(id))
		}
		if before == 1 && r.TaskID != "" && r.Status != run.Succeeded && r.Error == nil && x.state != executions.Failed {
			j.note("%s was redriven with the task %s and is %s", id, r.TaskID, r.Status)
		}
		switch {
		case before != 1 || x.state != executions.Failed || x.error.Name == named.SubmitOutcomeUnknown:
		case x.error.Name == named.TaskTaken:
			o, _, _ := alone(j.world, id).runs().OwnershipOf(context.Background(), j.paid(id)[0].id)
			if j.ended(o.DeliveredBy) {
				j.note("%s was redriven, and its task is said to be taken by %s, which has ended", id, o.DeliveredBy)
			}
		case r.TaskID == "":
			j.note("%s was redriven, had paid, and ends as %s", id, x.error.Name)
		}
	}
	return any
}
