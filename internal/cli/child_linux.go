package cli

import "syscall"

// dieWithUs makes the system kill the command when we are killed ourselves:
// nobody would end it at the end of its grant.
func dieWithUs(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	attr.Pdeathsig = syscall.SIGKILL
	return attr
}
