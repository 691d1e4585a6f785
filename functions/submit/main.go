// Submit is the state machine's first step: it claims the run, checks its
// request, gives Cyberun its files, and starts its task exactly once.
package main

import (
	"context"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/rs/xid"
)

func main() {
	log := observe.Logger(os.Stdout, "submit")
	handler, err := build(context.Background())
	if err != nil {
		observe.Exit(log, err)
	}
	lambda.Start(observe.Step(log, time.Now, handler.Handle))
}

func build(ctx context.Context) (*Handler, error) {
	var env config.Env
	cfg, err := config.AWS(ctx)
	if err != nil {
		return nil, err
	}
	s3 := config.S3(cfg)
	return &Handler{
		Cyberun:      env.Cyberun(cfg),
		Records:      env.Store(s3),
		Buckets:      s3,
		Executions:   config.Executions(cfg),
		OutputBucket: env.String("OUTPUT_BUCKET"),
		InDoubtStop:  env.Choice("IN_DOUBT", "verify", "stop") == "stop",
		Waits: Waits{
			Post:     env.Duration("SUBMIT_POST", DefaultWaits.Post),
			Settle:   env.Duration("SUBMIT_SETTLE", DefaultWaits.Settle),
			Between:  env.Duration("SUBMIT_BETWEEN", DefaultWaits.Between),
			Patience: env.Duration("SUBMIT_PATIENCE", DefaultWaits.Patience),
		},
		Now:   time.Now,
		NewID: func() string { return xid.New().String() },
	}, env.Err()
}
