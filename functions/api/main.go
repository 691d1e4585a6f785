// Api is the HTTP door: it starts runs, tells how they are, and stops them.
package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/awslabs/aws-lambda-go-api-proxy/httpadapter"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/rs/xid"
)

func main() {
	log := observe.Logger(os.Stdout, "api")
	handler, err := build(context.Background(), log)
	if err != nil {
		observe.Exit(log, err)
	}
	lambda.Start(httpadapter.NewV2(handler.Routes()).ProxyWithContext)
}

func build(ctx context.Context, log *slog.Logger) (*Handler, error) {
	var env config.Env
	cfg, err := config.AWS(ctx)
	if err != nil {
		return nil, err
	}
	client := config.S3(cfg)
	return &Handler{
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
		Sleep:           sleep,
	}, env.Err()
}
