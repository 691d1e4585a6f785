package main

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownGroup: a group to end as a whole; and should this program be killed
// outright, the kernel ends the leader.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// adopt makes orphans of our children ours: in a container without an init that
// buries the dead, they would stay in the process table for ever.
func adopt() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// bury waits for all that is left of a group whose members are dead or dying.
func bury(group int) {
	for {
		if _, err := unix.Wait4(-group, nil, 0, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return // ECHILD: none is left
		}
	}
}
