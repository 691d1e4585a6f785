package explore

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

func signature(body string) string {
	mac := hmac.New(sha256.New, []byte("whsec"))
	mac.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// drain is what follows when nothing goes wrong any more: Step Functions drives
// on, EventBridge's events come if they are not lost, the sweep comes every hour.
func (u *universe) drain(events bool) {
	u.quiet, u.faults = true, 0
	ids := u.ids()
	for range 3 {
		for _, id := range ids {
			u.cur = &actor{name: "drain", owner: id}
			if u.execs[id].state == executions.Running {
				u.drive(id, u.restAt())
			}
			if x := u.execs[id]; x.state == executions.Running && x.at == "PollStatus" {
				u.pollOnce(id)
			}
			u.cur = nil
		}
		if events {
			for _, e := range u.events {
				u.now = u.now.Add(time.Second)
				u.deliverEvent(e)
			}
		}
		u.now = u.now.Add(time.Hour)
		if failure := u.sweep(); failure != nil {
			u.note("the sweep fails without a fault: %s", failure)
		}
	}
}

// pollOnce is the next poll of a task that goes on: a step ends the execution of a
// run that was stopped meanwhile.
func (u *universe) pollOnce(id string) {
	x := u.execs[id]
	next, failure := u.invoke(id, x.redrives)
	if failure != nil && pauses[failure.Name] == 0 {
		machine{u}.end(id, executions.Failed, *failure)
	} else if failure == nil {
		x.at = next
	}
}

// restAt is where an execution may stand at the end: tasks that never complete
// keep it polling.
func (u *universe) restAt() string {
	if u.runFor == 0 {
		return "PollStatus"
	}
	return ""
}

func (u *universe) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(u.notes, n) {
		u.notes = append(u.notes, n)
	}
}

