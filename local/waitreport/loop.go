package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/sfn"
)

// createLoop deploys the polling script as a state machine: submit, wait 3 s,
// poll, choose, copy. Its steps are the relay's own functions, so that nothing but
// the way of waiting differs; it is spared the relay's last two states.
func (w *world) createLoop(ctx context.Context) (string, error) {
	machine, err := w.sfn.DescribeStateMachine(ctx, &sfn.DescribeStateMachineInput{StateMachineArn: &w.machine})
	if err != nil {
		return "", err
	}
	definition, err := loopOf(*machine.Definition)
	if err != nil {
		return "", err
	}
	name := "three-second-loop"
	made, err := w.sfn.CreateStateMachine(ctx, &sfn.CreateStateMachineInput{Name: &name, Definition: &definition, RoleArn: machine.RoleArn})
	if err != nil {
		return "", err
	}
	return *made.StateMachineArn, nil
}

// loopOf takes the three Task states of the relay's definition and puts the loop around them.
func loopOf(definition string) (string, error) {
	var relay struct {
		States map[string]map[string]any `json:"States"`
	}
	if err := json.Unmarshal([]byte(definition), &relay); err != nil {
		return "", err
	}
	submit, poll, copying := relay.States[stateSubmit], relay.States[statePoll], relay.States[stateCopy]
	if submit == nil || poll == nil || copying == nil {
		return "", fmt.Errorf("the state machine lacks one of %s, %s and %s", stateSubmit, statePoll, stateCopy)
	}
	submit["Next"], poll["Next"] = "Wait", "IsTaskDone"
	delete(copying, "Next")
	copying["End"], copying["OutputPath"] = true, "$.copy.output"
	loop, err := json.Marshal(map[string]any{"StartAt": stateSubmit, "States": map[string]any{
		stateSubmit: submit, statePoll: poll, stateCopy: copying,
		"Wait": map[string]any{"Type": "Wait", "Seconds": loopWait.Seconds(), "Next": statePoll},
		"IsTaskDone": map[string]any{
			"Type": "Choice", "Default": "Wait",
			"Choices": []any{map[string]any{"Variable": "$.poll.done", "BooleanEquals": true, "Next": stateCopy}},
		},
	}})
	return string(loop), err
}
