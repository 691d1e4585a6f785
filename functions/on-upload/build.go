package main

import (
	"context"
	"log/slog"

	"github.com/cyberun-cloud/cyberun-relay/functions/on-upload/handler"

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
		Inbox:      config.S3(cfg),
		Executions: executions.Machine{API: config.StepFunctions(cfg), ARN: env.String("STATE_MACHINE_ARN")},
		Log:        log,
	}, env.Err()
}
