package doubt

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// Cyberun is the part of the client that an investigation calls.
type Cyberun interface {
	Tasks(ctx context.Context, page cyberun.Page) (cyberun.TaskList, error)
}

// Investigator looks into submissions whose outcome is unknown.
type Investigator struct {
	Cyberun Cyberun
	Runs    *lifecycle.Runs
	Now     func() time.Time
}

// Verdict says what an investigation found out about a submission.
type Verdict int

const (
	// Unclear says that this investigation settles nothing, for the reason in
	// Finding.Why. With candidates a person has to decide; without any, a later one may
	// show more.
	Unclear Verdict = iota
	// Found says that the run surely started Finding.TaskID.
	Found
	// OnlyCandidate says that Finding.TaskID is the one task that may be the run's, that
	// no run of this stack is known to have started it, and that no other run's
	// submission could have.
	OnlyCandidate
	// Unproven says that one task may be the run's, and that the list cannot show it
	// to be the only one. A later look may find the list whole and fresh.
	Unproven
	// OthersPosted says that another run's submission may have started one of the
	// candidates. A later look may show which task is whose.
	OthersPosted
	// Absent says that the task list surely had no task of the submission when it was
	// read. A task may be listed later.
	Absent
)

// Finding is the result of one [Investigator.Investigate].
type Finding struct {
	Verdict    Verdict
	TaskID     string
	Candidates []run.Candidate // the tasks that may be the run's, the oldest first
	Why        string          // of Unclear, Unproven and OthersPosted: the condition that failed
	// NoWitness says that absence could not be shown for want of a witness: a task that
	// this stack surely started, and that a complete list has to show.
	NoWitness bool
}

// maxOwned bounds the ownerships that one look reads: of the tasks that started
// in a submission's half minute, or, where absence is to be shown, since then.
const maxOwned = 300

// Investigate reads the task list once and judges the run's submission by it. r has a
// submission. The list is read first, then the markers, then the ownerships: a run that
// gets its task writes the ownership before it deletes its marker, so that one of the
// two is seen.
func (i Investigator) Investigate(ctx context.Context, r run.Record) (Finding, error) {
	s := *r.Submission
	witnesses, err := i.witnesses(ctx, r)
	if err != nil {
		return Finding{}, err
	}
	back := s.Window().From
	for _, w := range witnesses {
		if w.from().Before(back) {
			back = w.from()
		}
	}
	list, err := i.read(ctx, s.Window(), back, func() time.Time { return s.ServerTime(i.Now()) })
	if err != nil {
		return Finding{}, err
	}
	markers, err := i.Runs.Markers(ctx, r.WorkflowID, s.LocalAt)
	if err != nil {
		return Finding{}, err
	}
	f, free, err := i.inWindow(ctx, r, list.rows, func(t cyberun.Task) bool { return t.WorkflowID == r.WorkflowID || t.WorkflowID == "" })
	if err != nil {
		return Finding{}, err
	}
	switch {
	case f.Verdict == Found:
		return f, nil
	case len(f.Candidates) == 0:
		return i.absence(ctx, r, f, list, witnesses)
	}
	others, err := i.othersPosted(ctx, r.RunID, f.Candidates, markers)
	switch {
	case err != nil:
		return Finding{}, err
	case others:
		f.Verdict, f.Why = OthersPosted, "another run of the workflow posted at that time as well"
	case len(f.Candidates) == 1 && len(free) == 1 && list.partial != "":
		f.Verdict, f.Why = Unproven, list.partial
	case len(f.Candidates) == 1 && len(free) == 1:
		f.Verdict, f.TaskID = OnlyCandidate, free[0].ID
	default:
		f.Why = fmt.Sprintf("%d tasks could be this run's, or a run in doubt has named one of them", len(f.Candidates))
	}
	return f, nil
}

