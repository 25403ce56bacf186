package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
)

func (a *app) connectCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "connect RESOURCE|GRANT [-- CLIENT-ARGUMENTS…]",
		Short: "Use a grant with the right client: curl for http, psql for postgres",
		Long: `Connect gets a credential and starts the client that belongs to the kind of the
resource. For http that is curl: what begins with a slash is a path of the
resource, the rest goes to curl as it is. The secret reaches curl through a
pipe, never its command line, and curl can connect to nothing but the gateway.
Your ~/.curlrc is not read. Without arguments after -- it says how to use the
grant by hand.

For postgres it is psql, with host, user, database and certificate set, and what
comes after -- goes to it as it is.`,
		Example: `  daypass connect orders-api -- /v1/orders/7
  daypass connect orders-db
  daypass connect orders-db -- -c 'select count(*) from orders'
  daypass connect orders-api -- /v1/orders -i -X POST --json '{"total": 7}'
  daypass connect grt_k3v7c2w5q4x6y7z2a3b4c5d6e7`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return oneArg("RESOURCE or GRANT")(cmd, args)
			}
			return nil
		},
		ValidArgsFunction: a.completing(completeGrants, completeResources),
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			g, err := usableGrant(ctx, c, args[0])
			if err != nil {
				return err
			}
			rest := afterDash(args[1:])
			if g.Kind == "postgres" && !a.json() {
				return a.psql(ctx, c, g, rest)
			}
			if len(rest) == 0 {
				return a.print(g, func() { a.howToConnect(g) })
			}
			if g.Kind != "http" {
				return fail("daypass credential "+g.ID, "connect cannot start a client for a resource of kind %s", g.Kind)
			}
			return a.curl(ctx, c, g, rest)
		}),
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// afterDash drops a leading "--".
func afterDash(args []string) []string {
	if len(args) > 0 && args[0] == "--" {
		return args[1:]
	}
	return args
}

func (a *app) howToConnect(g *api.Grant) {
	a.out.printf("%s on %s  %s\n", g.ID, g.Resource, a.grantState(g))
	if g.Connect != nil {
		a.showConnect(g.Connect)
	}
	if g.Kind == "http" {
		a.out.field("or", "daypass connect %s -- /PATH", g.ID)
	}
	a.out.field("secret", "daypass credential %s", g.ID)
}

// curl runs curl against the gateway and ends with its exit code.
func (a *app) curl(ctx context.Context, c *client.Client, g *api.Grant, args []string) error {
	// LookPath never answers with a program of the current directory.
	path, err := exec.LookPath("curl")
	if err != nil {
		return fail("install curl, or use daypass credential "+g.ID, "curl is not there: %w", err)
	}
	cred, err := a.issue(ctx, c, g, "token")
	if err != nil {
		return err
	}
	config, err := curlConfig(cred)
	if err != nil {
		return err
	}
	// Not tied to ctx: an interrupt reaches curl by itself.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path)
	cmd.Env = a.childEnv()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.Stdin, a.Stdout, a.Stderr
	source, started, cleanup, err := passSecret(cmd, config)
	if err != nil {
		return err
	}
	defer cleanup()
	// --disable must come first: it keeps ~/.curlrc out, which could switch the
	// verification of certificates off.
	cmd.Args = append([]string{"curl", "--disable", "--config", source}, curlArgs(cred.Connect.URL, args)...)
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	if err := cmd.Start(); err != nil {
		return fail("", "starting curl: %w", err)
	}
	started()
	return exitOf(cmd.Wait())
}

// exitOf makes the exit code of a child our own.
func exitOf(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return Exit(childCode(e.ProcessState))
	}
	return fail("", "running the command: %w", err)
}

// curlConfig is what curl is told where nobody else can read it. connect-to
// sends every connection to the gateway, whatever address an argument names, so
// that the secret can go nowhere else.
func curlConfig(cred *api.Credential) (string, error) {
	u, err := url.Parse(cred.Connect.URL)
	if err != nil || u.Hostname() == "" || !urlForm.MatchString(cred.Connect.URL) {
		return "", fail("", "the server did not say where the gateway is")
	}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	// Not every system resolves the names below localhost.
	if strings.HasSuffix(host, ".localhost") {
		host = "localhost"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "header = \"Authorization: Bearer %s\"\n", *cred.Secret)
	fmt.Fprintf(&b, "connect-to = \"::%s\"\n", net.JoinHostPort(host, port))
	fmt.Fprintf(&b, "proto = \"=%s\"\nproto-redir = \"=%s\"\n", u.Scheme, u.Scheme)
	b.WriteString("no-progress-meter\n") // it would mix with what is asked for
	if u.Scheme == "http" {
		b.WriteString("proxy = \"\"\n") // it could read what is not encrypted
	}
	return b.String(), nil
}

// curlArgs makes addresses of the paths at the beginning of args and of one at
// their end. One in the middle, or right behind an option, may be a file's.
func curlArgs(base string, args []string) []string {
	out := make([]string, 0, len(args)+1)
	paths := 0
	for ; paths < len(args) && strings.HasPrefix(args[paths], "/"); paths++ {
		out = append(out, strings.TrimRight(base, "/")+args[paths])
	}
	rest := slices.Clone(args[paths:])
	if n := len(rest); paths == 0 && n > 1 && strings.HasPrefix(rest[n-1], "/") && !strings.HasPrefix(rest[n-2], "-") {
		rest[n-1] = strings.TrimRight(base, "/") + rest[n-1]
		paths++
	}
	if paths == 0 && !namesURL(args) {
		out = append(out, strings.TrimRight(base, "/")+"/")
	}
	return append(out, rest...)
}

func namesURL(args []string) bool {
	for _, arg := range args {
		if strings.Contains(arg, "://") || arg == "--url" || strings.HasPrefix(arg, "--url=") {
			return true
		}
	}
	return false
}

// childEnv is our environment without our own token, and without the one that
// a job is given for us: a child gets the credential of a grant, not what asks
// for others.
func (a *app) childEnv() []string {
	env := os.Environ()
	kept := env[:0]
	_, named, _ := strings.Cut(a.Getenv("DAYPASS_WORKLOAD"), "env:")
	for _, pair := range env {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.EqualFold(name, "DAYPASS_TOKEN") && !strings.EqualFold(name, gitlabVariable) && (named == "" || name != named) {
			kept = append(kept, pair)
		}
	}
	return kept
}
