package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/run"
)

type redriveCmd struct {
	RunID           string `arg:"" name:"run" type:"run" help:"The failed run's id."`
	StateMachineARN string `name:"state-machine-arn" env:"RELAY_STATE_MACHINE_ARN" placeholder:"ARN" help:"The stack's output StateMachineArn. Otherwise it is looked up by the stack's name."`
	watchFlags
}

// Run asks Step Functions to go on with the execution where it failed: the task
// that was paid for is kept.
func (c *redriveCmd) Run(ctx context.Context, s *session) error {
	machine := c.StateMachineARN
	var err error
	if machine == "" {
		if machine, err = s.stackOutput(ctx, "StateMachineArn", "--state-machine-arn (RELAY_STATE_MACHINE_ARN)"); err != nil {
			return err
		}
	}
	before, after, found := strings.Cut(machine, ":stateMachine:")
	if !found {
		return &failure{code: codeUsage, what: fmt.Sprintf("%q is not a state machine's ARN", machine), hint: "it is the stack's output StateMachineArn"}
	}
	relay, err := s.client(ctx)
	if err != nil {
		return err
	}
	v, err := relay.run(ctx, c.RunID, 0, patience)
	if err != nil {
		return err
	}
	at, err := s.redrive(ctx, before+":execution:"+after+":"+c.RunID, v)
	switch {
	case err != nil:
		return err
	case c.asked():
		s.console.notef("run %s goes on", c.RunID)
		return s.watch(ctx, relay, c.RunID, c.watchFlags, v.EndedAt)
	case s.JSON:
		return s.console.document(redriven{c.RunID, at})
	}
	s.console.resultf("run %s goes on where it failed", c.RunID)
	s.console.followUps(c.RunID)
	return nil
}

// redriven is the document that --json prints: Step Functions' own answer has no run.
type redriven struct {
	RunID       string    `json:"run_id"`
	RedriveDate time.Time `json:"redrive_date,omitzero"`
}

// redrive redrives an execution, which is the run v's, and returns when it did so.
func (s *session) redrive(ctx context.Context, execution string, v view) (time.Time, error) {
	cfg, err := s.config(ctx)
	if err != nil {
		return time.Time{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out, err := sfn.NewFromConfig(cfg).RedriveExecution(ctx, &sfn.RedriveExecutionInput{ExecutionArn: &execution})
	if _, missing := errors.AsType[*types.ExecutionDoesNotExist](err); missing {
		return time.Time{}, &failure{code: codeUsage, what: "Step Functions knows no execution of the run " + v.RunID, hint: rescueHint(v)}
	}
	if refused, ok := errors.AsType[*types.ExecutionNotRedrivable](err); ok {
		return time.Time{}, &failure{code: codeUsage, what: fmt.Sprintf("the run %s (%s) cannot be redriven: %s", v.RunID, v.Status, refused.ErrorMessage()), hint: rescueHint(v)}
	}
	if err != nil {
		return time.Time{}, awsFailure("the run cannot be redriven", err, "states:RedriveExecution", "")
	}
	return aws.ToTime(out.RedriveDate).UTC().Truncate(time.Second), nil
}

// rescueHint says how else to get what was paid for.
func rescueHint(v view) string {
	switch {
	case v.Status == run.Succeeded || v.Status.Open():
		return "relay status " + v.RunID + " shows it"
	case v.TaskID == "":
		return "it has no task: start a new run"
	}
	return "a new run can deliver its task: relay rescue " + v.TaskID
}
