package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// progressFD is the pipe on which the supervisor tells the `up` that started it
// how it goes; it ends with a line that begins with "up" or "failed".
const progressFD = 3

// up starts a supervisor in a session of its own and waits until the stack is up.
func up(ctx context.Context, o Options) error {
	if st, err := load(o); err == nil {
		if l, err := takeLock(o.file("lock")); errors.Is(err, errUp) {
			fmt.Printf("the stack is up already: %s\n", st.APIURL)
			if key, err := (&Stack{Opt: o}).sources(); err == nil && key != st.Sources {
				fmt.Println("  the sources have changed since: `make down` first, to deploy them")
			}
			return nil
		} else if err == nil {
			l.release()
		}
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(o.file("supervisor.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, append([]string{"supervise"}, o.args...)...)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this program, and its terminal
	if err := cmd.Start(); err != nil {
		return err
	}
	write.Close()
	return follow(ctx, read, cmd.Process)
}

func follow(ctx context.Context, progress io.ReadCloser, supervisor *os.Process) error {
	stop := context.AfterFunc(ctx, func() { _ = supervisor.Signal(syscall.SIGTERM) })
	defer stop()
	lines := bufio.NewReader(progress)
	for {
		line, err := lines.ReadString('\n')
		if strings.HasPrefix(line, "failed: ") {
			rest, _ := io.ReadAll(lines)
			return errors.New(strings.TrimSpace(strings.TrimPrefix(line, "failed: ") + string(rest)))
		}
		fmt.Print(line)
		switch {
		case strings.HasPrefix(line, "up"):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("the supervisor ended without a word: %w", err)
		}
	}
}

// supervise keeps a stack up until it is told to end it, or a part of it dies.
func supervise(ctx context.Context, o Options) error {
	progress := os.NewFile(progressFD, "progress")
	if progress == nil {
		return errors.New("supervise is what `up` starts")
	}
	syscall.CloseOnExec(progressFD) // a child that kept it open would keep `up` waiting
	s := &Stack{Opt: o, Progress: progress}
	defer s.Down()
	began := time.Now()
	if err := s.Up(ctx); err != nil {
		s.Down() // before `up` hears of it and ends
		fmt.Fprintf(progress, "failed: %s\nlogs are in %s\n", err, o.Dir)
		return err
	}
	fmt.Fprintf(progress, "up in %.1f s: %s\n", time.Since(began).Seconds(), s.State.APIURL)
	progress.Close()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := s.died(); err != nil {
				return err
			}
		}
	}
}

// downLimit is above what a supervisor needs to end two children that are deaf.
const downLimit = 4 * patience

func down(o Options) error {
	path := o.file("lock")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		fmt.Println("nothing is up")
		return nil
	}
	l, err := takeLock(path)
	if err == nil {
		defer l.release()
		os.Remove(o.file("stack.json"))
		os.Remove(o.file("env"))
		fmt.Println("nothing is up")
		return nil
	}
	if !errors.Is(err, errUp) {
		return err
	}
	pid, err := holder(path)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("end the supervisor, process %d: %w", pid, err)
	}
	err = eventually(context.Background(), downLimit, "the stack's end", func(context.Context) error {
		l, err := takeLock(path)
		if err == nil {
			l.release()
		}
		return err
	})
	if err == nil {
		fmt.Println("the stack is down")
	}
	return err
}

func printEnv(o Options) error {
	st, err := load(o)
	if err != nil {
		return err
	}
	fmt.Print(st.exports(o.file("stack.json")))
	return nil
}
