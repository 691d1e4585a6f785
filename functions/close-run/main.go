// Close-run closes the runs whose execution was stopped, failed or timed out: it
// stops paying where a person stopped the run, and leaves error.json.
package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

func main() {
	log := observe.Logger(os.Stdout, "close-run")
	handler, err := build(context.Background(), log)
	if err != nil {
		observe.Exit(log, err)
	}
	lambda.Start(observe.Step(log, time.Now, handler.Handle))
}

func build(ctx context.Context, log *slog.Logger) (*Handler, error) {
	var env config.Env
	cfg, err := config.AWS(ctx)
	if err != nil {
		return nil, err
	}
	s3 := config.S3(cfg)
	return &Handler{
		Cyberun:      env.Cyberun(cfg),
		Records:      env.Store(s3),
		Bucket:       s3,
		Executions:   config.Executions(cfg),
		OutputBucket: env.String("OUTPUT_BUCKET"),
		Log:          log,
		Now:          time.Now,
	}, env.Err()
}
