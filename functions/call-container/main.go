// Call-container lets callers reach Cyberun's container services: it lists them and
// passes calls on to them, with the stack's key in place of the caller's own.
package main

import (
	"context"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
)

func main() {
	log := observe.Logger(os.Stdout, "call-container")
	h, err := build(context.Background(), log)
	if err != nil {
		observe.Exit(log, err)
	}
	lambda.Start(h.Handle)
}
