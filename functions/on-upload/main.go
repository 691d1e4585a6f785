// On-upload starts a run for each object that lands in the inbox.
package main

import (
	"log/slog"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/cyberun-cloud/cyberun-relay/functions/on-upload/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/function"
)

func main() { function.StartRetried("on-upload", build) }

func build(s config.OnUpload, cfg aws.Config, log *slog.Logger) (*handler.Handler, error) {
	return &handler.Handler{
		Inbox:      config.S3(cfg),
		Executions: s.Executions(cfg),
		Log:        log,
	}, nil
}
