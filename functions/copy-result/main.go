// Copy-result streams a task's outputs into the user's bucket, over as many
// calls as it takes, writes the manifest last, and closes the run.
package main

import (
	"context"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

func main() {
	log := observe.Logger(os.Stdout, "copy-result")
	h, err := build(context.Background())
	if err != nil {
		observe.Exit(log, err)
	}
	lambda.Start(observe.Step(log, time.Now, h.Handle))
}
