package handler

import (
	"context"
	"encoding/json"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/functiontest"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

const (
	stateBucket  = functiontest.StateBucket
	outputBucket = functiontest.OutputBucket
	signed       = "?X-Amz-Signature=5ec2e7"
)

// began is when the run r1 begins; its task t1 has completed 50 seconds later.
var began = functiontest.Began

type copyFunc func(ctx context.Context, src transfer.Source, dst transfer.Target, from *transfer.Checkpoint, save transfer.Save) (transfer.Result, error)

func (f copyFunc) Copy(ctx context.Context, src transfer.Source, dst transfer.Target, from *transfer.Checkpoint, save transfer.Save) (transfer.Result, error) {
	return f(ctx, src, dst, from, save)
}

// world is everything around copy-result, with a copy that stores small objects.
type world struct {
	*functiontest.World
	t    *testing.T
	runs *lifecycle.Runs
	h    *Handler

	mu     sync.Mutex
	copies map[string]int // by output: how often its bytes were moved
}

func newWorld(t *testing.T) *world {
	w := &world{World: functiontest.New(t), t: t, copies: map[string]int{}}
	w.Now = began.Add(time.Minute)
	w.Executions.Begin("r1", "", began)
	w.Cyberun.Results = map[string]cyberun.Result{
		"t1": {ID: "t1", Status: cyberun.StatusCompleted, DownloadURL: "https://files.example/out/image.png" + signed},
	}
	w.Cyberun.MaxTime = cyberun.CallTime
	w.runs = w.Runs()
	w.h = &Handler{
		Runs: w.runs, Cyberun: w.Cyberun, Concurrency: DefaultConcurrency, Now: w.Time,
		NewCopier: func(time.Time, int) Copier { return copyFunc(w.copy) },
	}
	return w
}

// copy is shared/transfer in small: the object, unless it is there already.
func (w *world) copy(_ context.Context, src transfer.Source, dst transfer.Target, _ *transfer.Checkpoint, _ transfer.Save) (transfer.Result, error) {
	address, _, _ := strings.Cut(string(src.URL), "?")
	name := path.Base(address)
	key := dst.Key(transfer.OriginFile{Name: name, ContentType: "image/png"})
	body := "the bytes of " + name
	if _, ok := w.S3.Object(dst.Bucket, key); !ok {
		err := w.Call("Copy "+key, func() error {
			w.S3.Set(dst.Bucket, key, storetest.Object{Body: []byte(body), ContentType: "image/png", Metadata: dst.Metadata})
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

// copiesBy has every output copied so.
func (w *world) copiesBy(do copyFunc) { w.h.NewCopier = func(time.Time, int) Copier { return do } }

// record puts the run there, whose task has completed.
func (w *world) record(change func(*run.Record)) *world {
	w.t.Helper()
	r := run.Record{
		RunID: "r1", ExecutionARN: functiontest.ARN("r1"), StartedAt: began, LifeStartedAt: began, TaskKnownAt: began.Add(time.Second), CompletedAt: began.Add(50 * time.Second),
		Status: run.Waiting, TaskID: "t1", Evidence: run.ByReceipt, Workflow: functiontest.WorkflowRef, Bucket: outputBucket, Prefix: "runs/r1/", MaxSeconds: 3600,
	}
	if change != nil {
		change(&r)
	}
	w.Record(r)
	return w
}

func (w *world) get() run.Record { return w.Run("r1").Record }

// stop is a person's stop.
func (w *world) stop() {
	w.t.Helper()
	if _, _, err := w.runs.Stop(w.t.Context(), "r1", executions.Execution{}, outputBucket, ""); err != nil {
		w.t.Fatal(err)
	}
}

// closes is what close-run does when the execution has ended.
func (w *world) closes(status, name string) {
	w.t.Helper()
	w.Undisturbed(func() {
		w.Cyberun.Started = []functiontest.Task{{Task: cyberun.Task{ID: "t1", Status: cyberun.StatusCancelled}}}
		e := executions.New(functiontest.ARN("r1"), status, name, "x", w.get().Life, began)
		if _, err := (lifecycle.Closer{Runs: w.runs, Bucket: outputBucket}).Close(w.t.Context(), e, true); err != nil {
			w.t.Fatal(err)
		}
	})
}

// handle calls the step in one of the run's lives, the first if none is given.
func (w *world) handle(life ...int) (Response, error) {
	return w.h.Handle(context.Background(), w.input(life...))
}

func (w *world) input(life ...int) Input {
	return Input{Call: lifecycle.Call{RunID: "r1", Redrives: &append(life, 0)[0]}}
}

// delivered compares everything that a delivered run leaves.
func (w *world) delivered(out Response, outputs ...string) run.Manifest {
	w.t.Helper()
	w.Around = nil
	record := w.get()
	key := record.KeyPrefix() + run.ManifestName
	if want := (Response{Done: true, RunID: "r1", TaskID: "t1", Bucket: outputBucket, ManifestKey: key}); out != want {
		w.t.Errorf("answered %+v", out)
	}
	if record.Status != run.Succeeded || record.ManifestKey != key || record.EndedAt.IsZero() || record.Error != nil || record.ErrorKey != "" {
		w.t.Errorf("recorded %+v", record)
	}
	object, ok := w.S3.Object(outputBucket, key)
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
		if _, ok := w.S3.Object(outputBucket, o.Key); !ok {
			w.t.Errorf("%s is not there", o.Key)
		}
	}
	if strings.Join(ids, " ") != strings.Join(outputs, " ") {
		w.t.Errorf("outputs %v", ids)
	}
	if left := w.named(run.ErrorName); left != nil {
		w.t.Errorf("%v beside a manifest", left)
	}
	return manifest
}

// named lists the objects of the output bucket that have that name.
func (w *world) named(name string) (keys []string) {
	for _, key := range w.S3.Keys(outputBucket, "") {
		if path.Base(key) == name {
			keys = append(keys, key)
		}
	}
	return keys
}

func (w *world) manifests() []string { return w.named(run.ManifestName) }
