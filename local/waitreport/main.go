// Command waitreport measures what waiting for a task costs, and how late the outputs
// are: with the event stream, by polls, by webhooks, and by a loop that polls every
// three seconds. It brings up stacks of its own, and exits with an error if what
// docs/waiting promises does not hold.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "waitreport:", err)
		os.Exit(1)
	}
}

// command is the report, or, with "measure", the part of it that runs inside one
// of its stacks.
func command(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "measure" {
		return measureCommand(ctx, args[1:])
	}
	flags := flag.NewFlagSet("waitreport", flag.ContinueOnError)
	stack := flags.String("stack", ".local/bin/stack", "the program that brings up a stack")
	out := flags.String("out", "docs/waiting", "folder for README.md and waiting.svg")
	samples := flags.String("samples", "", "file to keep the samples in; if it is there, they are not measured again")
	if err := flags.Parse(args); err != nil {
		return err
	}
	measured, err := readSamples(*samples)
	if err != nil {
		return err
	}
	if measured == nil {
		if measured, err = measureAll(ctx, *stack); err != nil {
			return err
		}
		if err := writeSamples(*samples, measured); err != nil {
			return err
		}
	}
	r, err := newReport(measured)
	if err != nil {
		return err
	}
	text, err := r.markdown()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(*out, "README.md"), []byte(text), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(*out, "waiting.svg"), []byte(plot(r.Rows)), 0o644); err != nil {
		return err
	}
	fmt.Println(text)
	return r.broken()
}
