package handler

import (
	"encoding/json"
	"net/http"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// retryAfterOutage is what a caller is told to wait while a remote is down, in seconds.
const retryAfterOutage = "30"

// asNamed returns the named error in a chain. What has no name is a fault of a remote.
func asNamed(err error) *named.Error {
	if e, ok := named.As(err); ok {
		return e
	}
	return named.Errorf(named.Unavailable, "%w", err)
}

// problem answers with a problem document of RFC 9457. Its title is the error's
// name; hint is a member of ours.
func (a *reply) problem(e *named.Error) {
	status := e.HTTPStatus()
	a.Header().Set("Content-Type", "application/problem+json")
	a.Header().Set("Relay-Error", e.Name) // as of container calls: it cannot be a container's own answer
	if status == http.StatusServiceUnavailable {
		a.Header().Set("Retry-After", retryAfterOutage)
	}
	a.WriteHeader(status)
	body := struct {
		Type   string           `json:"type"`
		Title  string           `json:"title"`
		Status int              `json:"status"`
		Detail string           `json:"detail"`
		Hint   string           `json:"hint,omitempty"`
		Errors named.Violations `json:"errors,omitempty"`
	}{"urn:cyberun-relay:error:" + e.Name, e.Name, status, e.Cause, e.Hint, e.Violations}
	_ = json.NewEncoder(a).Encode(body) // the writer is memory: it cannot fail
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
	return nil
}
