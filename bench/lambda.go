package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// A function has a share of a core for its memory: a whole one at 1,769 MB.
const wholeCore = 1769

// periodMicros is Lambda's own: quotas are dealt out in slices of 20 ms.
const periodMicros = 20_000

const (
	cpuGroups    = "/sys/fs/cgroup/cpu"
	memoryGroups = "/sys/fs/cgroup/memory"
)

// lambda runs contestants as a function of each size would run: its share of a
// core and its memory, by cgroup (version 1).
func (h *harness) lambda(ctx context.Context, f *figures) error {
	if _, err := os.Stat(filepath.Join(cpuGroups, "cpu.cfs_quota_us")); err != nil {
		f.Confined = "not measured: this machine has no cgroup v1 CPU controller to confine processes with"
		return nil
	}
	probe := filepath.Join(cpuGroups, "relay-bench-probe")
	if err := os.Mkdir(probe, 0o755); err != nil {
		f.Confined = "not measured: no right to make a cgroup"
		return nil
	}
	_ = os.Remove(probe)
	f.Confined = fmt.Sprintf("cgroup v1: cpu.cfs_quota_us of %d ms periods and memory.limit_in_bytes; origin and sink unconfined", periodMicros/1000)
	sizes, rounds := []int{128, 256, 512, wholeCore}, min(3, h.rounds)
	if h.quick {
		sizes, rounds = []int{128, wholeCore}, 1
	}
	for _, mb := range sizes {
		size := int64(255 * mib) // twice the smallest's memory; what of the time is start-up is a column
		if h.quick {
			size = 64 * mib
		}
		var jobs []job
		for _, name := range everyone {
			jobs = append(jobs, job{name: name, secure: true, size: size, before: []string{os.Args[0], "confine", strconv.Itoa(mb)}})
		}
		all, err := h.measure(ctx, rounds, jobs)
		for _, groups := range []string{cpuGroups, memoryGroups} {
			_ = os.Remove(filepath.Join(groups, groupName(mb))) // empty, since its processes have ended
		}
		if err != nil {
			return err
		}
		for _, j := range jobs {
			if samples := all[j.name]; len(samples) > 0 {
				f.Lambda = append(f.Lambda, lambdaRow{
					MB: mb, Name: j.name, MBps: mbps(size, median(samples, seconds)), StartMs: 1000 * median(samples, startUp), RSSMiB: median(samples, rss),
				})
			}
		}
	}
	return nil
}

func groupName(mb int) string { return fmt.Sprintf("relay-bench-%d", mb) }

// confined puts this process into a group of its size and becomes the command.
func confined(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: confine MB COMMAND …")
	}
	mb, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	cpu, memory := filepath.Join(cpuGroups, groupName(mb)), filepath.Join(memoryGroups, groupName(mb))
	pid := strconv.Itoa(os.Getpid())
	for _, step := range []struct{ file, value string }{
		{filepath.Join(cpu, "cpu.cfs_period_us"), strconv.Itoa(periodMicros)},
		{filepath.Join(cpu, "cpu.cfs_quota_us"), strconv.Itoa(max(1000, periodMicros*mb/wholeCore))},
		{filepath.Join(memory, "memory.limit_in_bytes"), strconv.Itoa(mb * mib)},
		{filepath.Join(cpu, "cgroup.procs"), pid},
		{filepath.Join(memory, "cgroup.procs"), pid},
	} {
		if err := os.MkdirAll(filepath.Dir(step.file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(step.file, []byte(step.value), 0o644); err != nil {
			return err
		}
	}
	command, err := exec.LookPath(args[1])
	if err != nil {
		return err
	}
	env := append(os.Environ(), "AWS_LAMBDA_FUNCTION_MEMORY_SIZE="+args[0])
	return syscall.Exec(command, args[1:], env)
}
