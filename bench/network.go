package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// ownNetwork tells the harness that it has a network namespace to itself.
	ownNetwork = "BENCH_OWN_NETWORK"
	// congestion is Linux's default, and so what a function has. Where a machine
	// has BBR instead, its pacing by timers takes a sixth of a copy's CPU time on
	// loopback, which no path to S3 would.
	congestion     = "cubic"
	congestionFile = "/proc/sys/net/ipv4/tcp_congestion_control"
)

// inOwnNetwork runs this very command again in a network namespace of its own: a
// loopback with the kernel's defaults, whatever the machine's are, and with
// nobody else's traffic. Where that is not allowed it says so and returns false.
func inOwnNetwork(ctx context.Context) (ran bool, err error) {
	cmd := exec.CommandContext(ctx, os.Args[0], os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), ownNetwork+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); errors.Is(err, syscall.EPERM) {
		fmt.Fprintln(os.Stderr, "not root: measured over the machine's own loopback, with", currentCongestion())
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, cmd.Wait()
}

// setUpNetwork brings up the new namespace's loopback.
func setUpNetwork() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	err = os.WriteFile(congestionFile, []byte(congestion), 0o644)
	if errors.Is(err, fs.ErrPermission) { // in some containers nobody may
		fmt.Fprintf(os.Stderr, "not allowed to choose %s: measured with %s\n", congestion, currentCongestion())
		return nil
	}
	return err
}

func currentCongestion() string {
	name, err := os.ReadFile(congestionFile)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(name))
}
