// Bench measures the copy engine beside others on this machine's loopback.
//
//	go run -C bench . [-quick] [-only NAME,…] [-rounds N] [-out DIR]
//
// It goes into a network namespace of its own, starts an origin and a sink there,
// each a process of its own, measures the raw limit and every contestant in turn,
// round after round, so that whatever else the machine does falls on all of them
// alike, and writes medians.
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
