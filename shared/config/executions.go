package config

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"github.com/cyberun-cloud/cyberun-relay/shared/named"
)

// StepFunctions tells what became of executions.
type StepFunctions struct {
	*sfn.Client
}

// Executions makes one.
func Executions(cfg aws.Config) StepFunctions { return StepFunctions{sfn.NewFromConfig(cfg)} }

// Running reports whether an execution runs; one that is gone, 90 days after its
// end, does not.
func (s StepFunctions) Running(ctx context.Context, executionARN string) (bool, error) {
	out, err := s.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &executionARN})
	var gone *types.ExecutionDoesNotExist
	switch {
	case errors.As(err, &gone):
		return false, nil
	case err != nil:
		return false, named.Errorf(named.Unavailable, "Step Functions could not describe %s: %w", executionARN, err)
	}
	return out.Status == types.ExecutionStatusRunning || out.Status == types.ExecutionStatusPendingRedrive, nil
}

// Wake lets the execution that gave this token go on. A token that is used or
// timed out is no error: whatever ended its wait, poll-status looks.
func (s StepFunctions) Wake(ctx context.Context, token string) error {
	output := "{}"
	_, err := s.SendTaskSuccess(ctx, &sfn.SendTaskSuccessInput{TaskToken: &token, Output: &output})
	var timedOut *types.TaskTimedOut
	var gone *types.TaskDoesNotExist
	if err == nil || errors.As(err, &timedOut) || errors.As(err, &gone) {
		return nil
	}
	return named.Errorf(named.Unavailable, "Step Functions could not be told to go on: %w", err)
}
