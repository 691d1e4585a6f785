package doubt

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
)

// witness is a task that a receipt named, with what a task list must show of it. It
// comes from an object ended/{workflow}/{newest first}-{queue ms}-{run ms}-{task id} in
// the state bucket, or from a record.
type witness struct {
	TaskID     string       `json:"task_id"`
	WorkflowID string       `json:"workflow_id"`
	CreatedAt  time.Time    `json:"created_at,omitzero"` // by Cyberun's clock, if the task was seen to end
	Window     run.Window   `json:"window"`              // of the POST that started it
	Ended      bool         `json:"ended"`
	Evidence   run.Evidence `json:"how"`
}

// from is the moment back to which a list must be read to show the witness.
func (w witness) from() time.Time { return cmp.Or(w.CreatedAt, w.Window.From) }

// fault says how a list fails to show the witness; empty if it shows it.
func (w witness) fault(rows []cyberun.Task, workflowID string) string {
	for _, t := range rows {
		if t.ID != w.TaskID {
			continue
		}
		switch {
		case t.WorkflowID != w.WorkflowID:
			return fmt.Sprintf("the task list shows the task %s, a task of this stack, under the workflow id %q instead of %q", t.ID, t.WorkflowID, w.WorkflowID)
		case !w.Window.Contains(t.CreatedAt.Time):
			return fmt.Sprintf("the task list shows the task %s as created at %s, outside of its own submission (%s to %s): its times are not those of Cyberun's clock",
				t.ID, t.CreatedAt.Format(time.RFC3339), w.Window.From.Format(time.RFC3339), w.Window.Until.Format(time.RFC3339))
		case w.Ended && !t.Status.Terminal():
			return fmt.Sprintf("the task list shows the task %s as %s, though it has ended: it is out of date", t.ID, t.Status)
		}
		if w.WorkflowID != workflowID {
			return openRow(rows, w.TaskID)
		}
		return ""
	}
	return fmt.Sprintf("the task list does not show the task %s, which a receipt told of", w.TaskID)
}

// hasWorkflowID reports whether nothing speaks against a workflow's rows having the id
// that its detail says: the witness is of that workflow, and has that id if it is
// in the list.
func (w witness) hasWorkflowID(rows []cyberun.Task, workflowID string) bool {
	return w.WorkflowID == workflowID && !slices.ContainsFunc(rows, func(t cyberun.Task) bool {
		return t.ID == w.TaskID && t.WorkflowID != workflowID
	})
}

// openRow is for a witness of another workflow, which shows nothing of the form of
// this one's id: then no task of any workflow may be open.
func openRow(rows []cyberun.Task, witness string) string {
	for _, t := range rows {
		if t.ID != witness && !t.Status.Terminal() {
			return fmt.Sprintf("this stack has not yet seen a task of this workflow in the list, and the task %s of another one is %s", t.ID, t.Status)
		}
	}
	return ""
}

const (
	// A witness is old enough to be listed by now, and young enough to be within
	// the list's pages and the service's retention.
	youngest = 60 * time.Second
	oldest   = 6 * 24 * time.Hour
	// maxLooked bounds how many tasks and runs are looked at for a witness.
	maxLooked = 50
)

func endedIn(workflow string) string { return "ended/" + url.PathEscape(workflow) + "/" }

// RecordTaskEnd stores in the state bucket that the task of the run r has ended; t is the
// task as Cyberun then showed it. Later investigations for other runs use it as a witness
// if a receipt named it. RecordTaskEnd does nothing for a run without a submission or a
// task without a created_at. Writing it twice, or not at all, does no harm.
func RecordTaskEnd(ctx context.Context, s *store.Store, r run.Record, t cyberun.Task) error {
	if t.CreatedAt.IsZero() || r.Submission == nil {
		return nil
	}
	milliseconds := func(from, to cyberun.Time) int64 {
		if from.IsZero() || to.IsZero() {
			return 0
		}
		return max(0, to.Sub(from.Time).Milliseconds())
	}
	body, err := json.Marshal(witness{
		TaskID: t.ID, WorkflowID: r.WorkflowID, CreatedAt: t.CreatedAt.Time, Window: r.Submission.Window(), Ended: true, Evidence: r.Evidence,
	})
	if err != nil {
		return err
	}
	return s.Put(ctx, fmt.Sprintf("%s%s-%d-%d-%s", endedIn(r.Workflow), store.DescendingKey(t.CreatedAt.Time),
		milliseconds(t.CreatedAt, t.StartedAt), milliseconds(t.StartedAt, t.CompletedAt), url.PathEscape(t.ID)), body)
}

// witnesses returns the newest task that a receipt told this stack of, 60 s to 6 days
// old: of the same workflow if there is one, else of any of the stack's. If that one
// still runs, the newest of the same workflow that has ended comes before it: only the
// younger one shows a list that lags, and only the other one a list that leaves out
// what has ended.
func (i Investigator) witnesses(ctx context.Context, r run.Record) ([]witness, error) {
	now := i.Now()
	ended, err := i.amongEnds(ctx, r, now)
	if err != nil {
		return nil, err
	}
	newest, found, err := i.amongRuns(ctx, r, now)
	if found && (len(ended) == 0 || newest.WorkflowID == r.WorkflowID && newest.from().After(ended[0].from())) {
		ended = append(ended, newest)
	}
	return ended, err
}

// amongEnds returns the newest task of the same workflow that was seen to end, if
// there is one.
func (i Investigator) amongEnds(ctx context.Context, r run.Record, now time.Time) ([]witness, error) {
	var keys []string
	if err := i.Runs.Store.List(ctx, endedIn(r.Workflow), endedIn(r.Workflow)+store.DescendingKey(now.Add(-youngest)), func(e store.Entry) bool {
		keys = append(keys, e.Key)
		return len(keys) < maxLooked
	}); err != nil {
		return nil, err
	}
	for _, key := range keys {
		var w witness
		object, err := i.Runs.Store.Get(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if json.Unmarshal(object.Body, &w) == nil && w.Evidence == run.ByReceipt && w.WorkflowID == r.WorkflowID && now.Sub(w.CreatedAt) < oldest {
			return []witness{w}, nil
		}
	}
	return nil, nil
}

// amongRuns looks for a witness among the newest runs: one of the same workflow
// comes before any other.
func (i Investigator) amongRuns(ctx context.Context, r run.Record, now time.Time) (best witness, found bool, err error) {
	var ids []string
	if err := i.Runs.EachNewestFirst(ctx, "", func(runID, _ string) bool {
		ids = append(ids, runID)
		return len(ids) < maxLooked
	}); err != nil {
		return best, false, err
	}
	for _, id := range ids {
		if id == r.RunID {
			continue
		}
		other, err := i.Runs.Get(ctx, id)
		if errors.Is(err, lifecycle.ErrNoRecord) {
			continue
		}
		if err != nil {
			return best, false, err
		}
		age := now.Sub(other.TaskKnownAt)
		if other.Evidence != run.ByReceipt || other.Submission == nil || age < youngest || age >= oldest {
			continue
		}
		w := witness{TaskID: other.TaskID, WorkflowID: other.WorkflowID, Window: other.Submission.Window(), Ended: !other.CompletedAt.IsZero(), Evidence: run.ByReceipt}
		if other.Workflow == r.Workflow && other.WorkflowID == r.WorkflowID {
			return w, true, nil
		}
		if !found {
			best, found = w, true
		}
	}
	return best, found, nil
}
