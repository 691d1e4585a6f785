package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/functions/api/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

func build(ctx context.Context, log *slog.Logger) (*handler.Handler, error) {
	var env config.Env
	cfg, err := config.AWS(ctx)
	if err != nil {
		return nil, err
	}
	client, service := config.S3(cfg), env.Cyberun(cfg)
	return &handler.Handler{
		Cyberun:      service,
		Runs:         env.Runs(cfg, service, client),
		Executions:   executions.Machine{API: config.StepFunctions(cfg), ARN: env.String("STATE_MACHINE_ARN")},
		Outputs:      client,
		Presign:      s3.NewPresignClient(client),
		OutputBucket: env.String("OUTPUT_BUCKET"),
		OutputPrefix: env.Optional("OUTPUT_PREFIX", ""),
		Log:          log,
		Now:          time.Now,
		NewID:        config.NewID,
		Sleep:        observe.Sleep,
		Beside: func(a, b func()) {
			var group sync.WaitGroup
			group.Go(a)
			b()
			group.Wait()
		},
	}, env.Err()
}
