package main

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

// Prices in us-east-1, 2026, without the free tier.
const (
	perTransition = 0.025 / 1000
	// besides is what a run costs beside its transitions: the sum of Lambda and
	// S3 in docs/operations.md, of a run of 20 seconds.
	besides = 0.00017
	// secretsAnHour: two secrets at $0.40 a month of 730 hours.
	secretsAnHour = 2 * 0.40 / 730
	// alarmsAnHour: five alarms at $0.10.
	alarmsAnHour = 5 * 0.10 / 730
)

// cost tells what AWS asks for what was done: counted where Step Functions says it,
// estimated where nothing does.
func (s *smoke) cost(took time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	transitions := 0
	for _, id := range s.runs {
		arn := strings.Replace(s.outputs["StateMachineArn"], ":stateMachine:", ":execution:", 1) + ":" + id
		pages := sfn.NewGetExecutionHistoryPaginator(s.sfn, &sfn.GetExecutionHistoryInput{ExecutionArn: aws.String(arn)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				break // the stack may be gone by now
			}
			for _, event := range page.Events {
				switch event.Type {
				case sfntypes.HistoryEventTypeExecutionStarted, sfntypes.HistoryEventTypeExecutionRedriven:
					transitions++
				default:
					if event.StateEnteredEventDetails != nil {
						transitions++
					}
				}
			}
		}
	}
	hours := took.Hours()
	total := float64(transitions)*perTransition + float64(len(s.runs))*besides + hours*(secretsAnHour+alarmsAnHour)
	s.say("\n%d runs with %d transitions in %s: about $%.4f of AWS without the free tier, and what Cyberun asks for the tasks.", len(s.runs), transitions, took.Round(time.Second), total)
	s.say("Left as it was: one picture in the inbox, the runs' outputs and records; secrets and alarms cost $1.30 a month while the stack stands.")
}
