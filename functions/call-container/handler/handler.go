// Package handler lists Cyberun's container services, and passes calls on to them
// with the stack's key in place of the caller's signature.
package handler

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/httpapi"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

// Cyberun has the calls of [cyberun.Client] that the function makes.
type Cyberun interface {
	Containers(ctx context.Context, page cyberun.Page) (cyberun.ContainerList, error)
	Container(ctx context.Context, slug string) (cyberun.Container, error)
	CallContainer(ctx context.Context, k cyberun.ContainerCall) (*cyberun.ContainerAnswer, error)
}

const (
	// DefaultContainerTime is how long a container may take. Together with LookUpTime, which
	// may follow, it makes up the 28 s that function.Start leaves of the function's timeout
	// of 29 s; an HTTP API gives up after 30. ContainerTimedOut in shared/named,
	// docs/containers.md and the template name the 25 s as well.
	DefaultContainerTime = 25 * time.Second
	// DefaultLookUpTime is how long Cyberun may take to describe a container whose call
	// failed.
	DefaultLookUpTime = 3 * time.Second
)

// Handler answers the routes below /containers.
type Handler struct {
	Cyberun       Cyberun
	ContainerTime time.Duration // how long a container may take to answer
	LookUpTime    time.Duration // how long Cyberun may take to describe the container after a failure
	Log           *slog.Logger
	Now           func() time.Time
}

// The routes, as the template has them.
const (
	routeList = "GET /containers"
	routeShow = "GET /containers/{slug}"
	routeCall = "ANY /containers/{slug}/{path+}"
)

// Handle answers one request and logs one line about it: who called which container
// service, how it ended, how long it took and how many bytes went each way. Nothing of the
// path, the query, the headers or the bodies is logged. It never returns an error, for
// which the gateway would answer with a bare 500 that says nothing: what goes wrong is a
// problem document, and a panic is logged and answered as Unavailable.
func (h *Handler) Handle(ctx context.Context, r httpapi.Request) (out httpapi.Response, _ error) {
	defer func() {
		if recover() != nil { // LogPanic has logged it and passed it on
			failed := error(named.Errorf(named.Unavailable, "the relay itself failed on this request: the log of its function call-container says how"))
			if r.RouteKey == routeCall {
				failed = withCheckHint(failed)
			}
			out, _ = problem(failed)
		}
	}()
	defer observe.LogPanic(ctx, h.Log)
	return h.answer(ctx, r), nil
}

// answer is Handle without a guard against panics.
func (h *Handler) answer(ctx context.Context, r httpapi.Request) httpapi.Response {
	start := h.Now()
	var moved traffic
	out, err := h.route(ctx, r, &moved)
	log := h.Log.With("route", r.RouteKey, "who", httpapi.Caller(r), "method", r.RequestContext.HTTP.Method)
	if slug := r.PathParameters["slug"]; cyberun.IsContainerSlug(slug) {
		log = log.With("container", slug)
	}
	log = log.With("ms", h.Now().Sub(start).Milliseconds(), "bytes_in", moved.in, "bytes_out", moved.out)
	if err != nil {
		answer, e := problem(err)
		log.WarnContext(ctx, "refused", "status", answer.StatusCode, "error", e.Name)
		return answer
	}
	log.InfoContext(ctx, "answered", "status", out.StatusCode)
	return out
}

// traffic counts the bytes of a call's bodies.
type traffic struct{ in, out int }

func (h *Handler) route(ctx context.Context, r httpapi.Request, moved *traffic) (httpapi.Response, error) {
	switch r.RouteKey {
	case routeList:
		return h.list(ctx, r)
	case routeShow:
		return h.show(ctx, r.PathParameters["slug"])
	case routeCall:
		return h.call(ctx, r, moved)
	}
	return httpapi.Response{}, named.Errorf(named.NotFound, "there is no route for %s here", r.RequestContext.HTTP.Method)
}

// usualLimit is how many services a page has, if the query has no limit.
const usualLimit = 50

// list pages through the container services that the stack's key can call.
func (h *Handler) list(ctx context.Context, r httpapi.Request) (none httpapi.Response, err error) {
	page, number, err := httpapi.NumberedPage(r, usualLimit)
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(ctx, cyberun.CallTime)
	defer cancel()
	found, err := h.Cyberun.Containers(ctx, cyberun.Page{Number: number, Size: page.Limit})
	if err != nil {
		return none, cyberun.RemoteError("list the container services", err)
	}
	return httpapi.JSON(http.StatusOK, struct {
		Containers []cyberun.Container `json:"containers"`
		NextCursor string              `json:"next_cursor,omitempty"`
	}{append([]cyberun.Container{}, found.Containers...), page.NextNumber(number, len(found.Containers), found.Page.TotalCount)})
}

// show describes one service.
func (h *Handler) show(ctx context.Context, slug string) (none httpapi.Response, err error) {
	if !cyberun.IsContainerSlug(slug) {
		return none, notFound(slug)
	}
	ctx, cancel := context.WithTimeout(ctx, cyberun.CallTime)
	defer cancel()
	found, err := h.Cyberun.Container(ctx, slug)
	if err != nil {
		return none, descriptionError(slug, err)
	}
	return httpapi.JSON(http.StatusOK, found)
}

func notFound(slug string) error {
	return named.Errorf(named.ContainerNotFound, "Cyberun has no container service %q for this key", named.Quote(slug))
}

// descriptionError names the error with which Cyberun answered for the description of a
// container service.
func descriptionError(slug string, err error) error {
	if cyberun.IsNotFound(err) {
		return notFound(slug)
	}
	return cyberun.RemoteError("look up the container service "+slug, err)
}

// notRunning is ContainerNotRunning, with the service as Cyberun describes it.
type notRunning struct {
	err       *named.Error
	container cyberun.Container
}

func (e *notRunning) Error() string { return e.err.Error() }
func (e *notRunning) Unwrap() error { return e.err }

// problem returns the problem document of an error and its named error. A service that
// does not run is described in the document.
func problem(err error) (httpapi.Response, *named.Error) {
	e := named.OrUnavailable(err)
	if stopped, ok := errors.AsType[*notRunning](err); ok {
		return httpapi.Problem(e, stopped.container), e
	}
	return httpapi.Problem(e, nil), e
}
