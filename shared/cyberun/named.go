package cyberun

import (
	"errors"
	"net/http"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// RemoteError names what a call to Cyberun came back with, one that reads: such a
// call never says that nothing was started. doing says what was
// attempted, for the reader of the cause. Only Cyberun's own word, a JSON object,
// is believed: whatever else comes is an outage of what stands before it.
func RemoteError(doing string, err error) *named.Error {
	if e, ok := named.As(err); ok {
		return e // from the key's source, which names its own
	}
	var answer *APIError
	if !errors.As(err, &answer) || !answer.JSON {
		return named.Errorf(named.Unavailable, "%s: %w", doing, err)
	}
	switch answer.Status {
	case http.StatusUnauthorized:
		return named.Errorf(named.Unauthorized, "%s: Cyberun refused the key: %w", doing, err)
	case http.StatusForbidden:
		return named.Errorf(named.FeatureNotLicensed, "%s: %w", doing, err)
	}
	return named.Errorf(named.Unavailable, "%s: %w", doing, err)
}

// rejects reports whether an answer to a call that would start something, or
// prepares it, refuses what was sent.
func rejects(err error) bool {
	var answer *APIError
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.Status {
	case http.StatusRequestEntityTooLarge:
		return true
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return answer.JSON
	}
	return false
}

// PrepareError is RemoteError for a call that prepares a submission: a file's.
func PrepareError(doing string, err error) *named.Error {
	if rejects(err) {
		return named.Errorf(named.RunRejected, "%s: %w", doing, err)
	}
	return RemoteError(doing, err)
}

// WorkflowError is RemoteError for a call that names a workflow, where not found
// has a meaning of its own.
func WorkflowError(ref string, err error) *named.Error {
	if IsNotFound(err) {
		return named.Errorf(named.WorkflowNotFound, "Cyberun has no workflow %q for this key: %w", named.Quote(ref), err)
	}
	return PrepareError("look up the workflow "+named.Quote(ref), err)
}

// SubmitError names the answer to a POST that surely started nothing. That Cyberun
// wants money first is an answer, and no outage that an hour of retries would end.
func SubmitError(ref string, err error) *named.Error {
	var answer *APIError
	if errors.As(err, &answer) && answer.JSON && answer.Status == http.StatusPaymentRequired {
		e := named.Errorf(named.RunRejected, "Cyberun wants a payment before it runs %s: %w", named.Quote(ref), err)
		e.Hint = named.HintAfterPayment
		return e
	}
	if IsNotFound(err) {
		return WorkflowError(ref, err)
	}
	return PrepareError("submit the workflow "+named.Quote(ref), err)
}