func (u *universe) ids() []string {
	var ids []string
	for id := range u.execs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// paid are the tasks that a run has started.
func (u *universe) paid(id string) (paid []task) {
	for _, t := range u.tasks {
		if t.owner == id {
			paid = append(paid, t)
		}
	}
	return paid
}

func (u *universe) record(id string) (run.Record, bool) {
	r, err := u.runs().Get(context.Background(), id)
	return r.Record, err == nil
}

// judge holds what must be true of every run when all has come to rest.
func (u *universe) judge() []string {
	for _, id := range u.ids() {
		u.judgeRun(id)
	}
	slices.Sort(u.notes)
	return u.notes
}

func (u *universe) judgeRun(id string) {
	x := u.execs[id]
	r, recorded := u.record(id)
	if !recorded {
		u.note("%s has no record", id)
		return
	}
	mine := u.paid(id)
	for _, receipt := range u.receipts {
		extra := slices.ContainsFunc(r.ExtraTasks, func(x run.ExtraTask) bool { return x.TaskID == receipt })
		if strings.HasSuffix(receipt, "-"+id) && !extra && (r.TaskID != receipt || r.How != run.Receipt) {
			u.note("%s: the receipt for %s is lost: its record has %q by %q", id, receipt, r.TaskID, r.How)
		}
	}
	if len(mine) > 1 {
		u.note("%s paid %d times", id, len(mine))
	}
	if r.TaskID != "" && r.How != run.Rescue && !strings.HasSuffix(r.TaskID, "-"+id) {
		u.note("%s has the task %s, which it did not start", id, r.TaskID)
	}
	if x.state == executions.Running {
		if u.told[id] {
			u.note("%s: DELETE answered that it is cancelled, and it runs on", id)
		}
		if len(mine) == 1 && r.TaskID != mine[0].id {
			u.note("%s waits and its record has not its task", id)
		}
		return
	}
	if r.Status.Open() {
		u.note("%s has ended and its record is %s", id, r.Status)
		return
	}
	u.judgeDocuments(id, r)
	for _, t := range mine {
		u.judgeTask(id, r, t)
	}
	// A run that was never marked does not know its workflow's id: a marker whose
	// reply was lost then stays until it expires. It names no task.
	if !r.InDoubt() && r.WorkflowID != "" && len(u.s3.Keys(stateBucket, "submitting/"+workflowID+"/"+id+"/")) > 0 {
		u.note("%s is closed, not in doubt, and its markers stand", id)
	}
	if r.Unsettled && (!r.InDoubt() || r.CandidatesAt.IsZero()) {
		u.note("%s is closed and still unsettled", id)
	}
	if u.told[id] && r.Status != run.Cancelled {
		u.note("%s: DELETE answered that it is cancelled, and it is %s", id, r.Status)
	}
}

// judgeDocuments: a manifest or an error.json, never both, and what the record says.
func (u *universe) judgeDocuments(id string, r run.Record) {
	prefix := r.OutputPrefix()
	_, manifest := u.s3.Object(outputBucket, prefix+run.ManifestName)
	raw, failure := u.s3.Object(outputBucket, prefix+run.ErrorName)
	switch {
	case r.Status == run.Succeeded && (!manifest || failure):
		u.note("%s succeeded with manifest %v, error.json %v", id, manifest, failure)
	case r.Status != run.Succeeded && (manifest || !failure):
		u.note("%s is %s with manifest %v, error.json %v", id, r.Status, manifest, failure)
	}
	var said run.Failure
	if failure && (json.Unmarshal(raw.Body, &said) != nil || said.Error == nil || r.Error == nil || said.Error.Name != r.Error.Name) {
		u.note("%s: error.json says %+v, the record %+v", id, said.Error, r.Error)
	}
}

// judgeTask: what was paid is delivered, cancelled, or named.
func (u *universe) judgeTask(id string, r run.Record, t task) {
	raw, _ := u.s3.Object(outputBucket, r.OutputPrefix()+run.ErrorName)
	namedIn := func(text string) bool {
		return strings.Contains(text, t.id) || strings.Contains(text, "a task of the workflow")
	}
	record, _ := json.Marshal(r)
	switch {
	case r.Status == run.Cancelled && t.status != cyberun.StatusCancelled && (!namedIn(string(record)) || !namedIn(string(raw.Body))):
		u.note("%s was stopped, its task %s is %s and is not named", id, t.id, t.status)
	case r.Status == run.Cancelled && t.status != cyberun.StatusCancelled && strings.Contains(string(raw.Body), t.id+" was cancelled"):
		u.note("%s: its task %s is said to be cancelled and is %s", id, t.id, t.status)
	case r.Status == run.Failed && !namedIn(string(record)) && r.TaskID == "":
		u.note("%s failed as %v, paid for %s, and does not name it", id, r.Error, t.id)
	}
}

// redriveAll redrives what failed and can be redriven, without faults: what was
// paid is delivered then, and nothing is paid again.
func (u *universe) redriveAll() (any bool) {
	u.runFor = time.Second // what was paid completes
	for _, id := range u.ids() {
		x := u.execs[id]
		r, recorded := u.record(id)
		if !recorded || r.Status != run.Failed || r.Error == nil || !x.state.Ended() {
			continue
		}
		any = true
		before := len(u.paid(id))
		u.cur = &actor{name: "redriven", owner: id}
		u.redrive(id, "")
		u.cur = nil
		r, _ = u.record(id)
		if len(u.paid(id)) > max(before, 1) {
			u.note("%s was redriven and paid again: %v", id, u.paid(id))
		}
		if before == 1 && r.TaskID != "" && r.Status != run.Succeeded && r.Error == nil && x.state != executions.Failed {
			u.note("%s was redriven with the task %s and is %s", id, r.TaskID, r.Status)
		}
		if before == 1 && r.TaskID == "" && x.state == executions.Failed && x.error.Name != named.SubmitOutcomeUnknown && x.error.Name != named.TaskTaken {
			u.note("%s was redriven, had paid, and ends as %s", id, x.error.Name)
		}
	}
	return any
}
