package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

const (
	stateBucket  = "state"
	outputBucket = "outputs"
	inboxBucket  = "inbox"
	arnPrefix    = "arn:aws:states:eu-central-1:123456789012:execution:relay-run:"
	workflowID   = "wf-1"
	workflowRef  = "text-to-image@2"
)

// began is when every world begins.
var began = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// world is everything around submit: S3 and Cyberun in memory, one clock for
// both, and Step Functions' way of trying again.
type world struct {
	t       *testing.T
	s3      *storetest.S3
	now     time.Time
	service *service
	running map[string]bool // execution ARNs
	around  func(call string, do func() error) error
	serial  int
	stop    bool // InDoubt=stop
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, s3: &storetest.S3{}, now: began, running: map[string]bool{}}
	w.service = &service{world: w, workflow: textToImage()}
	w.s3.Around = func(c storetest.Call, do func() error) error { return w.call(c.String(), do) }
	return w
}

func textToImage() cyberun.Workflow {
	return cyberun.Workflow{
		ID: workflowID, Slug: "text-to-image", Status: cyberun.WorkflowActive,
		Parameters: []cyberun.Parameter{
			{Key: "prompt", Type: cyberun.TypeString, Required: true},
			{Key: "steps", Type: cyberun.TypeInteger, Min: ptr(1.0), Max: ptr(50.0)},
			{Key: "image", Type: cyberun.TypeFile, Accept: []string{"image/*", "txt"}},
		},
	}
}

func ptr[T any](v T) *T { return &v }

// ioTime is what every call costs.
const ioTime = 40 * time.Millisecond

// call is the wire that all I/O goes over.
func (w *world) call(name string, do func() error) error {
	w.now = w.now.Add(ioTime)
	if w.around == nil {
		return do()
	}
	return w.around(name, do)
}

func (w *world) records() *store.Store { return &store.Store{S3: w.s3, Bucket: stateBucket} }

// handler is a fresh one, as a fresh process has it.
func (w *world) handler() *Handler {
	return &Handler{
		Cyberun: w.service, Records: w.records(), Buckets: w.s3, Executions: w,
		OutputBucket: outputBucket, StateBucket: stateBucket, Waits: DefaultWaits, InDoubtStop: w.stop,
		Now:   func() time.Time { return w.now },
		NewID: func() string { w.serial++; return fmt.Sprintf("id-%d", w.serial) },
	}
}

// Running is Executions.
func (w *world) Running(_ context.Context, arn string) (bool, error) {
	var running bool
	return running, w.call("DescribeExecution", func() error { running = w.running[arn]; return nil })
}

// input is what Step Functions sends for an execution of that name.
func (w *world) input(runID, request string) Input {
	w.running[arnPrefix+runID] = true
	return Input{RunID: runID, ExecutionARN: arnPrefix + runID, StartedAt: began, Request: json.RawMessage(request)}
}

// prompted is a request whose task can be told by its prompt.
func prompted(runID string) string {
	return fmt.Sprintf(`{"workflow":%q,"parameters":{"prompt":%q}}`, workflowRef, runID)
}

type killed struct{}

// once is one call of the function; died tells that it never answered.
func (w *world) once(in Input) (out Output, name string, err error, died bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(killed); !ok {
				panic(r)
			}
			died = true
		}
	}()
	out, err = w.handler().Handle(context.Background(), in)
	if err != nil {
		name = observe.LambdaError(err).(messages.InvokeResponse_Error).Type
	}
	return out, name, err, false
}

// retrier is one entry of the state Submit's Retry list.
type retrier struct {
	interval, rate, most float64
	attempts             int
}

var (
	onDoubt  = retrier{10, 1.5, 30, 30}
	onOutage = retrier{2, 2, 60, 120}
	onDeath  = retrier{2, 2, 60, 10}
)

func (r retrier) delay(n int) time.Duration {
	return time.Duration(min(r.interval*math.Pow(r.rate, float64(n)), r.most) / 2 * float64(time.Second)) // full jitter's mean
}

