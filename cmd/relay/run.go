package main

import (
	"context"
	"fmt"
	"time"

	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

type runCmd struct {
	Workflow       string   `arg:"" help:"Slug, or slug@version to pin one, such as text-to-image@2."`
	Param          []string `short:"p" sep:"none" placeholder:"KEY=VALUE" help:"A parameter; may be repeated. For a file: KEY=@photo.png uploads it, KEY=s3://bucket/key is read from there."`
	ParametersFile string   `placeholder:"FILE" help:"Parameters as a JSON object; '-' reads stdin. Those of -p win."`
	InboxBucket    string   `env:"RELAY_INBOX_BUCKET" placeholder:"NAME" help:"Bucket that local files are uploaded to. Otherwise it is looked up by the stack's name."`
	startFlags
	watchFlags
}

// startFlags are the flags of every command that starts a run.
type startFlags struct {
	Prefix         *string `placeholder:"PREFIX" help:"Where the outputs land in the bucket; may use {run_id}, {task_id}, {workflow}, {date}, and must use one of the first two. Default: runs/{run_id}/"`
	MaxSeconds     *int    `placeholder:"N" help:"Cancel the task if it has not ended after N seconds. Default: 86400, a day."`
	IdempotencyKey *string `placeholder:"KEY" help:"The same key and the same request start one run, however often they are sent. Default: a new one."`
}

// Run starts a run, and watches it if asked to.
func (c *runCmd) Run(ctx context.Context, s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	request, key, err := c.request(s.app.newKey)
	if err != nil {
		return err
	}
	request.Workflow = c.Workflow
	given, err := givenParameters(s.app.stdin, c.ParametersFile, c.Param)
	if err != nil {
		return err
	}
	api, err := s.client(ctx)
	if err != nil {
		return err
	}
	if len(given) > 0 {
		// The workflow says which values are numbers, and which are files.
		if request.Parameters, err = checkParameters(ctx, api, c.Workflow, given, &uploader{console: s.console, account: s.account, bucket: c.InboxBucket, idempotencyKey: key}); err != nil {
			return err
		}
	}
	return s.start(ctx, api, request, key, c.watchFlags)
}

type rescueCmd struct {
	TaskID string `arg:"" name:"task" help:"The task's id at Cyberun, as an error.json or relay status names it."`
	startFlags
	watchFlags
}

// Run starts a run that submits nothing: it waits for a task that exists and
// copies what it leaves.
func (c *rescueCmd) Run(ctx context.Context, s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	request, key, err := c.request(s.app.newKey)
	if err != nil {
		return err
	}
	request.TaskID = c.TaskID
	api, err := s.client(ctx)
	if err != nil {
		return err
	}
	return s.start(ctx, api, request, key, c.watchFlags)
}

// request returns a request with what the flags say, and its Idempotency-Key. What is
// given but empty is refused, not replaced by the default: behind an unset shell
// variable as a key, a second run would hide.
func (f startFlags) request(newKey func() string) (request run.Request, key string, err error) {
	if f.MaxSeconds != nil {
		if request.MaxSeconds = *f.MaxSeconds; request.MaxSeconds < 1 || request.MaxSeconds > run.MaxMaxSeconds {
			return request, "", &failure{code: codeUsage, what: fmt.Sprintf("--max-seconds must be from 1 to %d (7 days)", run.MaxMaxSeconds)}
		}
	}
	if f.Prefix != nil {
		if request.Destination.Prefix = *f.Prefix; *f.Prefix == "" {
			return request, "", &failure{code: codeUsage, what: "--prefix is empty", hint: "leave it out for the default, " + run.DefaultPrefix}
		}
	}
	if f.IdempotencyKey == nil {
		return request, newKey(), nil
	}
	if *f.IdempotencyKey == "" {
		return request, "", &failure{code: codeUsage, what: "--idempotency-key is empty", hint: "leave it out for a new one"}
	}
	return request, *f.IdempotencyKey, nil
}

// start posts the request. When it is not known whether that worked, the key says how
// to find out without paying twice.
func (s *session) start(ctx context.Context, api *client, request run.Request, key string, watch watchFlags) error {
	accepted, raw, err := api.start(ctx, request, key)
	if err != nil {
		f := *failureFor(err)
		if f.code == codeUnreachable || ctx.Err() != nil {
			f.hint = "if the run may have started, the same command with --idempotency-key " + key + " finds it and starts nothing twice" + withPrefix(". Else: ", f.hint)
		}
		return &f
	}
	verb := "started"
	if accepted.Status != run.Submitting {
		verb = "was started before: " + string(accepted.Status) // by an earlier call with this key
	}
	if watch.asked() {
		s.console.notef("run %s %s", accepted.RunID, verb)
		return s.watch(ctx, api, accepted.RunID, watch, time.Time{})
	}
	return s.show(raw, func() {
		s.console.resultf("run %s %s", accepted.RunID, verb)
		s.console.followUps(accepted.RunID)
	})
}

// followUps returns the commands that look after a run that goes on.
func followUps(runID string) []string {
	return []string{"look again:  relay status " + runID + " --watch", "stop it:     relay cancel " + runID}
}

// followUps prints them.
func (c *console) followUps(runID string) {
	for _, line := range followUps(runID) {
		c.notef("%s", line)
	}
}
