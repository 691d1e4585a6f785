package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the next one kills: a hanging clean-up must not
	// hold a person's terminal.
	context.AfterFunc(ctx, stop)
	os.Exit(newApp().execute(ctx, os.Args[1:]))
}