// drive tries the step as the state machine does, to its end.
func (w *world) drive(in Input) (Output, error) {
	tried := map[string]int{}
	for {
		out, name, err, died := w.once(in)
		policy := onDeath
		switch {
		case died:
			name = "Lambda.Unknown"
		case err == nil:
			return out, nil
		case name == named.SubmitInDoubt:
			policy = onDoubt
		case name == named.Unavailable:
			policy = onOutage
		default:
			return out, err
		}
		n := tried[name]
		if tried[name]++; n == policy.attempts {
			return out, fmt.Errorf("given up after %d of %s: %w", n, name, err)
		}
		w.now = w.now.Add(policy.delay(n))
	}
}

// service is Cyberun: what was started is in tasks, whatever became of the reply.
type service struct {
	*world
	workflow cyberun.Workflow
	tasks    []remoteTask
	uploads  []string
	skew     time.Duration // of its clock
	noDate   bool
	ascend   bool          // the list begins with the oldest
	page     int           // rows; 0: as asked
	lag      time.Duration // until a task is in the list
	refuse   func() error
	listed   func(*cyberun.TaskList) // spoils a list
	keys     int
}

type remoteTask struct {
	cyberun.Task
	prompt     string
	parameters map[string]any
}

func (s *service) clock() time.Time { return s.now.Add(s.skew) }

func (s *service) date() time.Time {
	if s.noDate {
		return time.Time{}
	}
	return s.clock().Truncate(time.Second)
}

func (s *service) Workflow(ctx context.Context, ref string) (cyberun.Workflow, error) {
	w := s.workflow
	err := s.call("Workflow", func() error {
		if slug, _, _ := strings.Cut(ref, "@"); slug != w.Slug {
			return answered(http.StatusNotFound)
		}
		w.Date = s.date()
		return nil
	})
	return w, err
}

func answered(status int) error {
	return &cyberun.APIError{Status: status, Message: http.StatusText(status)}
}

// Run honours the caller's time by the world's clock: a call that was held up
// before its request went out sends none.
func (s *service) Run(ctx context.Context, ref string, parameters map[string]any) (cyberun.RunReceipt, error) {
	entered := s.now
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline) + time.Second // the test's own time is not the world's
	var receipt cyberun.RunReceipt
	err := s.call("Run", func() error {
		if s.now.Sub(entered) > left {
			return &cyberun.RunError{Outcome: cyberun.NotStarted, Err: context.DeadlineExceeded}
		}
		if s.refuse != nil {
			if err := s.refuse(); err != nil {
				return err
			}
		}
		receipt = cyberun.RunReceipt{TaskID: s.start(parameters), Date: s.date()}
		return nil
	})
	var told *cyberun.RunError
	if err != nil && !errors.As(err, &told) {
		err = &cyberun.RunError{Outcome: cyberun.InDoubt, Err: err}
	}
	return receipt, err
}

func (s *service) start(parameters map[string]any) string {
	s.serial++
	id := fmt.Sprintf("task-%d", s.serial)
	prompt, _ := parameters["prompt"].(string)
	s.tasks = append(s.tasks, remoteTask{
		Task:   cyberun.Task{ID: id, WorkflowID: s.workflow.ID, Status: cyberun.StatusPending, CreatedAt: cyberun.Time{Time: s.clock()}},
		prompt: prompt, parameters: parameters,
	})
	return id
}

func (s *service) Task(_ context.Context, id string) (cyberun.Task, error) {
	var task cyberun.Task
	return task, s.call("Task", func() error {
		t := s.task(id)
		if t == nil {
			return answered(http.StatusNotFound)
		}
		task = t.Task
		return nil
	})
}

func (s *service) task(id string) *remoteTask {
	i := slices.IndexFunc(s.tasks, func(t remoteTask) bool { return t.ID == id })
	if i < 0 {
		return nil
	}
	return &s.tasks[i]
}

