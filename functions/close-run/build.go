package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/functions/close-run/handler"

	"github.com/cyberun-cloud/cyberun-relay/shared/config"
)

func build(ctx context.Context, log *slog.Logger) (*handler.Handler, error) {
	var env config.Env
	cfg, err := config.AWS(ctx)
	if err != nil {
		return nil, err
	}
	s3 := config.S3(cfg)
	return &handler.Handler{
		Cyberun:      env.Cyberun(cfg),
		Records:      env.Store(s3),
		Bucket:       s3,
		Executions:   config.Executions(cfg),
		OutputBucket: env.String("OUTPUT_BUCKET"),
		Log:          log,
		Now:          time.Now,
	}, env.Err()
}
