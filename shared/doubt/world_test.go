package doubt

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

const (
	workflow   = functiontest.WorkflowRef
	workflowID = functiontest.WorkflowID
	postTime   = 25 * time.Second
)

// marked is when the run's POST was marked, by the relay's clock.
var marked = functiontest.Began

// world is a stack whose run "mine" is in doubt, and the moment of a look.
type world struct {
	*functiontest.World
	record run.Record
}

// newWorld returns a fresh stack, whose run is in doubt, two minutes on. Nothing
// was started.
func newWorld(t *testing.T) *world {
	w := &world{World: functiontest.New(t)}
	w.record = run.Record{
		RunID: "mine", ExecutionARN: functiontest.ARN("mine"), StartedAt: marked, Status: run.Submitting, Workflow: workflow, WorkflowID: workflowID,
		Submission: w.submission(marked), Posts: 1, MaxSeconds: 86400,
	}
	w.write(w.record)
	w.Now = marked.Add(2 * time.Minute)
	return w
}

// submission is one that was marked at a moment of the relay's clock.
func (w *world) submission(at time.Time) *run.Submission {
	server := at.Add(w.Cyberun.Skew)
	return &run.Submission{AttemptID: fmt.Sprint("attempt-", at.Unix()), MarkedAt: server, PostUntil: server.Add(postTime), LocalAt: at}
}

// witnessed is newWorld with a task that a receipt told of, ten minutes before.
func witnessed(t *testing.T) *world {
	w := newWorld(t)
	w.accepted("earlier", workflow, marked.Add(-10*time.Minute))
	return w
}

// write stores a record with its place in the list of runs.
func (w *world) write(r run.Record) {
	w.Set("runs/"+r.RunID+".json", r)
	w.put(fmt.Sprintf("index/%013d-%s", 9999999999999-r.StartedAt.UnixMilli(), r.RunID), nil)
}

func (w *world) put(key string, body []byte) {
	w.T.Helper()
	w.Undisturbed(func() {
		if err := w.Store().Put(w.T.Context(), key, body); err != nil {
			w.T.Fatal(err)
		}
	})
}

// accepted is a run of this stack that got its receipt at that moment: its task,
// its record and its ownership.
func (w *world) accepted(runID, ref string, at time.Time) (taskID string) {
	slug, _, _ := strings.Cut(ref, "@")
	id := workflowID
	if slug != functiontest.TextToImage().Slug {
		id = "wf-" + slug
	}
	taskID = w.task(id, at.Add(w.Cyberun.Skew))
	w.write(run.Record{
		RunID: runID, ExecutionARN: functiontest.ARN(runID), StartedAt: at, Status: run.Waiting, Workflow: ref, WorkflowID: id,
		TaskID: taskID, Evidence: run.ByReceipt, TaskKnownAt: at, Submission: w.submission(at), Posts: 1,
	})
	w.own(taskID, run.Ownership{StartedBy: runID, Evidence: run.ByReceipt, DeliveredBy: runID})
	return taskID
}

// task starts a task at a moment of Cyberun's clock.
func (w *world) task(workflowID string, at time.Time) string {
	return w.Cyberun.Strangers(1, workflowID, at)
}

// ours starts a task of the workflow so long after the mark.
func (w *world) ours(after time.Duration) string {
	return w.task(workflowID, marked.Add(w.Cyberun.Skew+after))
}

func (w *world) own(taskID string, o run.Ownership) {
	w.Set("tasks/"+taskID, o)
}

// rival leaves the marker of another run of the workflow.
func (w *world) rival(runID string, at time.Time) {
	s := *w.submission(at)
	w.Set("submitting/"+workflowID+"/"+runID+"/"+s.AttemptID, s.Marker(runID))
}

// end lets a task end, as poll-status sees and notes it.
func (w *world) end(runID string) {
	r := w.Run(runID)
	task := w.Cyberun.Of(r.TaskID)
	task.Status = cyberun.StatusCompleted
	w.Undisturbed(func() {
		if err := RecordTaskEnd(w.T.Context(), w.Store(), r.Record, task.Task); err != nil {
			w.T.Fatal(err)
		}
	})
}

func (w *world) look() (Finding, error) {
	return Investigator{Cyberun: w.Cyberun, Runs: w.Runs(), Now: w.Time}.Investigate(w.T.Context(), w.record)
}

// want looks, and holds the finding to a verdict and to words in Why.
func (w *world) want(verdict Verdict, why string) Finding {
	w.T.Helper()
	f, err := w.look()
	if err != nil {
		w.T.Fatal(err)
	}
	if f.Verdict != verdict || !strings.Contains(f.Why, why) || why == "" && f.Why != "" {
		w.T.Errorf("got %v, %q, want %v with %q; candidates %v", f.Verdict, f.Why, verdict, why, f.Candidates)
	}
	return f
}
