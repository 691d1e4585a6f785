package main

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	smithytime "github.com/aws/smithy-go/time"
	"github.com/cyberun-cloud/cyberun-relay/functions/submit/handler"
	"github.com/cyberun-cloud/cyberun-relay/shared/config"
	"github.com/cyberun-cloud/cyberun-relay/shared/doubt"
	"github.com/cyberun-cloud/cyberun-relay/shared/transfer"
)

func build(s config.Submit, cfg aws.Config, _ *slog.Logger) (*handler.Handler, error) {
	inDoubt := handler.DoubtPolicy(s.DoubtPolicy)
	if choices := []handler.DoubtPolicy{handler.PolicyVerify, handler.PolicyAbsentOnly, handler.PolicyAsk}; !slices.Contains(choices, inDoubt) {
		return nil, fmt.Errorf("IN_DOUBT=%q is not one of %v", inDoubt, choices)
	}
	waits := handler.DefaultWaits
	if err := config.Read(&waits, nil); err != nil {
		return nil, err
	}
	client := s.Client(cfg)
	// Cyberun says where input files are uploaded to: the policy checks each address.
	client.UploadHTTP = transfer.NewRestrictedClient(transfer.Policy{AllowInsecure: s.AllowInsecure, LambdaRuntimeAPI: s.LambdaRuntimeAPI})
	runs := s.Runs(cfg, client, nil)
	return &handler.Handler{
		Cyberun:      client,
		Runs:         runs,
		Doubts:       doubt.Investigator{Cyberun: client, Runs: runs, Now: time.Now},
		Buckets:      config.S3Streams(cfg),
		OutputBucket: s.OutputBucket,
		OutputPrefix: s.OutputPrefix,
		StateBucket:  s.StateBucket,
		DoubtPolicy:  inDoubt,
		Waits:        waits,
		Now:          time.Now,
		Sleep:        smithytime.SleepWithContext,
		NewID:        config.NewID,
		Random:       func(most time.Duration) time.Duration { return rand.N(max(most, 1)) },
	}, nil
}
