// Close-run closes the runs whose execution was stopped, failed or timed out: it
// cancels the task of a run that was stopped, or that ends as RunTimedOut, and writes
// error.json.
package main

import (
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	smithytime "github.com/aws/smithy-go/time"
	"github.com/cyberun-cloud/cyberun-relay/functions/close-run/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/doubt"
	"github.com/cyberun-cloud/cyberun-relay/shared/function"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
)

func main() { function.StartRetried("close-run", build) }

func build(s config.CloseRun, cfg aws.Config, _ *slog.Logger) (*handler.Handler, error) {
	client := s.Client(cfg)
	runs := s.Runs(cfg, client, config.S3(cfg))
	return &handler.Handler{
		Closer:      lifecycle.Closer{Runs: runs, Bucket: s.OutputBucket, OutputPrefix: s.OutputPrefix},
		Doubts:      doubt.Investigator{Cyberun: client, Runs: runs, Now: time.Now},
		Executions:  s.Executions(cfg),
		Concurrency: handler.DefaultConcurrency,
		Now:         time.Now,
		Sleep:       smithytime.SleepWithContext,
	}, nil
}
