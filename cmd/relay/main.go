package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(runProgram(newApp())) }

// runProgram runs the command line of the process, until it has ended or is interrupted,
// and returns the exit code.
func runProgram(a *app) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the next one kills: a hanging clean-up must not
	// hold a person's terminal.
	context.AfterFunc(ctx, stop)
	return a.execute(ctx, os.Args[1:])
}
