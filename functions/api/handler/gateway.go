package handler

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

// endpoint answers a request, or returns the error that it is refused with.
type endpoint func(http.ResponseWriter, *http.Request) error

// endpoints are the API's, by route key as the template has them. The gateway
// has matched the request to a route: its key and its path parameters hold
// whatever stage or base path stands before the path.
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
func noRoute(_ http.ResponseWriter, r *http.Request) error {
	return named.Errorf(named.NotFound, "there is no %s %s", named.Quote(r.Method), named.Quote(r.URL.Path))
}

// Handle answers one request that an HTTP API hands over, in the payload format
// 2.0. It never returns an error, for which the gateway would answer with a bare
// 500: a panic is logged and reply as Unavailable.
func (h *Handler) Handle(ctx context.Context, e events.APIGatewayV2HTTPRequest) (out events.APIGatewayV2HTTPResponse, _ error) {
	defer func() {
		if recover() != nil { // LogPanic has logged it and passed it on
			var a reply
			a.problem(named.Errorf(named.Unavailable, "the relay itself failed on this request: the log of its function api says how"))
			out = a.response()
		}
	}()
	defer observe.LogPanic(ctx, h.Log)
	return h.Answer(ctx, e), nil
}

// Answer is Handle without a guard against panics. It logs one line a request.
func (h *Handler) Answer(ctx context.Context, e events.APIGatewayV2HTTPRequest) events.APIGatewayV2HTTPResponse {
	start, log := h.Now(), h.Log
	id, ofRun := e.PathParameters["id"]
	known := !ofRun || isRunID(id)
	if ofRun && known {
		log = log.With("run_id", id)
	}
	ctx = observe.WithLog(ctx, log)
	handle, found := h.endpoints()[e.RouteKey]
	if !found {
		handle = noRoute
	}
	if !known {
		handle = func(http.ResponseWriter, *http.Request) error {
			return named.Errorf(named.RunNotFound, "no run can have the id %q", named.Quote(id))
		}
	}
	var a reply
	r, err := request(ctx, e)
	if err == nil {
		err = handle(&a, r)
	}
	log = log.With("route", e.RouteKey, "ms", h.Now().Sub(start).Milliseconds())
	if err == nil {
		log.InfoContext(ctx, "answered", "status", a.status)
		return a.response()
	}
	refused := asNamed(err)
	log.WarnContext(ctx, "refused", "status", refused.HTTPStatus(), "error", refused.Name, "cause", refused.Cause, "violations", len(refused.Violations))
	a = reply{}
	a.problem(refused)
	return a.response()
}

// isRunID reports whether a run can have the id. Bytes of a path that are no
// UTF-8 arrive as replacement characters: such an id names nothing that was meant.
func isRunID(id string) bool {
	return executions.ValidName(id) && !strings.ContainsRune(id, utf8.RuneError)
}

// callerKey finds, in a request's context, the ARN of whoever signed it.
type callerKey struct{}

// request is the event as the endpoints read it. Each header has one value, the
// one that the gateway made of repeated ones: nothing is split at commas.
func request(ctx context.Context, e events.APIGatewayV2HTTPRequest) (*http.Request, error) {
	var body io.Reader = strings.NewReader(e.Body)
	if e.IsBase64Encoded {
		raw, err := base64.StdEncoding.DecodeString(e.Body)
		if err != nil {
			return nil, named.Violations{{Parameter: "request", Message: "its body is said to be base64 and is not"}}.Err()
		}
		body = bytes.NewReader(raw)
	}
	if a := e.RequestContext.Authorizer; a != nil && a.IAM != nil {
		ctx = context.WithValue(ctx, callerKey{}, a.IAM.UserARN)
	}
	r := (&http.Request{
		Method: e.RequestContext.HTTP.Method,
		URL:    &url.URL{Path: e.RawPath, RawQuery: e.RawQueryString},
		Header: http.Header{},
		Body:   io.NopCloser(body),
	}).WithContext(ctx)
	for name, value := range e.Headers {
		r.Header.Set(name, value)
	}
	for name, value := range e.PathParameters {
		r.SetPathValue(name, value)
	}
	return r, nil
}

// callerOf returns the ARN of whoever signed the request.
func callerOf(ctx context.Context) string {
	if arn, ok := ctx.Value(callerKey{}).(string); ok {
		return arn
	}
	return "unknown"
}

// query reads the query string. Parts of it that cannot be read are a fault,
// since they may have been meant as one of the parameters.
func query(r *http.Request) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, named.Violations{{Parameter: "query", Message: "cannot be read: percent signs and semicolons are written %25 and %3B"}}.Err()
	}
	return q, nil
}

// reply collects an answer in memory. It is an http.ResponseWriter.
type reply struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *reply) Header() http.Header {
	if a.header == nil {
		a.header = http.Header{"Cache-Control": {"no-store"}}
	}
	return a.header
}

func (a *reply) WriteHeader(status int) { a.status = status }

func (a *reply) Write(p []byte) (int, error) { return a.body.Write(p) }

// response is the answer in the payload format 2.0. Its body is JSON, so text.
func (a *reply) response() events.APIGatewayV2HTTPResponse {
	out := events.APIGatewayV2HTTPResponse{StatusCode: a.status, Headers: map[string]string{}, Body: a.body.String()}
	for name, values := range a.Header() {
		out.Headers[name] = strings.Join(values, ", ")
	}
	return out
}
