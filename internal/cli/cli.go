// Package cli is the command line as a face: it reads arguments, calls the API
// through package client, and prints what came back for a person or, with
// -o json, for a program. The policy commands read catalogs that lie here as
// files. Commands that need the server's own parts (serve, demo, config, audit
// verify) are added by cmd/daypass.
//
// It refuses to decide anything, to put a secret on a command line or into a
// file that others can read, to hand server text to a terminal unescaped, to
// start a shell, and to read settings or programs from the current directory.
package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
	"github.com/daypass/daypass/internal/policy"
)

// The exit codes of every command.
const (
	ExitDone    = 0
	ExitFailed  = 1
	ExitUsage   = 2 // wrong usage
	ExitDenied  = 3 // denied, or not permitted
	ExitPending = 4 // still pending, or the wait ran out
)

// The groups of commands in the help of the root command. A command that is
// added to it names one of them as its GroupID.
const (
	GroupAsk     = "ask"
	GroupDecide  = "decide"
	GroupUse     = "use"
	GroupOperate = "operate"
)

// Options are what the command line works with. The zero value of each field
// stands for the process's own.
type Options struct {
	Version   string
	Stdin     io.Reader
	Stdout    io.Writer
	Stderr    io.Writer
	Getenv    func(string) string
	ConfigDir string // where the folder daypass with the login lies; default os.UserConfigDir
	Now       func() time.Time
	Kinds     []policy.Kind // of the catalogs that are read here
	// Open opens a page in a browser; nil: the system's way to.
	Open func(url string) error
	// Backtest replays what a data folder recorded; nil: not possible.
	Backtest func(ctx context.Context, dir string, source []byte, since time.Time, frozen bool) (api.Backtest, error)
}

// app is what all commands share.
type app struct {
	Options
	out    *screen
	err    *screen
	output string // of the flag -o
}

// New returns the root command. Add further commands to it, then run it with
// Execute, which turns errors into messages and exit codes.
func New(o Options) *cobra.Command {
	a := newApp(o)
	root := &cobra.Command{
		Use:   "daypass",
		Short: "Temporary access: asked for, decided, used, and ended by itself",
		Long: `Daypass gives temporary access. Somebody asks for a scope on a resource for a
while, a policy or people decide, and the access ends by itself.

Settings: DAYPASS_URL and DAYPASS_TOKEN, or what "daypass login" stored.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 denied or not permitted,
4 still pending.`,
		Example: `  daypass login --url https://daypass.example.com
  daypass resources
  daypass request orders-api --role read --for 15m --reason "refund totals" --wait
  daypass connect orders-api -- /v1/orders/7`,
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
		Args:                       cobra.ArbitraryArgs,
		RunE:                       subcommands,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if a.output != "text" && a.output != "json" {
				return Usage("the output format is text or json, not %q", a.output)
			}
			return nil
		},
	}
	root.AddGroup(
		&cobra.Group{ID: GroupAsk, Title: "Ask:"},
		&cobra.Group{ID: GroupDecide, Title: "Decide:"},
		&cobra.Group{ID: GroupUse, Title: "Use:"},
		&cobra.Group{ID: GroupOperate, Title: "Operate:"},
	)
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "text", "print `text` for people or json for programs")
	must(root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)))
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &Error{Code: ExitUsage, Err: err, Next: cmd.CommandPath() + " --help"}
	})
	root.SetIn(a.Stdin)
	root.SetOut(a.out)
	root.SetErr(a.err)

	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(GroupAsk, a.resourcesCmd(), a.requestCmd(), a.requestsCmd(), a.showCmd(), a.extendCmd(), a.cancelCmd())
	add(GroupDecide, a.approveCmd(), a.denyCmd(), a.revokeCmd())
	add(GroupUse, a.grantsCmd(), a.credentialCmd(), a.connectCmd(), a.execCmd(), a.sessionsCmd())
	add(GroupOperate, a.applyCmd(), a.policyCmd(), a.auditCmd(), a.tokenCmd(), a.issuingCmd(), a.keysCmd(), a.quarantineCmd())
	root.AddCommand(a.loginCmd(), a.logoutCmd(), a.whoamiCmd(), a.versionCmd())
	return root
}

// Run runs the commands of New with the process's own environment. It returns
// the exit code.
func Run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o := Options{Stdin: stdin, Stdout: stdout, Stderr: stderr}
	return Execute(context.Background(), New(o), args)
}

// Execute runs root, which New made, with args, and returns the exit code. An
// error is reported on standard error, and with -o json as a problem document
// on standard output as well. An interrupt ends the context of the commands.
func Execute(ctx context.Context, root *cobra.Command, args []string) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	root.SetArgs(args)
	// Completions have tabs between words and what they mean, and scripts for
	// shells are no text to look at; what comes from a server is cleaned before.
	if s, ok := root.OutOrStdout().(*screen); ok && len(args) > 0 && slices.Contains(shellCommands, args[0]) {
		root.SetOut(s.w)
	}
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitDone
	}
	return report(cmd, args, err)
}

var shellCommands = []string{"completion", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd}

func newApp(o Options) *app {
	if o.Version == "" {
		o.Version = "devel"
	}
	if o.Stdin == nil {
		o.Stdin = os.Stdin
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	plain := o.Getenv("NO_COLOR") != "" || o.Getenv("TERM") == "dumb"
	return &app{Options: o, out: newScreen(o.Stdout, plain), err: newScreen(o.Stderr, plain)}
}

func (a *app) json() bool { return a.output == "json" }

// action is the body of a command that calls the API.
type action func(ctx context.Context, c *client.Client, args []string) error

// calling makes a cobra RunE of an action.
func (a *app) calling(run action) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		return run(cmd.Context(), c, args)
	}
}

// print writes v as JSON, or calls text.
func (a *app) print(v any, text func()) error {
	if a.json() {
		return a.out.json(v)
	}
	text()
	return a.out.failed()
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		Long:    "Version prints the version of this program, and the Go release and platform it was built for.",
		Example: "  daypass version\n  daypass version -o json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			v := map[string]string{"version": a.Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			return a.print(v, func() {
				a.out.printf("daypass %s (%s, %s)\n", v["version"], v["go"], v["platform"])
			})
		},
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
