package cli_test

import (
	"errors"
	"flag"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/daypass/daypass/internal/audit"
	"github.com/daypass/daypass/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"daypass": func() { os.Exit(cli.Run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// scripts runs scripts of testdata/script, which show each command as a person
// uses it. Every script has a server of its own. Beside the commands of
// testscript there are:
//
//	as user:ana            who the following commands are
//	exits 3 daypass …      the command must end with this exit code
//	grab NAME req_         the first such ID on stdout becomes $NAME
//	plain stdout|stderr    it holds no control byte but line ends
//	mode FILE 0600         the file has this mode
//	verify FILE            the export of the audit log is whole
//	server revoke NAME     the server revokes what there is on a resource
//	called GET /v1/me      there was such a call
//	noleak stdout stderr   they hold no secret
//	gone FILE              the process whose ID is in the file has ended
//	within 3s              no more time went by since the last "within"
func scripts(t *testing.T, names ...string) {
	t.Helper()
	params := testscript.Params{
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			f := newFake(env.T().(testing.TB))
			env.Setenv("DAYPASS_URL", f.URL)
			env.Setenv("DAYPASS_TOKEN", "dpat_ana")
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "settings"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("REQUEST", "req_aaaaaaaaaaaaaaaaaaaaaaaaaa")
			env.Setenv("ESC", "req_\x1b[2J")
			since := time.Now()
			env.Values["server"], env.Values["since"] = f, &since
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"as": asCmd, "exits": exitsCmd, "grab": grabCmd, "plain": plainCmd, "mode": modeCmd, "verify": verifyCmd,
			"server": serverCmd, "called": calledCmd, "noleak": noleakCmd, "gone": goneCmd, "within": withinCmd,
		},
	}
	for _, name := range names {
		params.Files = append(params.Files, filepath.Join("testdata", "script", name+".txtar"))
		ran[name] = true
	}
	testscript.Run(t, params)
}

// ran are the scripts that some test has run.
var ran = map[string]bool{}

func TestAsking(t *testing.T) { scripts(t, "request") }

func TestReviewing(t *testing.T) { scripts(t, "review") }

func TestOperating(t *testing.T) { scripts(t, "operate") }

// Attack: CLI-01, CLI-05
func TestHostileText(t *testing.T) { scripts(t, "hostile") }

// Attack: CLI-02, CLI-05, CLI-08
func TestUsing(t *testing.T) { scripts(t, "use") }

// Attack: CLI-02, CLI-05, CLI-08
func TestDatabases(t *testing.T) { scripts(t, "database") }

// Attack: CLI-02, CLI-08, CLI-09
func TestLogin(t *testing.T) { scripts(t, "login") }

// Attack: CLI-06
func TestExitCodes(t *testing.T) { scripts(t, "exit-codes", "denied") }

// Attack: CLI-07
func TestWaiting(t *testing.T) { scripts(t, "wait") }

func TestExec(t *testing.T) { scripts(t, "exec", "exec-expiry") }

func TestEveryScriptIsRun(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d scripts, %v", len(files), err)
	}
	if flag.Lookup("test.run").Value.String() != "" {
		return // only some tests run, so only some scripts do
	}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".txtar"); !ran[name] {
			t.Errorf("no test runs %s", f)
		}
	}
}

func server(ts *testscript.TestScript) *fakeAPI { return ts.Value("server").(*fakeAPI) }

func asCmd(ts *testscript.TestScript, _ bool, args []string) {
	_, name, ok := strings.Cut(args[0], ":")
	if _, known := people["dpat_"+name]; !ok || !known {
		ts.Fatalf("nobody is called %s", args[0])
	}
	ts.Setenv("DAYPASS_TOKEN", "dpat_"+name)
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
	id := regexp.MustCompile(regexp.QuoteMeta(args[1]) + `[a-z0-9]+`).FindString(ts.ReadFile("stdout"))
	if id == "" {
		ts.Fatalf("there is no %s… on stdout", args[1])
	}
	ts.Setenv(args[0], id)
}

func plainCmd(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	if text == "" {
		ts.Fatalf("%s is empty", args[0])
	}
	if bad := cli.FirstOdd(text); bad != "" {
		ts.Fatalf("%s holds %s", args[0], bad)
	}
}

func modeCmd(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Lstat(ts.MkAbs(args[0]))
	ts.Check(err)
	want, err := strconv.ParseUint(args[1], 8, 32)
	ts.Check(err)
	if !info.Mode().IsRegular() && !info.IsDir() || info.Mode().Perm() != os.FileMode(want) {
		ts.Fatalf("%s is %v", args[0], info.Mode())
	}
}

func verifyCmd(ts *testscript.TestScript, neg bool, args []string) {
	report, err := audit.VerifyExport(strings.NewReader(ts.ReadFile(args[0])), audit.VerifyOptions{})
	if (err != nil) != neg {
		ts.Fatalf("%v, %v", report, err)
	}
}

func serverCmd(ts *testscript.TestScript, _ bool, args []string) {
	req, err := http.NewRequest(http.MethodPost, server(ts).URL+"/control/"+strings.Join(args, "/"), nil)
	ts.Check(err)
	res, err := http.DefaultClient.Do(req)
	ts.Check(err)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		ts.Fatalf("server: %s", res.Status)
	}
}

// calledCmd looks for a call by its method and path.
func calledCmd(ts *testscript.TestScript, neg bool, args []string) {
	f := server(ts)
	f.mu.Lock()
	defer f.mu.Unlock()
	found := false
	for _, call := range f.calls {
		found = found || strings.HasPrefix(call, strings.Join(args, " "))
	}
	if found == neg {
		ts.Fatalf("calls: %q", f.calls)
	}
}

// noleakCmd checks that no secret is in what the last command printed.
func noleakCmd(ts *testscript.TestScript, _ bool, args []string) {
	f := server(ts)
	f.mu.Lock()
	secrets := append([]string{"dpat_ana", "dpat_bo", "dpat_root"}, f.secrets...)
	f.mu.Unlock()
	for _, name := range args {
		text := ts.ReadFile(name)
		for _, s := range secrets {
			if strings.Contains(text, s) {
				ts.Fatalf("%s holds a secret", name)
			}
		}
	}
}

func withinCmd(ts *testscript.TestScript, _ bool, args []string) {
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	since := ts.Value("since").(*time.Time)
	if took := time.Since(*since); took > limit {
		ts.Fatalf("it took %v", took)
	}
	*since = time.Now()
}

// goneCmd takes a process that nobody has reaped for one that has ended.
func goneCmd(ts *testscript.TestScript, _ bool, args []string) {
	pid := strings.TrimSpace(ts.ReadFile(args[0]))
	if pid == "" {
		ts.Fatalf("%s is empty", args[0])
	}
	for range 500 {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			return
		}
		if _, rest, ok := strings.Cut(string(stat), ") "); ok && rest[0] == 'Z' {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("process %s lives", pid)
}
