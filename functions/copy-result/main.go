// Copy-result streams a task's outputs into the user's bucket, over as many
// calls as it takes, writes the manifest last, and closes the run.
package main

import (
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/functions/copy-result/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/function"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

func main() { function.StartRetried("copy-result", build) }

func build(s config.CopyResult, cfg aws.Config, _ *slog.Logger) (*handler.Handler, error) {
	sink := s3.NewFromConfig(cfg, func(o *s3.Options) { o.HTTPClient = transfer.NewS3Client() })
	origin := transfer.NewRestrictedClient(transfer.Policy{Hosts: s.DownloadHosts, AllowInsecure: s.AllowInsecure, LambdaRuntimeAPI: s.LambdaRuntimeAPI})
	client := s.Client(cfg)
	return &handler.Handler{
		Cyberun: client,
		Runs:    s.Runs(cfg, client, config.S3(cfg)),
		NewCopier: func(stopBefore time.Time, connections int) handler.Copier {
			return &transfer.Copier{S3: sink, Origin: origin, StopBefore: stopBefore, Connections: connections}
		},
		Concurrency: handler.DefaultConcurrency,
		Now:         time.Now,
	}, nil
}
