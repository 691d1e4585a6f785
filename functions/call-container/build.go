package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/functions/call-container/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
)

func build(ctx context.Context, log *slog.Logger) (*handler.Handler, error) {
	var env config.Env
	cfg, err := config.AWS(ctx)
	if err != nil {
		return nil, err
	}
	return &handler.Handler{
		Cyberun:    env.Cyberun(cfg),
		CallTime:   handler.CallTime,
		LookUpTime: handler.LookUpTime,
		Log:        log,
		Now:        time.Now,
	}, env.Err()
}
