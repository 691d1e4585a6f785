// Package handler answers the HTTP API: it starts, shows, lists and stops runs, shows
// workflows, and stores a person's decision on a run in doubt.
package handler

import (
	"context"
	"log/slog"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// Cyberun is the part of the client that the API calls.
type Cyberun interface {
	lifecycle.Cyberun
	Workflows(ctx context.Context, page cyberun.Page) (cyberun.WorkflowList, error)
	Workflow(ctx context.Context, ref string) (cyberun.Workflow, error)
}

// Executions starts, stops, redrives and describes the executions of the stack's
// state machine.
type Executions interface {
	ExecutionARN(runID string) (arn string)
	Describe(ctx context.Context, arn string) (executions.Execution, error)
	Start(ctx context.Context, runID, input string) error
	Stop(ctx context.Context, arn string, reason *named.Error) error
	Redrive(ctx context.Context, arn string) error
}

// OutputS3 reads manifests.
type OutputS3 interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// Presigner signs an address with which anyone can fetch an object until it expires.
type Presigner interface {
	PresignGetObject(context.Context, *s3.GetObjectInput, ...func(*s3.PresignOptions)) (*v4.PresignedHTTPRequest, error)
}

// Handler answers the HTTP API's requests. It returns everything that is wrong with a
// run's request at once. It starts and stops executions, and answers from the records, or,
// of a run without one, from its execution.
type Handler struct {
	Cyberun      Cyberun
	Runs         *lifecycle.Runs
	Executions   Executions
	OutputS3     OutputS3
	Presign      Presigner
	OutputBucket string
	OutputPrefix string
	Log          *slog.Logger
	Now          func() time.Time
	NewID        func() string
	Sleep        func(ctx context.Context, d time.Duration) error
	Concurrency  int // calls that one request makes side by side, at least 1, such as DefaultConcurrency
}

// DefaultConcurrency is how many records GET /runs reads at once; DELETE makes no more than
// two calls at once.
const DefaultConcurrency = 16
