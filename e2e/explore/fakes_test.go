package explore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

const (
	stateBucket  = "state"
	outputBucket = "outputs"
	inboxBucket  = "inbox"
	workflowID   = "wf-1"
	workflowRef  = "w"
	arnPrefix    = "arn:aws:states:eu-central-1:123456789012:execution:relay-run:"
)

// task is one of Cyberun's tasks. Its id ends in the run that paid for it.
type task struct {
	id, owner string
	status    cyberun.Status
	created   time.Time
}

// service is Cyberun.
type service struct{ *universe }

func (s service) Workflow(context.Context, string) (cyberun.Workflow, error) {
	w := cyberun.Workflow{ID: workflowID, Slug: workflowRef, Status: cyberun.WorkflowActive}
	err := s.call(op{name: "GET workflow", key: "clock"}, func() error { w.Date = s.now.Truncate(time.Second); return nil }, func() string { return w.Date.String() })
	return w, err
}

func (s service) WorkflowByID(context.Context, string) (cyberun.Workflow, error) {
	return cyberun.Workflow{Slug: workflowRef}, nil
}

func (s service) Workflows(context.Context, cyberun.Page) (cyberun.WorkflowList, error) {
	return cyberun.WorkflowList{}, errors.New("not asked for")
}

func (s service) Run(context.Context, string, map[string]any) (cyberun.RunReceipt, error) {
	entered, owner := s.now, "drain"
	if s.cur != nil {
		owner = s.cur.owner
	}
	var r cyberun.RunReceipt
	err := s.call(op{name: "POST run", key: "tasks/", prefix: true, kind: writes}, func() error {
		if s.now.Sub(entered) > 25*time.Second { // its time was over before it went out
			return &cyberun.RunError{Outcome: cyberun.NotStarted, Err: context.DeadlineExceeded}
		}
		id := fmt.Sprintf("t%d-%s", len(s.tasks)+1, owner)
		s.tasks = append(s.tasks, task{id, owner, cyberun.StatusPending, s.now})
		r = cyberun.RunReceipt{TaskID: id}
		return nil
	}, func() string { return r.TaskID })
	if err == nil && s.cur != nil {
		s.cur.receipt = r.TaskID
	}
	var refused *cyberun.RunError
	if err != nil && !errors.As(err, &refused) {
		err = &cyberun.RunError{Outcome: cyberun.InDoubt, Err: err}
	}
	return r, err
}

func (s service) find(id string) *task {
	i := slices.IndexFunc(s.tasks, func(t task) bool { return t.id == id })
	if i < 0 {
		return nil
	}
	t := &s.tasks[i]
	if s.runFor > 0 && !t.status.Terminal() && s.now.Sub(t.created) >= s.runFor {
		t.status = cyberun.StatusCompleted
	}
	return t
}

func (s service) seen(t task) cyberun.Task {
	return cyberun.Task{ID: t.id, WorkflowID: workflowID, Status: t.status, CreatedAt: cyberun.Time{Time: t.created}}
}

func (s service) Task(_ context.Context, id string) (cyberun.Task, error) {
	var out cyberun.Task
	err := s.call(op{name: "GET task " + id, key: "tasks/" + id}, func() error {
		t := s.find(id)
		if t == nil {
			return &cyberun.APIError{Status: http.StatusNotFound, JSON: true}
		}
		out = s.seen(*t)
		return nil
	}, func() string { return string(out.Status) })
	return out, err
}

// listedAfter is how long the task list may lack a task.
const listedAfter = 40 * time.Second

