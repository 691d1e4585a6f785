package handler

import (
	"errors"

	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/httpapi"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// notRunning is ContainerNotRunning, with the service as Cyberun describes it.
type notRunning struct {
	err       *named.Error
	container cyberun.Container
}

func (e *notRunning) Error() string { return e.err.Error() }
func (e *notRunning) Unwrap() error { return e.err }

// problem returns the problem document of an error and its named error. A service that
// does not run is described in the document.
func problem(err error) (httpapi.Response, *named.Error) {
	e := named.OrUnavailable(err)
	var container any
	var stopped *notRunning
	if errors.As(err, &stopped) {
		container = stopped.container
	}
	return httpapi.Problem(e, container), e
}
