// Package config reads a function's settings from its environment, and tells
// everything that is wrong with them at once. It imports the clients it builds,
// shared/cyberun, shared/executions, shared/lifecycle, shared/store and the AWS SDK's.
package config

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/cyberun-cloud/cyberun-relay/shared/cyberun"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
	"github.com/cyberun-cloud/cyberun-relay/shared/lifecycle"
	"github.com/cyberun-cloud/cyberun-relay/shared/observe"
	"github.com/cyberun-cloud/cyberun-relay/shared/store"
	"github.com/rs/xid"
)

// Env reads settings by name and remembers what was wrong with them.
type Env struct {
	Lookup func(name string) (string, bool) // nil: the process's environment
	faults []error
}

// String is a setting that must be there.
func (e *Env) String(name string) string {
	value := e.Optional(name, "")
	if value == "" {
		e.fault("%s is not set", name)
	}
	return value
}

// Optional is one that need not.
func (e *Env) Optional(name, otherwise string) string {
	lookup := e.Lookup
	if lookup == nil {
		lookup = os.LookupEnv
	}
	if value, ok := lookup(name); ok && value != "" {
		return value
	}
	return otherwise
}

// URL is an absolute http or https address, without a slash at its end.
func (e *Env) URL(name string) string {
	given := e.String(name)
	value := strings.TrimRight(given, "/")
	u, err := url.Parse(value)
	if given != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		e.fault("%s=%q is not an http(s) address", name, given)
	}
	return value
}

// Bool is true or false.
func (e *Env) Bool(name string) bool {
	value := e.Optional(name, "false")
	b, err := strconv.ParseBool(value)
	if err != nil {
		e.fault("%s=%q is neither true nor false", name, value)
	}
	return b
}

// Seconds is a whole number of seconds from 0 to most.
func (e *Env) Seconds(name string, otherwise, most int) time.Duration {
	value := e.Optional(name, strconv.Itoa(otherwise))
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || n > most {
		e.fault("%s=%q is not a number of seconds from 0 to %d", name, value, most)
	}
	return time.Duration(n) * time.Second
}

// Duration is such as 25s: the waits of the submit protocol, shortened by tests.
func (e *Env) Duration(name string, otherwise time.Duration) time.Duration {
	value := e.Optional(name, otherwise.String())
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		e.fault("%s=%q is not a duration", name, value)
	}
	return d
}

// Choice is one of a few words, the first if it is not set.
func (e *Env) Choice(name string, choices ...string) string {
	value := e.Optional(name, choices[0])
	if !slices.Contains(choices, value) {
		e.fault("%s=%q is not one of %s", name, value, strings.Join(choices, ", "))
	}
	return value
}

// List is comma-separated.
func (e *Env) List(name string) []string {
	var list []string
	for item := range strings.SplitSeq(e.Optional(name, ""), ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

func (e *Env) fault(format string, args ...any) {
	e.faults = append(e.faults, fmt.Errorf(format, args...))
}

// Err is all that was wrong.
func (e *Env) Err() error {
	if len(e.faults) == 0 {
		return nil
	}
	return fmt.Errorf("the function's environment: %w", errors.Join(e.faults...))
}

// AWS loads the SDK's configuration: region, credentials and endpoint as the
// platform sets them.
func AWS(ctx context.Context) (aws.Config, error) {
	cfg, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return cfg, fmt.Errorf("load the AWS configuration: %w", err)
	}
	return cfg, nil
}

// smallCall bounds one try at a call that carries a few KiB: a connection that
// answers nothing must not hold a step until Lambda ends it.
const smallCall = 5 * time.Second

// S3 makes the client for small objects: records, manifests, heads.
func S3(cfg aws.Config) *s3.Client {
	return s3.NewFromConfig(cfg, func(o *s3.Options) { o.HTTPClient = awshttp.NewBuildableClient().WithTimeout(smallCall) })
}

// S3Streams makes the client for bodies of any size, whose time is their caller's.
func S3Streams(cfg aws.Config) *s3.Client { return s3.NewFromConfig(cfg) }

// StepFunctions makes the client of Step Functions.
func StepFunctions(cfg aws.Config) *sfn.Client {
	return sfn.NewFromConfig(cfg, func(o *sfn.Options) { o.HTTPClient = awshttp.NewBuildableClient().WithTimeout(smallCall) })
}

// maxCyberunConns: a function handles one call at a time; a few connections
// serve it and its event stream.
const maxCyberunConns = 8

// Cyberun is the client of the service, its key read from Secrets Manager.
func (e *Env) Cyberun(cfg aws.Config) *cyberun.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxConnsPerHost = maxCyberunConns
	base := e.URL("CYBERUN_BASE_URL")
	if strings.HasPrefix(base, "http:") && !e.Bool("ALLOW_INSECURE_ORIGINS") {
		e.fault("CYBERUN_BASE_URL=%q would send the key unencrypted: use https", base)
	}
	return &cyberun.Client{
		BaseURL:   base,
		Keys:      NewSecret(cfg, e.String("API_KEY_SECRET_ARN")),
		HTTP:      &http.Client{Transport: transport},
		UserAgent: "cyberun-relay",
	}
}

// Runs makes the runs of the stack, with all that a verb may need. outputs is the
// client that writes to the output bucket.
func (e *Env) Runs(cfg aws.Config, service *cyberun.Client, outputs lifecycle.Outputs) *lifecycle.Runs {
	return &lifecycle.Runs{
		Store:      &store.Store{S3: S3(cfg), Bucket: e.String("STATE_BUCKET")},
		Outputs:    outputs,
		Cyberun:    service,
		Executions: executions.Machine{API: StepFunctions(cfg)},
		Now:        time.Now,
		Sleep:      observe.Sleep,
		NewID:      NewID,
	}
}

// NewID returns an id that nobody else has.
func NewID() string { return xid.New().String() }