func (s service) Tasks(_ context.Context, page cyberun.Page) (cyberun.TaskList, error) {
	var l cyberun.TaskList
	err := s.call(op{name: "GET tasks", key: "tasks/", prefix: true, lags: len(s.tasks) > 1}, func() error {
		l = cyberun.TaskList{Date: s.now.Truncate(time.Second), Page: cyberun.PageMeta{TotalCount: len(s.tasks)}}
		if page.Number > 1 {
			return nil
		}
		for _, t := range slices.Backward(s.tasks) {
			if !s.quiet && s.cur.how == stale && s.now.Sub(t.created) < listedAfter {
				continue
			}
			l.Tasks = append(l.Tasks, s.seen(*s.find(t.id)))
		}
		return nil
	}, func() string { return fmt.Sprint(l.Tasks, l.Date) })
	return l, err
}

func (s service) Cancel(_ context.Context, id string) error {
	return s.call(op{name: "POST cancel " + id, key: "tasks/" + id, kind: writes}, func() error {
		if t := s.find(id); t != nil && !t.status.Terminal() {
			t.status = cyberun.StatusCancelled
		}
		return nil
	}, nil)
}

func (s service) Result(_ context.Context, id string) (cyberun.Result, error) {
	var r cyberun.Result
	err := s.call(op{name: "GET result " + id, key: "tasks/" + id}, func() error {
		if t := s.find(id); t == nil || t.status != cyberun.StatusCompleted {
			return &cyberun.APIError{Status: http.StatusConflict, JSON: true}
		}
		r = cyberun.Result{ID: id, Status: cyberun.StatusCompleted, DownloadURL: "https://files.example/" + cyberun.SignedURL(id) + ".png"}
		return nil
	}, nil)
	return r, err
}

func (s service) Events(context.Context, string) iter.Seq2[cyberun.Event, error] {
	return func(func(cyberun.Event, error) bool) {}
}

func (s service) Presign(context.Context, cyberun.PresignRequest) (cyberun.Presigned, error) {
	return cyberun.Presigned{}, errors.New("not asked for")
}

func (s service) Upload(context.Context, cyberun.Presigned, io.Reader, int64) error {
	return errors.New("not asked for")
}

// copier stores an output as one small object.
type copier struct{ *universe }

func (c copier) Copy(ctx context.Context, src transfer.Source, dst transfer.Target, _ *transfer.Checkpoint, _ func(context.Context, transfer.Checkpoint) error) (transfer.Result, error) {
	key := dst.Key(transfer.Remote{Name: "output.png", ContentType: "image/png"})
	err := c.call(op{name: "copies " + key, key: "s3/" + outputBucket + "/" + key, kind: writes}, func() error {
		c.s3.Set(dst.Bucket, key, object([]byte(src.URL)))
		c.take(dst.Bucket, key)
		return nil
	}, nil)
	return transfer.Result{Done: err == nil, Key: key, Bytes: 3, ETag: `"e"`, ContentType: "image/png", Stored: 1}, asUnavailable(err)
}

func asUnavailable(err error) error {
	if err == nil {
		return nil
	}
	return named.Errorf(named.Unavailable, "%w", err)
}

// execution is one execution of the state machine.
type execution struct {
	state    executions.State
	error    named.Error
	at       string // the state that it stands at
	redrives int
	request  string
	before   *executions.Execution // what a stale DescribeExecution says
}

// endEvent is what EventBridge reports of an execution's end.
type endEvent struct {
	id, status, error, cause string
	redrives                 int
}

// machine is Step Functions.
type machine struct{ *universe }

func (m machine) Execution(id string) string { return arnPrefix + id }

func (m machine) of(arn string) *execution { return m.execs[strings.TrimPrefix(arn, arnPrefix)] }

func (m machine) seen(arn string, e *execution) executions.Execution {
	out := executions.Execution{ARN: arn, Name: executions.NameOf(arn), State: e.state, StartedAt: began, Redrives: e.redrives, Input: e.request}
	if e.state.Ended() {
		failure := e.error
		out.Error = &failure
	}
	return out
}

