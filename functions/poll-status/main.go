// Poll-status looks at a run's task: held on its event stream at first, then at
// growing intervals, or once for a run that waits for a webhook.
package main

import (
	"context"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

func main() {
	log := observe.Logger(os.Stdout, "poll-status")
	h, err := build(context.Background())
	if err != nil {
		observe.Exit(log, err)
	}
	lambda.Start(observe.Step(log, time.Now, h.Handle))
}
