package lifecycle

import (
	"slices"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// event is something that happens to a run.
type event string

const (
	onEnter         event = "enter"           // a step of the record's own life begins
	onEnterNext     event = "enter next life" // the first step after a redrive begins
	onMark          event = "mark"            // a POST is about to be sent
	onUnmark        event = "unmark"          // that POST surely started nothing
	onAccept        event = "accept"          // a receipt named a task
	onFind          event = "find"            // the run gets a task that no receipt named: it is adopted, rescued, or decided by a person
	onNote          event = "note"            // a step changes the record and not its status
	onCopy          event = "copy"            // copy-result is about to copy the outputs
	onDeliver       event = "deliver"         // every output is stored, the manifest's bytes are fixed
	onDelivered     event = "delivered"       // the manifest is written
	onUndeliverable event = "undeliverable"   // the output bucket refuses the manifest
	onStop          event = "stop"            // a person stops the run
	onStopNext      event = "stop next life"  // a person stops a redriven run before a step of its new life has called
	onEndFailed     event = "end failed"      // the life's execution failed or timed out
	onEndAborted    event = "end aborted"     // the life's execution was aborted, which is how Step Functions ends one that is stopped
	onDecide        event = "decide"          // a person decides what became of a submission
	onAmend         event = "amend"           // the result of a cancel, or of work after a close, is put into the record
)

// fenced are the events that are refused as Superseded from a lower life than the
// record's, whatever the table says. Events that report a fact (onAccept, onUnmark,
// onDelivered, onUndeliverable, onAmend), a close, a stop and a decision are not.
var fenced = []event{onEnter, onMark, onFind, onNote, onCopy, onDeliver}

// phase is a column of the table: the record's status, or stopping.
type phase string

const (
	submitting = phase(run.Submitting)
	waiting    = phase(run.Waiting)
	copying    = phase(run.Copying)
	// stopping is the phase of a run that a person has stopped, from then until it is
	// closed. A delivering run is not in it: it can no longer be stopped.
	stopping   = phase("stopping")
	delivering = phase(run.Delivering)
	failed     = phase(run.Failed)
	cancelled  = phase(run.Cancelled)
	succeeded  = phase(run.Succeeded)
)

// phases lists every phase.
var phases = []phase{submitting, waiting, copying, stopping, delivering, failed, cancelled, succeeded}

// phaseOf returns the phase that a run is in by its record.
func phaseOf(r run.Record) phase {
	if r.Status.Open() && r.Status != run.Delivering && r.WasStopped() {
		return stopping
	}
	return phase(r.Status)
}

// Effect is a set of what is to be done after an event, beside the write of the record.
type Effect uint

// The effects that callers carry out; this package carries out the others itself.
const (
	MustCancelTask    Effect = 1 << iota // cancel the run's task, if it is the run's to cancel
	MustStopExecution                    // stop the execution, so that no further step is called
	doFinish                             // write the manifest's fixed bytes and close the run as succeeded
	doRemoveError                        // remove the error.json that a close may have left
	doEndStep                            // end the step as RunCancelled
)

// resume in cell.To stands for the status that follows from the record's contents:
// see resumed.
const resume run.Status = "resume"

// cell is what an event does to a run in one phase.
type cell struct {
	To     run.Status // the new status; empty: as it was
	Then   Effect
	Refuse string // the named error that the caller gets; nothing is written
	Ignore bool   // the record is not written; Then applies all the same
}

// cells writes one row of the table, a cell for each phase in the order of phases.
func cells(c ...cell) map[phase]cell {
	if len(c) != len(phases) {
		panic("a row of the table has not one cell for each phase")
	}
	row := make(map[phase]cell, len(phases))
	for i, p := range phases {
		row[p] = c[i]
	}
	return row
}

var (
	keep          = cell{}
	ignore        = cell{Ignore: true}
	finish        = cell{Then: doFinish}
	finishOnly    = cell{Then: doFinish, Ignore: true}
	cancel        = cell{Then: MustCancelTask}
	halt          = cell{Then: MustCancelTask | MustStopExecution}
	superseded    = cell{Refuse: named.Superseded}
	refuseStopped = cell{Refuse: named.RunCancelled}
	marked        = cell{Refuse: named.SubmitInDoubt}

	removeError = cell{Ignore: true, Then: doRemoveError}
	notInDoubt  = cell{Refuse: named.NotInDoubt}
)

// table says what each event does in each phase.
var table = map[event]map[phase]cell{
	//             submitting, waiting, copying, stopping, delivering, failed, cancelled, succeeded
	onEnter:     cells(keep, keep, keep, refuseStopped, finish, superseded, superseded, keep),
	onEnterNext: cells(keep, keep, keep, cell{Then: doEndStep}, finish, cell{To: resume}, cell{Then: doEndStep}, keep),
	onMark:      cells(keep, marked, marked, refuseStopped, superseded, superseded, refuseStopped, superseded),
	onUnmark:    cells(keep, keep, keep, keep, keep, keep, keep, keep),
	onAccept:    cells(cell{To: run.Waiting}, keep, keep, cancel, keep, keep, cancel, keep),
	onFind:      cells(cell{To: run.Waiting}, marked, marked, refuseStopped, superseded, superseded, refuseStopped, superseded),
	onNote:      cells(keep, keep, keep, refuseStopped, superseded, superseded, superseded, superseded),
	onCopy:      cells(superseded, cell{To: run.Copying}, keep, refuseStopped, finishOnly, superseded, superseded, ignore),
	onDeliver:   cells(superseded, superseded, cell{To: run.Delivering}, refuseStopped, finishOnly, superseded, superseded, ignore),
	onDelivered: cells(superseded, superseded, superseded, superseded, cell{To: run.Succeeded}, superseded, superseded, ignore),

	onUndeliverable: cells(ignore, ignore, ignore, ignore, cell{To: run.Failed}, ignore, ignore, ignore),

	onStop:     cells(halt, halt, halt, halt, finish, cancel, cancel, ignore),
	onStopNext: cells(halt, halt, halt, halt, finish, cell{To: resume, Then: MustCancelTask | MustStopExecution}, halt, ignore),

	onEndFailed:  cells(cell{To: run.Failed}, cell{To: run.Failed}, cell{To: run.Failed}, cell{To: run.Cancelled}, finish, ignore, ignore, removeError),
	onEndAborted: cells(cell{To: run.Cancelled}, cell{To: run.Cancelled}, cell{To: run.Cancelled}, cell{To: run.Cancelled}, finish, ignore, ignore, removeError),

	onDecide: cells(notInDoubt, notInDoubt, notInDoubt, notInDoubt, notInDoubt, keep, notInDoubt, notInDoubt),
	onAmend:  cells(keep, keep, keep, keep, keep, keep, keep, keep),
}

// apply applies an event, which comes from the life with this number, to a record: first
// the check of the life, if the event is fenced, then the table, then do, which makes
// the event's changes beside the status (nil: none). do depends on the record alone,
// since it is called again after a write that lost a race; an error of it refuses the
// event. apply sets *r only if it returns no error, and panics on an event that the
// table does not have.
func apply(r *run.Record, life int, event event, do func(*run.Record) error) (cell, error) {
	if slices.Contains(fenced, event) && life < r.Life {
		return cell{}, refusal(named.Superseded, *r)
	}
	if event == onEnter && life > r.Life {
		event = onEnterNext
	}
	if event == onStopNext && life <= r.Life { // its step has come meanwhile
		event = onStop
	}
	cell, known := table[event][phaseOf(*r)]
	if !known {
		panic("lifecycle: no cell for " + string(event) + " in " + string(phaseOf(*r)))
	}
	if cell.Refuse != "" {
		return cell, refusal(cell.Refuse, *r)
	}
	if cell.Ignore {
		return cell, nil
	}
	next := *r
	if do != nil {
		if err := do(&next); err != nil {
			return cell, err
		}
	}
	switch cell.To {
	case "":
	case resume:
		next.Status = resumed(next)
	default:
		next.Status = cell.To
	}
	*r = next
	return cell, nil
}

// resumed returns the status of a run that a redrive continues: a run without a
// task submits, one with a task waits for it or copies its outputs.
func resumed(r run.Record) run.Status {
	switch {
	case r.TaskID == "":
		return run.Submitting
	case r.CopyStartedAt.IsZero():
		return run.Waiting
	}
	return run.Copying
}

// refusal returns the named error of an event that the record r refuses.
func refusal(name string, r run.Record) error {
	switch name {
	case named.RunCancelled:
		return named.Errorf(name, "%s", stoppedCause(r))
	case named.SubmitInDoubt:
		return named.Errorf(name, "another call of this step submits the run %s", r.RunID)
	case named.NotInDoubt:
		return named.Errorf(name, "the run %s is %s, and nothing about its submission is left to decide", r.RunID, r.Status.Shown())
	}
	return named.Errorf(name, "the run %s is %s in its life %d: this call comes too late to change it", r.RunID, r.Status.Shown(), r.Life)
}

// stoppedCause says what became of the task of a run that was stopped.
func stoppedCause(r run.Record) string {
	switch {
	case r.InDoubt():
		return "the run was stopped while it was in doubt whether its task had started"
	case r.TaskID == "":
		return "the run was stopped before anything was submitted"
	}
	return "the run was stopped; " + r.Cancel.Text(r.TaskID)
}
