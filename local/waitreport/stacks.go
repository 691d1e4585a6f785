package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// allTime bounds the whole measurement: four stacks come up in half a minute
	// each, the longest run takes five minutes.
	allTime = 10 * time.Minute
	// scaled is how much faster the hour passes with webhooks. There nothing but the
	// stand-in's clock and the state machine's own times count, and both can be
	// scaled; HoldSeconds and the waits between polls hang on the functions' clock.
	scaled = 60
	// await is AwaitWebhook's time-out in the state machine.
	await = 300
	// stopTime is what a stack gets to take itself down.
	stopTime = 30 * time.Second
)

// plan is one stack and what runs on it.
type plan struct {
	flags []string
	scale float64
	runs  []wanted
}

// wanted is a run to measure.
type wanted struct {
	how  string
	task int // seconds
}

// plans: three of each short run, since a delay of parts of a second varies; the
// longest first, since they bound the time of the whole. A stack with webhooks and
// without holding has a PollStatus that only looks: what the loop needs.
func plans() []plan {
	webhooks := []string{"-param", "HoldSeconds=0", "-param", "WebhooksEnabled=true"}
	return []plan{
		{webhooks, 1, append(thrice(howWebhooks), thrice(howLoop)...)},
		{[]string{"-param", "HoldSeconds=30"}, 1, thrice(howHeld)},
		{[]string{"-param", "HoldSeconds=0"}, 1, thrice(howPolled)},
		{
			append(webhooks, "-speed", strconv.Itoa(scaled), "-wait-scale", fmt.Sprint(1.0/scaled), "-await", strconv.Itoa(await/scaled)),
			scaled, []wanted{{howWebhooks, 3600}, {howWebhooks, 3600}, {howWebhooks, 3600}},
		},
	}
}

func thrice(how string) []wanted {
	return []wanted{{how, 300}, {how, 20}, {how, 20}, {how, 20}, {how, 5}, {how, 5}, {how, 5}}
}

// measureAll brings the stacks up one after another, so that no deploy disturbs
// another's, and lets their runs overlap.
func measureAll(ctx context.Context, stack string) ([]Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, allTime)
	defer cancel()
	dir, err := os.MkdirTemp("", "waitreport-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	all := plans()
	results := make([][]Sample, len(all))
	group, ctx := errgroup.WithContext(ctx)
	for i, p := range all {
		up := make(chan struct{})
		file := filepath.Join(dir, strconv.Itoa(i)+".json")
		group.Go(func() error {
			err := p.measure(ctx, stack, file, up)
			if err == nil {
				results[i], err = readSamples(file)
			}
			return err
		})
		select {
		case <-up:
		case <-ctx.Done():
			return nil, group.Wait()
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var list []Sample
	for _, r := range results {
		list = append(list, r...)
	}
	return list, nil
}

// measure runs this program again, inside a stack.
func (p plan) measure(ctx context.Context, stack, file string, up chan<- struct{}) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var runs []string
	for _, w := range p.runs {
		runs = append(runs, w.how+":"+strconv.Itoa(w.task))
	}
	args := append([]string{"exec"}, p.flags...)
	args = append(args, "--", self, "measure", "-scale", fmt.Sprint(p.scale), "-out", file, "-runs", strings.Join(runs, ","))
	cmd := exec.CommandContext(ctx, stack, args...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTime
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == upLine {
			close(up)
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("the stack with %s: %w", strings.Join(p.flags, " "), err)
	}
	return nil
}
