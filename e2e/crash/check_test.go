package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// record is a run's, as a stranger reads it from the state bucket.
type record struct {
	RunID         string    `json:"run_id"`
	Life          int       `json:"life"`
	LifeStartedAt time.Time `json:"life_started_at"`
	Status        string    `json:"status"`
	TaskID        string    `json:"task_id"`
	How           string    `json:"how"`
	Adopted       bool      `json:"adopted"`
	Submission    *struct {
		MarkedAt time.Time `json:"marked_at"`
		EmptyAt  time.Time `json:"empty_at"`
	} `json:"submission"`
	Posts      int            `json:"posts"`
	Uploads    map[string]any `json:"uploads"`
	Candidates []candidate    `json:"candidates"`
	ExtraTasks []extraTask    `json:"extra_tasks"`
	Cancel     *struct {
		EndedAs string `json:"ended_as"`
	} `json:"cancel"`
	CleanUpDue bool `json:"clean_up_due"`
	Error      *struct {
		Name  string `json:"name"`
		Cause string `json:"cause"`
	} `json:"error"`
}

type candidate struct {
	TaskID     string    `json:"task_id"`
	CreatedAt  time.Time `json:"created_at"`
	TaskStatus string    `json:"task_status"`
}

type extraTask struct {
	TaskID    string `json:"task_id"`
	Cancelled bool   `json:"cancelled"`
}

func (r record) inDoubt() bool { return r.Submission != nil && r.TaskID == "" }

// names reports whether the record says that a task may be the run's.
func (r record) names(taskID string) bool {
	return slices.ContainsFunc(r.Candidates, func(c candidate) bool { return c.TaskID == taskID })
}

// ownership is the object tasks/{id}.
type ownership struct {
	StartedBy   string `json:"started_by"`
	How         string `json:"how"`
	DeliveredBy string `json:"delivered_by"`
}

// howOf is how it is known who started a task: a 202 said so, or nobody else can
// have; a person's decision counts as that.
var howOf = map[bool]string{false: "receipt", true: "exclusion"}

// ends are the errors with which a run may end here. What Lambda throws itself
// is none of them: it would mean that the retries ran out.
var ends = []string{"SubmitOutcomeUnknown", "RunCancelled", "RunTimedOut", "RunRejected", "Unavailable", "InvalidRequest", "TaskTaken"}

// bucket is all that lies in one of the cell's.
func (c *cell) bucket(ctx context.Context, name string) (map[string][]byte, error) {
	bucket := aws.String(c.buckets + "-" + name)
	list, err := c.world.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket})
	if err != nil {
		return nil, err
	}
	objects := map[string][]byte{}
	for _, o := range list.Contents {
		out, err := c.world.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: o.Key})
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(out.Body)
		_ = out.Body.Close()
		if err != nil {
			return nil, err
		}
		objects[*o.Key] = body
	}
	return objects, nil
}

func below(objects map[string][]byte, prefix string) []string {
	var keys []string
	for key := range objects {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, strings.TrimPrefix(key, prefix))
		}
	}
	slices.Sort(keys)
	return keys
}

// state is the cell's state bucket without the world's witness, which nothing may
// have touched.
func (c *cell) state(ctx context.Context) (map[string][]byte, error) {
	objects, err := c.bucket(ctx, "state")
	if err != nil || !c.scenario.witness {
		return objects, err
	}
	for key, body := range c.world.witness.objects {
		if !bytes.Equal(objects[key], body) {
			return nil, fmt.Errorf("%s of the run before is %q, it was %q", key, objects[key], body)
		}
		delete(objects, key)
	}
	return objects, nil
}

// check counts what was paid and looks for an end that is not consistent.
func (c *cell) check(ctx context.Context, last answer, r *result) error {
	paid, err := c.world.ledger()
	if err != nil {
		return err
	}
	r.paid, r.uploads = len(paid.Tasks), len(paid.Uploads)
	state, rec, err := c.swept(ctx)
	if err != nil {
		return err
	}
	if paid, err = c.world.ledger(); err != nil { // the sweep may have cancelled
		return err
	}
	outputs, err := c.bucket(ctx, "output")
	if err != nil {
		return err
	}
	say := func(bad bool, format string, args ...any) {
		if bad {
			r.problems = append(r.problems, fmt.Sprintf(format, args...))
		}
	}
	say(r.paid > 1, "%d tasks were paid for one run", r.paid)
	say(len(below(state, "index/")) != 1, "index entries: %v", below(state, "index/"))
	e := c.now()
	say(rec.Life != e.redrives, "the record is in life %d, the execution in %d", rec.Life, e.redrives)
	if e.status == "RUNNING" {
		r.end = "ok"
		if rec.Adopted {
			r.end = "adopted"
		}
		c.delivered(last, paid, state, rec, say)
		return nil
	}
	// A run that was closed in doubt keeps its markers: others must not adopt what may be its task.
	// One whose run was closed before it was marked, by a call that died, says nothing: its half minute passes.
	say(len(below(state, "submitting/")) > 0 && rec.Submission != nil && !rec.inDoubt(), "markers were left: %v", below(state, "submitting/"))
	say(len(below(state, "doubt/")) > 0 && !rec.inDoubt(), "the run is in doubt no more, and says so to others: %v", below(state, "doubt/"))
	c.closed(paid, state, outputs, rec, r, say)
	return nil
}

