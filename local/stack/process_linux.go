package main

import "syscall"

// ownGroup: a group to end as a whole; and should this program be killed
// outright, the kernel ends the leader.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
