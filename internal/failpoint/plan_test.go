//go:build failpoint

package failpoint

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	got, err := parse("store.commit.before=error@3; store.commit.after=sleep:20ms@*;store.sign.before=kill", "")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]plan{
		"store.commit.before": {action: "error", at: 3}, "store.commit.after": {action: "sleep", at: 0, wait: 20 * time.Millisecond}, "store.sign.before": {action: "kill", at: 1},
	} {
		if got.plans[name] != want {
			t.Errorf("%s: %+v", name, got.plans[name])
		}
	}
	for _, bad := range []string{"store.commit.before", "nowhere.at.all=kill", "store.commit.before=die", "store.commit.before=kill@0",
		"store.commit.before=kill@9-2", "store.commit.before=kill:x", "store.commit.before=sleep:x", "store.commit.before=pause"} {
		if _, err := parse(bad, ""); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	seen := map[int]bool{}
	for _, seed := range []string{"1", "2", "3", "4", "5", "6", "7", "8"} {
		first, err := parse("store.commit.before=kill@2-40", seed)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := parse("store.commit.before=kill@2-40", seed)
		at := first.plans["store.commit.before"].at
		if at < 2 || at > 40 || again.plans["store.commit.before"].at != at {
			t.Errorf("the seed %s draws %d", seed, at)
		}
		seen[at] = true
	}
	if len(seen) < 4 {
		t.Errorf("eight seeds drew %v", seen)
	}
}

// TestActions runs this test's binary again with each action.
func TestActions(t *testing.T) {
	if os.Getenv("DAYPASS_FAILPOINT") != "" {
		for range 3 {
			if err := Fail("store.commit.before"); errors.Is(err, ErrInjected) {
				os.Exit(7)
			}
		}
		os.Exit(0)
	}
	dir := t.TempDir()
	run := func(spec string) (*exec.Cmd, string) {
		trace := filepath.Join(dir, "trace")
		_ = os.Remove(trace)
		cmd := exec.Command(os.Args[0], "-test.run", "^TestActions$")
		cmd.Env = append(os.Environ(), "DAYPASS_FAILPOINT=store.commit.before="+spec, "DAYPASS_FAILPOINT_TRACE="+trace)
		_ = cmd.Run()
		b, _ := os.ReadFile(trace)
		return cmd, strings.Join(strings.Fields(string(b)), " ")
	}
	if cmd, trace := run("error@2"); cmd.ProcessState.ExitCode() != 7 || trace != "store.commit.before 1 store.commit.before 2 error" {
		t.Errorf("error: %v, %s", cmd.ProcessState, trace)
	}
	if cmd, trace := run("kill@3"); cmd.ProcessState.Exited() || !strings.HasSuffix(trace, "store.commit.before 3 kill") {
		t.Errorf("kill: %v, %s", cmd.ProcessState, trace)
	}
	if cmd, trace := run("sleep:1ms@*"); cmd.ProcessState.ExitCode() != 0 || strings.Count(trace, "sleep") != 3 {
		t.Errorf("sleep: %v, %s", cmd.ProcessState, trace)
	}
	if cmd, _ := run("nothing"); cmd.ProcessState.ExitCode() != 2 {
		t.Errorf("an unknown action: %v", cmd.ProcessState)
	}
	flag := filepath.Join(dir, "paused")
	go func() {
		for {
			if os.Remove(flag) == nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if cmd, trace := run("pause:" + flag + "@2"); cmd.ProcessState.ExitCode() != 0 || !strings.HasSuffix(trace, "store.commit.before 3") {
		t.Errorf("pause: %v, %s", cmd.ProcessState, trace)
	}
}
