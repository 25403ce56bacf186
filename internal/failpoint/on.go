//go:build failpoint

package failpoint

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// Enabled reports whether points can do anything in this binary.
const Enabled = true

// armed is what the environment says, read at the first hit.
var armed = sync.OnceValue(func() *table {
	t, err := parse(os.Getenv("DAYPASS_FAILPOINT"), os.Getenv("DAYPASS_FAILPOINT_SEED"))
	if err == nil {
		if file := os.Getenv("DAYPASS_FAILPOINT_TRACE"); file != "" {
			t.trace, err = os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "failpoint:", err)
		os.Exit(2)
	}
	return t
})

// table is the state of all points of this process.
type table struct {
	mu    sync.Mutex
	hits  map[string]int
	plans map[string]plan
	trace *os.File
}

// Hit marks a point at which nothing can be returned.
func Hit(name string) { _ = armed().hit(name) }

// Fail marks a point at which an error can be returned.
func Fail(name string) error { return armed().hit(name) }

func (t *table) hit(name string) error {
	t.mu.Lock()
	t.hits[name]++
	n := t.hits[name]
	p, planned := t.plans[name]
	due := planned && (p.at == 0 || p.at == n)
	// Often hit points would fill the file: after some, powers of two do.
	if t.trace != nil && (n <= 16 || n&(n-1) == 0 || due) {
		note := fmt.Sprintf("%s %d\n", name, n)
		if due {
			note = fmt.Sprintf("%s %d %s\n", name, n, p.action)
		}
		_, _ = t.trace.WriteString(note) // a trace that is short fails the test that reads it
	}
	if due && p.action == "kill" {
		die() // with the lock held: nobody passes another point meanwhile
	}
	t.mu.Unlock()
	if !due {
		return nil
	}
	return p.act(name)
}

func (p plan) act(name string) error {
	switch p.action {
	case "error":
		return fmt.Errorf("%w at %s", ErrInjected, name)
	case "sleep":
		time.Sleep(p.wait)
	case "pause":
		if err := os.WriteFile(p.file, []byte(name), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, "failpoint:", err)
			os.Exit(2)
		}
		for exists(p.file) {
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// die ends the process at once: nothing deferred runs, nothing is flushed.
func die() {
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Kill()
	}
	select {}
}
