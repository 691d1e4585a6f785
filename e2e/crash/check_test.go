package crash

import (
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
	RunID      string `json:"run_id"`
	Status     string `json:"status"`
	TaskID     string `json:"task_id"`
	Adopted    bool   `json:"adopted"`
	Submission *struct {
		EmptyAt time.Time `json:"empty_at"`
	} `json:"submission"`
	Posts      int            `json:"posts"`
	Uploads    map[string]any `json:"uploads"`
	Candidates []string       `json:"candidates"`
	Error      *struct {
		Name  string `json:"name"`
		Cause string `json:"cause"`
	} `json:"error"`
}

type claim struct {
	RunID     string `json:"run_id"`
	Candidate bool   `json:"candidate"`
}

// names are the errors with which a run may end here. What Lambda throws itself
// is none of them: it would mean that the retries ran out.
var names = []string{"SubmitOutcomeUnknown", "RunCancelled", "RunTimedOut", "RunRejected", "Unavailable", "InvalidRequest", "TaskTaken"}

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

// check counts what was paid and looks for an end that is not consistent.
func (c *cell) check(ctx context.Context, last answer, r *result) error {
	paid, err := c.world.ledger()
	if err != nil {
		return err
	}
	r.paid, r.uploads = len(paid.Tasks), len(paid.Uploads)
	state, err := c.swept(ctx)
	if err != nil {
		return err
	}
	outputs, err := c.bucket(ctx, "output")
	if err != nil {
		return err
	}
	var rec record
	if err := json.Unmarshal(state["runs/"+c.runID+".json"], &rec); err != nil {
		return fmt.Errorf("no record that can be read: %w", err)
	}
	say := func(bad bool, format string, args ...any) {
		if bad {
			r.problems = append(r.problems, fmt.Sprintf(format, args...))
		}
	}
	say(r.paid > 1, "%d tasks were paid for one run", r.paid)
	say(len(below(state, "index/")) != 1, "index entries: %v", below(state, "index/"))
	// A run that was closed in doubt keeps its marker: others must not adopt what may be its task.
	inDoubt := c.now().status != "RUNNING" && rec.Submission != nil && rec.TaskID == ""
	say(len(below(state, "submitting/")) > 0 && !inDoubt, "markers were left: %v", below(state, "submitting/"))
	if c.now().status == "RUNNING" {
		r.end = "ok"
		if rec.Adopted {
			r.end = "adopted"
		}
		c.delivered(last, paid, state, rec, say)
		return nil
	}
	c.closed(paid, state, outputs, rec, r, say)
	return nil
}

// swept is the state bucket after the hourly sweep, where that has work left.
func (c *cell) swept(ctx context.Context) (map[string][]byte, error) {
	state, err := c.bucket(ctx, "state")
	if err != nil || c.now().status == "RUNNING" || len(below(state, "submitting/"))+len(below(state, "open/")) == 0 {
		return state, err
	}
	if err := c.sweep(); err != nil {
		return nil, err
	}
	return c.bucket(ctx, "state")
}

// delivered: the run goes on with exactly the task that was paid for.
func (c *cell) delivered(last answer, paid ledger, state map[string][]byte, rec record, say func(bool, string, ...any)) {
	var out struct {
		RunID  string `json:"run_id"`
		TaskID string `json:"task_id"`
	}
	err := json.Unmarshal(last.body, &out)
	say(err != nil || out.RunID != c.runID || out.TaskID != rec.TaskID, "the step answered %s; the record has the task %q", last.body, rec.TaskID)
	say(len(paid.Tasks) == 0, "the step succeeded and nothing was paid")
	for _, task := range paid.Tasks {
		say(task.ID != rec.TaskID, "the task %s was paid; the record has %q", task.ID, rec.TaskID)
		say(task.CancelRequested, "the task was cancelled")
	}
	say(rec.Status != "waiting" || rec.Submission != nil || len(rec.Candidates) > 0, "the record is %+v", rec)
	var owner claim
	err = json.Unmarshal(state["tasks/"+rec.TaskID], &owner)
	say(err != nil || owner != claim{RunID: c.runID}, "the task's claim is %s", state["tasks/"+rec.TaskID])
	say(len(below(state, "tasks/")) != 1, "claims: %v", below(state, "tasks/"))
	say(len(below(state, "open/")) != 1, "the run is open and has no open marker")
}

// closed: the run ended with a named error, and whatever was paid is cancelled
// or told.
func (c *cell) closed(paid ledger, state, outputs map[string][]byte, rec record, r *result, say func(bool, string, ...any)) {
	e := c.now()
	if rec.Error == nil {
		say(true, "the execution is %s and the record %s, without an error", e.status, rec.Status)
		return
	}
	r.end = rec.Error.Name
	say(!slices.Contains(names, r.end), "the run ended as %s: %s", r.end, rec.Error.Cause)
	say(e.status == "ABORTED" && rec.Status != "cancelled" || e.status == "FAILED" && rec.Status != "failed", "the execution is %s, the record %s", e.status, rec.Status)
	say(e.name != "" && r.end != e.name, "the execution ended with %s, the record with %s", e.name, r.end)
	say(len(below(state, "open/")) > 0, "the closed run is still marked open")
	told := string(outputs["runs/"+c.runID+"/error.json"])
	say(!strings.Contains(told, r.end), "error.json: %q", told)
	for _, task := range paid.Tasks {
		named := rec.TaskID == task.ID || slices.Contains(rec.Candidates, task.ID)
		window := strings.Contains(rec.Error.Cause, "may be this run's")
		say(!named && !window, "the task %s was paid and nothing tells of it: %s", task.ID, rec.Error.Cause)
		switch {
		case task.CancelRequested:
			r.end += ", cancelled"
		case e.status != "ABORTED":
			r.end += ", named"
		case window && rec.TaskID == "" || rec.Adopted:
			r.end += ", told"
		default:
			say(true, "the run was stopped and its task %s still runs: %s", task.ID, rec.Error.Cause)
		}
	}
}

var errNoSweep = errors.New("no sweep succeeded")