// swept is the state bucket after the hourly sweep, where that has work left.
func (c *cell) swept(ctx context.Context) (state map[string][]byte, rec record, err error) {
	for sweeps := 0; ; sweeps++ {
		if state, err = c.state(ctx); err != nil {
			return nil, rec, err
		}
		if err = json.Unmarshal(state["runs/"+c.runID+".json"], &rec); err != nil {
			return nil, rec, fmt.Errorf("no record that can be read: %w", err)
		}
		done := slices.Contains([]string{"failed", "cancelled"}, rec.Status) && !rec.CleanUpDue && (rec.Cancel == nil || rec.Cancel.EndedAs != "")
		if c.now().status == "RUNNING" || done || sweeps == 1 {
			return state, rec, nil
		}
		if err = c.sweep(); err != nil {
			return nil, rec, err
		}
		rec = record{}
	}
}

// delivered: the run goes on with exactly the task that was paid for.
func (c *cell) delivered(last answer, paid ledger, state map[string][]byte, rec record, say func(bool, string, ...any)) {
	var out struct {
		RunID  string `json:"run_id"`
		TaskID string `json:"task_id"`
	}
	err := json.Unmarshal(last.body, &out)
	say(err != nil || out.RunID != c.runID || out.TaskID != rec.TaskID, "the step answered %s%s %s; the record has the task %q", last.body, last.name, last.message, rec.TaskID)
	say(len(paid.Tasks) == 0, "the step succeeded and nothing was paid")
	for _, task := range paid.Tasks {
		say(task.ID != rec.TaskID, "the task %s was paid; the record has %q", task.ID, rec.TaskID)
		say(task.CancelRequested, "the task was cancelled")
	}
	say(rec.Status != "waiting" || rec.Error != nil || rec.CleanUpDue || len(rec.Candidates) > 0 || len(rec.ExtraTasks) > 0, "the record is %+v", rec)
	say(rec.How != howOf[rec.Adopted || c.scenario.decided], "it is known by %q that the task is the run's (adopted: %t)", rec.How, rec.Adopted)
	var owner ownership
	err = json.Unmarshal(state["tasks/"+rec.TaskID], &owner)
	say(err != nil || owner != ownership{c.runID, rec.How, c.runID}, "the task's ownership is %s", state["tasks/"+rec.TaskID])
	say(len(below(state, "tasks/")) != 1, "ownerships: %v", below(state, "tasks/"))
	say(len(below(state, "submitting/"))+len(below(state, "doubt/")) > 0, "markers were left: %v, %v", below(state, "submitting/"), below(state, "doubt/"))
}

// closed: the run ended with a named error, and whatever was paid is cancelled
// or named.
func (c *cell) closed(paid ledger, state, outputs map[string][]byte, rec record, r *result, say func(bool, string, ...any)) {
	e := c.now()
	if rec.Error == nil {
		say(true, "the execution is %s and the record %s, without an error", e.status, rec.Status)
		return
	}
	r.end = rec.Error.Name
	say(!slices.Contains(ends, r.end), "the run ended as %s: %s", r.end, rec.Error.Cause)
	say(e.status == "ABORTED" && rec.Status != "cancelled" || e.status == "FAILED" && rec.Status != "failed", "the execution is %s, the record %s", e.status, rec.Status)
	doubtful := r.end == "SubmitOutcomeUnknown" && rec.inDoubt() // whatever error the doubt outlasted
	say(e.name != "" && r.end != e.name && !doubtful, "the execution ended with %s, the record with %s", e.name, r.end)
	say(rec.CleanUpDue, "something is left to do after a sweep: %+v", rec)
	say(rec.Cancel != nil && rec.Cancel.EndedAs == "", "nobody has seen the task's end after a sweep")
	told := string(outputs[outputPrefix+"runs/"+c.runID+"/error.json"])
	say(!strings.Contains(told, r.end), "error.json: %q", told)
	say(len(outputs) != 1, "the outputs are %v", below(outputs, ""))
	for _, named := range rec.Candidates {
		say(!strings.Contains(told, named.TaskID), "error.json lacks the candidate %s: %s", named.TaskID, told)
		say(named.CreatedAt.IsZero(), "the candidate %s has no time", named.TaskID)
	}
	for _, task := range paid.Tasks {
		extra := slices.ContainsFunc(rec.ExtraTasks, func(x extraTask) bool { return x.TaskID == task.ID })
		candidate := rec.TaskID == "" && rec.names(task.ID)
		say(rec.TaskID != task.ID && !candidate && !extra, "the task %s was paid and nothing tells of it: %s", task.ID, rec.Error.Cause)
		say(rec.TaskID == task.ID && !strings.Contains(told, task.ID), "error.json lacks the task %s: %s", task.ID, told)
		var owner ownership
		err := json.Unmarshal(state["tasks/"+task.ID], &owner)
		say(err != nil || owner.StartedBy != c.runID, "the ownership of the task %s is %s", task.ID, state["tasks/"+task.ID])
		switch {
		case task.CancelRequested:
			r.end += ", cancelled"
			say(e.status == "FAILED" && !extra || candidate, "the run only failed, or may not be the one that started it, and the task %s was cancelled", task.ID)
		case e.status == "FAILED" || candidate:
			r.end += ", named"
		case rec.How != "receipt":
			r.end += ", told"
		default:
			say(true, "the run was stopped and its task %s still runs: %s", task.ID, rec.Error.Cause)
		}
	}
}

var errNoSweep = errors.New("no sweep succeeded")
