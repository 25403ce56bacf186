package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/daypass/daypass/internal/cli"
)

// terminal runs the program on a terminal of its own.
type terminal struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd
	mu     sync.Mutex
	text   strings.Builder
	closed chan struct{}
}

func onTerminal(t *testing.T, f *fakeAPI, env []string, args ...string) *terminal {
	t.Helper()
	return startOn(t, f, env, "daypass", args...)
}

func startOn(t *testing.T, f *fakeAPI, env []string, program string, args ...string) *terminal {
	t.Helper()
	// Not through os.OpenFile: its poller would make reads of a closed pty fail.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	master := os.NewFile(uintptr(fd), "ptmx")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, master: master, closed: make(chan struct{})}
	x.cmd = exec.Command(program, args...)
	x.cmd.Env = append(os.Environ(), "DAYPASS_URL="+f.URL, "DAYPASS_TOKEN=dpat_ana", "TERM=xterm", "XDG_CONFIG_HOME="+t.TempDir())
	x.cmd.Env = append(x.cmd.Env, env...)
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr = slave, slave, slave
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()
	go func() {
		defer close(x.closed)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			x.mu.Lock()
			x.text.Write(buf[:n])
			x.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = x.cmd.Process.Kill()
		_ = master.Close()
	})
	return x
}

func (x *terminal) seen() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.text.String()
}

// expect waits until the terminal shows something.
func (x *terminal) expect(pattern string) {
	x.t.Helper()
	for range 1000 {
		if regexp.MustCompile(pattern).MatchString(x.seen()) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	x.t.Fatalf("%q does not appear in %q", pattern, x.seen())
}

func (x *terminal) typed(text string) {
	x.t.Helper()
	if _, err := x.master.WriteString(text); err != nil {
		x.t.Fatal(err)
	}
}

// code waits for the end of the program.
func (x *terminal) code() int {
	x.t.Helper()
	_ = x.cmd.Wait()
	<-x.closed
	return x.cmd.ProcessState.ExitCode()
}

func pending(t *testing.T, f *fakeAPI) string {
	t.Helper()
	cmd := exec.Command("daypass", "request", "orders-api", "--role", "write", "--for", "30m", "--ticket", "INC-1", "--reason", hostile)
	cmd.Env = append(os.Environ(), "DAYPASS_URL="+f.URL, "DAYPASS_TOKEN=dpat_ana")
	out, _ := cmd.Output()
	id := regexp.MustCompile(`req_[a-z0-9]+`).FindString(string(out))
	if id == "" {
		t.Fatalf("no request: %s", out)
	}
	return id
}

func (f *fakeAPI) stateOf(id string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.find(id).State
}

// Attack: CLI-01
func TestApproveAsksOnATerminal(t *testing.T) {
	f := newFake(t)
	id := pending(t, f)
	for _, answer := range []string{"\r", "n\r", "yep\r"} {
		x := onTerminal(t, f, []string{"DAYPASS_TOKEN=dpat_bo"}, "approve", id)
		x.expect(`Really approve this\? \[y/N\]`)
		x.typed(answer)
		if code := x.code(); code != cli.ExitFailed || f.stateOf(id) != "pending" {
			t.Fatalf("%q: code %d, the request is %s", answer, code, f.stateOf(id))
		}
	}
	x := onTerminal(t, f, []string{"DAYPASS_TOKEN=dpat_bo"}, "approve", id)
	x.expect(`\[y/N\]`)
	x.typed("y\r")
	if code := x.code(); code != cli.ExitDone || f.stateOf(id) != "approved" {
		t.Fatalf("code %d, the request is %s", code, f.stateOf(id))
	}
	text := x.seen()
	if !strings.Contains(text, "\x1b[32mapproved\x1b[0m") {
		t.Errorf("the state is not green: %q", text)
	}
	own := regexp.MustCompile(`\x1b\[(0|1|31|32|33|90)m|\r`)
	if what := cli.FirstOdd(own.ReplaceAllString(text, "")); what != "" {
		t.Errorf("the terminal got %s: %q", what, text)
	}
}

func TestNoColor(t *testing.T) {
	f := newFake(t)
	id := pending(t, f)
	for _, env := range []string{"NO_COLOR=1", "TERM=dumb"} {
		x := onTerminal(t, f, []string{env}, "show", id)
		if code := x.code(); code != 0 || strings.Contains(x.seen(), "\x1b") {
			t.Errorf("%s: code %d: %q", env, code, x.seen())
		}
	}
}

// Attack: CLI-02
func TestLoginDoesNotEcho(t *testing.T) {
	f := newFake(t)
	x := onTerminal(t, f, []string{"DAYPASS_TOKEN="}, "login")
	x.expect(`API token \(not shown\): `)
	// The prompt comes before the echo is off: wait until it is.
	for range 1000 {
		if tio, err := unix.IoctlGetTermios(int(x.master.Fd()), unix.TCGETS); err == nil && tio.Lflag&unix.ECHO == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	x.typed("dpat_ana\r")
	if code := x.code(); code != 0 || !strings.Contains(x.seen(), "Logged in") {
		t.Fatalf("code %d: %q", code, x.seen())
	}
	if strings.Contains(x.seen(), "dpat_ana") {
		t.Errorf("the token was shown: %q", x.seen())
	}
}

func TestWaitingIsShownInPlace(t *testing.T) {
	f := newFake(t)
	id := pending(t, f)
	x := onTerminal(t, f, nil, "show", id, "--wait")
	x.expect(`\rwaiting for dba \(0 of 1\) from group:dba, (4h|3h59m) left\x1b\[K`)
	x.typed("\x03") // Ctrl-C
	if code := x.code(); code != cli.ExitPending {
		t.Errorf("code %d", code)
	}
	if !strings.Contains(x.seen(), "Interrupted. "+id+" is still pending") || f.stateOf(id) != "pending" {
		t.Errorf("%q", x.seen())
	}
}

// A command that exec runs can read from the terminal, gets its Ctrl-C, and
// gives it back.
func TestExecOnATerminal(t *testing.T) {
	f := newFake(t)
	ask := exec.Command("daypass", "request", "orders-api", "--role", "read", "--for", "10m")
	ask.Env = append(os.Environ(), "DAYPASS_URL="+f.URL, "DAYPASS_TOKEN=dpat_ana")
	if out, err := ask.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	x := onTerminal(t, f, nil, "exec", "orders-api", "--", "sh", "-c", `read line; echo "got <$line>"; trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.05; done`)
	x.typed("hello\r")
	x.expect(`got <hello>`)
	x.expect(`ready`)
	x.typed("\x03")
	if code := x.code(); code != 5 || strings.Count(x.seen(), "interrupted") != 1 {
		t.Errorf("code %d: %q", code, x.seen())
	}

	// The shell that we were started from is in the foreground again after us.
	work := t.TempDir()
	script := `daypass exec orders-api -- sh -c 'echo inner' && read line && echo "back <$line>" > ` + filepath.Join(work, "out")
	y := startOn(t, f, nil, "sh", "-c", script)
	y.expect("inner")
	y.typed("again\r")
	if code := y.code(); code != 0 {
		t.Errorf("code %d: %q", code, y.seen())
	}
	if got, err := os.ReadFile(filepath.Join(work, "out")); err != nil || string(got) != "back <again>\n" {
		t.Errorf("%q, %v", got, err)
	}
}
