package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/executions"
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
	if !strings.Contains(machine, ":stateMachine:") {
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
	raw, err := s.redrive(ctx, executions.Machine{ARN: machine}.ExecutionARN(c.RunID), v)
	if err != nil {
		return err
	}
	return s.goesOn(ctx, relay, c.RunID, raw, "goes on", " where it failed", c.watchFlags, v.EndedAt)
}

// redrive redrives an execution, which is the run v's, and returns the document that --json
// prints: Step Functions' own answer has no run.
func (s *session) redrive(ctx context.Context, execution string, v view) (json.RawMessage, error) {
	cfg, err := s.config(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out, err := sfn.NewFromConfig(cfg).RedriveExecution(ctx, &sfn.RedriveExecutionInput{ExecutionArn: &execution})
	if _, missing := errors.AsType[*types.ExecutionDoesNotExist](err); missing {
		return nil, &failure{code: codeUsage, what: "Step Functions knows no execution of the run " + v.RunID, hint: rescueHint(v)}
	}
	if refused, ok := errors.AsType[*types.ExecutionNotRedrivable](err); ok {
		return nil, &failure{code: codeUsage, what: fmt.Sprintf("the run %s (%s) cannot be redriven: %s", v.RunID, v.Status, refused.ErrorMessage()), hint: rescueHint(v)}
	}
	if err != nil {
		return nil, awsFailure("the run cannot be redriven", err, "states:RedriveExecution", "")
	}
	return json.Marshal(struct {
		RunID       string    `json:"run_id"`
		RedriveDate time.Time `json:"redrive_date,omitzero"`
	}{v.RunID, aws.ToTime(out.RedriveDate).UTC().Truncate(time.Second)})
}

// rescueHint says how else to get what was paid for.
func rescueHint(v view) string {
	switch {
	case v.Status == run.Succeeded || v.Status.Open():
		return "relay status " + v.RunID + " shows it"
	case v.undecided():
		return "it may have started a task: relay status " + v.RunID + " shows the candidates, and relay rescue TASK delivers one; start a new run only if none of them is its own"
	case v.TaskID == "":
		return "it has no task: start a new run"
	}
	return "a new run can deliver its task: relay rescue " + v.TaskID
}
