package run

import (
	"errors"
	"net/http"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
)

// RemoteError names what a call to Cyberun came back with. doing says what was
// attempted, for the reader of the cause.
func RemoteError(doing string, err error) *Error {
	if e, ok := AsError(err); ok {
		return e // from the key's source, which names its own
	}
	var answer *cyberun.APIError
	if !errors.As(err, &answer) {
		return Errorf(Unavailable, "%s: %w", doing, err)
	}
	switch answer.Status {
	case http.StatusUnauthorized:
		return Errorf(Unauthorized, "%s: Cyberun refused the key: %w", doing, err)
	case http.StatusForbidden:
		return Errorf(FeatureNotLicensed, "%s: %w", doing, err)
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return Errorf(RunRejected, "%s: %w", doing, err)
	}
	return Errorf(Unavailable, "%s: %w", doing, err)
}

// WorkflowError is RemoteError for a call that names a workflow, where not found
// has a meaning of its own.
func WorkflowError(ref string, err error) *Error {
	if cyberun.IsNotFound(err) {
		return Errorf(WorkflowNotFound, "Cyberun has no workflow %q for this key: %w", shorten(ref), err)
	}
	return RemoteError("look up the workflow "+shorten(ref), err)
}

// SubmitError is WorkflowError for the POST that surely started nothing. That Cyberun
// wants money first is an answer, and no outage that an hour of retries would end.
func SubmitError(ref string, err error) *Error {
	var answer *cyberun.APIError
	if !errors.As(err, &answer) || answer.Status != http.StatusPaymentRequired {
		return WorkflowError(ref, err)
	}
	e := Errorf(RunRejected, "Cyberun wants a payment before it runs %s: %w", shorten(ref), err)
	e.Hint = "settle the team's account at Cyberun, then redrive the run; it started nothing"
	return e
}
