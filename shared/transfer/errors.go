package transfer

import (
	"context"
	"errors"

	"github.com/cyberun-cloud/cyberun-relay/shared/named"
	"github.com/cyberun-cloud/cyberun-relay/shared/redact"
)

// Errors that direct the copy and never leave the package.
var (
	// errUploadGone: S3 no longer knows the multipart upload. Another call completed
	// it if the object is there; else somebody aborted it.
	errUploadGone = errors.New("the multipart upload no longer exists")
	// errRestart: nothing is left to resume; the copy starts again from byte 0.
	errRestart = errors.New("the copy has to start again")
)

// oneStreamError says why ranges of the output cannot be joined: the copy starts
// again with the whole in one answer.
type oneStreamError struct{ why string }

func (e *oneStreamError) Error() string { return "the output's ranges cannot be joined: " + e.why }

func needsOneStream(err error) bool {
	var e *oneStreamError
	return errors.As(err, &e)
}

// asNamed makes any failure an error that a run may end with: a *named.Error as it
// is; the context's cause if the context has ended; else Unavailable.
func asNamed(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := named.As(err); ok {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return named.Errorf(named.Unavailable, "copying the output: %w", redact.Error(err))
}
