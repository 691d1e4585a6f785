// Package httpapi reads the requests that an API Gateway HTTP API sends to a Lambda
// function, and makes the answers, both in the payload format 2.0. It alone makes the
// relay's problem documents.
//
// It imports shared/named and the event types of aws-lambda-go.
package httpapi

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// Request is a request as API Gateway sends it to a function, after it has matched the
// request to a route: RouteKey and PathParameters are the same with and without a stage
// or base path before the path. Of a header that is repeated, the values are joined
// with commas.
type Request = events.APIGatewayV2HTTPRequest

// Response is a function's answer as API Gateway takes it.
type Response = events.APIGatewayV2HTTPResponse

// ErrorHeader is the header by which a caller tells the relay's own errors from the
// answers of a container service, which never have it. Its value is the error's name.
const ErrorHeader = "relay-error"

// retryAfterOutage is what a caller is told to wait while a remote is down, in
// seconds: a few of the state machine's own pauses.
const retryAfterOutage = "30"

// Body returns the body of a request as the caller sent it. It returns InvalidRequest
// for one that is said to be base64 and is not.
func Body(r Request) ([]byte, error) {
	if !r.IsBase64Encoded {
		return []byte(r.Body), nil
	}
	body, err := base64.StdEncoding.DecodeString(r.Body)
	if err != nil {
		return nil, named.Violations{{Parameter: "request", Message: "its body is said to be base64 and is not"}}.Err()
	}
	return body, nil
}

// Query returns the parameters of a request's query string. It returns InvalidRequest
// for a query string of which any part cannot be read, since that part may have been
// meant as a parameter.
func Query(r Request) (url.Values, error) {
	q, err := url.ParseQuery(r.RawQueryString)
	if err != nil {
		return nil, named.Violations{{Parameter: "query", Message: "cannot be read: percent signs and semicolons are written %25 and %3B"}}.Err()
	}
	return q, nil
}

// Header returns a header of a request by its name in any case, and whether there is
// one. API Gateway writes the names in lower case, `sam local start-api` as they came.
func Header(r Request, name string) (value string, found bool) {
	for given, value := range r.Headers {
		if strings.EqualFold(given, name) {
			return value, true
		}
	}
	return "", false
}

// Caller returns the ARN of the identity that signed a request; "unknown" on a route
// without IAM authorization.
func Caller(r Request) string {
	if a := r.RequestContext.Authorizer; a != nil && a.IAM != nil {
		return a.IAM.UserARN
	}
	return "unknown"
}

// JSON returns an answer with v as a JSON document, which no cache may keep. Its error
// is that of [json.Marshal].
func JSON(status int, v any) (Response, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return Response{}, err
	}
	return Response{
		StatusCode: status, Body: string(body) + "\n",
		Headers: map[string]string{"content-type": "application/json", "cache-control": "no-store"},
	}, nil
}

// Problem returns an answer with a problem document (RFC 9457): the title is the
// error's name, the status that of [named.Error.HTTPStatus], and the hint the error's
// own or, where that is only the table's Hint, the table's RequestHint. The members
// hint, errors and container are extensions. container describes the container service
// that the error is about; nil leaves it out. An answer with the status 503 has a
// Retry-After of 30 s.
func Problem(e *named.Error, container any) Response {
	status, hint := e.HTTPStatus(), e.Hint
	if spec, _ := named.Lookup(e.Name); hint == spec.Hint {
		hint = cmp.Or(spec.RequestHint, hint)
	}
	answer, _ := JSON(status, struct { // of these types it cannot fail
		Type      string           `json:"type"`
		Title     string           `json:"title"`
		Status    int              `json:"status"`
		Detail    string           `json:"detail"`
		Hint      string           `json:"hint,omitempty"`
		Errors    named.Violations `json:"errors,omitempty"`
		Container any              `json:"container,omitempty"`
	}{"urn:cyberun-relay:error:" + e.Name, e.Name, status, e.Cause, hint, e.Violations, container})
	answer.Headers["content-type"], answer.Headers[ErrorHeader] = "application/problem+json", e.Name
	if status == http.StatusServiceUnavailable {
		answer.Headers["retry-after"] = retryAfterOutage
	}
	return answer
}
