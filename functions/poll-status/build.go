package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/functions/poll-status/handler"

	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

// maxHold is the template's MaxValue for HoldSeconds: the function's time-out
// leaves room above it.
const maxHold = 300

func build(ctx context.Context, log *slog.Logger) (*handler.Handler, error) {
	var env config.Env
	cfg, err := config.AWS(ctx)
	if err != nil {
		return nil, err
	}
	return &handler.Handler{
		Cyberun:  env.Cyberun(cfg),
		Records:  env.Store(config.S3(cfg)),
		Waker:    config.Executions(cfg),
		Hold:     env.Seconds("HOLD_SECONDS", 30, maxHold),
		Webhooks: env.Bool("WEBHOOKS_ENABLED"),
		Log:      log,
		Now:      time.Now,
		Sleep:    observe.Sleep,
	}, env.Err()
}
