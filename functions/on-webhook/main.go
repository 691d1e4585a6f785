// On-webhook takes the webhooks by which Cyberun reports that a task ended.
package main

import (
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/cyberun-cloud/cyberun-relay/functions/on-webhook/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/function"
)

func main() { function.Start("on-webhook", build) }

func build(s config.OnWebhook, cfg aws.Config, log *slog.Logger) (*handler.Handler, error) {
	return &handler.Handler{
		Enabled: s.Webhooks.Enabled,
		Secrets: config.NewSecret(cfg, s.SecretARN),
		Runs:    s.Runs(cfg, nil, nil),
		Resumer: executions.Machine{API: config.StepFunctions(cfg)},
		Log:     log,
		Now:     time.Now,
	}, nil
}
