package main

import (
	"context"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/functions/poll-status/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

// maxHold is the template's MaxValue for HoldSeconds: the function's time-out
// leaves room above it.
const maxHold = 300

func build(ctx context.Context) (*handler.Handler, error) {
	var env config.Env
	cfg, err := config.AWS(ctx)
	if err != nil {
		return nil, err
	}
	service := env.Cyberun(cfg)
	return &handler.Handler{
		Cyberun:  service,
		Runs:     env.Runs(cfg, service, nil),
		Resumer:  executions.Machine{API: config.StepFunctions(cfg)},
		Hold:     env.Seconds("HOLD_SECONDS", 30, maxHold),
		Webhooks: env.Bool("WEBHOOKS_ENABLED"),
		Now:      time.Now,
		Sleep:    observe.Sleep,
	}, env.Err()
}
