package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
)

// smoke is one pass through a stack.
type smoke struct {
	out           io.Writer
	stack         string
	relay         string
	workflow      string
	prompt        string
	fileWorkflow  string
	fileParameter string
	patience      time.Duration
	standIn       bool // AWS_ENDPOINT_URL is set: this is not AWS

	cloudformation *cloudformation.Client
	s3             *s3.Client
	sfn            *sfn.Client
	secrets        *secretsmanager.Client
	outputs        map[string]string
	failed         int
	runs           []string // all that were started: their executions are what AWS bills
}

func (s *smoke) use(cfg aws.Config) {
	s.cloudformation, s.sfn, s.secrets = cloudformation.NewFromConfig(cfg), sfn.NewFromConfig(cfg), secretsmanager.NewFromConfig(cfg)
	s.s3 = s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = s.standIn })
}

func (s *smoke) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// findStack reads the stack's outputs. As for the command line, RELAY_API_URL and
// RELAY_WEBHOOK_URL go before them: a local stack's addresses are others.
func (s *smoke) findStack(ctx context.Context) error {
	found, err := s.cloudformation.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &s.stack})
	if err != nil {
		return fmt.Errorf("the stack %s: %w", s.stack, err)
	}
	s.outputs = map[string]string{}
	for _, o := range found.Stacks[0].Outputs {
		s.outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	for name, output := range map[string]string{"RELAY_API_URL": "ApiUrl", "RELAY_WEBHOOK_URL": "WebhookUrl"} {
		if value := os.Getenv(name); value != "" {
			s.outputs[output] = value
		}
	}
	for _, name := range []string{"ApiUrl", "StateMachineArn", "InboxBucket", "OutputBucket", "WebhookSecretArn", "WebhookUrl"} {
		if s.outputs[name] == "" {
			return fmt.Errorf("the stack %s has no output %s: is it cyberun-relay's?", s.stack, name)
		}
	}
	return nil
}

// view is what the API tells of a run.
type view struct {
	RunID   string `json:"run_id"`
	Status  string `json:"status"`
	TaskID  string `json:"task_id"`
	Outputs []struct {
		Key   string
		Bytes int64
	}
	Error *struct{ Name, Cause string }
}

// cli runs the command line. Its answer is the JSON on its standard output; what it
// said besides is in the error. A run that failed is no error here: its view says so.
func (s *smoke) cli(ctx context.Context, into any, args ...string) error {
	cmd := exec.CommandContext(ctx, s.relay, append(args, "--json", "--stack", s.stack)...)
	var answer, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &answer, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || answer.Len() == 0) {
		return fmt.Errorf("relay %s: %w: %s", args[0], err, strings.TrimSpace(said.String()))
	}
	if err := json.Unmarshal(answer.Bytes(), into); err != nil {
		return fmt.Errorf("relay %s answered no JSON: %w", args[0], err)
	}
	return nil
}

func (s *smoke) knock(ctx context.Context, method, url, body string, header map[string]string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(answer), err
}

// list are the newest runs.
func (s *smoke) list(ctx context.Context) (map[string]bool, error) {
	var page struct{ Runs []view }
	if err := s.cli(ctx, &page, "list"); err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	for _, v := range page.Runs {
		ids[v.RunID] = true
	}
	return ids, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

func (s *smoke) execution(ctx context.Context, id string) (*sfn.DescribeExecutionOutput, error) {
	arn := strings.Replace(s.outputs["StateMachineArn"], ":stateMachine:", ":execution:", 1) + ":" + id
	return s.sfn.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &arn})
}
