package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// groups are the cgroups of this machine that bound memory and processor.
type groups struct {
	version     int // 0: none
	memory, cpu string
}

// periodMicros is Lambda's: processor time is dealt out in slices of 20 ms.
const periodMicros = 20_000

// findGroups looks for cgroups that we may make groups in, the newer kind first.
func findGroups() (groups, error) {
	const root = "/sys/fs/cgroup"
	own := ""
	if raw, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		for line := range strings.Lines(string(raw)) {
			if path, found := strings.CutPrefix(strings.TrimSpace(line), "0::"); found {
				own = path
			}
		}
	}
	candidates := []groups{{2, filepath.Join(root, own), filepath.Join(root, own)}, {1, filepath.Join(root, "memory"), filepath.Join(root, "cpu")}}
	if filepath.Join(root, own) != root {
		candidates = append(candidates, groups{2, root, root})
	}
	var reasons []error
	for _, g := range candidates {
		made, err := g.make("probe", 128)
		g.remove(made)
		if err == nil {
			return g, nil
		}
		reasons = append(reasons, fmt.Errorf("cgroup v%d: %w", g.version, err))
	}
	return groups{}, errors.Join(reasons...)
}

// make makes the group of one function and returns its folders.
func (g groups) make(name string, mb int64) ([]string, error) {
	if g.version == 0 {
		return nil, nil
	}
	quota := max(1000, periodMicros*mb/wholeCore) // the kernel takes no less than 1 ms
	memory, cpu := filepath.Join(g.memory, "relay-room-"+name), filepath.Join(g.cpu, "relay-room-"+name)
	files := []struct{ path, value string }{
		{filepath.Join(memory, "memory.max"), strconv.FormatInt(mb*mib, 10)},
		{filepath.Join(cpu, "cpu.max"), fmt.Sprintf("%d %d", quota, periodMicros)},
	}
	if g.version == 1 {
		files = []struct{ path, value string }{
			{filepath.Join(memory, "memory.limit_in_bytes"), strconv.FormatInt(mb*mib, 10)},
			{filepath.Join(cpu, "cpu.cfs_period_us"), strconv.Itoa(periodMicros)},
			{filepath.Join(cpu, "cpu.cfs_quota_us"), strconv.FormatInt(quota, 10)},
		}
	}
	made := []string{memory, cpu}
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
			return made, err
		}
		if _, err := os.Stat(f.path); err != nil {
			return made, fmt.Errorf("the controller is not there: %w", err)
		}
		if err := os.WriteFile(f.path, []byte(f.value), 0o644); err != nil {
			return made, err
		}
	}
	return made, nil
}

func (groups) remove(made []string) {
	for _, folder := range made {
		_ = os.Remove(folder) // empty, since its process has ended
	}
}

// limits finds out what this machine can confine by, and why not by the rest.
func limits() (limit, []string) {
	var l limit
	var missing []string
	var err error
	if l.groups, err = findGroups(); err != nil {
		missing = append(missing, "memory and processor: "+strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	l.user = os.Geteuid() != 0
	probe := exec.Command("/proc/self/exe", confineCommand, "", "", "")
	probe.SysProcAttr = l.attributes()
	if err := probe.Start(); err != nil {
		missing = append(missing, "a root of its own: namespaces: "+err.Error())
		return l, missing
	}
	_ = probe.Wait() // its arguments are wrong: that it could be started is enough
	l.namespaces = true
	return l, missing
}

func (l limit) attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if l.user {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

// start starts a function in its room.
func (l limit) start(workdir string, mb int64, binary string, env []string, said io.Writer) (*process, error) {
	made, err := l.groups.make(strconv.Itoa(os.Getpid()), mb)
	if err != nil {
		l.groups.remove(made)
		return nil, err
	}
	after := func() { l.groups.remove(made) }
	if !l.namespaces {
		cmd := exec.Command("/proc/self/exe", confineCommand, strings.Join(made, ":"), "", binary)
		cmd.Env, cmd.SysProcAttr = env, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		return launch(cmd, said, after)
	}
	root, err := os.MkdirTemp(workdir, "room-")
	if err != nil {
		after()
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe", confineCommand, strings.Join(made, ":"), root, binary)
	cmd.Env, cmd.SysProcAttr = env, l.attributes()
	return launch(cmd, said, func() { after(); _ = os.RemoveAll(root) })
}

// confined joins the groups, moves into the root and becomes the function. Its
// arguments are the groups' folders, the root ("": this machine's) and the binary.
func confined(args []string) error {
	if len(args) != 3 || args[2] == "" {
		return fmt.Errorf("usage: %s GROUPS ROOT BINARY", confineCommand)
	}
	root, binary := args[1], args[2]
	for _, group := range strings.Split(args[0], ":") {
		if group == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
			return err
		}
	}
	if root == "" {
		return syscall.Exec(binary, []string{binary}, os.Environ())
	}
	if err := furnish(root, binary); err != nil {
		return err
	}
	if err := errors.Join(unix.Chroot(root), os.Chdir("/var/task")); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		// In a user namespace of one user nothing else can be become: root there is
		// this user outside.
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(sandboxUser), syscall.Setuid(sandboxUser)); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	return syscall.Exec("/var/task/bootstrap", []string{"bootstrap"}, os.Environ())
}

// machineFiles are what a function on provided.al2023 finds of its machine: how
// names are resolved, and which certificates are trusted.
var machineFiles = []string{"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"}

// furnish makes a root that holds the function, those files and the devices that
// Go's runtime opens, all of it read-only but /tmp.
func furnish(root, binary string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep the mounts to ourselves: %w", err)
	}
	if err := unix.Mount("root", root, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("the root: %w", err)
	}
	binds := map[string]string{"/var/task/bootstrap": binary}
	for _, name := range append([]string{"/dev/null", "/dev/urandom", "/dev/zero"}, machineFiles...) {
		if _, err := os.Stat(name); err == nil {
			binds[name] = name
		}
	}
	for name, from := range binds {
		place := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(place, nil, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(from, place, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for folder, kind := range map[string]string{"/tmp": "tmpfs", "/proc": ""} {
		place := filepath.Join(root, folder)
		if err := os.MkdirAll(place, 0o755); err != nil {
			return err
		}
		var err error
		if kind == "" {
			err = unix.Mount(folder, place, "", unix.MS_BIND|unix.MS_REC, "")
		} else {
			err = unix.Mount("tmp", place, kind, unix.MS_NOSUID|unix.MS_NODEV, "mode=1777,size=512m") // Lambda's
		}
		if err != nil {
			return fmt.Errorf("%s: %w", folder, err)
		}
	}
	if err := unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_RDONLY, "mode=755"); err != nil {
		return fmt.Errorf("make the root read-only: %w", err)
	}
	return nil
}
