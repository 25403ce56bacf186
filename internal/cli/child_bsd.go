//go:build unix && !linux

package cli

import "syscall"

// dieWithUs does nothing: these systems cannot tie a command's life to ours.
// The gateway still ends what the command may do.
func dieWithUs(attr *syscall.SysProcAttr) *syscall.SysProcAttr { return attr }
