package lifecycle

import (
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// Event is something that happens to a run.
type Event string

// The events. Those of steps, except Accept, are fenced: from a lower life than the
// record's they are refused as Superseded, whatever the table says.
const (
	Enter         Event = "enter"           // a step of the record's own life begins
	EnterNext     Event = "enter next life" // the first step after a redrive begins
	Mark          Event = "mark"            // a POST is about to be sent
	Unmark        Event = "unmark"          // that POST surely started nothing
	Accept        Event = "accept"          // a receipt named a task
	Find          Event = "find"            // the run gets a task that no receipt named: it is adopted, rescued, or decided by a person
	Note          Event = "note"            // a step changes the record and not its status
	Copy          Event = "copy"            // copy-result is about to copy the outputs
	Deliver       Event = "deliver"         // every output is stored, the manifest's bytes are fixed
	Delivered     Event = "delivered"       // the manifest is written
	Undeliverable Event = "undeliverable"   // the output bucket refuses the manifest
	Stop          Event = "stop"            // a person stops the run
	StopNext      Event = "stop next life"  // a person stops a redriven run before a step of its new life has called
	EndFailed     Event = "end failed"      // the life's execution failed or timed out
	EndStopped    Event = "end stopped"     // the life's execution was stopped
	Decide        Event = "decide"          // a person decides what became of a submission
	Amend         Event = "amend"           // the result of a cancel, or of work after a close, is put into the record
)

// Phase is a column of the table: the record's status, or [Stopping].
type Phase string

// Stopping is the phase of a run that a person has stopped, from then until it is
// closed. A delivering run is not in it: it can only succeed.
const Stopping Phase = "stopping"

// Phases lists every phase.
var Phases = []Phase{
	Phase(run.Submitting), Phase(run.Waiting), Phase(run.Copying), Stopping,
	Phase(run.Delivering), Phase(run.Failed), Phase(run.Cancelled), Phase(run.Succeeded),
}

// PhaseOf returns the phase that a run is in by its record.
func PhaseOf(r run.Record) Phase {
	if r.Status.Open() && r.Status != run.Delivering && r.Stopping() {
		return Stopping
	}
	return Phase(r.Status)
}

// Effect is a set of what the caller of an event has to do beside the write of the
// record.
type Effect uint

// The effects.
const (
	CancelTask    Effect = 1 << iota // cancel the run's task, if it is the run's to cancel
	StopExecution                    // stop the execution, so that no further step is called
	Finish                           // write the manifest's fixed bytes and close the run as succeeded
	Answer                           // return the result of the run, which has succeeded, once more
	RemoveError                      // remove the error.json that a close may have left
	Cancelled                        // end the step as RunCancelled
)

// resume in Cell.To stands for the status that follows from the record's contents:
// see resumed.
const resume run.Status = "resume"

// Cell is what an event does to a run in one phase.
type Cell struct {
	To     run.Status // the new status; empty: as it was
	Then   Effect
	Refuse string // the named error that the caller gets; nothing is written
	Ignore bool   // the record is not written; Then applies all the same
}

const (
	submitting = Phase(run.Submitting)
	waiting    = Phase(run.Waiting)
	copying    = Phase(run.Copying)
	delivering = Phase(run.Delivering)
	failed     = Phase(run.Failed)
	cancelled  = Phase(run.Cancelled)
	succeeded  = Phase(run.Succeeded)
)

// cells writes one row of the table, a cell for each phase in the order of Phases.
func cells(c ...Cell) map[Phase]Cell {
	row := make(map[Phase]Cell, len(Phases))
	for i, phase := range Phases {
		row[phase] = c[i]
	}
	return row
}

var (
	keep       = Cell{}
	ignore     = Cell{Ignore: true}
	answer     = Cell{Then: Answer}
	finish     = Cell{Then: Finish}
	superseded = Cell{Refuse: named.Superseded}
	stopped    = Cell{Refuse: named.RunCancelled}
	marked     = Cell{Refuse: named.SubmitInDoubt}
	notInDoubt = Cell{Refuse: named.NotInDoubt}
)

// table says what each event does in each phase.
var table = map[Event]map[Phase]Cell{
	//             submitting, waiting, copying, stopping, delivering, failed, cancelled, succeeded
	Enter:     cells(keep, keep, keep, stopped, finish, superseded, superseded, answer),
	EnterNext: cells(keep, keep, keep, Cell{Then: Cancelled}, finish, Cell{To: resume}, Cell{Then: Cancelled}, answer),
	Mark:      cells(keep, marked, marked, stopped, superseded, superseded, stopped, superseded),
	Unmark:    cells(keep, keep, keep, keep, keep, keep, keep, keep),
	Accept:    cells(Cell{To: run.Waiting}, keep, keep, Cell{Then: CancelTask}, keep, keep, Cell{Then: CancelTask}, keep),
	Find:      cells(Cell{To: run.Waiting}, marked, marked, stopped, superseded, superseded, stopped, superseded),
	Note:      cells(keep, keep, keep, stopped, superseded, superseded, superseded, superseded),
	Copy:      cells(superseded, Cell{To: run.Copying}, keep, stopped, finish, superseded, superseded, answer),
	Deliver:   cells(superseded, superseded, Cell{To: run.Delivering}, stopped, finish, superseded, superseded, answer),
	Delivered: cells(superseded, superseded, superseded, superseded, Cell{To: run.Succeeded}, superseded, superseded, ignore),

	Undeliverable: cells(ignore, ignore, ignore, ignore, Cell{To: run.Failed}, ignore, ignore, ignore),

	Stop: cells(Cell{Then: CancelTask | StopExecution}, Cell{Then: CancelTask | StopExecution}, Cell{Then: CancelTask | StopExecution},
		Cell{Then: CancelTask | StopExecution}, finish, Cell{Then: CancelTask}, Cell{Then: CancelTask}, ignore),
	StopNext: cells(Cell{Then: CancelTask | StopExecution}, Cell{Then: CancelTask | StopExecution}, Cell{Then: CancelTask | StopExecution},
		Cell{Then: CancelTask | StopExecution}, finish, Cell{To: resume, Then: CancelTask | StopExecution}, Cell{Then: CancelTask | StopExecution}, ignore),

	EndFailed: cells(Cell{To: run.Failed}, Cell{To: run.Failed}, Cell{To: run.Failed}, Cell{To: run.Cancelled}, finish,
		ignore, ignore, Cell{Ignore: true, Then: RemoveError}),
	EndStopped: cells(Cell{To: run.Cancelled}, Cell{To: run.Cancelled}, Cell{To: run.Cancelled}, Cell{To: run.Cancelled}, finish,
		ignore, ignore, Cell{Ignore: true, Then: RemoveError}),

	Decide: cells(notInDoubt, notInDoubt, notInDoubt, notInDoubt, notInDoubt, keep, notInDoubt, notInDoubt),
	Amend:  cells(keep, keep, keep, keep, keep, keep, keep, keep),
}

// change is one event, with what it changes in the record beside the status.
type change struct {
	event Event
	// life is the redrive count of the life that the event comes from; fenced
	// events of a lower life than the record's are refused.
	life   int
	fenced bool
	// do makes the changes beside the status. It depends on the record alone, since
	// it is called again after a write that lost a race; an error refuses the event.
	do func(*run.Record) error
}

// apply applies an event to a record: first the check of the life, if the event is
// fenced, then the table, then the event's own changes. It changes r only if it returns
// no error, and panics on an event that the table does not have.
func apply(r *run.Record, c change) (Cell, error) {
	if c.fenced && c.life < r.Life {
		return Cell{}, refusal(named.Superseded, *r)
	}
	event := c.event
	if event == Enter && c.life > r.Life {
		event = EnterNext
	}
	if event == StopNext && c.life <= r.Life { // its step has come meanwhile
		event = Stop
	}
	cell, known := table[event][PhaseOf(*r)]
	if !known {
		panic("lifecycle: no cell for " + string(event) + " in " + string(PhaseOf(*r)))
	}
	if cell.Refuse != "" {
		return cell, refusal(cell.Refuse, *r)
	}
	if cell.Ignore {
		return cell, nil
	}
	next := *r
	if c.do != nil {
		if err := c.do(&next); err != nil {
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
	return named.Errorf(name, "the run %s is %s in its life %d; this call belongs to an earlier one", r.RunID, r.Status.Shown(), r.Life)
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
