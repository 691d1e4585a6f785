// Poll-status looks at a run's task: held on its event stream at first, then at
// growing intervals, or once for a run that waits for a webhook.
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

// maxHold is the template's MaxValue for HoldSeconds: the function's time-out
// leaves room above it.
const maxHold = 300

func main() {
	log := observe.Logger(os.Stdout, "poll-status")
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
		Cyberun:  env.Cyberun(cfg),
		Records:  env.Store(config.S3(cfg)),
		Waker:    config.Executions(cfg),
		Hold:     env.Seconds("HOLD_SECONDS", 30, maxHold),
		Webhooks: env.Bool("WEBHOOKS_ENABLED"),
		Log:      log,
		Now:      time.Now,
	}, env.Err()
}
