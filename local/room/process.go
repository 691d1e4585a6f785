package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// confineCommand is this program's own, by which it becomes a function in its room.
const confineCommand = "confine"

// process is a function that runs.
type process struct {
	cmd   *exec.Cmd
	begun time.Time
	ended chan struct{}
	after func()
}

func launch(cmd *exec.Cmd, said io.Writer, after func()) (*process, error) {
	cmd.Stdout, cmd.Stderr = said, said
	p := &process{cmd: cmd, begun: time.Now(), ended: make(chan struct{}), after: after}
	if err := cmd.Start(); err != nil {
		after()
		return nil, err
	}
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	<-p.ended
	p.after()
}

// peak is the most memory that the process had at once, as Linux counts it: what
// Lambda reports as "Max Memory Used".
func (p *process) peak() (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, found := strings.CutPrefix(line, "VmHWM:"); found {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM in the status of process %d", p.cmd.Process.Pid)
}

// limit is what this machine can confine a function by.
type limit struct {
	namespaces bool   // a root of its own
	user       bool   // by a user namespace, since we are not root
	groups     groups // memory and processor
}

func (l limit) describe() string {
	var parts []string
	if l.namespaces {
		parts = append(parts, "read-only root without /etc/mime.types, /tmp alone to write to, user "+strconv.Itoa(sandboxUser))
	}
	if l.groups.version != 0 {
		parts = append(parts, fmt.Sprintf("MemorySize and its share of a core by cgroup v%d, from the start on: Lambda itself gives more of a core until a function is ready", l.groups.version))
	}
	return strings.Join(parts, "; ")
}

// sandboxUser is what Lambda runs functions as: sbx_user1051.
const sandboxUser = 993

// wholeCore is the memory, in MB, with which a function has a whole core.
const wholeCore = 1769
