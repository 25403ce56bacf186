package cli

import (
	"bytes"
	"context"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/api"
)

func TestEveryCommandHasHelp(t *testing.T) {
	n := 0
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		for _, child := range c.Commands() {
			walk(child)
		}
		n++
		if c.Short == "" || c.Long == "" || c.Example == "" {
			t.Errorf("%s: short %t, long %t, example %t", c.CommandPath(), c.Short != "", c.Long != "", c.Example != "")
		}
		if c.HasParent() && c.Example != "" && !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("the example of %s does not show it", c.CommandPath())
		}
		for _, line := range strings.Split(c.Long+"\n"+c.Example, "\n") {
			if len(line) > 160 {
				t.Errorf("%s: a line of help is %d bytes long", c.CommandPath(), len(line))
			}
		}
	}
	walk(New(Options{}))
	if n < 30 {
		t.Errorf("%d commands", n)
	}
}

func TestFurtherCommands(t *testing.T) {
	var out, errs bytes.Buffer
	o := Options{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }}
	run := func(args ...string) int {
		out.Reset()
		errs.Reset()
		root := New(o)
		root.AddCommand(&cobra.Command{
			Use: "serve", Short: "Run the server", GroupID: GroupOperate,
			RunE: func(_ *cobra.Command, args []string) error {
				if len(args) > 0 {
					return Exit(ExitPending)
				}
				return Usage("no %s", "\x1b[31mconfig")
			},
		})
		return Execute(context.Background(), root, args)
	}
	if code := run("--help"); code != ExitDone || !strings.Contains(out.String(), "serve") || strings.Index(out.String(), "serve") < strings.Index(out.String(), "Operate:") {
		t.Errorf("code %d: %s", code, &out)
	}
	if code := run("serve"); code != ExitUsage || errs.String() != "daypass: no \\x1b[31mconfig\n" {
		t.Errorf("code %d: %q", code, &errs)
	}
	if code := run("serve", "x"); code != ExitPending || errs.Len() != 0 {
		t.Errorf("code %d: %q", code, &errs)
	}
	if code := run("serv"); code != ExitUsage || !strings.Contains(errs.String(), "did you mean daypass serve") {
		t.Errorf("code %d: %q", code, &errs)
	}
}

// Neither the commands nor the SDK listen on anything, but for the port of this
// machine to which a login's own browser comes back; what else comes there is
// told nothing (TestACallbackTakesItsOwnAnswerAlone).
//
// Attack: CLI-04
func TestNothingListens(t *testing.T) {
	n := 0
	for _, dir := range []string{".", "../../client"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			n++
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.ParseFile(token.NewFileSet(), name, src, 0); err != nil {
				t.Fatal(err)
			}
			if filepath.Base(name) == "signin.go" && dir == "." {
				const ours = `Listen(ctx, "tcp", "127.0.0.1:0")`
				if bytes.Count(src, []byte("Listen(")) != 1 || !bytes.Contains(src, []byte(ours)) {
					t.Errorf("%s listens elsewhere than on a port of loopback", name)
				}
				src = bytes.ReplaceAll(bytes.ReplaceAll(src, []byte(ours), nil), []byte("http.Server{"), nil)
			}
			for _, call := range []string{"Listen(", "ListenAndServe", "http.Serve", "InsecureSkipVerify", `exec.Command("sh"`, `"-c"`} {
				if bytes.Contains(src, []byte(call)) {
					t.Errorf("%s has %s", name, call)
				}
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d files were looked at", n)
	}
}

func TestWhen(t *testing.T) {
	now := time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)
	a := &app{Options: Options{Now: func() time.Time { return now }}}
	for d, want := range map[time.Duration]string{
		0: "now", 499 * time.Millisecond: "now", -499 * time.Millisecond: "now", 14*time.Minute + 59900*time.Millisecond: "in 15m", -time.Second: "1s ago", 59 * time.Second: "in 59s", 90 * time.Second: "in 1m30s", 2 * time.Minute: "in 2m",
		12*time.Minute + 59*time.Second: "in 12m", time.Hour: "in 1h", 90 * time.Minute: "in 1h30m", 47*time.Hour + 59*time.Minute: "in 47h59m", 48 * time.Hour: "in 2d",
		-49 * time.Hour: "2d ago", 400 * 24 * time.Hour: "in 400d",
	} {
		if got := a.when(api.TimeOf(now.Add(d))); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	if got := a.left(api.TimeOf(now.Add(-time.Hour))); got != "0s" {
		t.Errorf("left %q", got)
	}
}

// The server's clock decides, whatever ours says.
//
// Invariant: A3
func TestDeadline(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		at     time.Duration
		offset time.Duration
		want   bool
	}{
		{time.Hour, 0, false}, {-time.Millisecond, 0, true}, {time.Hour, 2 * time.Hour, true}, {-time.Hour, -2 * time.Hour, false},
	} {
		if got := newDeadline(now.Add(c.at), c.offset).passed(); got != c.want {
			t.Errorf("at %v with the server ahead by %v: %v", c.at, c.offset, got)
		}
	}
}

func TestCurlConfig(t *testing.T) {
	secret := "dpgt_abc"
	config := func(url string) string {
		text, err := curlConfig(&api.Credential{Secret: &secret, Connect: api.Connect{URL: url}})
		if err != nil {
			return "error"
		}
		return text
	}
	for url, want := range map[string]string{
		"https://orders.example.com":       `connect-to = "::orders.example.com:443"`,
		"https://orders.example.com:8443/": `connect-to = "::orders.example.com:8443"`,
		"http://orders-api.localhost:7480": `connect-to = "::localhost:7480"`,
		"http://[::1]:7480":                `connect-to = "::[::1]:7480"`,
	} {
		if got := config(url); !strings.Contains(got, want+"\n") {
			t.Errorf("%s: %s", url, got)
		}
	}
	for _, url := range []string{"", "ftp://h", "http://", "http://h\"\nurl = x", "http://h/$(id)", "http://a@b/", "javascript:x"} {
		if got := config(url); got != "error" {
			t.Errorf("%q: %s", url, got)
		}
	}
}

func TestCurlArgs(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"/v1/x -i", "http://g/v1/x -i"}, {"/a /b -o /tmp/x", "http://g/a http://g/b -o /tmp/x"}, {"-i", "http://g/ -i"},
		{"-i http://g/x", "-i http://g/x"}, {"--url http://g/x", "--url http://g/x"},
	} {
		if got := strings.Join(curlArgs("http://g/", strings.Fields(c.in)), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.in, got, c.want)
		}
	}
}

// Commands that others add may use cobra's own checks.
func TestCobraErrorsAreUsage(t *testing.T) {
	for name, args := range map[string]cobra.PositionalArgs{"no": cobra.NoArgs, "exact": cobra.ExactArgs(1), "min": cobra.MinimumNArgs(3)} {
		var out, errs bytes.Buffer
		root := New(Options{Stdout: &out, Stderr: &errs})
		root.AddCommand(&cobra.Command{Use: "serve", Args: args, RunE: func(*cobra.Command, []string) error { return nil }})
		if code := Execute(context.Background(), root, []string{"serve", "a", "b"}); code != ExitUsage {
			t.Errorf("%s: code %d: %s", name, code, &errs)
		}
	}
}
