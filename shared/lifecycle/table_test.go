package lifecycle

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// said words what an event does in a phase, as the expected table below does.
func said(before run.Record, after run.Record, cell cell, err error, did bool) string {
	if err != nil {
		e, _ := named.As(err)
		return "refused " + e.Name
	}
	words := []string{"keep"}
	if cell.Ignore {
		words = []string{"ignore"}
	}
	if after.Status != before.Status {
		words = []string{"to " + string(after.Status)}
	}
	if did == cell.Ignore {
		words = append(words, "(it changed what it was not to, or did not)")
	}
	effects := map[Effect]string{
		MustCancelTask: "cancel task", MustStopExecution: "stop execution", doFinish: "finish", doRemoveError: "remove error.json", doEndStep: "step ends as RunCancelled",
	}
	for _, effect := range slices.Sorted(maps.Keys(effects)) {
		if cell.Then&effect != 0 {
			words = append(words, effects[effect])
		}
	}
	return strings.Join(words, ", ")
}

// every says the same of some phases.
func every(what string, phases ...phase) map[phase]string {
	row := map[phase]string{}
	for _, phase := range phases {
		row[phase] = what
	}
	return row
}

func rows(parts ...map[phase]string) map[phase]string {
	row := map[phase]string{}
	for _, part := range parts {
		maps.Copy(row, part)
	}
	return row
}

// wantTable is the life of a run by the contract, each event in each phase: the
// new status and what follows, or the named refusal. The record has a task
// unless it is submitting, and its copy has begun from copying on.
var wantTable = map[event]map[phase]string{
	onEnter: rows(
		every("keep", submitting, waiting, copying),
		every("refused RunCancelled", stopping),
		every("keep, finish", delivering),
		every("refused Superseded", failed, cancelled),
		every("keep", succeeded),
	),
	onEnterNext: rows(
		every("keep", submitting, waiting, copying),
		every("keep, step ends as RunCancelled", stopping, cancelled),
		every("keep, finish", delivering),
		every("to copying", failed),
		every("keep", succeeded),
	),
	onMark: rows(
		every("keep", submitting),
		every("refused SubmitInDoubt", waiting, copying),
		every("refused RunCancelled", stopping, cancelled),
		every("refused Superseded", delivering, failed, succeeded),
	),
	onUnmark: every("keep", phases...),
	onAccept: rows(
		every("to waiting", submitting),
		every("keep", waiting, copying, delivering, failed, succeeded),
		every("keep, cancel task", stopping, cancelled),
	),
	onFind: rows(
		every("to waiting", submitting),
		every("refused SubmitInDoubt", waiting, copying),
		every("refused RunCancelled", stopping, cancelled),
		every("refused Superseded", delivering, failed, succeeded),
	),
	onNote: rows(
		every("keep", submitting, waiting, copying),
		every("refused RunCancelled", stopping),
		every("refused Superseded", delivering, failed, cancelled, succeeded),
	),
	onCopy: rows(
		every("refused Superseded", submitting, failed, cancelled),
		every("to copying", waiting),
		every("keep", copying),
		every("refused RunCancelled", stopping),
		every("ignore, finish", delivering),
		every("ignore", succeeded),
	),
	onDeliver: rows(
		every("refused Superseded", submitting, waiting, failed, cancelled),
		every("to delivering", copying),
		every("refused RunCancelled", stopping),
		every("ignore, finish", delivering),
		every("ignore", succeeded),
	),
	onDelivered: rows(
		every("refused Superseded", submitting, waiting, copying, stopping, failed, cancelled),
		every("to succeeded", delivering),
		every("ignore", succeeded),
	),
	onUndeliverable: rows(
		every("ignore", submitting, waiting, copying, stopping, failed, cancelled, succeeded),
		every("to failed", delivering),
	),
	onStop: rows(
		every("keep, cancel task, stop execution", submitting, waiting, copying, stopping),
		every("keep, finish", delivering),
		every("keep, cancel task", failed, cancelled),
		every("ignore", succeeded),
	),
	onStopNext: rows(
		every("keep, cancel task, stop execution", submitting, waiting, copying, stopping, cancelled),
		every("keep, finish", delivering),
		every("to copying, cancel task, stop execution", failed),
		every("ignore", succeeded),
	),
	onEndFailed: rows(
		every("to failed", submitting, waiting, copying),
		every("to cancelled", stopping),
		every("keep, finish", delivering),
		every("ignore", failed, cancelled),
		every("ignore, remove error.json", succeeded),
	),
	onEndAborted: rows(
		every("to cancelled", submitting, waiting, copying, stopping),
		every("keep, finish", delivering),
		every("ignore", failed, cancelled),
		every("ignore, remove error.json", succeeded),
	),
	onDecide: rows(
		every("keep", failed),
		every("refused NotInDoubt", submitting, waiting, copying, stopping, delivering, cancelled, succeeded),
	),
	onAmend: every("keep", phases...),
}

