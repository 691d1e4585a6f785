package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/functions/on-webhook/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
)

func build(ctx context.Context, log *slog.Logger) (*handler.Handler, error) {
	var env config.Env
	cfg, err := config.AWS(ctx)
	if err != nil {
		return nil, err
	}
	return &handler.Handler{
		Enabled: env.Bool("WEBHOOKS_ENABLED"),
		Secrets: config.NewSecret(cfg, env.String("WEBHOOK_SECRET_ARN")),
		Runs:    env.Runs(cfg, nil, nil),
		Resumer: executions.Machine{API: config.StepFunctions(cfg)},
		Log:     log,
		Now:     time.Now,
	}, env.Err()
}
