package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

const (
	stateBucket  = "state"
	outputBucket = "outputs"
	arn          = "arn:aws:states:eu-central-1:123456789012:execution:relay-run:r1"
	signed       = "?X-Amz-Signature=5ec2e7"
)

var (
	began      = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	errNetwork = errors.New("connection reset by peer")
)

type fakeCyberun struct {
	result func(ctx context.Context, id string) (cyberun.Result, error)
	tasks  func(ctx context.Context, page cyberun.Page) (cyberun.TaskList, error)
}

func (f fakeCyberun) Tasks(ctx context.Context, page cyberun.Page) (cyberun.TaskList, error) {
	return f.tasks(ctx, page)
}

func (f fakeCyberun) Result(ctx context.Context, id string) (cyberun.Result, error) {
	return f.result(ctx, id)
}

type copyFunc func(ctx context.Context, src transfer.Source, dst transfer.Target, from *transfer.Checkpoint, save func(context.Context, transfer.Checkpoint) error) (transfer.Result, error)

func (f copyFunc) Copy(ctx context.Context, src transfer.Source, dst transfer.Target, from *transfer.Checkpoint, save func(context.Context, transfer.Checkpoint) error) (transfer.Result, error) {
	return f(ctx, src, dst, from, save)
}

// world is what copy-result works in.
type world struct {
	t      *testing.T
	s3     *storetest.S3
	now    time.Time
	result cyberun.Result
	refuse error // of Result
	around func(call string, do func() error) error
	h      *Handler
	runs   *lifecycle.Runs
	listed []cyberun.Task // what the task list has

	mu     sync.Mutex
	copies map[string]int // by output: how often its bytes were moved
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, s3: &storetest.S3{}, now: began.Add(time.Minute), copies: map[string]int{}}
	w.result = cyberun.Result{ID: "t1", Status: cyberun.StatusCompleted, DownloadURL: "https://files.example/out/image.png" + signed}
	w.s3.Around = func(c storetest.Call, do func() error) error { return w.call(c.String(), do) }
	timed := func(ctx context.Context) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("the call to Cyberun has no time of its own")
		}
	}
	ids := 0
	w.runs = &lifecycle.Runs{
		Store: &store.Store{S3: w.s3, Bucket: stateBucket, NoPause: true}, Outputs: w.s3,
		Now:   func() time.Time { return w.now },
		NewID: func() string { ids++; return fmt.Sprint("w", ids) },
	}
	w.h = &Handler{
		Runs: w.runs, AtOnce: DefaultAtOnce,
		Cyberun: fakeCyberun{
			result: func(ctx context.Context, id string) (result cyberun.Result, err error) {
				timed(ctx)
				err = w.call("Result", func() error { result = w.result; return w.refuse })
				return result, err
			},
			tasks: func(ctx context.Context, _ cyberun.Page) (list cyberun.TaskList, err error) {
				timed(ctx)
				err = w.call("Tasks", func() error {
					list = cyberun.TaskList{Tasks: w.listed, Page: cyberun.PageMeta{TotalCount: len(w.listed)}}
					return nil
				})
				return list, err
			},
		},
		NewCopier: func(time.Time, int) Copier { return copyFunc(w.copy) },
		Now:       func() time.Time { return w.now },
	}
	return w
}

func (w *world) call(name string, do func() error) error {
	if w.around == nil {
		return do()
	}
	return w.around(name, do)
}

// copy is shared/transfer in small: the object, unless it is there already.
func (w *world) copy(ctx context.Context, src transfer.Source, dst transfer.Target, _ *transfer.Checkpoint, _ func(context.Context, transfer.Checkpoint) error) (transfer.Result, error) {
	address, _, _ := strings.Cut(string(src.URL), "?")
	name := address[strings.LastIndex(address, "/")+1:]
	key := dst.Key(transfer.Remote{Name: name, ContentType: "image/png"})
	body := "the bytes of " + name
	if _, ok := w.s3.Object(dst.Bucket, key); !ok {
		err := w.call("Copy "+key, func() error {
			w.s3.Set(dst.Bucket, key, storetest.Object{Body: []byte(body), ContentType: "image/png", Metadata: dst.Metadata})
			w.mu.Lock()
			defer w.mu.Unlock()
			w.copies[dst.Metadata["cyberun-output-id"]]++
			return nil
		})
		if err != nil {
			return transfer.Result{}, err
		}
	}
	return transfer.Result{Done: true, Key: key, Bytes: int64(len(body)), CRC32: 0xbeef, ETag: `"e"`, ContentType: "image/png"}, nil
}

