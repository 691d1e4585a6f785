// Package function starts the Lambda functions: it reads a function's settings, builds
// its handler, and gives that to the Lambda runtime. A function's main has only its
// name and its function [Build].
//
// It imports shared/config, shared/observe, the AWS SDK's configuration and
// aws-lambda-go.
package function

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

// Build makes a function's handler H from its settings S, the SDK's configuration and
// the function's logger.
type Build[S, H any] func(settings S, cfg aws.Config, log *slog.Logger) (H, error)

// Handler answers the events of a function.
type Handler[In, Out any] interface {
	Handle(context.Context, In) (Out, error)
}

// answerReserve is kept of the time that Lambda gives a request. Making and sending an
// answer takes milliseconds; the rest is for a machine that does not let the process run
// for a moment.
const answerReserve = time.Second

// Start runs a function that answers HTTP requests; its handler logs each request
// itself. The handler's context ends 1 s before the function's time-out: a remote that
// answers nothing is then reported by the handler. If Lambda ended the call instead, the
// gateway would answer with a 500 or 503 of its own, which names nothing. Start does not
// return: it ends with the process. A function that cannot start logs why and exits.
func Start[S any, H Handler[In, Out], In, Out any](name string, build Build[S, H]) {
	log := observe.Logger(os.Stdout, name)
	handler := load(log, build)
	lambda.Start(func(ctx context.Context, request In) (Out, error) {
		if timeout, bounded := ctx.Deadline(); bounded {
			var cancel context.CancelFunc
			ctx, cancel = context.WithDeadline(ctx, timeout.Add(-answerReserve))
			defer cancel()
		}
		return handler.Handle(ctx, request)
	})
}

// StartRetried is [Start] for a function whose caller gets its error: a step of the state
// machine, or a function that events call. [observe.Invocation] logs its calls and names its
// errors.
func StartRetried[S any, H Handler[In, Out], In interface{ ID() string }, Out any](name string, build Build[S, H]) {
	log := observe.Logger(os.Stdout, name)
	lambda.Start(observe.Invocation(log, time.Now, load(log, build).Handle))
}

// load builds the handler, or ends the process.
func load[S, H any](log *slog.Logger, build Build[S, H]) H {
	var settings S
	exitOn(log, config.Read(&settings, nil))
	cfg, err := config.AWS(context.Background())
	exitOn(log, err)
	handler, err := build(settings, cfg, log)
	exitOn(log, err)
	return handler
}

// exitOn logs an error by which the function cannot start, and ends the process with the
// exit status 1, which Lambda reports as Runtime.ExitError. It returns only for nil.
func exitOn(log *slog.Logger, err error) {
	if err != nil {
		log.Error("cannot start", "cause", err.Error())
		os.Exit(1)
	}
}
