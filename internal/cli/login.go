package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
)

func (a *app) loginCmd() *cobra.Command {
	var url, from string
	ways := map[string]*bool{byBrowser: new(bool), byDevice: new(bool), byToken: new(bool)}
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Log in, and store the login",
		Long: `Login opens the server's page in a browser, where you log in and let this command
line in. On a machine without a browser, --device shows a code that you type on
the page from any other. The login is stored with the server's address in a file
that only you can read, and ends by itself: "daypass whoami" says when.
DAYPASS_URL and DAYPASS_TOKEN win over what is stored.

With --token, or when standard input is no terminal, it takes an API token
instead: asked for without showing it, or read from standard input. A token is
never taken from the command line, where other users could see it.

A job needs no token of its own: with --workload it gives the one that its
platform has signed for it, and gets a short one for that. With DAYPASS_WORKLOAD
set in its environment every command does so by itself, and no login is needed.`,
		Example: `  daypass login --url https://daypass.example.com
  daypass login --url https://daypass.example.com --device
  daypass login --url https://daypass.example.com < token.txt
  daypass login --url https://daypass.example.com --workload github`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if url == "" {
				url = a.Getenv("DAYPASS_URL")
			}
			if url == "" {
				return &Error{Code: ExitUsage, Err: errors.New("which server? login needs its address"), Next: "daypass login --url https://daypass.example.com"}
			}
			if err := client.CheckURL(url); err != nil && a.Getenv("DAYPASS_ALLOW_PLAIN_HTTP") != "yes" {
				return &Error{Code: ExitUsage, Err: err}
			}
			url = strings.TrimRight(url, "/")
			if from != "" {
				s, err := workloadSource(from)
				if err != nil {
					return err
				}
				l, err := a.jobLogin(cmd.Context(), s, url)
				if err != nil {
					return err
				}
				return a.login(cmd.Context(), l)
			}
			switch {
			case *ways[byDevice]:
				return a.signInAndStore(cmd.Context(), url, byDevice)
			case *ways[byBrowser]:
				return a.signInAndStore(cmd.Context(), url, byBrowser)
			case !*ways[byToken] && a.onTerminal():
				if err := a.signInAndStore(cmd.Context(), url, byBrowser); !errors.Is(err, errNobodyLogsIn) {
					return err
				}
			}
			token, err := a.readToken()
			if err != nil {
				return err
			}
			return a.login(cmd.Context(), login{URL: url, Token: token})
		},
	}
	cmd.Flags().StringVar(&url, "url", "", "the server's `address` (default $DAYPASS_URL)")
	cmd.Flags().BoolVar(ways[byBrowser], byBrowser, false, "log in with a browser of this machine (default on a terminal)")
	cmd.Flags().BoolVar(ways[byDevice], byDevice, false, "show a code to type in a browser elsewhere")
	cmd.Flags().BoolVar(ways[byToken], byToken, false, "take an API token, asked for or from standard input")
	cmd.Flags().StringVar(&from, "workload", "", "exchange the token of this job: `"+workloadForms+"`")
	cmd.MarkFlagsMutuallyExclusive(byBrowser, byDevice, byToken, "workload")
	return cmd
}

// signInAndStore logs a person in.
func (a *app) signInAndStore(ctx context.Context, url, how string) error {
	l, err := a.signIn(ctx, url, how)
	if err != nil {
		return err
	}
	return a.login(ctx, l)
}

// onTerminal reports whether a person could answer.
func (a *app) onTerminal() bool {
	f, ok := a.Stdin.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (a *app) login(ctx context.Context, l login) error {
	url := l.URL
	c, err := a.connectTo(url, l.Token)
	if err != nil {
		return err
	}
	me, err := c.Me(ctx)
	if client.Status(err) == 401 {
		return &Error{Code: ExitDenied, Err: fmt.Errorf("%s does not know this token; nothing was stored", url), Next: "check that it was copied whole and has not ended"}
	} else if err != nil {
		return err
	}
	l.Principal = me.ID
	path, err := a.saveLogin(l)
	if err != nil {
		return err
	}
	return a.print(me, func() {
		a.out.printf("Logged in to %s as %s.\n", url, paint(bold, me.ID))
		switch {
		case l.Login:
			a.err.printf("The login is in %s and ends %s. \"daypass logout\" ends it before.\n", path, a.at(api.TimeOf(l.ExpiresAt)))
		case l.Workload != "":
			a.err.printf("The token is in %s and ends at %s. \"daypass logout\" ends it before.\n", path, l.ExpiresAt.Format(time.RFC3339))
		default:
			a.err.printf("The token is in %s. \"daypass logout\" removes it.\n", path)
		}
		if a.Getenv("DAYPASS_TOKEN") != "" {
			a.err.printf("%s DAYPASS_TOKEN is set and wins over it\n", paint(yellow, "note:"))
		}
	})
}

// readToken asks on a terminal, without echo, or reads one line.
func (a *app) readToken() (string, error) {
	if f, ok := a.Stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		a.err.printf("API token (not shown): ")
		raw, err := term.ReadPassword(int(f.Fd()))
		a.err.printf("\n")
		if err != nil {
			return "", fmt.Errorf("reading the token: %w", err)
		}
		return checkToken(string(raw))
	}
	line, err := bufio.NewReader(io.LimitReader(a.Stdin, 64<<10)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	return checkToken(line)
}

func checkToken(s string) (string, error) {
	s = strings.TrimSpace(s)
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", Usage("that is not a token: it is one word, such as dpat_ and 49 letters and digits")
	}
	return s, nil
}

