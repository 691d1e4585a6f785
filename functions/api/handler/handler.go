package handler

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

// Cyberun is what the API asks of the service.
type Cyberun interface {
	lifecycle.Cyberun
	Workflows(ctx context.Context, page cyberun.Page) (cyberun.WorkflowList, error)
	Workflow(ctx context.Context, ref string) (cyberun.Workflow, error)
}

// Executions starts, stops, redrives and describes the executions of the stack's
// state machine.
type Executions interface {
	Execution(runID string) (arn string)
	Describe(ctx context.Context, arn string) (executions.Execution, error)
	Start(ctx context.Context, runID, input string) error
	Stop(ctx context.Context, arn string, reason *named.Error) error
	Redrive(ctx context.Context, arn string) error
}

// Outputs reads manifests.
type Outputs interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// Presigner makes an address that anyone can fetch for a while.
type Presigner interface {
	PresignGetObject(context.Context, *s3.GetObjectInput, ...func(*s3.PresignOptions)) (*v4.PresignedHTTPRequest, error)
}

// Handler is the HTTP API: it checks requests completely, starts and stops
// executions, and shows what the records say.
type Handler struct {
	Cyberun      Cyberun
	Runs         *lifecycle.Runs
	Executions   Executions
	Outputs      Outputs
	Presign      Presigner
	OutputBucket string
	OutputPrefix string
	Log          *slog.Logger
	Now          func() time.Time
	NewID        func() string
	Sleep        func(ctx context.Context, d time.Duration) error
	// Beside runs two functions side by side, for a stop; nil: one after the other.
	Beside func(a, b func())
}

// Routes are the API's, as the template has them.
func (h *Handler) Routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /runs", h.route(h.startRun))
	mux.Handle("GET /runs", h.route(h.listRuns))
	mux.Handle("GET /runs/{id}", h.route(h.getRun))
	mux.Handle("DELETE /runs/{id}", h.route(h.stopRun))
	mux.Handle("POST /runs/{id}/outcome", h.route(h.decideOutcome))
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
		start, log := h.Now(), h.Log
		if id := r.PathValue("id"); id != "" {
			log = log.With("run_id", id)
		}
		defer observe.LogPanic(r.Context(), log)
		r = r.WithContext(observe.WithLog(r.Context(), log))
		w.Header().Set("Cache-Control", "no-store")
		err := handle(w, r)
		log = log.With("route", r.Pattern, "ms", h.Now().Sub(start).Milliseconds())
		if err == nil {
			log.InfoContext(r.Context(), "answered")
			return
		}
		e := asNamed(err)
		log.WarnContext(r.Context(), "refused", "status", e.HTTPStatus(), "error", e.Name, "cause", e.Cause, "violations", len(e.Violations))
		writeProblem(w, e)
	})
}