// recordIn makes a record that is in a phase.
func recordIn(phase phase) run.Record {
	r := run.Record{RunID: "r1", StartedAt: began, Life: 1, Status: run.Status(phase), TaskID: "t1", CopyStartedAt: began}
	switch phase {
	case stopping:
		r.Status, r.StopRequestedAt = run.Waiting, began
	case submitting:
		r.TaskID, r.CopyStartedAt = "", time.Time{}
	case waiting:
		r.CopyStartedAt = time.Time{}
	}
	return r
}

func TestTable(t *testing.T) {
	if len(wantTable) != len(table) {
		t.Errorf("%d events are expected, the table has %d", len(wantTable), len(table))
	}
	for event, row := range table {
		for _, phase := range phases {
			t.Run(fmt.Sprintf("%s/%s", event, phase), func(t *testing.T) {
				want, known := wantTable[event][phase]
				if !known || len(row) != len(phases) {
					t.Fatalf("nobody knows what is to become of it; the row has %d phases", len(row))
				}
				before := recordIn(phase)
				if phaseOf(before) != phase {
					t.Fatalf("the record is %s", phaseOf(before))
				}
				after, did := before, false
				life := before.Life
				if event == onStopNext {
					life++
				}
				cell, err := apply(&after, life, event, func(r *run.Record) error {
					did = true
					r.Posts++
					return nil
				})
				if got := said(before, after, cell, err, did); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				if err != nil && (after.Posts != before.Posts || after.Status != before.Status) {
					t.Errorf("it was refused and changed the record: %+v", after)
				}
			})
		}
	}
}

// TestRowOfAnotherLength: a row needs a cell for each phase.
func TestRowOfAnotherLength(t *testing.T) {
	for _, length := range []int{len(phases) - 1, len(phases) + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a row of %d cells was taken", length)
				}
			}()
			cells(make([]cell, length)...)
		}()
	}
}

// TestResumes: what a redrive goes on with follows from what the record holds.
func TestResumes(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*run.Record)
		want   run.Status
	}{
		"nothing was submitted": {func(r *run.Record) { r.TaskID, r.CopyStartedAt = "", time.Time{} }, run.Submitting},
		"in doubt":              {func(r *run.Record) { r.TaskID, r.Submission = "", &run.Submission{AttemptID: "a"} }, run.Submitting},
		"it waited":             {func(r *run.Record) { r.CopyStartedAt = time.Time{} }, run.Waiting},
		"it copied":             {func(*run.Record) {}, run.Copying},
	} {
		for _, event := range []event{onEnterNext, onStopNext} {
			r := recordIn(failed)
			test.change(&r)
			if _, err := apply(&r, 2, event, nil); err != nil || r.Status != test.want {
				t.Errorf("%s, %s: %s, %v", name, event, r.Status, err)
			}
		}
	}
}

// TestFence: from a lower life nothing is decided, whatever the phase; a receipt
// and what follows it are no decisions, and neither is what a person says, nor a close.
func TestFence(t *testing.T) {
	decides := map[event]bool{onEnter: true, onMark: true, onFind: true, onNote: true, onCopy: true, onDeliver: true}
	for event := range table {
		for _, phase := range phases {
			r := recordIn(phase)
			before := r
			_, err := apply(&r, r.Life-1, event, func(r *run.Record) error { r.Posts++; return nil })
			if decides[event] && (!named.Is(err, named.Superseded) || r.Posts != before.Posts || r.Status != before.Status) {
				t.Errorf("%s in %s, of an earlier life: %v, %+v", event, phase, err, r)
			}
			if !decides[event] && named.Is(err, named.Superseded) && !strings.Contains(wantTable[event][phase], named.Superseded) {
				t.Errorf("%s in %s is fenced although it must not be", event, phase)
			}
		}
	}
}

// TestRefusesByTheChange: an error of the change refuses the event, and the
// record stays as it was.
func TestRefusesByTheChange(t *testing.T) {
	r := recordIn(waiting)
	_, err := apply(&r, 1, onNote, func(r *run.Record) error {
		r.TaskID = "another"
		return errRecordChanged
	})
	if err != errRecordChanged || r.TaskID != "t1" {
		t.Errorf("%+v, %v", r, err)
	}
}
