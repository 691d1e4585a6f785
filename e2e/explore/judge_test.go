package explore

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

// judge is a world whose search is over, and what is wrong with it.
type judge struct {
	*world
	notes []string
	early bool // see [scenario]
}

func (j *judge) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(j.notes, n) {
		j.notes = append(j.notes, n)
	}
}

func (w *world) ids() (ids []string) {
	for _, x := range w.execs {
		ids = append(ids, x.id)
	}
	return ids
}

// paid are the tasks that a run has started.
func (w *world) paid(id string) (paid []task) {
	for _, t := range w.tasks {
		if t.owner == id {
			paid = append(paid, t)
		}
	}
	return paid
}

func (w *world) record(id string) (run.Record, bool) {
	r, err := alone(w, id).runs().Get(context.Background(), id)
	return r.Record, err == nil
}

// runs holds what must be true of every run when all has come to rest.
func (j *judge) runs() {
	j.markers()
	for _, id := range j.ids() {
		j.run(id)
	}
}

func (j *judge) run(id string) {
	r, recorded := j.record(id)
	if !recorded {
		j.note("%s has no record", id)
		return
	}
	mine := j.paid(id)
	j.receiptsOf(id, r)
	if len(mine) > 1 && !j.early {
		j.note("%s paid %d times", id, len(mine))
	}
	said := r.Decision != nil && r.Decision.TaskID == r.TaskID // a person may be wrong
	if r.TaskID != "" && r.Evidence != run.ByRescue && !said && !strings.HasSuffix(r.TaskID, "-"+id) {
		j.note("%s has the task %s, which it did not start", id, r.TaskID)
	}
	told := slices.Contains(j.told, id)
	if j.exec(id).state == executions.Running {
		if told {
			j.note("%s: DELETE answered that it is cancelled, and it runs on", id)
		}
		if len(mine) == 1 && r.TaskID != mine[0].id && !said {
			j.note("%s waits and its record has not its task", id)
		}
		return
	}
	if r.Status.Open() {
		j.note("%s has ended and its record is %s", id, r.Status)
		return
	}
	j.documents(id, r)
	for _, t := range mine {
		j.task(id, r, t)
	}
	// A run that was never marked does not know its workflow's id: a marker whose
	// reply was lost then stays until it expires. Nothing heeds it: see
	// [lifecycle.Runs.MayHavePosted].
	if !r.InDoubt() && r.WorkflowID != "" && len(j.keys(stateBucket, "submitting/"+workflowID+"/"+id+"/")) > 0 {
		j.note("%s is closed, not in doubt, and its markers stand", id)
	}
	if r.CleanUpDue && (!r.InDoubt() || r.CandidatesAt.IsZero()) {
		j.note("%s is closed and still to be cleaned up", id)
	}
	if told && r.Status != run.Cancelled {
		j.note("%s: DELETE answered that it is cancelled, and it is %s", id, r.Status)
	}
}

// receiptsOf: no receipt that a call lived to see is lost.
func (j *judge) receiptsOf(id string, r run.Record) {
	for _, receipt := range j.receipts {
		extra := slices.ContainsFunc(r.ExtraTasks, func(x run.ExtraTask) bool { return x.TaskID == receipt })
		if strings.HasSuffix(receipt, "-"+id) && !extra && (r.TaskID != receipt || r.Evidence != run.ByReceipt) {
			j.note("%s: the receipt for %s is lost: its record has %q by %q", id, receipt, r.TaskID, r.Evidence)
		}
	}
	for _, extra := range r.ExtraTasks {
		if closed := r.Status == run.Failed || r.Status == run.Cancelled; closed && !extra.Cancelled {
			j.note("%s has paid for %s besides, and it is not cancelled", id, extra.TaskID)
		}
	}
}

// unmarked reports whether a run is in doubt, or about to be, and has no marker by
// which the other runs of the workflow could know.
func (w *world) unmarked(id string) bool {
	r, recorded := w.record(id)
	if !recorded || !r.InDoubt() {
		return false
	}
	_, there := w.object(stateBucket, "submitting/"+workflowID+"/"+id+"/"+r.Submission.AttemptID)
	return !there
}

// doubtLasts is for how long the other runs of the workflow wait for a doubt.
const doubtLasts = 10 * time.Minute

