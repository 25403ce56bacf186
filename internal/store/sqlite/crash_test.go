package sqlite

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/clock"
	"github.com/daypass/daypass/internal/store/sqlstore"
)

// childProcess is a child with what it has said.
type childProcess struct {
	cmd *exec.Cmd

	mu    sync.Mutex
	lines []string
	ready chan struct{} // closed at "ready" or at the end
	ended chan struct{}
}

// startChild runs the child, behind the words of wrapper if there are any.
func startChild(t *testing.T, dir, round string, clients int, wrapper ...string) *childProcess {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := slices.Concat(wrapper, []string{self})
	c := &childProcess{cmd: exec.Command(args[0], args[1:]...), ready: make(chan struct{}), ended: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childEnv+"="+dir, childKeyEnv+"="+testKeys(t).skey, childRoundEnv+"="+round, childManyEnv+"="+strconv.Itoa(clients))
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", args[0], err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	go c.listen(out)
	return c
}

func (c *childProcess) listen(out io.Reader) {
	in := bufio.NewScanner(out)
	ready := sync.OnceFunc(func() { close(c.ready) })
	for in.Scan() {
		c.mu.Lock()
		c.lines = append(c.lines, in.Text())
		c.mu.Unlock()
		if in.Text() == "ready" {
			ready()
		}
	}
	ready()
	close(c.ended)
}

// said waits until the child has said n lines, or has ended.
func (c *childProcess) said(n int) {
	<-c.ready
	for {
		c.mu.Lock()
		lines := len(c.lines)
		c.mu.Unlock()
		if lines >= n {
			return
		}
		select {
		case <-c.ended:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// wait returns all acknowledgements and the exit code, once it has ended.
func (c *childProcess) wait(t *testing.T) (acked []string, code int) {
	t.Helper()
	<-c.ended
	err := c.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	for _, line := range c.lines {
		switch word, rest, _ := strings.Cut(line, " "); word {
		case "ack":
			acked = append(acked, rest)
		case "ready", "failed":
		case "error":
			t.Logf("the child ended with an %s", line)
		default:
			t.Errorf("the child said %q", line)
		}
	}
	return acked, code
}

// Invariant: A1, A20, A23, A30, A34
func TestKillAtAnyTime(t *testing.T) {
	const rounds = 24
	dir := t.TempDir()
	rnd := rand.New(rand.NewPCG(rand.Uint64(), 1))
	var acked []string
	var mark clock.Mark
	there := map[string]bool{}
	for round := range rounds {
		c := startChild(t, dir, "r"+strconv.Itoa(round), 1+rnd.IntN(12))
		if round%4 != 3 { // else it is killed while it opens the store
			c.said(1 + rnd.IntN(20)) // ready, and some acknowledgements: so that it is loaded however slow the machine is
		}
		time.Sleep(time.Duration(rnd.IntN(40_000)) * time.Microsecond)
		if err := c.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		fresh, code := c.wait(t)
		if code != -1 {
			t.Fatalf("round %d: the child ended by itself, with %d", round, code)
		}
		acked = append(acked, fresh...)

		s, err := Open(t.Context(), dir, testKeys(t).options())
		if err != nil {
			t.Fatalf("round %d: opening after the kill: %v", round, err)
		}
		if _, err := s.VerifyAudit(t.Context(), audit.VerifierOptions{Keys: []string{testKeys(t).vkey}}); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		there = checkWhole(t, s, acked)
		if err := s.View(t.Context(), func(tx *sqlstore.Tx) error {
			m, err := tx.ClockMark()
			if m.At.Before(mark.At) {
				t.Errorf("round %d: the clock's mark went back from %v to %v", round, mark.At, m.At)
			}
			mark = m
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d acknowledged, %d there", len(acked), len(there))
	if len(acked) < rounds {
		t.Fatalf("only %d updates were acknowledged in %d rounds: too few to say anything", len(acked), rounds)
	}
}
