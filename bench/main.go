// Bench measures the copy engine, and other ways to copy, on this machine's loopback.
//
//	go run -C bench . [-quick] [-only NAME,…] [-rounds N] [-out DIR]
//
// In a network namespace of its own it starts an origin, which serves the files, and a
// sink, which takes the place of S3, each as a process of its own. It measures the raw
// limit and every contestant in turn, round after round, so that other load on the
// machine falls on all of them alike, and writes the medians.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if err := dispatch(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// dispatch tells the harness from the processes it starts of itself.
func dispatch(args []string) error {
	switch {
	case len(args) == 2 && (args[0] == "origin" || args[0] == "sink"):
		return serve(args[0], args[1])
	case len(args) > 0 && args[0] == "run":
		return runContestant(args[1:])
	case len(args) > 0 && args[0] == "confine":
		return confined(args[1:])
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	o := options{}
	flags.BoolVar(&o.quick, "quick", false, "small files and few rounds: under two minutes, for a look")
	flags.IntVar(&o.rounds, "rounds", 0, "rounds of each measurement (5, quick: 3)")
	flags.StringVar(&o.only, "only", "", "only these sections, comma-separated: large, profile, memory, small, slow, lambda, cold")
	flags.StringVar(&o.out, "out", "results", "where the table, the plot and the figures go")
	flags.StringVar(&o.root, "root", "..", "the project's root, with its tools in .tools")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if os.Getenv(ownNetwork) == "" {
		if ran, err := inOwnNetwork(ctx); ran || err != nil {
			return err
		}
	} else if err := setUpNetwork(); err != nil {
		return err
	}
	return bench(ctx, o)
}