// doubted is another run that is in doubt, and was so when the search began: nobody
// posts beside it.
func (w *world) doubted(id string) string {
	for _, other := range w.ids() {
		r, recorded := w.record(other)
		if other != id && !w.unannounced && recorded && r.InDoubt() && strings.HasPrefix(r.Submission.AttemptID, setUp) && w.now.Sub(r.Submission.LocalAt) < doubtLasts {
			return other
		}
	}
	return ""
}

// turns notes a write of a record that no order of calls may come to: a closed one is
// open again in the same life, though its execution has ended, or its life goes back.
func (w *world) turns(key string, now storetest.Object) {
	old, there := w.object(stateBucket, key)
	var was, is struct {
		RunID  string        `json:"run_id"`
		Status run.Status    `json:"status"`
		Life   int           `json:"life"`
		Word   *run.Decision `json:"decision"`
	}
	if !there || json.Unmarshal(old.Body, &was) != nil || json.Unmarshal(now.Body, &is) != nil {
		return
	}
	switch {
	case was.Word != nil && is.Word != nil && was.Word.AttemptID == is.Word.AttemptID && !was.Word.Same(*is.Word):
		w.wrong = append(w.wrong, is.RunID+": the decision of a person gives way to another one on the same submission")
	case is.Life < was.Life:
		w.wrong = append(w.wrong, fmt.Sprintf("%s was in its life %d, and is in its life %d", is.RunID, was.Life, is.Life))
	case !was.Status.Open() && is.Status.Open() && is.Life == was.Life:
		w.wrong = append(w.wrong, fmt.Sprintf("%s was %s, and is %s without a redrive", is.RunID, was.Status, is.Status))
	}
}

// markers: who is in doubt has a marker, from before its POST on.
func (j *judge) markers() {
	for _, id := range j.ids() {
		if j.unmarked(id) {
			j.note("%s is in doubt, and its marker is gone: another run may adopt its task", id)
		}
	}
}

// documents: a manifest or an error.json, never both, and what the record says.
func (j *judge) documents(id string, r run.Record) {
	if j.refuses { // neither can be written
		return
	}
	prefix := r.KeyPrefix()
	_, manifest := j.object(outputBucket, prefix+run.ManifestName)
	raw, failure := j.object(outputBucket, prefix+run.ErrorName)
	switch {
	case r.Status == run.Succeeded && (!manifest || failure):
		j.note("%s succeeded with manifest %v, error.json %v", id, manifest, failure)
	case r.Status != run.Succeeded && (manifest || !failure):
		j.note("%s is %s with manifest %v, error.json %v", id, r.Status, manifest, failure)
	}
	var said run.Failure
	if failure && (json.Unmarshal(raw.Body, &said) != nil || said.Error == nil || r.Error == nil || said.Error.Name != r.Error.Name) {
		j.note("%s: error.json says %+v, the record %+v", id, said.Error, r.Error)
	}
}

// task: what was paid is delivered, cancelled, or named.
func (j *judge) task(id string, r run.Record, t task) {
	raw, _ := j.object(outputBucket, r.KeyPrefix()+run.ErrorName)
	namedIn := func(text string) bool {
		return strings.Contains(text, t.id) || strings.Contains(text, "a task of the workflow")
	}
	record, _ := json.Marshal(r)
	status := j.status(t)
	left := r.Status == run.Cancelled && status != cyberun.StatusCancelled
	o, _, _ := alone(j.world, id).runs().OwnershipOf(context.Background(), t.id)
	switch {
	case left && !status.Terminal() && r.TaskID == t.id && o.MayCancel(id):
		j.note("%s was stopped, and its own task %s is %s", id, t.id, status)
	case left && j.refuses: // there is no error.json to name it in
	case left && (!namedIn(string(record)) || !namedIn(string(raw.Body))):
		j.note("%s was stopped, its task %s is %s and is not named", id, t.id, status)
	case left && strings.Contains(string(raw.Body), t.id+" was cancelled"):
		j.note("%s: its task %s is said to be cancelled and is %s", id, t.id, status)
	case r.Status == run.Failed && !namedIn(string(record)) && r.TaskID == "":
		j.note("%s failed as %v, paid for %s, and does not name it", id, r.Error, t.id)
	}
}
