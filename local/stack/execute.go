package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// execute brings up a stack of its own, beside one that may be up already, runs
// a command with its environment, and takes it down whatever happens.
func execute(ctx context.Context, o Options, argv []string) (int, error) {
	if len(argv) == 0 {
		return 2, errors.New("exec: name the command to run after --")
	}
	removeLeftovers(o.shared("exec-*"))
	o.Dir = o.shared("exec-" + strconv.Itoa(os.Getpid()))
	ctx, cancel := orphaned(ctx)
	defer cancel(nil)

	s := &Stack{Opt: o, Progress: os.Stderr}
	code, err := s.upAndRun(ctx, argv)
	s.Down()
	if code == 0 && err == nil {
		return 0, os.RemoveAll(o.Dir)
	}
	fmt.Fprintf(os.Stderr, "stack: logs of all parts are in %s\n", o.Dir)
	return code, err
}

func (s *Stack) upAndRun(ctx context.Context, argv []string) (int, error) {
	began := time.Now()
	if err := s.Up(ctx); err != nil {
		return 1, err
	}
	fmt.Fprintf(os.Stderr, "  %5.1f s  all: %s\n", time.Since(began).Seconds(), s.State.APIURL)
	code, err := s.runCommand(ctx, argv)
	if code != 0 || err != nil {
		logs := s.functionLogs(context.WithoutCancel(ctx))
		err = errors.Join(err, os.WriteFile(s.Opt.file("functions.log"), []byte(logs), 0o644))
	}
	return code, err
}

func (s *Stack) runCommand(ctx context.Context, argv []string) (int, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(foreign(os.Environ()), s.State.env(s.Opt.file("stack.json"))...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = os.Stdout, os.Stderr, ownGroup()
	p, err := launch(argv[0], "", cmd)
	if err != nil {
		return 1, err
	}
	defer p.stop(patience)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return max(p.cmd.ProcessState.ExitCode(), boolInt(!p.cmd.ProcessState.Success())), nil
		case <-ctx.Done():
			return 130, context.Cause(ctx)
		case <-tick.C:
			if err := s.died(); err != nil {
				return 1, err
			}
		}
	}
}

// boolInt: a process that a signal ended has the exit code -1.
func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

var errOrphaned = errors.New("the program that started this one is gone")

// orphaned ends with the parent: a `make` that is killed must leave nothing behind.
func orphaned(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	parent := os.Getppid()
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if os.Getppid() != parent {
					cancel(errOrphaned)
					return
				}
			}
		}
	}()
	return ctx, cancel
}

// removeLeftovers clears folders whose stack is gone.
func removeLeftovers(pattern string) {
	dirs, _ := filepath.Glob(pattern)
	for _, dir := range dirs {
		l, err := takeLock(filepath.Join(dir, "lock"))
		if err != nil {
			continue // one that lives
		}
		os.RemoveAll(dir)
		l.release()
	}
}

func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
