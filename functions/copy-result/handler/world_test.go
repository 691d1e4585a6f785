package handler

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

const (
	stateBucket  = "state"
	outputBucket = "outputs"
	signed       = "?X-Amz-Signature=5ec2e7"
)

var (
	began      = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	errNetwork = errors.New("connection reset by peer")
)

type fakeCyberun struct {
	result func(ctx context.Context, id string) (cyberun.Result, error)
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

	mu     sync.Mutex
	copies map[string]int // by output: how often its bytes were moved
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, s3: &storetest.S3{}, now: began.Add(time.Minute), copies: map[string]int{}}
	w.result = cyberun.Result{ID: "t1", Status: cyberun.StatusCompleted, DownloadURL: "https://files.example/out/image.png" + signed}
	w.s3.Around = func(c storetest.Call, do func() error) error { return w.call(c.String(), do) }
	w.h = &Handler{
		Records: w.records(), Bucket: w.s3, OutputBucket: outputBucket,
		Cyberun: fakeCyberun{func(ctx context.Context, id string) (result cyberun.Result, err error) {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("the call to Cyberun has no time of its own")
			}
			err = w.call("Result", func() error { result = w.result; return w.refuse })
			return result, err
		}},
		NewCopier: func(time.Time, int) Copier { return copyFunc(w.copy) },
		Log:       slog.New(slog.NewTextHandler(io.Discard, nil)),
		Now:       func() time.Time { return w.now },
	}
	return w
}

func (w *world) records() *store.Store { return &store.Store{S3: w.s3, Bucket: stateBucket} }

func (w *world) call(name string, do func() error) error {
	if w.around == nil {
		return do()
	}
	return w.around(name, do)
}

// copy is shared/transfer in small: the object, unless it is there already.
func (w *world) copy(ctx context.Context, src transfer.Source, dst transfer.Target, _ *transfer.Checkpoint, _ func(context.Context, transfer.Checkpoint) error) (transfer.Result, error) {
	address, _, _ := strings.Cut(src.URL, "?")
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
		RunID: "r1", StartedAt: began, AcceptedAt: began.Add(time.Second), CompletedAt: began.Add(50 * time.Second), Status: run.Waiting,
		TaskID: "t1", Workflow: "text-to-image@2", Prefix: run.DefaultPrefix, MaxSeconds: 3600,
	}
	if change != nil {
		change(&r)
	}
	if _, err := w.records().Create(w.t.Context(), r); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.records().Claim(w.t.Context(), r.TaskID, store.Claim{RunID: r.RunID}); err != nil {
		w.t.Fatal(err)
	}
	return w
}

func (w *world) handle() (Output, error) { return w.h.Handle(context.Background(), Input{RunID: "r1"}) }

// delivered holds everything that a delivered run leaves against each other.
func (w *world) delivered(out Output, outputs ...string) run.Manifest {
	w.t.Helper()
	w.around = nil
	record, err := w.records().Get(w.t.Context(), "r1")
	if err != nil {
		w.t.Fatal(err)
	}
	key := record.OutputPrefix() + run.ManifestName
	if want := (Output{Done: true, RunID: "r1", TaskID: "t1", Bucket: outputBucket, ManifestKey: key}); out != want {
		w.t.Errorf("answered %+v", out)
	}
	if record.Status != run.Succeeded || record.ManifestKey != key || record.EndedAt.IsZero() || record.Error != nil {
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
	for _, prefix := range []string{"open/", "copies/"} {
		if left := w.s3.Keys(stateBucket, prefix); left != nil {
			w.t.Errorf("left behind: %v", left)
		}
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

func answered(status int) error {
	return &cyberun.APIError{Status: status, Message: http.StatusText(status)}
}

func wantName(t *testing.T, err error, name, text string) {
	t.Helper()
	e, ok := named.As(err)
	if !ok || e.Name != name || !strings.Contains(e.Message(), text) || strings.Contains(err.Error(), "X-Amz") {
		t.Errorf("got %v, want %s with %q", err, name, text)
	}
}
