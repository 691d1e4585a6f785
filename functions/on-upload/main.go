// On-upload turns objects that land in the inbox into runs.
package main

import (
	"context"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

func main() {
	log := observe.Logger(os.Stdout, "on-upload")
	h, err := build(context.Background(), log)
	if err != nil {
		observe.Exit(log, err)
	}
	lambda.Start(observe.Step(log, time.Now, h.Handle))
}
