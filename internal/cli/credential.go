package cli

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
)

// secretForm is what a credential looks like: an opaque token or a JWT. A
// server that sent something else could otherwise slip quotes or line ends
// into shells and into the configuration of other programs.
var secretForm = regexp.MustCompile(`^[A-Za-z0-9_.=~+/-]{8,}$`)

// urlForm likewise keeps a gateway's address plain.
var urlForm = regexp.MustCompile(`^https?://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9._~/-]*)?$`)

func (a *app) credentialCmd() *cobra.Command {
	var format string
	var jwt bool
	cmd := &cobra.Command{
		Use:   "credential GRANT [--format token|env|json|psql|dsn|jdbc|pgpass]",
		Short: "Get the secret that proves a grant",
		Long: `Credential prints a new secret for a grant of yours: alone on a line (token), as
lines for a shell (env), or with all that belongs to it (json); for a database
also as a line that runs psql, as a URI (dsn), for JDBC, or as a line of
~/.pgpass. It is shown once and works until the grant ends. GRANT may also be the request that it came
from, or a resource on which you have an active grant.`,
		Example: `  daypass credential grt_k3v7c2w5q4x6y7z2a3b4c5d6e7
  eval "$(daypass credential orders-api --format env)"
  daypass credential orders-api --jwt --format json
  daypass credential orders-db --format jdbc`,
		Args:              oneArg("GRANT"),
		ValidArgsFunction: a.completing(completeGrants),
		RunE: a.calling(func(ctx context.Context, c *client.Client, args []string) error {
			if format == "" {
				format = "token"
				if a.json() {
					format = "json"
				}
			}
			if !slices.Contains(credentialFormats, format) {
				return Usage("--format is %s, not %q", strings.Join(credentialFormats, ", "), format)
			}
			kind := "token"
			if jwt {
				kind = "jwt"
			}
			g, err := usableGrant(ctx, c, args[0])
			if err != nil {
				return err
			}
			cred, err := a.issue(ctx, c, g, kind)
			if err != nil {
				return err
			}
			if err := a.showCredential(ctx, c, g, cred, format); err != nil {
				return err
			}
			return a.out.failed()
		}),
	}
	cmd.Flags().StringVar(&format, "format", "", "print it as token, env, json, psql, dsn, jdbc or pgpass: a `word` (default token)")
	cmd.Flags().BoolVar(&jwt, "jwt", false, "a signed token of a few minutes, for services that verify it themselves")
	must(cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(credentialFormats, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// credentialFormats are what a credential can be printed as; those from psql on
// are for databases.
var credentialFormats = []string{"token", "env", "json", "psql", "dsn", "jdbc", "pgpass"}

func (a *app) showCredential(ctx context.Context, c *client.Client, g *api.Grant, cred *api.Credential, format string) error {
	switch format {
	case "json":
		return a.out.json(cred)
	case "token":
		a.out.printf("%s\n", *cred.Secret)
		return nil
	}
	if format == "env" {
		env, err := a.credentialEnv(ctx, c, g, cred)
		for _, pair := range env {
			name, value, _ := strings.Cut(pair, "=")
			a.out.printf("export %s=%s\n", name, shellQuoted(value))
		}
		return err
	}
	d, err := a.database(ctx, c, cred)
	if err != nil {
		return err
	}
	switch format {
	case "psql":
		a.out.printf("%s\n", d.shellLine())
	case "dsn":
		a.out.printf("%s\n", d.uri(true))
	case "jdbc":
		a.out.printf("%s\n", d.jdbc())
	case "pgpass":
		a.out.printf("%s\n", d.passLine())
	}
	return nil
}

// issue gets a credential for a grant, and waits for one that is just being
// made ready. What it returns has a secret and an address of plain form.
func (a *app) issue(ctx context.Context, c *client.Client, g *api.Grant, format string) (*api.Credential, error) {
	if g.State == "scheduled" {
		return nil, &Error{Code: ExitPending, Err: errors.New("the grant is scheduled and begins " + a.when(g.StartsAt))}
	}
	ready, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	for {
		cred, err := c.Credential(ctx, g.ID, format)
		if e, ok := errors.AsType[*client.Error](err); ok && e.Status == 409 && e.RetryAfter > 0 && g.State == "activating" {
			select {
			case <-ready.Done():
				return nil, err
			case <-time.After(min(e.RetryAfter, 5*time.Second)):
				continue
			}
		}
		switch {
		case err != nil:
			return nil, err
		case cred.Secret == nil:
			return nil, fail("run the command again", "the server did not show the secret again")
		case !idForm.MatchString(g.ID) || !secretForm.MatchString(*cred.Secret):
			return nil, fail("", "the server sent a credential of a form that is not known; it is not used")
		case cred.Connect.URL != "" && !urlForm.MatchString(cred.Connect.URL):
			return nil, fail("", "the server named an address of a form that is not known; it is not used")
		}
		return cred, nil
	}
}

// credentialEnv is a credential as variables of an environment; of a database
// also as libpq reads them.
func (a *app) credentialEnv(ctx context.Context, c *client.Client, g *api.Grant, cred *api.Credential) ([]string, error) {
	env := []string{
		"DAYPASS_CREDENTIAL=" + *cred.Secret,
		"DAYPASS_GRANT=" + g.ID,
		"DAYPASS_EXPIRES_AT=" + cred.ExpiresAt.String(),
	}
	if cred.Connect.URL != "" {
		env = append(env, "DAYPASS_CREDENTIAL_URL="+cred.Connect.URL)
	}
	if cred.Connect.DSN == "" {
		return env, nil
	}
	d, err := a.database(ctx, c, cred)
	if err != nil {
		return nil, err
	}
	return append(env, d.env()...), nil
}
