package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	sfntypes "github.com/aws/aws-sdk-go-v2/service/sfn/types"
	"golang.org/x/sync/errgroup"
)

const (
	// upLine tells the report that this stack is up and the next may come.
	upLine = "up"
	// apart keeps the ends of runs of the same length from meeting.
	apart = 2 * time.Second
	// lookEvery is how often the end of an execution is looked for; its own history
	// says when it was.
	lookEvery = time.Second
)

// world is the stack that this part runs in.
type world struct {
	aws     aws.Config
	sfn     *sfn.Client
	control string // the stand-in's own routes
	machine string // the relay's state machine
	loop    string // the loop's
	scale   float64
}

func measureCommand(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("waitreport measure", flag.ContinueOnError)
	scale := flags.Float64("scale", 1, "how much faster this stack's time passes")
	out := flags.String("out", "", "file for the samples")
	list := flags.String("runs", "", "HOW:SECONDS, separated by commas")
	if err := flags.Parse(args); err != nil {
		return err
	}
	w, err := openWorld(ctx, *scale)
	if err != nil {
		return err
	}
	if w.loop, err = w.createLoop(ctx); err != nil {
		return err
	}
	fmt.Println(upLine)
	var runs []wanted
	for item := range strings.SplitSeq(*list, ",") {
		how, text, _ := strings.Cut(item, ":")
		task, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not HOW:SECONDS", item)
		}
		runs = append(runs, wanted{how, task})
	}
	samples, err := w.measure(ctx, runs)
	if err != nil {
		return err
	}
	return writeSamples(*out, samples)
}

func openWorld(ctx context.Context, scale float64) (*world, error) {
	raw, err := os.ReadFile(os.Getenv("RELAY_STACK_FILE"))
	if err != nil {
		return nil, fmt.Errorf("this runs inside `stack exec`: %w", err)
	}
	var told struct {
		Outputs    map[string]string `json:"outputs"`
		ControlURL string            `json:"control_url"`
	}
	if err := json.Unmarshal(raw, &told); err != nil {
		return nil, err
	}
	if told.ControlURL == "" {
		return nil, errors.New("the stack speaks to the real service: the stand-in's ledger is needed, and its clock")
	}
	cfg, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, err
	}
	return &world{aws: cfg, sfn: sfn.NewFromConfig(cfg), control: told.ControlURL, machine: told.Outputs["StateMachineArn"], scale: scale}, nil
}

// measure starts the runs one after another and waits for them all.
func (w *world) measure(ctx context.Context, runs []wanted) ([]Sample, error) {
	samples := make([]Sample, len(runs))
	group, running := errgroup.WithContext(ctx)
	tick := time.NewTicker(apart)
	defer tick.Stop()
	for i, want := range runs {
		id := fmt.Sprintf("wait-%s-%d-%d", want.how[:1], want.task, i)
		group.Go(func() (err error) {
			samples[i], err = w.run(running, id, want)
			return err
		})
		select {
		case <-tick.C:
		case <-running.Done():
			return nil, group.Wait()
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return samples, w.bill(ctx, samples)
}

// bill adds what the histories do not say: the functions' memory, the looks of
// AwaitWebhook and the webhook itself.
func (w *world) bill(ctx context.Context, samples []Sample) error {
	functions := []string{callSubmit, callPoll, callCopy}
	if slices.ContainsFunc(samples, func(s Sample) bool { return s.How == howWebhooks }) {
		functions = append(functions, callWebhook)
	}
	billed, err := w.billed(ctx, functions...)
	if err != nil {
		return err
	}
	for i := range samples {
		s := &samples[i]
		for j, c := range s.Calls {
			s.Calls[j].MemoryMB = billed[c.Function].MemoryMB
		}
		for range s.Parks {
			s.Calls = append(s.Calls, billed[callPoll])
		}
		if s.How == howWebhooks {
			s.Calls = append(s.Calls, billed[callWebhook])
		}
	}
	return nil
}

func (w *world) run(ctx context.Context, id string, want wanted) (Sample, error) {
	machine := w.machine
	if want.how == howLoop {
		machine = w.loop
	}
	input := fmt.Sprintf(`{"workflow":"text-to-image","parameters":{"prompt":"a clock, waiting","seconds":%d}}`, want.task)
	started, err := w.sfn.StartExecution(ctx, &sfn.StartExecutionInput{StateMachineArn: &machine, Name: &id, Input: &input})
	if err != nil {
		return Sample{}, err
	}
	output, err := w.end(ctx, id, *started.ExecutionArn)
	if err != nil {
		return Sample{}, err
	}
	history, err := w.history(ctx, *started.ExecutionArn)
	if err != nil {
		return Sample{}, err
	}
	task, err := w.paid(ctx, output)
	if err != nil {
		return Sample{}, err
	}
	t := count(history)
	return Sample{
		How: want.how, Task: float64(want.task), Scale: w.scale, Delay: t.copied.Sub(task.CompletedAt).Seconds(),
		Transitions: t.transitions, Events: t.events, Polls: t.polls, Parks: t.parks, Lead: t.firstPoll.Sub(task.CreatedAt).Seconds(), Calls: t.calls,
	}, nil
}

// end waits for an execution's end, and answers with its task's id.
func (w *world) end(ctx context.Context, id, arn string) (string, error) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		out, err := w.sfn.DescribeExecution(ctx, &sfn.DescribeExecutionInput{ExecutionArn: &arn})
		if err != nil {
			return "", err
		}
		switch out.Status {
		case sfntypes.ExecutionStatusRunning:
		case sfntypes.ExecutionStatusSucceeded:
			var output struct {
				TaskID string `json:"task_id"`
			}
			err := json.Unmarshal([]byte(aws.ToString(out.Output)), &output)
			return output.TaskID, err
		default:
			return "", fmt.Errorf("the run %s is %s: %s %s", id, out.Status, aws.ToString(out.Error), aws.ToString(out.Cause))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", fmt.Errorf("the run %s did not end: %w", id, ctx.Err())
		}
	}
}

func (w *world) history(ctx context.Context, arn string) ([]sfntypes.HistoryEvent, error) {
	var all []sfntypes.HistoryEvent
	pages := sfn.NewGetExecutionHistoryPaginator(w.sfn, &sfn.GetExecutionHistoryInput{ExecutionArn: &arn})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Events...)
	}
	return all, nil
}

// paidTask is one of the stand-in's ledger.
type paidTask struct {
	ID          string    `json:"id"`
	CreatedAt   time.Time `json:"created_at"`
	CompletedAt time.Time `json:"completed_at"`
}

func (w *world) paid(ctx context.Context, id string) (paidTask, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.control+"/ledger", nil)
	if err != nil {
		return paidTask{}, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return paidTask{}, err
	}
	defer res.Body.Close()
	var ledger struct {
		Tasks []paidTask `json:"tasks"`
	}
	if err := json.NewDecoder(res.Body).Decode(&ledger); err != nil {
		return paidTask{}, err
	}
	for _, t := range ledger.Tasks {
		if t.ID == id && !t.CompletedAt.IsZero() {
			return t, nil
		}
	}
	return paidTask{}, fmt.Errorf("the ledger has no completed task %q", id)
}
