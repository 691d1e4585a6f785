// Submit is the state machine's first step: it claims the run, checks its
// request, gives Cyberun its files, and starts its task exactly once.
package main

import (
	"context"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

func main() {
	log := observe.Logger(os.Stdout, "submit")
	h, err := build(context.Background())
	if err != nil {
		observe.Exit(log, err)
	}
	lambda.Start(observe.Step(log, time.Now, h.Handle))
}
