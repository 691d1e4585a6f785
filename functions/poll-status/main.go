// Poll-status reads how a run's task stands, and decides how long to wait until it is read
// again. In between it follows the task's event stream: until HoldSeconds after the run
// got its task, later for 1 s a call. For a run that awaits a webhook it reads the task
// once for each wait.
package main

import (
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	smithytime "github.com/aws/smithy-go/time"
	"github.com/cyberun-cloud/cyberun-relay/functions/poll-status/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/function"
)

func main() { function.StartRetried("poll-status", build) }

func build(s config.PollStatus, cfg aws.Config, _ *slog.Logger) (*handler.Handler, error) {
	client := s.Client(cfg)
	return &handler.Handler{
		Cyberun:  client,
		Runs:     s.Runs(cfg, client, nil),
		Resumer:  executions.Machine{API: config.StepFunctions(cfg)},
		Hold:     time.Duration(s.Hold),
		Webhooks: s.Webhooks.Enabled,
		Now:      time.Now,
		Sleep:    smithytime.SleepWithContext,
	}, nil
}
