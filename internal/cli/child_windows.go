package cli

import (
	"fmt"
	"os"
	"os/exec"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// forwarded are the signals that are meant for the command rather than for us.
// The console sends its own to both.
var forwarded = []os.Signal{os.Interrupt}

// child is a command in a job object of its own, which ends with us.
type child struct {
	cmd  *exec.Cmd
	job  windows.Handle
	done chan struct{}
	err  error // of Wait, once done is closed
}

func startChild(cmd *exec.Cmd) (*child, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("making a job object: %w", err)
	}
	limits := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{}
	limits.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	if _, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits))); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		_ = windows.CloseHandle(job)
		return nil, err
	}
	c := &child{cmd: cmd, job: job, done: make(chan struct{})}
	process, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(cmd.Process.Pid))
	if err == nil {
		err = windows.AssignProcessToJobObject(job, process)
		_ = windows.CloseHandle(process)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = windows.CloseHandle(job)
		return nil, fmt.Errorf("putting the command into its job object: %w", err)
	}
	go func() {
		c.err = cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

func (c *child) signal(os.Signal) {}

// terminate does nothing: Windows has no gentle way that every program knows.
func (c *child) terminate() {}

func (c *child) kill() { _ = windows.TerminateJobObject(c.job, 1) }

// finish ends what the command left behind, and returns how it ended.
func (c *child) finish(time.Time) error {
	<-c.done
	_ = windows.CloseHandle(c.job)
	return c.err
}

func childCode(s *os.ProcessState) int { return s.ExitCode() }
