// Api answers the HTTP API: it starts runs, shows them, and stops them.
package main

import (
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithytime "github.com/aws/smithy-go/time"
	"github.com/cyberun-cloud/cyberun-relay/functions/api/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/function"
)

func main() { function.Start("api", build) }

func build(s config.API, cfg aws.Config, log *slog.Logger) (*handler.Handler, error) {
	client, outputs := s.Client(cfg), config.S3(cfg)
	return &handler.Handler{
		Cyberun:      client,
		Runs:         s.Runs(cfg, client, outputs),
		Executions:   s.Executions(cfg),
		OutputS3:     outputs,
		Presign:      s3.NewPresignClient(outputs),
		OutputBucket: s.OutputBucket,
		OutputPrefix: s.OutputPrefix,
		Log:          log,
		Now:          time.Now,
		NewID:        config.NewID,
		Sleep:        smithytime.SleepWithContext,
		Concurrency:  handler.DefaultConcurrency,
	}, nil
}
