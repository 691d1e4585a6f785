// Command stack runs the whole relay on this machine: MiniStack in place of AWS, the
// stand-in in place of Cyberun, and the stack deployed with SAM. All of it listens on
// free loopback ports, and ends with the process that holds it, also if that is killed:
// this program, or the supervisor that `up` and `run` leave behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

const usage = `usage: stack COMMAND [flags]

  up              bring the stack up and leave it up
  run             up, then one workflow through the HTTP API
  down            take it down
  env             print the shell exports of the stack that is up
  logs            print what its functions logged
  exec -- CMD     bring one up, run CMD with its environment, take it down

`

func init() {
	// Children ask the kernel to be ended with the thread that started them:
	// the main one lives as long as the program.
	runtime.LockOSThread()
}

func main() {
	adopt()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	code, err := command(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "stack:", err)
	}
	os.Exit(code)
}

// command answers with the exit code; a command that exec ran decides its own.
func command(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return 2, nil
	}
	opt, rest, err := parse(args[0], args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return 2, nil
	}
	if err != nil {
		return 2, err
	}
	switch args[0] {
	case "up":
		err = up(ctx, opt)
	case "run":
		err = demonstrate(ctx, opt)
	case "down":
		err = down(opt)
	case "env":
		err = printEnv(opt)
	case "logs":
		err = printLogs(ctx, opt)
	case "supervise": // what up starts in the background
		err = supervise(ctx, opt)
	case "exec":
		return execute(ctx, opt, rest)
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2, fmt.Errorf("unknown command %q", args[0])
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}
