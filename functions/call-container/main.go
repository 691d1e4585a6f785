// Call-container lets callers reach Cyberun's container services: it lists them and
// passes calls on to them, with the stack's key in place of the caller's own.
package main

import (
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/cyberun-cloud/cyberun-relay/functions/call-container/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/function"
)

func main() { function.Start("call-container", build) }

func build(s config.CallContainer, cfg aws.Config, log *slog.Logger) (*handler.Handler, error) {
	return &handler.Handler{
		Cyberun:       s.Client(cfg),
		ContainerTime: handler.DefaultContainerTime,
		LookUpTime:    handler.DefaultLookUpTime,
		Log:           log,
		Now:           time.Now,
	}, nil
}
