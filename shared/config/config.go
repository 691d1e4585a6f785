// Package config reads a function's settings from its environment, and makes the
// clients that the settings describe. [Read] fills one of the structs of settings, such
// as [Submit], and reports everything that is wrong with them at once.
//
// It imports the clients that it makes (shared/cyberun, shared/executions,
// shared/lifecycle, shared/store, the AWS SDK's) and shared/named.
package config

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	smithytime "github.com/aws/smithy-go/time"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/rs/xid"
)

// AWS returns the SDK's configuration, with the region, the credentials and the
// endpoint that the environment has.
func AWS(ctx context.Context) (aws.Config, error) {
	cfg, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return cfg, fmt.Errorf("load the AWS configuration: %w", err)
	}
	return cfg, nil
}

// smallCall bounds one try at a call that carries a few KiB, which takes well under a
// second: a connection that answers nothing must not hold a step until Lambda ends it.
const smallCall = 5 * time.Second

// S3 returns the client for small objects, such as records and manifests, and for
// HeadObject. Each try of a call may take 5 s.
func S3(cfg aws.Config) *s3.Client {
	return s3.NewFromConfig(cfg, func(o *s3.Options) { o.HTTPClient = awshttp.NewBuildableClient().WithTimeout(smallCall) })
}

// S3Streams returns the client for bodies of any size. A call may take as long as its
// context.
func S3Streams(cfg aws.Config) *s3.Client { return s3.NewFromConfig(cfg) }

// StepFunctions returns the client of Step Functions. Each try of a call may take 5 s.
func StepFunctions(cfg aws.Config) *sfn.Client {
	return sfn.NewFromConfig(cfg, func(o *sfn.Options) { o.HTTPClient = awshttp.NewBuildableClient().WithTimeout(smallCall) })
}

// maxCyberunConns bounds the connections to the runtime API: a function handles
// one call at a time, and a few serve it and its event stream.
const maxCyberunConns = 8

// Client returns the client of Cyberun's runtime API. It reads the key from Secrets
// Manager at its first call.
func (s Cyberun) Client(cfg aws.Config) *cyberun.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxConnsPerHost = maxCyberunConns
	return &cyberun.Client{
		BaseURL: strings.TrimRight(s.BaseURL, "/"),
		Keys:    NewSecret(cfg, s.APIKeySecretARN),
		HTTP:    &http.Client{Transport: transport},
	}
}

// objectsAtOnce bounds the calls of S3 that one delivery or close makes side by side. A
// call takes some 20 ms, so that 16 at once delete the objects of a run of 5,000 outputs
// within seconds.
const objectsAtOnce = 16

// Runs returns the stack's runs with everything that their methods may need. client may
// be nil for a caller that cancels no task, and outputs, the client that writes to the
// output bucket, for one that delivers nothing.
func (s StateStore) Runs(cfg aws.Config, client *cyberun.Client, outputs lifecycle.OutputS3) *lifecycle.Runs {
	return &lifecycle.Runs{
		Store:       &store.Store{S3: S3(cfg), Bucket: s.StateBucket},
		OutputS3:    outputs,
		Cyberun:     client,
		Executions:  executions.Machine{API: StepFunctions(cfg)},
		Now:         time.Now,
		Sleep:       smithytime.SleepWithContext,
		NewID:       NewID,
		Concurrency: objectsAtOnce,
	}
}

// Executions returns what calls Step Functions for the state machine.
func (s StateMachine) Executions(cfg aws.Config) executions.Machine {
	return executions.Machine{API: StepFunctions(cfg), ARN: s.StateMachineARN}
}

// NewID returns a new unique id: 20 letters and digits, which sort by time.
func NewID() string { return xid.New().String() }
