// Close-run closes the runs whose execution was stopped, failed or timed out: it
// stops paying where a person stopped the run, and leaves error.json.
package main

import (
	"context"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

func main() {
	log := observe.Logger(os.Stdout, "close-run")
	h, err := build(context.Background())
	if err != nil {
		observe.Exit(log, err)
	}
	lambda.Start(observe.Step(log, time.Now, h.Handle))
}
