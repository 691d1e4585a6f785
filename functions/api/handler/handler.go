package handler

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

// Cyberun is what the API asks of the service.
type Cyberun interface {
	Workflows(ctx context.Context, page cyberun.Page) (cyberun.WorkflowList, error)
	Workflow(ctx context.Context, ref string) (cyberun.Workflow, error)
	Cancel(ctx context.Context, id string) error
}

// Records is what it does to the state bucket.
type Records interface {
	Create(ctx context.Context, r run.Record) (run.Record, error)
	Get(ctx context.Context, runID string) (run.Record, error)
	Update(ctx context.Context, runID string, change func(*run.Record) error) (run.Record, error)
	Reopen(ctx context.Context, runID string) (run.Record, error)
	Progress(ctx context.Context, runID string) (run.Progress, error)
	MayCancel(ctx context.Context, r run.Record) (may bool, owner string, err error)
	Newest(ctx context.Context, cursor string, each func(runID, cursor string) bool) error
}

// Executions starts, stops and describes executions.
type Executions interface {
	StartExecution(context.Context, *sfn.StartExecutionInput, ...func(*sfn.Options)) (*sfn.StartExecutionOutput, error)
	StopExecution(context.Context, *sfn.StopExecutionInput, ...func(*sfn.Options)) (*sfn.StopExecutionOutput, error)
	DescribeExecution(context.Context, *sfn.DescribeExecutionInput, ...func(*sfn.Options)) (*sfn.DescribeExecutionOutput, error)
}

// Outputs reads manifests and signs addresses of outputs.
type Outputs interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// Presigner makes an address that anyone can fetch for a while.
type Presigner interface {
	PresignGetObject(context.Context, *s3.GetObjectInput, ...func(*s3.PresignOptions)) (*v4.PresignedHTTPRequest, error)
}

// Handler is the HTTP API: it checks requests completely, starts executions, and
// tells what the records say.
type Handler struct {
	Cyberun         Cyberun
	Records         Records
	Executions      Executions
	Outputs         Outputs
	Presign         Presigner
	OutputBucket    string
	StateMachineARN string
	Log             *slog.Logger
	Now             func() time.Time
	NewID           func() string
	Sleep           func(ctx context.Context, d time.Duration) error
}

// Routes are the API's, as the template has them.
func (h *Handler) Routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /runs", h.route(h.startRun))
	mux.Handle("GET /runs", h.route(h.listRuns))
	mux.Handle("GET /runs/{id}", h.route(h.getRun))
	mux.Handle("DELETE /runs/{id}", h.route(h.stopRun))
	mux.Handle("GET /workflows", h.route(h.listWorkflows))
	mux.Handle("GET /workflows/{slug}", h.route(h.getWorkflow))
	mux.Handle("/", h.route(func(_ http.ResponseWriter, r *http.Request) error {
		return named.Errorf(named.NotFound, "there is no %s %s", r.Method, r.URL.Path)
	}))
	return mux
}

// route answers with what the handler returned as an error, and logs one line a
// request.
func (h *Handler) route(handle func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := h.Now()
		w.Header().Set("Cache-Control", "no-store")
		err := handle(w, r)
		log := h.Log.With("route", r.Pattern, "ms", h.Now().Sub(start).Milliseconds())
		if err == nil {
			log.InfoContext(r.Context(), "answered")
			return
		}
		e := asNamed(err)
		log.WarnContext(r.Context(), "refused", "status", e.HTTPStatus(), "error", e.Name, "cause", e.Cause, "violations", len(e.Violations))
		writeProblem(w, e)
	})
}