func (s *service) Tasks(_ context.Context, q cyberun.TaskQuery) (cyberun.TaskList, error) {
	var list cyberun.TaskList
	err := s.call("Tasks", func() error {
		size := q.Page.Size
		if s.page > 0 {
			size = min(size, s.page)
		}
		rows := slices.DeleteFunc(slices.Clone(s.tasks), func(t remoteTask) bool { return s.clock().Sub(t.CreatedAt.Time) < s.lag })
		if !s.ascend {
			slices.Reverse(rows)
		}
		from := min((q.Page.Number-1)*size, len(rows))
		list = cyberun.TaskList{Page: cyberun.PageMeta{CurrentPage: q.Page.Number, PerPage: size, TotalCount: len(rows)}, Date: s.date()}
		for _, t := range rows[from:min(from+size, len(rows))] {
			list.Tasks = append(list.Tasks, t.Task)
		}
		if s.listed != nil {
			s.listed(&list)
		}
		list.Rows = len(list.Tasks)
		return nil
	})
	return list, err
}

func (s *service) Cancel(_ context.Context, id string) error {
	return s.call("Cancel", func() error {
		if t := s.task(id); t != nil && !t.Status.Terminal() {
			t.Status = cyberun.StatusCancelled
		}
		return nil
	})
}

func (s *service) Presign(_ context.Context, r cyberun.PresignRequest) (cyberun.Presigned, error) {
	var p cyberun.Presigned
	return p, s.call("Presign", func() error {
		s.keys++
		p = cyberun.Presigned{FileKey: fmt.Sprintf("file-%d-%s", s.keys, r.FileName), UploadURL: "https://files.example/put"}
		return nil
	})
}

func (s *service) Upload(_ context.Context, p cyberun.Presigned, body io.Reader, size int64) error {
	read, err := io.ReadAll(body)
	if err != nil || int64(len(read)) != size {
		return fmt.Errorf("read %d of %d: %w", len(read), size, err)
	}
	return s.call("Upload", func() error { s.uploads = append(s.uploads, p.FileKey+"="+string(read)); return nil })
}

// paid counts the tasks that a run has started.
func (s *service) paid(prompt string) (ids []string) {
	for _, t := range s.tasks {
		if t.prompt == prompt {
			ids = append(ids, t.ID)
		}
	}
	return ids
}

// checkSettled holds the state bucket against the ledger for a run that has its task.
func (w *world) checkSettled(runID string, out Output) {
	w.t.Helper()
	w.around = nil
	paid := w.service.paid(runID)
	record, err := w.records().Get(context.Background(), runID)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(paid) != 1 || out.TaskID != paid[0] || record.TaskID != paid[0] || out.RunID != runID {
		w.t.Errorf("paid %v, answered %+v, recorded %q", paid, out, record.TaskID)
	}
	if record.Submission != nil || record.Candidates != nil || record.Status != run.Waiting || record.AcceptedAt.IsZero() {
		w.t.Errorf("the record is not settled: %+v", record)
	}
	if claim, err := w.records().ClaimOf(context.Background(), record.TaskID); err != nil || claim.RunID != runID || claim.Candidate || claim.Rescued && !record.Rescued {
		w.t.Errorf("claim %+v, %v", claim, err)
	}
	if markers := w.s3.Keys(stateBucket, "submitting/"); len(markers) > 0 {
		w.t.Errorf("markers left behind: %v", markers)
	}
	for _, prefix := range []string{"open/" + runID, "index/"} {
		if len(w.s3.Keys(stateBucket, prefix)) == 0 {
			w.t.Errorf("no %s", prefix)
		}
	}
}

func wantName(t *testing.T, err error, name, text string) {
	t.Helper()
	e, ok := named.As(err)
	if !ok || e.Name != name || !strings.Contains(e.Message(), text) {
		t.Errorf("got %v, want %s with %q", err, name, text)
	}
}
