// On-webhook hears from Cyberun that a task ended.
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
	log := observe.Logger(os.Stdout, "on-webhook")
	handler, err := build(context.Background(), log)
	if err != nil {
		observe.Exit(log, err)
	}
	lambda.Start(handler.Handle)
}

func build(ctx context.Context, log *slog.Logger) (*Handler, error) {
	var env config.Env
	cfg, err := config.AWS(ctx)
	if err != nil {
		return nil, err
	}
	return &Handler{
		Enabled: env.Bool("WEBHOOKS_ENABLED"),
		Secrets: config.NewSecret(cfg, env.String("WEBHOOK_SECRET_ARN")),
		Records: env.Store(config.S3(cfg)),
		Waker:   config.Executions(cfg),
		Log:     log,
		Now:     time.Now,
	}, env.Err()
}
