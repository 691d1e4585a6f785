package main

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/functions/copy-result/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

func build(ctx context.Context) (*handler.Handler, error) {
	var env config.Env
	cfg, err := config.AWS(ctx)
	if err != nil {
		return nil, err
	}
	sink := s3.NewFromConfig(cfg, func(o *s3.Options) { o.HTTPClient = transfer.NewStoreClient() })
	origin := transfer.NewOrigin(transfer.Policy{
		Hosts:         env.List("DOWNLOAD_HOSTS"),
		AllowInsecure: env.Bool("ALLOW_INSECURE_ORIGINS"),
		RuntimeAPI:    env.Optional("AWS_LAMBDA_RUNTIME_API", ""),
	})
	service := env.Cyberun(cfg)
	return &handler.Handler{
		Cyberun: service,
		Runs:    env.Runs(cfg, service, config.S3(cfg)),
		NewCopier: func(stopBefore time.Time, connections int) handler.Copier {
			return &transfer.Copier{S3: sink, Origin: origin, StopBefore: stopBefore, Connections: connections}
		},
		AtOnce: handler.DefaultAtOnce,
		Now:    time.Now,
	}, env.Err()
}
