package main

import (
	"context"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/functions/submit/handler"

	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
	"github.com/rs/xid"
)

func build(ctx context.Context) (*handler.Handler, error) {
	var env config.Env
	cfg, err := config.AWS(ctx)
	if err != nil {
		return nil, err
	}
	s3 := config.S3(cfg)
	service := env.Cyberun(cfg)
	// Where files go is the remote's word too: it is checked where it is dialled.
	service.UploadHTTP = transfer.NewOrigin(transfer.Policy{
		AllowInsecure: env.Bool("ALLOW_INSECURE_ORIGINS"),
		RuntimeAPI:    env.Optional("AWS_LAMBDA_RUNTIME_API", ""),
	})
	return &handler.Handler{
		Cyberun:      service,
		Records:      env.Store(s3),
		Buckets:      s3,
		Executions:   config.Executions(cfg),
		OutputBucket: env.String("OUTPUT_BUCKET"),
		StateBucket:  env.String("STATE_BUCKET"),
		InDoubtStop:  env.Choice("IN_DOUBT", "verify", "stop") == "stop",
		Waits: handler.Waits{
			Post:     env.Duration("SUBMIT_POST", handler.DefaultWaits.Post),
			Settle:   env.Duration("SUBMIT_SETTLE", handler.DefaultWaits.Settle),
			Between:  env.Duration("SUBMIT_BETWEEN", handler.DefaultWaits.Between),
			Patience: env.Duration("SUBMIT_PATIENCE", handler.DefaultWaits.Patience),
		},
		Now:   time.Now,
		NewID: func() string { return xid.New().String() },
	}, env.Err()
}
