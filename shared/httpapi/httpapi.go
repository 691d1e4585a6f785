// Package httpapi reads the requests that an API Gateway HTTP API hands to a
// Lambda function, and writes its answers, both in the payload format 2.0. It
// has the one form of the relay's problem documents.
//
// It imports shared/named.
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

// Request is a request as the gateway hands it over. It has matched the request
// to a route: RouteKey and PathParameters are the same whatever stage or base path
// stands before the path. A repeated header is one value, joined with commas.
type Request = events.APIGatewayV2HTTPRequest

// Response is an answer as the gateway takes it.
type Response = events.APIGatewayV2HTTPResponse

// ErrorHeader marks an answer as the relay's own: its value is the error's name.
// An answer that a container service gave never has it.
const ErrorHeader = "relay-error"

// retryAfterOutage is what a caller is told to wait while a remote is down, in
// seconds: a few of the state machine's own pauses.
const retryAfterOutage = "30"

// Body returns the body of a request as the caller sent it, or InvalidRequest.
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

// Query returns the parameters of a request's query string. It refuses one that
// cannot be read as a whole, since the rest may have been meant as a parameter.
func Query(r Request) (url.Values, error) {
	q, err := url.ParseQuery(r.RawQueryString)
	if err != nil {
		return nil, named.Violations{{Parameter: "query", Message: "cannot be read: percent signs and semicolons are written %25 and %3B"}}.Err()
	}
	return q, nil
}

// Header returns a header of a request, and whether there is one. The gateway
// writes names in lower case; what stands in for it may not.
func Header(r Request, name string) (value string, found bool) {
	for given, value := range r.Headers {
		if strings.EqualFold(given, name) {
			return value, true
		}
	}
	return "", false
}

// Caller returns the ARN of the identity that signed a request; "unknown" on a
// route without IAM.
func Caller(r Request) string {
	if a := r.RequestContext.Authorizer; a != nil && a.IAM != nil {
		return a.IAM.UserARN
	}
	return "unknown"
}

// JSON answers with v as a JSON document. Nothing may be cached on the way.
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

// Problem answers with a problem document (RFC 9457) whose title is the error's
// name, under the HTTP status that the table of shared/named gives it, and with the
// hint that it gives to answers, unless the error has one of its own. The members
// hint and errors are extensions, as is container: the container service
// that the error is about, nil for an error about none.
func Problem(e *named.Error, container any) Response {
	status, hint := e.HTTPStatus(), e.Hint
	if spec, _ := named.Lookup(e.Name); hint == spec.Hint {
		hint = cmp.Or(spec.RequestHint, hint)
	}
	body, _ := json.Marshal(struct { // of these types it cannot fail
		Type      string           `json:"type"`
		Title     string           `json:"title"`
		Status    int              `json:"status"`
		Detail    string           `json:"detail"`
		Hint      string           `json:"hint,omitempty"`
		Errors    named.Violations `json:"errors,omitempty"`
		Container any              `json:"container,omitempty"`
	}{"urn:cyberun-relay:error:" + e.Name, e.Name, status, e.Cause, hint, e.Violations, container})
	header := map[string]string{"content-type": "application/problem+json", "cache-control": "no-store", ErrorHeader: e.Name}
	if status == http.StatusServiceUnavailable {
		header["retry-after"] = retryAfterOutage
	}
	return Response{StatusCode: status, Headers: header, Body: string(body) + "\n"}
}
