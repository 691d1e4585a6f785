package cyberun

import (
	"net/http"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// RemoteError returns the named error for the error of a call that changes nothing at
// Cyberun. doing says what was attempted, such as "read the task t-1", and begins the
// cause. A 401 or 403 of Cyberun's own, with a JSON object, becomes Unauthorized or
// FeatureNotLicensed. An error that has a name keeps it. Any other becomes Unavailable.
func RemoteError(doing string, err error) *named.Error {
	if e, ok := named.As(err); ok {
		return e // from the key's source, which names its own
	}
	switch refusal(err) {
	case http.StatusUnauthorized:
		return named.Errorf(named.Unauthorized, "%s: Cyberun refused the key: %w", doing, err)
	case http.StatusForbidden:
		return named.Errorf(named.FeatureNotLicensed, "%s: %w", doing, err)
	}
	return named.Errorf(named.Unavailable, "%s: %w", doing, err)
}

// PrepareError is [RemoteError] for a call that prepares a submission, such as
// [Client.Presign]: an answer by which Cyberun refuses the request becomes RunRejected.
func PrepareError(doing string, err error) *named.Error {
	switch refusal(err) {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return named.Errorf(named.RunRejected, "%s: %w", doing, err)
	}
	return RemoteError(doing, err)
}

// WorkflowError is [PrepareError] for a call that names the workflow ref: Cyberun's
// own 404 becomes WorkflowNotFound.
func WorkflowError(ref string, err error) *named.Error {
	if IsNotFound(err) {
		return named.Errorf(named.WorkflowNotFound, "Cyberun has no workflow %q for this key: %w", named.Quote(ref), err)
	}
	return PrepareError("look up the workflow "+named.Quote(ref), err)
}

// SubmitError returns the named error for a [StartError] of [Client.StartTask] that has
// NotStarted set; ref is the workflow. Cyberun's own 402 becomes a RunRejected with the
// hint to pay.
func SubmitError(ref string, err error) *named.Error {
	switch refusal(err) {
	case http.StatusPaymentRequired:
		e := named.Errorf(named.RunRejected, "Cyberun wants a payment before it runs %s: %w", named.Quote(ref), err)
		e.Hint = named.HintAfterPayment
		return e
	case http.StatusNotFound:
		return WorkflowError(ref, err)
	}
	return PrepareError("submit the workflow "+named.Quote(ref), err)
}
