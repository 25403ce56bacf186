package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ReadyWithin is how soon a server must serve again after it was killed.
const ReadyWithin = 5 * time.Second

// Process is one run of the server.
type Process struct {
	API, Gate string // addresses
	cmd       *exec.Cmd
	log       *output
	gone      chan struct{}
}

// output is what a process prints. It is kept in a file too, where the search
// for secrets finds it.
type output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	file *os.File
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b.Write(p)
	return o.file.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

var serving = regexp.MustCompile(`msg=serving api=http://(\S+) http_gateway=(\S+)`)

// ErrDied says that a server ended before it served.
var ErrDied = errors.New("the server ended before it served")

// Start starts the server of a folder and waits until it serves. A server that
// was told to die on its way gives ErrDied.
func Start(program, dir string, env ...string) (*Process, error) {
	file, err := os.OpenFile(filepath.Join(dir, "server.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p := &Process{log: &output{file: file}, gone: make(chan struct{})}
	p.cmd = exec.CommandContext(context.Background(), program, "serve", "--config", filepath.Join(dir, "daypass.yaml"))
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its state
		_ = file.Close()
		close(p.gone)
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.After(4 * ReadyWithin); ; {
		if m := serving.FindStringSubmatch(p.log.String()); m != nil {
			p.API, p.Gate = m[1], m[2]
			return p, nil
		}
		select {
		case <-p.gone:
			return p, fmt.Errorf("%w: %s", ErrDied, strings.TrimSpace(p.log.String()))
		case <-limit:
			p.Kill()
			return p, fmt.Errorf("the server does not serve: %s", p.log)
		case <-tick.C:
		}
	}
}

// Gone is closed when the process has ended.
func (p *Process) Gone() <-chan struct{} { return p.gone }

// Killed reports whether it was ended by SIGKILL. It must be gone.
func (p *Process) Killed() bool {
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// Kill ends it as a power switch does, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may be gone already
	<-p.gone
}

// Terminate asks it to end.
func (p *Process) Terminate() { _ = p.cmd.Process.Signal(syscall.SIGTERM) }

// ExitCode is how it ended; -1 by a signal. It must be gone.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Log is what it printed.
func (p *Process) Log() string { return p.log.String() }
