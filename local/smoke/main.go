// Command smoke uses a deployed stack once as its users do, and prints what each step
// saw: one run, one upload, one webhook, one stop, one redrive and, with -delete, the
// stack's deletion. It is meant for a real account. Its steps are also tested against
// the local stack, except what that does not have.
//
// usage: smoke -stack NAME [-delete] [flags]
//
// It signs with the caller's AWS credentials, and starts runs with the relay's command
// line. It deletes nothing without -delete: the runs and their outputs stay in the
// stack's buckets.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
)

func main() {
	s := &smoke{out: os.Stdout, standIn: os.Getenv("AWS_ENDPOINT_URL") != ""}
	flag.StringVar(&s.stack, "stack", "", "the CloudFormation stack's `name`")
	flag.StringVar(&s.relay, "relay", "bin/relay", "the command line's `path`")
	flag.StringVar(&s.workflow, "workflow", "text-to-image", "a workflow that takes -prompt as its parameter prompt; two of its tasks are paid for")
	flag.StringVar(&s.prompt, "prompt", "a lighthouse in a storm", "what it is told")
	flag.StringVar(&s.fileWorkflow, "file-workflow", "upscale", "a workflow that takes a picture; one of its tasks is paid for. Empty: no upload is tried")
	flag.StringVar(&s.fileParameter, "file-parameter", "image", "its parameter")
	flag.DurationVar(&s.patience, "patience", defaultPatience, "how long each step may take")
	remove := flag.Bool("delete", false, "delete the stack at the end; its buckets stay")
	flag.Parse()
	if s.stack == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := s.run(ctx, *remove); err != nil {
		fmt.Fprintln(os.Stderr, "smoke:", err)
		os.Exit(1)
	}
}

// defaultPatience is above what a picture takes when it has to wait for a GPU.
const defaultPatience = 15 * time.Minute

// run does every step, whatever became of those before: only without the stack
// there is nothing to do.
func (s *smoke) run(ctx context.Context, remove bool) error {
	began := time.Now()
	cfg, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	s.use(cfg)
	if err := s.findStack(ctx); err != nil {
		return err
	}
	s.say("smoke of the stack %s in %s. What is paid: AWS, under $0.05, and three tasks at Cyberun", s.stack, cfg.Region)
	steps := []step{
		{"the API turns strangers away", s.strangers},
		{"a run: its output lands, whole, and is fetched", s.oneRun},
		{"an upload named " + photoName + " becomes a run", s.upload},
		{"a webhook: signed 204, forged 401", s.webhook},
		{"a run that is stopped", s.stopRun},
		{"a run that failed, redriven", s.redrive},
	}
	if remove {
		steps = append(steps, step{"the stack is deleted, its buckets stay", s.remove})
	}
	for _, step := range steps {
		s.do(ctx, step)
	}
	s.cost(time.Since(began))
	if s.failed > 0 {
		return fmt.Errorf("%d of %d steps failed", s.failed, len(steps))
	}
	return ctx.Err()
}

// step is one thing that is looked at. It returns what it saw.
type step struct {
	what string
	do   func(context.Context) (saw string, err error)
}

// skipped is why a step could not be tried here.
type skipped struct{ reason string }

func (e *skipped) Error() string { return e.reason }

func (s *smoke) do(ctx context.Context, step step) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.patience, fmt.Errorf("it took longer than %s", s.patience))
	defer cancel()
	saw, err := step.do(ctx)
	var skip *skipped
	switch {
	case errors.As(err, &skip):
		s.say("skip  %s: %s", step.what, skip.reason)
	case err != nil:
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w (%w)", err, cause)
		}
		s.say("FAIL  %s: %s", step.what, err)
		s.failed++
	default:
		s.say("ok    %s: %s", step.what, saw)
	}
}
