package handler

import (
	"context"
	"strings"
	"unicode/utf8"

	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/httpapi"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

// endpoint answers a request, or returns the error that it is refused with.
type endpoint func(context.Context, httpapi.Request) (httpapi.Response, error)

// endpoints are the API's, by route key as the template has them, but for $default.
func (h *Handler) endpoints() map[string]endpoint {
	return map[string]endpoint{
		"POST /runs":              h.startRun,
		"GET /runs":               h.listRuns,
		"GET /runs/{id}":          h.getRun,
		"DELETE /runs/{id}":       h.stopRun,
		"POST /runs/{id}/outcome": h.decideOutcome,
		"GET /workflows":          h.listWorkflows,
		"GET /workflows/{slug}":   h.getWorkflow,
	}
}

// route is the [endpoint] of every request: it calls that of the route which the gateway
// matched, unless no run can have the id in the path.
func (h *Handler) route(ctx context.Context, r httpapi.Request) (none httpapi.Response, err error) {
	handle, found := h.endpoints()[r.RouteKey]
	if !found {
		return none, named.Errorf(named.NotFound, "there is no %s %s", named.Quote(r.RequestContext.HTTP.Method), named.Quote(r.RawPath))
	}
	if id, ofRun := r.PathParameters["id"]; ofRun && !isRunID(id) {
		return none, named.Errorf(named.RunNotFound, "no run can have the id %q", named.Quote(id))
	}
	return handle(ctx, r)
}

// Handle answers one request. It never returns an error, for which the gateway
// would answer with a bare 500: a panic is logged and answered as Unavailable.
func (h *Handler) Handle(ctx context.Context, r httpapi.Request) (out httpapi.Response, _ error) {
	defer func() {
		if recover() != nil { // LogPanic has logged it and passed it on
			out = httpapi.Problem(named.Errorf(named.Unavailable, "the relay itself failed on this request: the log of its function api says how"), nil)
		}
	}()
	defer observe.LogPanic(ctx, h.Log)
	return h.Answer(ctx, r), nil
}

// Answer is Handle without a guard against panics. It logs one line a request.
func (h *Handler) Answer(ctx context.Context, r httpapi.Request) httpapi.Response {
	start, log := h.Now(), h.Log
	if id := r.PathParameters["id"]; isRunID(id) {
		log = log.With(observe.RunID, id)
	}
	answer, err := h.route(observe.WithLog(ctx, log), r)
	log = log.With("route", r.RouteKey, "ms", h.Now().Sub(start).Milliseconds())
	if err == nil {
		if id, started := strings.CutPrefix(answer.Headers["location"], "/runs/"); started {
			log = log.With(observe.RunID, id)
		}
		log.InfoContext(ctx, "answered", "status", answer.StatusCode)
		return answer
	}
	refused := named.OrUnavailable(err)
	log.WarnContext(ctx, "refused", "status", refused.HTTPStatus(), "error", refused.Name, "cause", refused.Cause, "violations", len(refused.Violations))
	return httpapi.Problem(refused, nil)
}

// isRunID reports whether a run can have the id. Bytes of a path that are no
// UTF-8 arrive as replacement characters: such an id names nothing that was meant.
func isRunID(id string) bool {
	return executions.ValidName(id) && !strings.ContainsRune(id, utf8.RuneError)
}
