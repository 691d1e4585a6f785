package handler

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/aws/aws-lambda-go/events"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// errorHeader marks an answer as the relay's own: it names the error. A
// container's answer never carries it.
const errorHeader = "relay-error"

// retryAfterOutage is what a caller is told to wait while a remote is down, in seconds.
const retryAfterOutage = "30"

// hints say what to do about the errors whose usual advice speaks of runs.
var hints = map[string]string{
	named.InvalidRequest:     "correct what is listed; nothing was sent to the container",
	named.Unauthorized:       "put a valid sk-… key into the secret that the stack output ApiKeySecretArn names, then call again",
	named.FeatureNotLicensed: "this Cyberun deployment's licence, or the key, lacks what the detail names: ask its administrator",
	named.RunRejected:        "Cyberun refused the question as the detail says; is the relay as new as the deployment?",
	named.Unavailable:        "it is mostly a passing state: try again in a while; the detail says whether the call may have been carried out",
}

// problem is an error as the caller reads it, with the service that it is about
// where that helps.
type problem struct {
	*named.Error
	container *cyberun.Container
}

// serviceError is a named error about a service that is known.
type serviceError struct {
	err       *named.Error
	container cyberun.Container
}

func (e *serviceError) Error() string { return e.err.Error() }
func (e *serviceError) Unwrap() error { return e.err }

// problemOf reads an error. What has no name is a fault of a remote.
func problemOf(err error) problem {
	var known *serviceError
	e, ok := named.As(err)
	if !ok {
		e = named.Errorf(named.Unavailable, "%w", err)
	}
	shown := *e
	if hint, ours := hints[e.Name]; ours {
		shown.Hint = hint
	}
	p := problem{Error: &shown}
	if errors.As(err, &known) {
		p.container = &known.container
	}
	return p
}

// response is a problem document of RFC 9457. Its title is the error's name;
// hint and container are members of ours.
func (p problem) response() events.APIGatewayV2HTTPResponse {
	status := p.HTTPStatus()
	body, _ := json.Marshal(struct { // strings alone: it cannot fail
		Type      string             `json:"type"`
		Title     string             `json:"title"`
		Status    int                `json:"status"`
		Detail    string             `json:"detail"`
		Hint      string             `json:"hint,omitempty"`
		Errors    named.Violations   `json:"errors,omitempty"`
		Container *cyberun.Container `json:"container,omitempty"`
	}{"urn:cyberun-relay:error:" + p.Name, p.Name, status, p.Cause, p.Hint, p.Violations, p.container})
	header := map[string]string{"content-type": "application/problem+json", "cache-control": "no-store", errorHeader: p.Name}
	if status == http.StatusServiceUnavailable {
		header["retry-after"] = retryAfterOutage
	}
	return events.APIGatewayV2HTTPResponse{StatusCode: status, Headers: header, Body: string(body) + "\n"}
}

// remoteError names what a question to Cyberun came back with.
func remoteError(doing string, err error) error { return cyberun.RemoteError(doing, err) }
