package explore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

// service is Cyberun.
type service struct{ *universe }

// image is the file parameter of a workflow that takes files.
const image = "image"

func (s service) Workflow(context.Context, string) (cyberun.Workflow, error) {
	a := s.call(op{name: "GET workflow", touch: touch{key: "clock"}, do: func(w *world, _ bool) answer {
		flow := cyberun.Workflow{ID: workflowID, Slug: workflowRef, Status: cyberun.WorkflowActive, Date: w.now.Truncate(time.Second)}
		if w.takesFiles {
			flow.Parameters = []cyberun.Parameter{{Key: image, Type: cyberun.TypeFile}}
		}
		return said(flow, flow.Date.String())
	}})
	flow, _ := a.value.(cyberun.Workflow)
	return flow, a.err
}

func (s service) WorkflowByID(context.Context, string) (cyberun.Workflow, error) {
	return cyberun.Workflow{Slug: workflowRef}, nil
}

func (s service) Workflows(context.Context, cyberun.Page) (cyberun.WorkflowList, error) {
	return cyberun.WorkflowList{}, errors.New("not asked for")
}

// postTime is how long a POST may be under way before its time is over.
const postTime = 25 * time.Second

func (s service) StartTask(_ context.Context, _ string, parameters map[string]any) (string, error) {
	entered, owner := s.now(), s.owner
	given, _ := parameters[image].(string)
	a := s.call(op{name: "POST run", touch: touch{key: "tasks/", prefix: true, kind: writes}, do: func(w *world, _ bool) answer {
		if w.now.Sub(entered) > postTime { // its time was over before it went out
			return failed(&cyberun.StartError{NotStarted: true, Err: context.DeadlineExceeded})
		}
		t := task{id: fmt.Sprintf("t%d-%s", len(w.tasks)+1, owner), owner: owner, created: w.now}
		for _, f := range w.files {
			if f.key == given {
				t.input = f.content
			}
		}
		w.tasks = append(w.tasks, t)
		if w.unmarked(owner) {
			w.wrong = append(w.wrong, owner+" posts, and its marker is gone: another run may adopt its task")
		}
		if other := w.doubted(owner); other != "" {
			w.wrong = append(w.wrong, owner+" posts, though "+other+" has been in doubt since before: of two lost replies neither may be told")
		}
		return said(t.id, t.id)
	}})
	id, _ := a.value.(string)
	if a.err == nil && s.code != nil {
		s.code.receipt = id
	}
	var refused *cyberun.StartError
	if a.err != nil && !errors.As(a.err, &refused) {
		return id, &cyberun.StartError{Err: a.err}
	}
	return id, a.err
}

func (w *world) task(id string) *task {
	i := slices.IndexFunc(w.tasks, func(t task) bool { return t.id == id })
	if i < 0 {
		return nil
	}
	return &w.tasks[i]
}

func (w *world) shown(t task) cyberun.Task {
	return cyberun.Task{ID: t.id, WorkflowID: workflowID, Status: w.status(t), CreatedAt: cyberun.Time{Time: t.created}}
}

func (s service) Task(_ context.Context, id string) (cyberun.Task, error) {
	a := s.call(op{name: "GET task " + id, touch: touch{key: "tasks/" + id}, do: func(w *world, _ bool) answer {
		t := w.task(id)
		if t == nil {
			return failed(&cyberun.APIError{Status: http.StatusNotFound, JSON: true})
		}
		status := string(w.status(*t))
		return answer{value: w.shown(*t), exact: status + t.created.String(), meaning: status}
	}})
	out, _ := a.value.(cyberun.Task)
	return out, a.err
}

// listedAfter is how long the task list may lack a task.
const listedAfter = 40 * time.Second

func (s service) Tasks(_ context.Context, page cyberun.Page) (cyberun.TaskList, error) {
	several := func(w *world) bool { return len(w.tasks) > 1 }
	a := s.call(op{name: "GET tasks", touch: touch{key: "tasks/", prefix: true}, lags: several, do: func(w *world, stale bool) answer {
		l := cyberun.TaskList{Date: w.now.Truncate(time.Second)}
		for _, t := range slices.Backward(w.tasks) {
			if stale && w.now.Sub(t.created) < listedAfter {
				continue
			}
			if l.Page.TotalCount++; page.Number > 1 {
				continue
			}
			row := w.shown(t)
			row.WorkflowID = cmp.Or(w.listedAs, row.WorkflowID)
			l.Tasks = append(l.Tasks, row)
		}
		return said(l, fmt.Sprint(l.Tasks, l.Date))
	}})
	l, _ := a.value.(cyberun.TaskList)
	return l, a.err
}

func (s service) Cancel(_ context.Context, id string) error {
	return s.call(op{name: "POST cancel " + id, touch: touch{key: "tasks/" + id, kind: writes}, do: func(w *world, _ bool) answer {
		t := w.task(id)
		if t == nil || w.status(*t).Terminal() { // a cancel of one that has ended may be refused
			return failed(&cyberun.APIError{Status: http.StatusConflict, JSON: true})
		}
		t.cancelled = true
		return answer{}
	}}).err
}

func (s service) Result(_ context.Context, id string) (cyberun.Result, error) {
	a := s.call(op{name: "GET result " + id, touch: touch{key: "tasks/" + id}, do: func(w *world, _ bool) answer {
		if t := w.task(id); t == nil || w.status(*t) != cyberun.StatusCompleted {
			return failed(&cyberun.APIError{Status: http.StatusConflict, JSON: true})
		}
		return said(cyberun.Result{ID: id, Status: cyberun.StatusCompleted, DownloadURL: "https://files.example/" + cyberun.SignedURL(id) + ".png"}, "")
	}})
	r, _ := a.value.(cyberun.Result)
	return r, a.err
}

func (s service) TaskEvents(context.Context, string) iter.Seq2[cyberun.TaskEvent, error] {
	return func(func(cyberun.TaskEvent, error) bool) {}
}

// Presign gives the place of a file; nobody else knows of it.
func (s service) Presign(context.Context, cyberun.PresignRequest) (cyberun.Presigned, error) {
	key := "file-" + s.newID()
	a := s.call(op{name: "POST presign", do: func(*world, bool) answer { return said(nil, "") }})
	return cyberun.Presigned{FileKey: key}, a.err
}

func (s service) Upload(_ context.Context, p cyberun.Presigned, body io.Reader, _ int64) error {
	content, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	return s.call(op{name: "PUT file", touch: touch{key: "files/" + p.FileKey, kind: writes}, do: func(w *world, _ bool) answer {
		w.files = append(w.files, file{p.FileKey, string(content)})
		return answer{}
	}}).err
}

// copier stores an output as one small object.
type copier struct{ *universe }

func (c copier) Copy(_ context.Context, src transfer.Source, dst transfer.Target, _ *transfer.Checkpoint, _ func(context.Context, transfer.Checkpoint) error) (transfer.Result, error) {
	key := dst.Key(transfer.OriginFile{Name: "output.png", ContentType: "image/png"})
	err := c.call(op{name: "copies " + key, touch: touch{key: "s3/" + outputBucket + "/" + key, kind: writes}, do: func(w *world, _ bool) answer {
		w.set(dst.Bucket, key, content([]byte(src.URL)))
		return answer{}
	}}).err
	return transfer.Result{Done: err == nil, Key: key, Bytes: 3, ETag: `"e"`, ContentType: "image/png", Stored: 1}, asUnavailable(err)
}

func asUnavailable(err error) error {
	if err == nil {
		return nil
	}
	return named.Errorf(named.Unavailable, "%w", err)
}
