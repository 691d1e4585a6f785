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

// Start runs a function that answers HTTP requests; its handler logs each request
// itself. Start does not return: it ends with the process. A function that cannot start
// logs why and exits.
func Start[S any, H Handler[In, Out], In, Out any](name string, build Build[S, H]) {
	log := observe.Logger(os.Stdout, name)
	lambda.Start(load(log, build).Handle)
}

// StartStep runs a function whose caller gets its error: a step of the state machine,
// or a function that events call. [observe.Step] logs its calls and names its errors.
// StartStep does not return: it ends with the process. A function that cannot start
// logs why and exits.
func StartStep[S any, H Handler[In, Out], In interface{ ID() string }, Out any](name string, build Build[S, H]) {
	log := observe.Logger(os.Stdout, name)
	lambda.Start(observe.Step(log, time.Now, load(log, build).Handle))
}

// load builds the handler, or ends the process.
func load[S, H any](log *slog.Logger, build Build[S, H]) H {
	var settings S
	err := config.Read(&settings, nil)
	if err != nil {
		observe.Exit(log, err)
	}
	cfg, err := config.AWS(context.Background())
	if err != nil {
		observe.Exit(log, err)
	}
	handler, err := build(settings, cfg, log)
	if err != nil {
		observe.Exit(log, err)
	}
	return handler
}
