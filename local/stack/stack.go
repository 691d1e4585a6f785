package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// Stack is one that this process brings up, and ends.
type Stack struct {
	Opt      Options
	Progress io.Writer
	State    State

	lock       *lock
	processes  []*Process
	aws        aws.Config
	recorder   *recorder // nil: calls are not recorded
	recordedAt string    // where it listens
}

// Up brings everything up, in the order in which each part needs the one before.
func (s *Stack) Up(ctx context.Context) error {
	if err := os.MkdirAll(s.Opt.file("tmp"), 0o755); err != nil {
		return err
	}
	var err error
	if s.lock, err = takeLock(s.Opt.file("lock")); err != nil {
		return err
	}
	s.State.Pid, s.State.Logs = os.Getpid(), s.Opt.Dir
	if s.Opt.Record != "" {
		if s.recorder, s.recordedAt, err = newRecorder(s.Opt.Record); err != nil {
			return err
		}
	}
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{"local tools are there", s.checkTools},
		{"Cyberun's stand-in listens", s.startStandin},
		{"MiniStack plays AWS", s.startMiniStack},
		{"functions built", s.build},
		{"stack deployed", s.deploy},
		{"routes of the HTTP API", s.createRoutes},
		{"calls are recorded", s.recordCalls},
		{"secrets and settings of the local stack", s.finish},
		{"the API answers", s.checkAPI},
	}
	for _, step := range steps {
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		fmt.Fprintf(s.Progress, "  %5.1f s  %s\n", time.Since(began).Seconds(), step.what)
	}
	return s.State.save(s.Opt)
}

// Down ends it all. It may be called at any point of Up.
func (s *Stack) Down() {
	for _, p := range slices.Backward(s.processes) {
		p.stop(patience)
	}
	s.processes = nil
	if s.recorder != nil {
		s.recorder.close()
	}
	for _, name := range []string{"stack.json", "env", "standin.addr"} {
		os.Remove(s.Opt.file(name))
	}
	os.RemoveAll(s.Opt.file("tmp"))
	if s.lock != nil {
		s.lock.release()
	}
}

// died is the first child that ended without being asked to.
func (s *Stack) died() error {
	for _, p := range s.processes {
		if p.ended() {
			return fmt.Errorf("%s ended by itself: %s\n%s", p.Name, p.cmd.ProcessState, tail(p.Log))
		}
	}
	return nil
}

func (s *Stack) start(name string, env []string, argv ...string) (*Process, error) {
	p, err := start(name, s.Opt.file(name+".log"), env, argv...)
	if err == nil {
		s.processes = append(s.processes, p)
	}
	return p, err
}

func (s *Stack) forget(p *Process) {
	s.processes = slices.DeleteFunc(s.processes, func(other *Process) bool { return other == p })
}

func (s *Stack) checkTools(context.Context) error {
	for _, path := range []string{s.Opt.tool("ministack", "ministack"), s.Opt.tool("sam", "sam")} {
		if _, err := os.Stat(path); err != nil {
			return errors.New("not installed: `make tools` does that, inside the project")
		}
	}
	return nil
}

// freePort is one that nothing listens on now; whoever uses it must be ready to
// find it taken.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// connect makes the configuration of all AWS clients. It is written out, not
// loaded: nothing of the user's own settings may lead a call to the real AWS.
func (s *Stack) connect() {
	s.aws = aws.Config{
		Region:       region,
		BaseEndpoint: aws.String(s.State.Endpoint),
		Credentials:  credentials.NewStaticCredentialsProvider(localID, localID, ""),
	}
}
