package main

import (
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/cyberun-cloud/cyberun-relay/functions/call-container/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
)

func build(s config.CallContainer, cfg aws.Config, log *slog.Logger) (*handler.Handler, error) {
	return &handler.Handler{
		Cyberun:    s.Client(cfg),
		CallTime:   handler.CallTime,
		LookUpTime: handler.LookUpTime,
		Log:        log,
		Now:        time.Now,
	}, nil
}
