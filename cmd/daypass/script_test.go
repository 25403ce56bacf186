package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/daypass/daypass/client"
	"github.com/daypass/daypass/internal/demo"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"daypass": main}) }

// scripts runs the scripts of testdata/script: what people type, against a real
// `daypass dev` that each script has for itself. Beside the commands of
// testscript there are:
//
//	as user:ana          who the following commands are
//	exits 3 daypass …    the command must end with this exit code
//	grab NAME grt_       the first such ID on stdout becomes $NAME
//	tamper FILE          changes one letter in the middle of a file
//	catalog FILE OLD NEW writes the catalog in force, with NEW for OLD
//
// $DATA is the server's data folder, $TOKEN_CY the token of user:cy.
func scripts(t *testing.T, names ...string) {
	t.Helper()
	params := testscript.Params{
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               startDev,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"as": asCmd, "exits": exitsCmd, "grab": grabCmd, "tamper": tamperCmd, "catalog": catalogCmd,
		},
	}
	for _, name := range names {
		params.Files = append(params.Files, filepath.Join("testdata", "script", name+".txtar"))
	}
	testscript.Run(t, params)
}

// Invariant: A4, A7, A9
// Attack: APV-01, CLI-06
func TestStory(t *testing.T) { scripts(t, "ask", "approve") }

// Attack: POL-12, POL-15
func TestPolicies(t *testing.T) { scripts(t, "policy", "backtest") }

// Invariant: A31, A38
// Attack: AUD-01, AUD-02
func TestOperating(t *testing.T) { scripts(t, "operate", "offline") }

// startDev starts `daypass dev` for one script, and ends it with the script.
func startDev(env *testscript.Env) error {
	out := &ready{line: make(chan []byte, 1)}
	cmd := exec.Command("daypass", "dev", "-o", "json", "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0", "--postgres", "off")
	cmd.Stdout = out
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	env.Defer(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	var world demo.Ready
	select {
	case line := <-out.line:
		if err := json.Unmarshal(line, &world); err != nil {
			return fmt.Errorf("dev printed %q: %w", line, err)
		}
	case <-ended:
		return fmt.Errorf("dev ended: %s", said.String())
	case <-time.After(20 * time.Second):
		return errors.New("dev is not ready")
	}
	env.Values["world"] = world
	env.Setenv("DAYPASS_URL", world.API)
	env.Setenv("DAYPASS_TOKEN", world.Tokens["user:ana"])
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "settings"))
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("DATA", world.Data)
	env.Setenv("TOKEN_CY", world.Tokens["user:cy"])
	return nil
}

// ready delivers the first line that is written to it.
type ready struct {
	mu   sync.Mutex
	b    bytes.Buffer
	line chan []byte
	done bool
}

func (r *ready) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.b.Write(p)
	if line, _, ok := bytes.Cut(r.b.Bytes(), []byte("\n")); ok && !r.done {
		r.done = true
		r.line <- bytes.Clone(line)
	}
	return len(p), nil
}

func asCmd(ts *testscript.TestScript, _ bool, args []string) {
	token := ts.Value("world").(demo.Ready).Tokens[args[0]]
	if token == "" {
		ts.Fatalf("nobody is called %s", args[0])
	}
	ts.Setenv("DAYPASS_TOKEN", token)
}

func catalogCmd(ts *testscript.TestScript, _ bool, args []string) {
	c := client.New(ts.Getenv("DAYPASS_URL"), ts.Getenv("DAYPASS_TOKEN"))
	catalog, _, err := c.Catalog(context.Background())
	ts.Check(err)
	if !strings.Contains(catalog.Source, args[1]) {
		ts.Fatalf("the catalog has no %q", args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(catalog.Source, args[1], args[2], 1)), 0o600))
}

func exitsCmd(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func grabCmd(ts *testscript.TestScript, _ bool, args []string) {
	id := regexp.MustCompile(regexp.QuoteMeta(args[1]) + `[a-zA-Z0-9]+`).FindString(ts.ReadFile("stdout"))
	if id == "" {
		ts.Fatalf("there is no %s… on stdout", args[1])
	}
	ts.Setenv(args[0], id)
}

func tamperCmd(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	from := `"user:cy"`
	if !strings.Contains(text, from) {
		ts.Fatalf("%s is not in %s", from, args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(text, from, `"user:bo"`, 1)), 0o600))
}