func (a *app) logoutCmd() *cobra.Command {
	var everywhere bool
	cmd := &cobra.Command{
		Use:   "logout",
		Short: "Log out, and remove what was stored",
		Long: `Logout ends the login that "daypass login" stored, on the server too, and removes
it; --everywhere ends all your logins, browsers included. An API token that was
stored is removed and stays valid: "daypass token revoke" ends it. The token of a
job is ended too.`,
		Example: "  daypass logout\n  daypass logout --everywhere",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ofJob, err := a.forgetJob(cmd.Context())
			if err != nil {
				return err
			}
			ended, failed := a.endLogin(cmd.Context(), everywhere)
			was, err := a.removeLogin()
			if err != nil {
				return err
			}
			was = was || ofJob
			if failed != nil {
				return fail("daypass logout --everywhere, when it answers", "the login is removed here, but the server could not be told: %v", failed)
			}
			return a.print(map[string]any{"removed": was, "ended": ended}, func() {
				switch {
				case everywhere:
					a.out.printf("Logged out everywhere: %d logins ended.\n", ended)
				case ended > 0:
					a.out.printf("Logged out.\n")
				case was:
					a.out.printf("Logged out: the stored token is removed.\n")
				default:
					a.out.printf("Nothing was stored.\n")
				}
			})
		},
	}
	cmd.Flags().BoolVar(&everywhere, "everywhere", false, "end all your logins, browsers included")
	return cmd
}

// endLogin ends the login that was stored, or all of its person's.
func (a *app) endLogin(ctx context.Context, everywhere bool) (ended int, err error) {
	l, err := a.loadLogin()
	switch {
	case err != nil:
		return 0, nil //nolint:nilerr // what cannot be read is removed all the same
	case l.Workload != "":
		a.endJob(ctx, l)
		return 0, nil
	case l.Token == "" || !l.Login && !everywhere:
		return 0, nil
	}
	c, err := a.connectTo(l.URL, l.Token)
	if err != nil {
		return 0, err
	}
	if everywhere {
		all, err := c.EndLogins(ctx, "")
		if err != nil {
			return 0, err
		}
		return all.Ended, nil
	}
	if err := c.EndLogin(ctx, "current"); err != nil && client.Status(err) != 401 { // it has ended already
		return 0, err
	}
	return 1, nil
}

func (a *app) whoamiCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "whoami",
		Short:   "Show who you are to the server",
		Long:    "Whoami shows as whom the server knows you, with your groups, how you came in, and until when.",
		Example: "  daypass whoami\n  daypass whoami -o json",
		Args:    noArgs,
		RunE: a.calling(func(ctx context.Context, c *client.Client, _ []string) error {
			me, err := c.Me(ctx)
			if err != nil {
				return err
			}
			return a.print(me, func() { a.showMe(c.URL(), me) })
		}),
	}
}

func (a *app) showMe(url string, me *api.Me) {
	a.out.printf("%s at %s\n", paint(bold, me.ID), url)
	if me.Person != "" && me.Person != me.ID {
		a.out.field("person", "%s", me.Person)
	}
	if me.Owner != "" {
		a.out.field("owner", "%s", me.Owner)
	}
	if len(me.Groups) > 0 {
		a.out.field("groups", "%s", strings.Join(me.Groups, ", "))
	}
	var rights []string
	if me.Admin {
		rights = append(rights, "admin")
	}
	if me.Auditor {
		rights = append(rights, "auditor")
	}
	if len(rights) > 0 {
		a.out.field("rights", "%s", strings.Join(rights, ", "))
	}
	switch {
	case me.Login != nil:
		a.out.field("login", "%s, of %s", me.Login.Label, me.Login.Issuer)
	case me.ExpiresAt != nil:
		a.out.field("by", "an API token")
	}
	if me.ExpiresAt != nil {
		a.out.field("until", "%s", a.at(*me.ExpiresAt))
	}
}