// record puts a run there whose task has completed.
func (w *world) record(change func(*run.Record)) *world {
	w.t.Helper()
	r := run.Record{
		RunID: "r1", ExecutionARN: arn, StartedAt: began, LifeStartedAt: began, AcceptedAt: began.Add(time.Second), CompletedAt: began.Add(50 * time.Second), Status: run.Waiting,
		TaskID: "t1", How: run.Receipt, Workflow: "text-to-image@2", Bucket: outputBucket, Prefix: "runs/r1/", MaxSeconds: 3600,
	}
	if change != nil {
		change(&r)
	}
	w.set("runs/"+r.RunID+".json", r)
	w.set("tasks/"+r.TaskID, run.Ownership{StartedBy: r.RunID, How: r.How, DeliveredBy: r.RunID})
	return w
}

// set puts an object into the state bucket, as another function does.
func (w *world) set(key string, v any) {
	w.t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	w.s3.Set(stateBucket, key, storetest.Object{Body: body})
}

func (w *world) get() run.Record {
	w.t.Helper()
	around := w.around
	w.around = nil
	defer func() { w.around = around }()
	r, err := w.runs.Get(w.t.Context(), "r1")
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Record
}

// change has another function change the record.
func (w *world) change(how func(*run.Record)) {
	r := w.get()
	how(&r)
	r.WriteID += "+"
	w.set("runs/r1.json", r)
}

// stop is a person's stop; closes is what close-run does when the execution ended.
func (w *world) stop() {
	w.t.Helper()
	if _, _, err := w.runs.Stop(w.t.Context(), "r1", executions.Execution{}, outputBucket, ""); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) closes(status, name string) {
	w.t.Helper()
	around := w.around
	w.around = nil
	defer func() { w.around = around }()
	e := executions.FromEvent(arn, status, name, "x", w.get().Life, began)
	w.runs.Cyberun = nobody{}
	w.runs.Sleep = func(_ context.Context, d time.Duration) error { w.now = w.now.Add(d); return nil }
	if _, err := (lifecycle.Closer{Runs: w.runs, Bucket: outputBucket}).Close(w.t.Context(), e, true); err != nil {
		w.t.Fatal(err)
	}
}

// nobody is a Cyberun whose tasks have all been cancelled.
type nobody struct{}

func (nobody) Task(_ context.Context, id string) (cyberun.Task, error) {
	return cyberun.Task{ID: id, Status: cyberun.StatusCancelled}, nil
}
func (nobody) Cancel(context.Context, string) error { return nil }

func (w *world) handle() (Output, error) { return w.handleIn(0) }

// handleIn is a call of one of the run's lives.
func (w *world) handleIn(life int) (Output, error) {
	return w.h.Handle(context.Background(), Input{RunID: "r1", RedriveCount: &life})
}

// delivered holds everything that a delivered run leaves against each other.
func (w *world) delivered(out Output, outputs ...string) run.Manifest {
	w.t.Helper()
	w.around = nil
	record := w.get()
	key := record.OutputPrefix() + run.ManifestName
	if want := (Output{Done: true, RunID: "r1", TaskID: "t1", Bucket: outputBucket, ManifestKey: key}); out != want {
		w.t.Errorf("answered %+v", out)
	}
	if record.Status != run.Succeeded || record.ManifestKey != key || record.EndedAt.IsZero() || record.Error != nil || record.ErrorKey != "" {
		w.t.Errorf("recorded %+v", record)
	}
	object, ok := w.s3.Object(outputBucket, key)
	if !ok {
		w.t.Fatal("no manifest")
	}
	var manifest run.Manifest
	if err := json.Unmarshal(object.Body, &manifest); err != nil {
		w.t.Fatal(err)
	}
	if strings.Contains(string(object.Body), "X-Amz") || object.ContentType != "application/json" {
		w.t.Errorf("%s: %s", object.ContentType, object.Body)
	}
	var ids []string
	for _, o := range manifest.Outputs {
		ids = append(ids, o.ID)
		if _, ok := w.s3.Object(outputBucket, o.Key); !ok {
			w.t.Errorf("%s is not there", o.Key)
		}
	}
	if strings.Join(ids, " ") != strings.Join(outputs, " ") {
		w.t.Errorf("outputs %v", ids)
	}
	for _, key := range w.s3.Keys(outputBucket, "") {
		if path.Base(key) == run.ErrorName {
			w.t.Errorf("%s beside a manifest", key)
		}
	}
	return manifest
}

func (w *world) manifests() (keys []string) {
	for _, key := range w.s3.Keys(outputBucket, "") {
		if path.Base(key) == run.ManifestName {
			keys = append(keys, key)
		}
	}
	return keys
}

// answered is a refusal that Cyberun itself gave.
func answered(status int) error {
	return &cyberun.APIError{Status: status, Message: http.StatusText(status), JSON: true}
}

// page is a refusal by what stands before it.
func page(status int) error {
	return &cyberun.APIError{Status: status, Message: "<html>"}
}

func wantName(t *testing.T, err error, name, text string) {
	t.Helper()
	e, ok := named.As(err)
	if !ok || e.Name != name || !strings.Contains(e.Message(), text) || strings.Contains(err.Error(), "X-Amz") {
		t.Errorf("got %v, want %s with %q", err, name, text)
	}
}
