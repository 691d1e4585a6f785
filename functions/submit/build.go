package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/functions/submit/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/doubt"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

func build(ctx context.Context) (*handler.Handler, error) {
	var env config.Env
	cfg, err := config.AWS(ctx)
	if err != nil {
		return nil, err
	}
	service := env.Cyberun(cfg)
	// Where files go is the remote's word too: it is checked where it is dialled.
	service.UploadHTTP = transfer.NewOrigin(transfer.Policy{
		AllowInsecure: env.Bool("ALLOW_INSECURE_ORIGINS"),
		RuntimeAPI:    env.Optional("AWS_LAMBDA_RUNTIME_API", ""),
	})
	runs := env.Runs(cfg, service, nil)
	return &handler.Handler{
		Cyberun:      service,
		Runs:         runs,
		Doubts:       doubt.Investigator{Cyberun: service, Runs: runs, Now: time.Now},
		Buckets:      config.S3Streams(cfg),
		OutputBucket: env.String("OUTPUT_BUCKET"),
		OutputPrefix: env.Optional("OUTPUT_PREFIX", ""),
		StateBucket:  env.String("STATE_BUCKET"),
		InDoubt:      handler.InDoubt(env.Choice("IN_DOUBT", string(handler.Verify), string(handler.AbsentOnly), string(handler.StopDoubt))),
		Waits: handler.Waits{
			Post:     env.Duration("SUBMIT_POST", handler.DefaultWaits.Post),
			Settle:   env.Duration("SUBMIT_SETTLE", handler.DefaultWaits.Settle),
			Between:  env.Duration("SUBMIT_BETWEEN", handler.DefaultWaits.Between),
			Absence:  env.Duration("SUBMIT_ABSENCE", handler.DefaultWaits.Absence),
			Patience: env.Duration("SUBMIT_PATIENCE", handler.DefaultWaits.Patience),
			Spread:   env.Duration("SUBMIT_SPREAD", handler.DefaultWaits.Spread),
		},
		Now:    time.Now,
		Sleep:  observe.Sleep,
		NewID:  config.NewID,
		Random: func(most time.Duration) time.Duration { return rand.N(max(most, 1)) },
	}, env.Err()
}
