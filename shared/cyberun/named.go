package cyberun

import (
	"errors"
	"net/http"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// RemoteError names what a call to Cyberun came back with. doing says what was
// attempted, for the reader of the cause.
func RemoteError(doing string, err error) *named.Error {
	if e, ok := named.As(err); ok {
		return e // from the key's source, which names its own
	}
	var answer *APIError
	if !errors.As(err, &answer) {
		return named.Errorf(named.Unavailable, "%s: %w", doing, err)
	}
	switch answer.Status {
	case http.StatusUnauthorized:
		return named.Errorf(named.Unauthorized, "%s: Cyberun refused the key: %w", doing, err)
	case http.StatusForbidden:
		return named.Errorf(named.FeatureNotLicensed, "%s: %w", doing, err)
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return named.Errorf(named.RunRejected, "%s: %w", doing, err)
	}
	return named.Errorf(named.Unavailable, "%s: %w", doing, err)
}

// WorkflowError is RemoteError for a call that names a workflow, where not found
// has a meaning of its own.
func WorkflowError(ref string, err error) *named.Error {
	if IsNotFound(err) {
		return named.Errorf(named.WorkflowNotFound, "Cyberun has no workflow %q for this key: %w", named.Quote(ref), err)
	}
	return RemoteError("look up the workflow "+named.Quote(ref), err)
}

// SubmitError is WorkflowError for the POST that surely started nothing. That Cyberun
// wants money first is an answer, and no outage that an hour of retries would end.
func SubmitError(ref string, err error) *named.Error {
	var answer *APIError
	if !errors.As(err, &answer) || answer.Status != http.StatusPaymentRequired {
		return WorkflowError(ref, err)
	}
	e := named.Errorf(named.RunRejected, "Cyberun wants a payment before it runs %s: %w", named.Quote(ref), err)
	e.Hint = named.HintAfterPayment
	return e
}
