// Package handler passes calls on to Cyberun's container services, and tells
// which there are.
package handler

import (
	"context"
	"log/slog"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// Cyberun is what the function asks of the service.
type Cyberun interface {
	Containers(ctx context.Context, page cyberun.Page) (cyberun.ContainerList, error)
	Container(ctx context.Context, slug string) (cyberun.Container, error)
	CallContainer(ctx context.Context, k cyberun.ContainerCall) (*cyberun.ContainerAnswer, error)
}

const (
	// CallTime is how long a container may take. An HTTP API gives up after 30 s
	// and the function's own timeout is 29 s; LookUpTime comes after it.
	CallTime = 25 * time.Second
	// LookUpTime is for asking what became of a container whose call failed.
	LookUpTime = 3 * time.Second
	// listTime bounds a list and a detail, as every other call to Cyberun.
	listTime = 20 * time.Second
)

// Handler answers the routes below /containers. Its answers are payloads of an
// HTTP API, format 2.0.
type Handler struct {
	Cyberun    Cyberun
	CallTime   time.Duration // how long a container may take to answer
	LookUpTime time.Duration // how long the detail may take after a failure
	Log        *slog.Logger
	Now        func() time.Time
}

// The routes, as the template has them.
const (
	routeList = "GET /containers"
	routeShow = "GET /containers/{slug}"
	routeCall = "ANY /containers/{slug}/{path+}"
)

// Handle answers one request and logs one line about it: who called which
// service, how it ended, how long it took and how many bytes went each way.
// Nothing of the path, the query, the headers or the bodies is logged. It never
// returns an error: what goes wrong is a problem document.
func (h *Handler) Handle(ctx context.Context, e events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
	start := h.Now()
	var moved traffic
	out, err := h.route(ctx, e, &moved)
	log := h.Log.With("route", e.RouteKey, "who", caller(e), "method", e.RequestContext.HTTP.Method)
	if slug := e.PathParameters["slug"]; cyberun.IsContainerSlug(slug) {
		log = log.With("container", slug)
	}
	log = log.With("ms", h.Now().Sub(start).Milliseconds(), "bytes_in", moved.in, "bytes_out", moved.out)
	if err != nil {
		p := problemOf(err)
		log.WarnContext(ctx, "refused", "status", p.HTTPStatus(), "error", p.Name)
		return p.response(), nil
	}
	log.InfoContext(ctx, "answered", "status", out.StatusCode)
	return out, nil
}

// traffic counts the bytes of a call's bodies.
type traffic struct{ in, out int }

func (h *Handler) route(ctx context.Context, e events.APIGatewayV2HTTPRequest, moved *traffic) (events.APIGatewayV2HTTPResponse, error) {
	switch e.RouteKey {
	case routeList:
		return h.list(ctx, e)
	case routeShow:
		return h.show(ctx, e.PathParameters["slug"])
	case routeCall:
		return h.call(ctx, e, moved)
	}
	return events.APIGatewayV2HTTPResponse{}, named.Errorf(named.NotFound, "there is no route for %s here", e.RequestContext.HTTP.Method)
}

// caller is the identity that signed the request.
func caller(e events.APIGatewayV2HTTPRequest) string {
	if a := e.RequestContext.Authorizer; a != nil && a.IAM != nil {
		return a.IAM.UserARN
	}
	return ""
}
