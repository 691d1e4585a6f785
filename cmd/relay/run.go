package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/cyberun-cloud/cyberun-relay/shared/api"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

type runCmd struct {
	Workflow       string   `arg:"" help:"Slug, or slug@version to pin one, such as text-to-image@2."`
	Param          []string `short:"p" sep:"none" placeholder:"KEY=VALUE" help:"A parameter; may be repeated. For a file: KEY=@photo.png uploads it, KEY=s3://bucket/key is read from there."`
	ParametersFile string   `placeholder:"FILE" help:"Parameters as a JSON object; '-' reads stdin. Those of -p win."`
	InboxBucket    string   `env:"RELAY_INBOX_BUCKET" placeholder:"NAME" help:"Bucket that local files are uploaded to. Otherwise it is looked up by the stack's name."`
	startFlags
}

// startFlags are the flags of every command that starts a run.
type startFlags struct {
	Prefix         *string `placeholder:"PREFIX" help:"Where the outputs land in the bucket; may use {run_id}, {task_id}, {workflow}, {date}, and must use one of the first two. Default: runs/{run_id}/"`
	MaxSeconds     *int    `placeholder:"N" help:"Give up a task that has not ended after N seconds, and cancel it if this run started it. Default: 86400, a day."`
	IdempotencyKey *string `placeholder:"KEY" help:"The same key and the same request start one run, however often they are sent. Default: a new one."`
	watchFlags
}

// Validate refuses what is given but empty, and does not replace it by the default:
// behind an unset shell variable as a key, a second run would hide.
func (f startFlags) Validate() error {
	switch {
	case f.MaxSeconds != nil && (*f.MaxSeconds < 1 || *f.MaxSeconds > run.MaxMaxSeconds):
		return &failure{code: codeUsage, what: fmt.Sprintf("--max-seconds must be from 1 to %d (7 days)", run.MaxMaxSeconds)}
	case f.Prefix != nil && *f.Prefix == "":
		return &failure{code: codeUsage, what: "--prefix is empty", hint: "leave it out for the default, " + run.DefaultPrefix}
	case f.IdempotencyKey != nil && *f.IdempotencyKey == "":
		return &failure{code: codeUsage, what: "--idempotency-key is empty", hint: "leave it out for a new one"}
	}
	return f.watchFlags.Validate()
}

// Run starts a run, and watches it if asked to.
func (c *runCmd) Run(ctx context.Context, s *session) error {
	given, err := givenParameters(s.stdin, c.ParametersFile, c.Param)
	if err != nil {
		return err
	}
	relay, err := s.client(ctx)
	if err != nil {
		return err
	}
	request, key := run.Request{Workflow: c.Workflow}, c.key(s)
	if len(given) > 0 {
		// The workflow says which values are numbers, and which are files.
		if request.Parameters, err = checkParameters(ctx, relay, c.Workflow, given, &uploader{session: s, bucket: c.InboxBucket, idempotencyKey: key}); err != nil {
			return err
		}
	}
	return s.start(ctx, relay, request, key, c.startFlags)
}

type rescueCmd struct {
	TaskID string `arg:"" name:"task" help:"The task's id at Cyberun, as an error.json or relay status names it."`
	startFlags
}

// Run starts a run that submits nothing: it waits for a task that exists and
// copies what it leaves.
func (c *rescueCmd) Run(ctx context.Context, s *session, relay *client) error {
	return s.start(ctx, relay, run.Request{TaskID: c.TaskID}, c.key(s), c.startFlags)
}

// key returns the run's Idempotency-Key.
func (f startFlags) key(s *session) string {
	if f.IdempotencyKey == nil {
		return s.newKey()
	}
	return *f.IdempotencyKey
}

// start posts a request with what the flags say. When it is not known whether that worked,
// the key says how to find out without paying twice.
func (s *session) start(ctx context.Context, relay *client, request run.Request, key string, flags startFlags) error {
	request.MaxSeconds = aws.ToInt(flags.MaxSeconds)
	request.Destination.Prefix = aws.ToString(flags.Prefix)
	accepted, raw, err := do[api.Accepted](ctx, relay, apiCall{method: http.MethodPost, path: "/runs", body: request, key: key})
	if err == nil && accepted.RunID == "" {
		err = notRelayAPI("the API accepted the run but named no run_id")
	}
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
	return s.goesOn(ctx, relay, accepted.RunID, raw, verb, "", flags.watchFlags, time.Time{})
}

// goesOn ends a command after which a run goes on: it says what became of the run and, if
// asked to, watches it. Else it also says more of that and which commands look after the
// run. An end at the moment staleEnd is that from before a redrive.
func (s *session) goesOn(ctx context.Context, relay *client, runID string, raw json.RawMessage, what, more string, flags watchFlags, staleEnd time.Time) error {
	if flags.asked() {
		s.console.notef("run %s %s", runID, what)
		return s.watch(ctx, relay, runID, flags, staleEnd)
	}
	return s.show(raw, func() {
		s.console.resultf("run %s %s%s", runID, what, more)
		for _, line := range followUps(runID) {
			s.console.notef("%s", line)
		}
	})
}

// followUps returns the commands that look after a run that goes on.
func followUps(runID string) []string {
	return []string{"look again:  relay status " + runID + " --watch", "stop it:     relay cancel " + runID}
}
