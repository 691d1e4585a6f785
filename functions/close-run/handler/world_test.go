package handler

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/cyberun-cloud/cyberun-relay/shared/store/storetest"
)

const (
	stateBucket  = "state"
	outputBucket = "outputs"
	arnPrefix    = "arn:aws:states:eu-central-1:123456789012:execution:relay-run:"
	request      = `{"workflow":"text-to-image@2","parameters":{"prompt":"x"}}`
)

var began = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// fakeExecutions and fakeCyberun are structs of funcs.
type fakeExecutions struct {
	describe func(arn string) (*sfn.DescribeExecutionOutput, error)
}

func (f fakeExecutions) DescribeExecution(_ context.Context, in *sfn.DescribeExecutionInput, _ ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error) {
	return f.describe(*in.ExecutionArn)
}

type fakeCyberun struct {
	cancel func(ctx context.Context, id string) error
}

func (f fakeCyberun) Cancel(ctx context.Context, id string) error { return f.cancel(ctx, id) }

// world is what close-run works in: all calls go over around.
type world struct {
	t          *testing.T
	s3         *storetest.S3
	now        time.Time
	executions map[string]*sfn.DescribeExecutionOutput // by run id
	mu         sync.Mutex                              // a sweep closes several runs at once
	cancelled  []string
	cancelErr  error
	around     func(call string, do func() error) error
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, s3: &storetest.S3{}, now: began.Add(time.Hour), executions: map[string]*sfn.DescribeExecutionOutput{}}
	w.s3.Around = func(c storetest.Call, do func() error) error { return w.call(c.String(), do) }
	return w
}

func (w *world) call(name string, do func() error) error {
	if w.around == nil {
		return do()
	}
	return w.around(name, do)
}

func (w *world) records() *store.Store { return &store.Store{S3: w.s3, Bucket: stateBucket} }

func (w *world) handler() *Handler {
	return &Handler{
		Records: w.records(), Bucket: w.s3, OutputBucket: outputBucket,
		Cyberun: fakeCyberun{func(ctx context.Context, id string) error {
			if _, ok := ctx.Deadline(); !ok {
				w.t.Error("the call to Cyberun has no time of its own")
			}
			return w.call("Cancel", func() error {
				w.mu.Lock()
				defer w.mu.Unlock()
				if w.cancelErr == nil {
					w.cancelled = append(w.cancelled, id)
				}
				return w.cancelErr
			})
		}},
		Executions: fakeExecutions{func(arn string) (out *sfn.DescribeExecutionOutput, err error) {
			err = w.call("DescribeExecution", func() error {
				if out = w.executions[strings.TrimPrefix(arn, arnPrefix)]; out == nil {
					return &types.ExecutionDoesNotExist{}
				}
				return nil
			})
			return out, err
		}},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Now: func() time.Time { return w.now },
	}
}

// ended makes an execution that ended so.
func (w *world) ended(runID string, status types.ExecutionStatus, name, cause string) {
	w.executions[runID] = &sfn.DescribeExecutionOutput{Status: status, StartDate: ptr(began), Input: ptr(request), Error: &name, Cause: &cause}
}

func ptr[T any](v T) *T { return &v }

// record puts a run's record there, as Submit leaves it.
func (w *world) record(r run.Record) {
	w.t.Helper()
	if r.RunID == "" {
		r.RunID = "r1"
	}
	r.ExecutionARN, r.StartedAt = arnPrefix+r.RunID, began
	r.Workflow, r.MaxSeconds = "text-to-image@2", run.DefaultMaxSeconds
	if r.Prefix == "" {
		r.Prefix = run.DefaultPrefix
	}
	if _, err := w.records().Create(w.t.Context(), r); err != nil {
		w.t.Fatal(err)
	}
	if r.TaskID != "" {
		if _, err := w.records().Claim(w.t.Context(), r.TaskID, store.Claim{RunID: r.RunID}); err != nil {
			w.t.Fatal(err)
		}
	}
	if r.WorkflowID != "" {
		if err := w.records().PutMarker(w.t.Context(), r.WorkflowID, submission.Marker(r.RunID)); err != nil {
			w.t.Fatal(err)
		}
	}
}

var submission = run.Submission{Attempt: "a1", MarkedAt: began.Add(time.Second), PostUntil: began.Add(26 * time.Second)}

func (w *world) close(runID string) (Output, error) {
	return w.handler().Handle(w.t.Context(), Input{Detail: Detail{ExecutionARN: arnPrefix + runID, Name: runID}})
}

// closed is the record, and error.json if it is there, held against each other.
func (w *world) closed(runID string) (run.Record, *run.Failure) {
	w.t.Helper()
	w.around = nil
	record, err := w.records().Get(w.t.Context(), runID)
	if err != nil {
		w.t.Fatal(err)
	}
	if open := w.s3.Keys(stateBucket, "open/"+runID); !record.Status.Open() && len(open) > 0 {
		w.t.Errorf("%s is closed and marked open", runID)
	}
	o, ok := w.s3.Object(outputBucket, record.OutputPrefix()+run.ErrorName)
	if !ok {
		return record, nil
	}
	var failure run.Failure
	if err := json.Unmarshal(o.Body, &failure); err != nil {
		w.t.Fatal(err)
	}
	if o.ContentType != "application/json" || failure.RunID != runID || failure.TaskID != record.TaskID {
		w.t.Errorf("error.json: %s %+v", o.ContentType, failure)
	}
	if failure.Error.Name == "" || failure.Error.Cause == "" || failure.Error.Hint == "" {
		w.t.Errorf("error.json does not say how to go on: %+v", failure.Error)
	}
	return record, &failure
}

func answered(status int) error {
	return &cyberun.APIError{Status: status, Message: http.StatusText(status)}
}
