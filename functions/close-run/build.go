package main

import (
	"context"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/functions/close-run/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/doubt"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

func build(ctx context.Context) (*handler.Handler, error) {
	var env config.Env
	cfg, err := config.AWS(ctx)
	if err != nil {
		return nil, err
	}
	service := env.Cyberun(cfg)
	runs := env.Runs(cfg, service, config.S3(cfg))
	return &handler.Handler{
		Closer:     lifecycle.Closer{Runs: runs, Bucket: env.String("OUTPUT_BUCKET"), OutputPrefix: env.Optional("OUTPUT_PREFIX", "")},
		Doubts:     doubt.Investigator{Cyberun: service, Runs: runs, Now: time.Now},
		Executions: executions.Machine{API: config.StepFunctions(cfg), ARN: env.String("STATE_MACHINE_ARN")},
		Sweepers:   handler.DefaultSweepers,
		Now:        time.Now,
		Sleep:      observe.Sleep,
	}, env.Err()
}
