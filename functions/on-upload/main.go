// On-upload turns objects that land in the inbox into runs.
package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

func main() {
	log := observe.Logger(os.Stdout, "on-upload")
	handler, err := build(context.Background(), log)
	if err != nil {
		observe.Exit(log, err)
	}
	lambda.Start(observe.Step(log, time.Now, handler.Handle))
}

func build(ctx context.Context, log *slog.Logger) (*Handler, error) {
	var env config.Env
	cfg, err := config.AWS(ctx)
	if err != nil {
		return nil, err
	}
	return &Handler{
		Inbox:           config.S3(cfg),
		Executions:      config.Executions(cfg),
		StateMachineARN: env.String("STATE_MACHINE_ARN"),
		Log:             log,
	}, env.Err()
}
