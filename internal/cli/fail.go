package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
)

// Error is an error with the exit code and the next step that belong to it.
type Error struct {
	Code int    // of the process
	Err  error  // nil: everything has been said already
	Next string // what to do next, or ""
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Usage returns an error of wrong usage.
func Usage(format string, args ...any) error {
	return &Error{Code: ExitUsage, Err: fmt.Errorf(format, args...)}
}

// Exit returns an error that ends the process with code and says nothing.
func Exit(code int) error { return &Error{Code: code} }

func fail(next, format string, args ...any) error {
	return &Error{Code: ExitFailed, Err: fmt.Errorf(format, args...), Next: next}
}

// nexts says what helps against a problem, beyond what the server says itself.
var nexts = map[string]string{
	"not_requestable": `"daypass resources" shows what you may ask for`,
	"content_changed": "look at the request again with \"daypass show\", then vote",
	"not_an_approver": `"daypass requests --to-review" shows what waits for you`,
}

// report prints err for whoever ran cmd and returns the exit code.
func report(cmd *cobra.Command, args []string, err error) int {
	code, next, problem := explain(err)
	if exit, ok := errors.AsType[*Error](err); ok && exit.Err == nil {
		return code
	}
	stderr, ok := cmd.Root().ErrOrStderr().(*screen)
	if !ok {
		stderr = newScreen(cmd.Root().ErrOrStderr(), true)
	}
	stderr.endLive()
	stderr.printf("%s %s\n", paint(red, "daypass:"), problem.Detail)
	for _, f := range problem.Errors {
		if strings.Trim(f.Message, ".") == strings.Trim(problem.Detail, ".") {
			continue // said already
		}
		stderr.printf("  %s: %s\n", strings.TrimPrefix(f.Location, "body."), f.Message)
	}
	if problem.AccessRequest != nil && problem.AccessRequest.Command != "" {
		next = problem.AccessRequest.Command
	}
	if next != "" {
		stderr.printf("  next: %s\n", next)
	}
	if wantsJSON(args) {
		if stdout, ok := cmd.Root().OutOrStdout().(*screen); ok {
			_ = stdout.json(problem)
		}
	}
	return code
}

// cobraUsage is what cobra's own checks of arguments and flags say, as errors
// without a type. Commands that are added to the root use them.
var cobraUsage = regexp.MustCompile(`^(unknown command|accepts |requires at |required flag|invalid argument )`)

// explain returns the exit code, the next step and the problem document of err.
func explain(err error) (code int, next string, problem api.Problem) {
	code = ExitFailed
	problem = api.Problem{Type: "about:blank", Title: "The command failed", Code: "failed", Detail: err.Error()}
	if e, ok := errors.AsType[*Error](err); ok {
		code, next = e.Code, e.Next
		if code == ExitUsage {
			problem.Title, problem.Code = "Wrong usage", "usage"
		}
	}
	if e, ok := errors.AsType[*client.Error](err); ok {
		problem = e.Problem
		if problem.Detail == "" {
			problem.Detail = e.Error()
		}
		if next == "" {
			next = nexts[problem.Code]
		}
		switch e.Status {
		case 401:
			code = ExitDenied
			next = `the token is missing, wrong or has ended: run "daypass login", or set DAYPASS_TOKEN`
		case 403:
			code = ExitDenied
		case 429:
			if next == "" {
				next = "try again later"
			}
		}
		if e.RetryAfter > 0 && next == "" {
			next = "try again in " + short(e.RetryAfter)
		}
		return code, next, problem
	}
	switch {
	case errors.Is(err, context.Canceled):
		problem.Detail, problem.Code = "interrupted", "interrupted"
	case code == ExitFailed && cobraUsage.MatchString(err.Error()):
		code, problem.Title, problem.Code = ExitUsage, "Wrong usage", "usage"
	case code == ExitFailed && next == "" && strings.HasPrefix(err.Error(), "calling "):
		problem.Code = "unreachable"
		next = "check the server's address (DAYPASS_URL or \"daypass login\") and that it runs"
	}
	return code, next, problem
}

// wantsJSON looks at the raw arguments: those that could not be parsed are
// among what must be reported.
func wantsJSON(args []string) bool {
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}
	for i, arg := range args {
		switch arg {
		case "-ojson", "-o=json", "--output=json":
			return true
		case "-o", "--output":
			if i+1 < len(args) && args[i+1] == "json" {
				return true
			}
		}
	}
	return false
}

// subcommands is the RunE of a command that only has commands below it.
func subcommands(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		if err := cmd.Help(); err != nil || !cmd.HasParent() {
			return err
		}
		return Exit(ExitUsage)
	}
	text := fmt.Sprintf("there is no command %q", cmd.CommandPath()+" "+args[0])
	next := cmd.CommandPath() + " --help"
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		next = "did you mean " + cmd.CommandPath() + " " + strings.Join(like, ", ") + "?"
	}
	return &Error{Code: ExitUsage, Err: errors.New(text), Next: next}
}

// parent returns a command that only has commands below it.
func parent(cmd *cobra.Command, children ...*cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = subcommands
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(children...)
	return cmd
}

// nameOf is the command's name without that of the program.
func nameOf(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}

// noArgs refuses arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &Error{Code: ExitUsage, Err: fmt.Errorf("%s takes no argument, but got %q", nameOf(cmd), args[0]), Next: cmd.CommandPath() + " --help"}
	}
	return nil
}

// oneArg wants exactly one argument, called name in the message.
func oneArg(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return nil
		}
		return &Error{Code: ExitUsage, Err: fmt.Errorf("%s needs exactly one %s", nameOf(cmd), name), Next: cmd.CommandPath() + " --help"}
	}
}

func twoArgs(first, second string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 2 {
			return nil
		}
		return &Error{Code: ExitUsage, Err: fmt.Errorf("%s needs %s and %s", nameOf(cmd), first, second), Next: cmd.CommandPath() + " --help"}
	}
}
