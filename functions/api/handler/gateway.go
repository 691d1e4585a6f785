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

// endpoints are the API's, by route key as the template has them.
func (h *Handler) endpoints() map[string]endpoint {
	return map[string]endpoint{
		"POST /runs":              h.startRun,
		"GET /runs":               h.listRuns,
		"GET /runs/{id}":          h.getRun,
		"DELETE /runs/{id}":       h.stopRun,
		"POST /runs/{id}/outcome": h.decideOutcome,
		"GET /workflows":          h.listWorkflows,
		"GET /workflows/{slug}":   h.getWorkflow,
		"$default":                noRoute,
	}
}

// noRoute answers whatever no route of the API is for.
func noRoute(_ context.Context, r httpapi.Request) (httpapi.Response, error) {
	return httpapi.Response{}, named.Errorf(named.NotFound, "there is no %s %s", named.Quote(r.RequestContext.HTTP.Method), named.Quote(r.RawPath))
}

// noRun answers a path whose id no run can have.
func noRun(_ context.Context, r httpapi.Request) (httpapi.Response, error) {
	return httpapi.Response{}, named.Errorf(named.RunNotFound, "no run can have the id %q", named.Quote(r.PathParameters["id"]))
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
	handle, found := h.endpoints()[r.RouteKey]
	if !found {
		handle = noRoute
	}
	if id, ofRun := r.PathParameters["id"]; ofRun && !isRunID(id) {
		handle = noRun
	} else if ofRun {
		log = log.With(observe.RunID, id)
	}
	answer, err := handle(observe.WithLog(ctx, log), r)
	log = log.With("route", r.RouteKey, "ms", h.Now().Sub(start).Milliseconds())
	if err == nil {
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
