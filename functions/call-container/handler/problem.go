package handler

import (
	"errors"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/httpapi"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// hints replace those of shared/named that speak of runs.
var hints = map[string]string{
	named.InvalidRequest:     "correct what is listed; nothing was sent to the container",
	named.Unauthorized:       "put a valid sk-… key into the secret that the stack output ApiKeySecretArn names, then call again",
	named.FeatureNotLicensed: "this Cyberun deployment's licence, or the key, lacks what the detail names: ask its administrator",
	named.RunRejected:        "Cyberun refused the question as the detail says; is the relay as new as the deployment?",
	named.Unavailable:        "it is mostly a passing state: try again in a while; the detail says whether the call may have been carried out",
}

// notRunning is ContainerNotRunning, with the service as Cyberun describes it.
type notRunning struct {
	err       *named.Error
	container cyberun.Container
}

func (e *notRunning) Error() string { return e.err.Error() }
func (e *notRunning) Unwrap() error { return e.err }

// problem returns the problem document of an error and its named error, which is
// Unavailable for one without a name. A service that does not run is described in
// the document.
func problem(err error) (httpapi.Response, *named.Error) {
	e, ok := named.As(err)
	if !ok {
		e = named.Errorf(named.Unavailable, "%w", err)
	}
	shown := *e
	if hint, ours := hints[e.Name]; ours {
		shown.Hint = hint
	}
	var container any
	var stopped *notRunning
	if errors.As(err, &stopped) {
		container = stopped.container
	}
	return httpapi.Problem(&shown, container), &shown
}
