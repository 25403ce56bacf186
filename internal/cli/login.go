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
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Store a server's address and your token",
		Long: `Login asks for an API token without showing it, or reads it from standard input,
tries it, and stores it with the server's address in a file that only you can
read. DAYPASS_URL and DAYPASS_TOKEN win over what is stored.

A token is never taken from the command line, where other users could see it.

A job needs no token of its own: with --workload it gives the one that its
platform has signed for it, and gets a short one for that. With DAYPASS_WORKLOAD
set in its environment every command does so by itself, and no login is needed.`,
		Example: `  daypass login --url https://daypass.example.com
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
			token, err := a.readToken()
			if err != nil {
				return err
			}
			return a.login(cmd.Context(), login{URL: url, Token: token})
		},
	}
	cmd.Flags().StringVar(&url, "url", "", "the server's `address` (default $DAYPASS_URL)")
	cmd.Flags().StringVar(&from, "workload", "", "exchange the token of this job: `"+workloadForms+"`")
	return cmd
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
		if l.Workload != "" {
			a.err.printf("The token is in %s and ends at %s. \"daypass logout\" ends it before.\n", path, l.ExpiresAt.Format(time.RFC3339))
		} else {
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
	return &cobra.Command{
		Use:   "logout",
		Short: "Remove the stored token",
		Long: `Logout removes what "daypass login" stored. The token itself stays valid:
"daypass token revoke" ends it. The token of a job is ended too.`,
		Example: "  daypass logout",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ofJob, err := a.forgetJob(cmd.Context())
			if err != nil {
				return err
			}
			if l, err := a.loadLogin(); err == nil {
				a.endJob(cmd.Context(), l)
			}
			was, err := a.removeLogin()
			if err != nil {
				return err
			}
			was = was || ofJob
			return a.print(map[string]bool{"removed": was}, func() {
				if was {
					a.out.printf("Logged out: the stored token is removed.\n")
				} else {
					a.out.printf("Nothing was stored.\n")
				}
			})
		},
	}
}

func (a *app) whoamiCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "whoami",
		Short:   "Show who you are to the server",
		Long:    "Whoami shows as whom the server knows you, with your groups.",
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
}