func (m machine) Describe(_ context.Context, arn string) (executions.Execution, error) {
	var out executions.Execution
	err := m.call(op{name: "DescribeExecution " + executions.NameOf(arn), key: "sfn/" + arn, lags: m.of(arn) != nil && m.of(arn).before != nil}, func() error {
		e := m.of(arn)
		if e == nil {
			return executions.ErrNotFound
		}
		if !m.quiet && m.cur.how == stale {
			out = *e.before
			if out.Name == "" {
				return executions.ErrNotFound
			}
			return nil
		}
		out = m.seen(arn, e)
		return nil
	}, func() string { return fmt.Sprint(out.State, out.Redrives) })
	if err != nil && !errors.Is(err, executions.ErrNotFound) {
		err = asUnavailable(err)
	}
	return out, err
}

func (m machine) Start(_ context.Context, id, input string) error {
	return m.call(op{name: "StartExecution " + id, key: "sfn/" + arnPrefix + id, kind: writes}, func() error {
		if e := m.execs[id]; e != nil {
			if e.request == input && e.state == executions.Running {
				return nil
			}
			return executions.ErrExists
		}
		m.execs[id] = &execution{state: executions.Running, at: "Submit", request: input, before: &executions.Execution{}}
		return nil
	}, nil)
}

func (m machine) Stop(_ context.Context, arn string, reason *named.Error) error {
	return asUnavailable(m.call(op{name: "StopExecution " + executions.NameOf(arn), key: "sfn/" + arn, kind: writes}, func() error {
		if e := m.of(arn); e != nil && e.state == executions.Running {
			m.end(executions.NameOf(arn), executions.Aborted, *named.Errorf(reason.Name, "the execution was stopped"))
		}
		return nil
	}, nil))
}

// end ends an execution, and has EventBridge say so.
func (m machine) end(id string, state executions.State, e named.Error) {
	x := m.execs[id]
	before := m.seen(arnPrefix+id, x)
	x.state, x.error, x.before = state, e, &before
	status := map[executions.State]string{executions.Failed: "FAILED", executions.Aborted: "ABORTED", executions.TimedOut: "TIMED_OUT", executions.Succeeded: "SUCCEEDED"}[state]
	if state.Ended() {
		m.events = append(m.events, endEvent{id, status, e.Name, e.Message(), x.redrives})
	}
}

func (m machine) Redrive(_ context.Context, arn string) error {
	err := m.call(op{name: "RedriveExecution " + executions.NameOf(arn), key: "sfn/" + arn, kind: writes}, func() error {
		e := m.of(arn)
		if e == nil || !e.state.Ended() {
			return executions.ErrNotRedrivable
		}
		before := m.seen(arn, e)
		e.before = &before
		e.state, e.error = executions.Running, named.Error{}
		e.redrives++
		return nil
	}, nil)
	if err != nil && !errors.Is(err, executions.ErrNotRedrivable) {
		return asUnavailable(err)
	}
	return err
}

func (m machine) Resume(_ context.Context, token string) error {
	return asUnavailable(m.call(op{name: "SendTaskSuccess", key: "token/" + token, kind: writes}, func() error { m.token[token] = true; return nil }, nil))
}

func (m machine) EndedSince(_ context.Context, _, _ time.Time, _ func(context.Context) error, each func(executions.Execution) bool) error {
	var found []executions.Execution
	err := m.call(op{name: "ListExecutions", key: "sfn/", prefix: true}, func() error {
		ids := make([]string, 0, len(m.execs))
		for id := range m.execs {
			ids = append(ids, id)
		}
		slices.Sort(ids)
		for _, id := range ids {
			if e := m.execs[id]; e.state.Ended() {
				listed := m.seen(arnPrefix+id, e)
				listed.Error = nil
				found = append(found, listed)
			}
		}
		return nil
	}, func() string { return fmt.Sprint(found) })
	if err != nil {
		return asUnavailable(err)
	}
	for _, e := range found {
		if !each(e) {
			break
		}
	}
	return nil
}
