package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/functions/api/handler"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/rs/xid"
)

func build(ctx context.Context, log *slog.Logger) (*handler.Handler, error) {
	var env config.Env
	cfg, err := config.AWS(ctx)
	if err != nil {
		return nil, err
	}
	client := config.S3(cfg)
	return &handler.Handler{
		Cyberun:         env.Cyberun(cfg),
		Records:         env.Store(client),
		Executions:      config.Executions(cfg),
		Outputs:         client,
		Presign:         s3.NewPresignClient(client),
		OutputBucket:    env.String("OUTPUT_BUCKET"),
		StateMachineARN: env.String("STATE_MACHINE_ARN"),
		Log:             log,
		Now:             time.Now,
		NewID:           func() string { return xid.New().String() },
		Sleep:           observe.Sleep,
	}, env.Err()
}
