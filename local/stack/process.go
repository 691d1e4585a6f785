package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	// patience is how long a child gets to end by itself: MiniStack needs about
	// one second, the stand-in two.
	patience = 5 * time.Second
	// shownLines of a log say what went wrong without filling the screen.
	shownLines = 30
)

// Process is a child that leads a process group of its own, so that what it
// started (MiniStack: every function) ends with it.
type Process struct {
	Name string
	Log  string
	cmd  *exec.Cmd
	done chan struct{}
}

// start must be called from the main goroutine: see init.
func start(name, log string, env []string, argv ...string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = env, out, out, ownGroup()
	return launch(name, log, cmd)
}

func launch(name, log string, cmd *exec.Cmd) (*Process, error) {
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{Name: name, Log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(p.done)
	}()
	return p, nil
}

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop asks the group to end, and after a while makes it.
func (p *Process) stop(patience time.Duration) {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
	}
	p.signal(syscall.SIGKILL) // also what outlived its leader
	<-p.done
	bury(p.cmd.Process.Pid)
}

func (p *Process) signal(s syscall.Signal) { _ = syscall.Kill(-p.cmd.Process.Pid, s) }

// tool runs a program to its end; its output goes to a log, the end of which is
// in the error.
func (s *Stack) tool(ctx context.Context, name string, env []string, argv ...string) error {
	log := s.Opt.file(name + ".log")
	p, err := s.startTool(name, log, env, argv...)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		p.stop(patience)
		return context.Cause(ctx)
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("%s: %s\n%s", name, p.cmd.ProcessState, tail(log))
	}
	return nil
}

func (s *Stack) startTool(name, log string, env []string, argv ...string) (*Process, error) {
	if err := os.Remove(log); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = s.Opt.Root, env, out, out, ownGroup()
	return launch(name, log, cmd)
}

// tail is the end of a log.
func tail(path string) string {
	body, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(bytes.TrimSpace(body)), "\n")
	if cut := len(lines) - shownLines; cut > 0 {
		lines = append([]string{"  …"}, lines[cut:]...)
	}
	return strings.Join(lines, "\n")
}

// eventually asks until the answer is good; each answer says why it is not yet.
func eventually(ctx context.Context, limit time.Duration, what string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s: %w", what, limit, err)
		case <-tick.C:
		}
	}
}
