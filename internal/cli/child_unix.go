//go:build unix

package cli

import (
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// forwarded are the signals that are meant for the command rather than for us.
var forwarded = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH}

// child is a command that leads a process group of its own.
type child struct {
	cmd  *exec.Cmd
	tty  int // the terminal that it was given the foreground of, or -1
	done chan struct{}
	err  error // of Wait, once done is closed
}

// startChild starts cmd. Where we are in the foreground of a terminal the
// command's group takes our place there, so that it can read from it.
func startChild(cmd *exec.Cmd) (*child, error) {
	c := &child{cmd: cmd, tty: -1, done: make(chan struct{})}
	cmd.SysProcAttr = dieWithUs(&syscall.SysProcAttr{Setpgid: true})
	if f, ok := cmd.Stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if front, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP); err == nil && front == unix.Getpgrp() {
			c.tty = int(f.Fd())
			cmd.SysProcAttr.Foreground, cmd.SysProcAttr.Ctty = true, c.tty
		}
	}
	started := make(chan error)
	go func() {
		// The system ties "die with us" to the thread that started the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.err = cmd.Wait()
			close(c.done)
		}
	}()
	return c, <-started
}

// signal passes a signal on. A terminal has sent its own to the group already.
func (c *child) signal(s os.Signal) {
	if sig, ok := s.(syscall.Signal); ok && (c.tty < 0 || sig == syscall.SIGTERM || sig == syscall.SIGHUP) {
		c.send(sig)
	}
}

func (c *child) terminate() {
	c.send(syscall.SIGTERM)
	c.send(syscall.SIGCONT) // one that is stopped must wake up to end
}

func (c *child) kill() { c.send(syscall.SIGKILL) }

func (c *child) send(s syscall.Signal) { _ = syscall.Kill(-c.cmd.Process.Pid, s) }

// finish ends what the command left behind in its group, at the latest at by,
// takes the terminal back, and returns how the command ended.
func (c *child) finish(by time.Time) error {
	<-c.done
	left := syscall.Kill(-c.cmd.Process.Pid, syscall.SIGTERM)
	for left == nil && time.Now().Before(by) {
		time.Sleep(20 * time.Millisecond)
		left = syscall.Kill(-c.cmd.Process.Pid, 0)
	}
	if left == nil {
		c.kill()
	}
	if c.tty >= 0 {
		// A background group that touches its terminal is stopped, unless it
		// ignores this signal.
		signal.Ignore(syscall.SIGTTOU)
		_ = unix.IoctlSetPointerInt(c.tty, unix.TIOCSPGRP, unix.Getpgrp())
		signal.Reset(syscall.SIGTTOU)
	}
	return c.err
}

// childCode is the exit code that a shell would give.
func childCode(s *os.ProcessState) int {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.ExitCode()
}