// inWindow finds the tasks of a submission's window that may be the run's: those
// which no other run of this stack surely started. free are those of which
// nothing is known at all.
func (i Investigator) inWindow(ctx context.Context, r run.Record, rows []cyberun.Task, counts func(cyberun.Task) bool) (f Finding, free []cyberun.Task, err error) {
	window := r.Submission.Window()
	owned := 0
	for _, t := range rows {
		if !window.Contains(t.CreatedAt.Time) || !counts(t) {
			continue
		}
		if owned++; owned > maxOwned {
			f.Why = fmt.Sprintf("over %d tasks were created in the submission's window", maxOwned)
			return f, nil, nil
		}
		o, known, err := i.Runs.OwnershipOf(ctx, t.ID)
		switch {
		case err != nil:
			return f, nil, err
		case known && o.Evidence.Proves() && o.StartedBy == r.RunID:
			return Finding{Verdict: Found, TaskID: t.ID, Candidates: []run.Candidate{candidate(t, o)}}, nil, nil
		case known && o.Evidence.Proves():
			continue
		case !known:
			free = append(free, t)
		}
		f.Candidates = append(f.Candidates, candidate(t, o))
	}
	slices.SortFunc(f.Candidates, func(a, b run.Candidate) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.TaskID, b.TaskID))
	})
	return f, free, nil
}

func candidate(t cyberun.Task, o run.Ownership) run.Candidate {
	return run.Candidate{TaskID: t.ID, CreatedAt: t.CreatedAt.Time, TaskStatus: string(t.Status), DeliveredBy: o.DeliveredBy}
}

// othersPosted reports whether another run's submission could have started one of the
// tasks. A marker whose window lies elsewhere could not, nor could one that was
// never followed by a POST. The markers' runs are read after the task list, or a
// task could be listed that started after its run was read.
func (i Investigator) othersPosted(ctx context.Context, runID string, tasks []run.Candidate, markers []run.Marker) (bool, error) {
	for _, m := range markers {
		overlaps := slices.ContainsFunc(tasks, func(t run.Candidate) bool { return m.Window.Contains(t.CreatedAt) })
		if m.RunID == runID || !overlaps {
			continue
		}
		if posted, err := i.Runs.MayHavePosted(ctx, m); err != nil || posted {
			return posted, err
		}
	}
	return false, nil
}

// absence says whether the list proves that no task is the run's. What has never
// been seen in a list is not believed to be absent from it: the list must show the
// witnesses, where and as they must be.
func (i Investigator) absence(ctx context.Context, r run.Record, f Finding, list listing, witnesses []witness) (Finding, error) {
	if f.Why != "" {
		return f, nil
	}
	if list.broken != "" {
		f.Why = list.broken
		return f, nil
	}
	if len(witnesses) == 0 {
		f.Why, f.NoWitness = "this stack has not yet seen a task of its own in the list", true
		return f, nil
	}
	for _, w := range witnesses {
		if f.Why = w.fault(list.rows, r.WorkflowID); f.Why == "" {
			continue
		}
		if w.hasWorkflowID(list.rows, r.WorkflowID) {
			return f, nil
		}
		// A workflow's id in the list may be another than its detail says: then any
		// task of the window may be the run's.
		all, _, err := i.inWindow(ctx, r, list.rows, func(cyberun.Task) bool { return true })
		f.Candidates = all.Candidates
		return f, err
	}
	sameWorkflow := witnesses[0].WorkflowID == r.WorkflowID
	from, owned := r.Submission.Window().From, 0
	for _, t := range list.rows {
		if t.CreatedAt.Before(from) || sameWorkflow && t.WorkflowID != r.WorkflowID && t.WorkflowID != "" {
			continue
		}
		if owned++; owned > maxOwned {
			f.Why = fmt.Sprintf("over %d tasks were created since the submission", maxOwned)
			return f, nil
		}
		o, known, err := i.Runs.OwnershipOf(ctx, t.ID)
		if err != nil {
			return f, err
		}
		if !known || !o.Evidence.Proves() || o.StartedBy == r.RunID {
			f.Why = fmt.Sprintf("the task %s was created at %s, after the submission, and it is not known who started it", t.ID, t.CreatedAt.Format(time.RFC3339))
			f.Candidates = append(f.Candidates, candidate(t, o))
			return f, nil
		}
	}
	f.Verdict = Absent
	return f, nil
}
