package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/daypass/daypass/internal/cli"
	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/daemon"
	"github.com/daypass/daypass/internal/policy"
	pgkind "github.com/daypass/daypass/internal/resource/postgres"
)

// postgresCmd is for who looks after a PostgreSQL server that Daypass guards.
func postgresCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "postgres", Short: "Prepare a PostgreSQL server for grants, and check it", GroupID: cli.GroupOperate,
		Long: `A superuser or the owner of the tables can be the login of a postgres resource
as it is. A login that is neither needs what "prepare" plans; "check" says what
is missing.`,
		Example: "  daypass postgres prepare --upstream \"host=db.internal dbname=orders\" --user daypass --dry-run",
	}
	c.AddCommand(prepareCmd(), checkCmd())
	return c
}

// fromEnvironment is the variable that psql reads too.
var fromEnvironment = config.Secret{Env: "PGPASSWORD"}

func prepareCmd() *cobra.Command {
	p := pgkind.Preparation{}
	var file string
	var dry, apply, soft bool
	c := &cobra.Command{
		Use: "prepare --upstream TEXT --user LOGIN (--dry-run | --apply)", Short: "Plan what a login needs that is no superuser, and what PUBLIC should not have",
		Long: `Prepare logs in as a superuser, looks at one database, and plans: a login that
makes the roles of grants, for each owner of tables a function that grants what
is the owner's to scope roles alone, and, unless --keep-public, what to take
from PUBLIC and give back to those who use the database today. --dry-run prints
the plan as SQL with its reasons and lines for pg_hba.conf, and changes nothing.
--apply carries it out in one transaction; pg_hba.conf is yours to change.
What is there already is not planned again.

The superuser's password comes from PGPASSWORD or --password-file.`,
		Example: `  PGPASSWORD=… daypass postgres prepare --upstream "host=db.internal port=5432 dbname=orders" --user daypass --dry-run
  PGPASSWORD=… daypass postgres prepare --upstream "host=db.internal dbname=orders" --user daypass --gateway 10.0.0.7/32 --apply`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case p.Upstream == "" || p.User == "":
				return cli.Usage("which database, and for which login? give --upstream and --user as in the catalog")
			case dry == apply:
				return cli.Usage("give --dry-run to see the plan, or --apply to carry it out")
			}
			p.Password, p.Harden = passwordOf(file), !soft
			plan, err := pgkind.Prepare(cmd.Context(), p)
			if err != nil {
				return err
			}
			defer plan.Close()
			if apply {
				if err := plan.Apply(cmd.Context()); err != nil {
					return fmt.Errorf("nothing was changed: %w", err)
				}
			}
			return say(cmd, plan, plan.Script())
		},
	}
	f := c.Flags()
	f.StringVar(&p.Upstream, "upstream", "", "where the database is, as in the catalog: `text` of host=… port=… dbname=… sslmode=… sslrootcert=…")
	f.StringVar(&p.User, "user", "", "the `login` in the catalog")
	f.StringVar(&p.As, "as", "postgres", "a `superuser`, who looks and changes")
	f.StringVar(&file, "password-file", "", "`file` with the superuser's password (default: PGPASSWORD)")
	f.StringSliceVar(&p.Gateways, "gateway", nil, "`address` from which Daypass connects, as in pg_hba.conf (default 127.0.0.1/32); may be repeated")
	f.BoolVar(&dry, "dry-run", false, "print the plan and change nothing")
	f.BoolVar(&apply, "apply", false, "carry the plan out, and print it")
	f.BoolVar(&soft, "keep-public", false, "leave what everybody may as it is")
	f.BoolVar(&p.Rows, "rows", false, "also plan what row filters need: the login makes schemas")
	return c
}

var errMissing = errors.New("something is missing: see what to do above")

func checkCmd() *cobra.Command {
	var upstream, user, file, catalog, resource string
	c := &cobra.Command{
		Use: "check (--upstream TEXT --user LOGIN | --catalog FILE --resource ID)", Short: "Say what a login lacks, and what every grant would reach",
		Long: `Check logs in as a postgres resource would and looks at what is needed for
grants and at what everybody may do in the database, grants among them. It
changes nothing. It exits with 1 when something is missing.

With --catalog and --resource it also tries the row filters of that resource:
each is made as a grant would, in a transaction that is taken back.

The password comes from PGPASSWORD or --password-file, or else from where the
catalog says.`,
		Example: `  PGPASSWORD=… daypass postgres check --upstream "host=db.internal port=5432 dbname=orders" --user daypass
  daypass postgres check --catalog catalog.yaml --resource orders-db`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var results []pgkind.Result
			var err error
			switch named := catalog != "" && resource != ""; {
			case named && upstream == "" && user == "":
				results, err = checkOf(cmd.Context(), catalog, resource, file)
			case catalog == "" && resource == "" && upstream != "" && user != "":
				results, err = pgkind.Checkup(cmd.Context(), upstream, user, passwordOf(file))
			default:
				return cli.Usage("which database, and as which login? give --upstream and --user as in the catalog, or --catalog and --resource")
			}
			if err != nil {
				return err
			}
			var text strings.Builder
			missing := false
			for _, r := range results {
				sign := "ok     "
				if !r.OK {
					sign, missing = "to do  ", true
				}
				text.WriteString(sign + r.What + "\n")
				if r.Next != "" {
					text.WriteString("       " + r.Next + "\n")
				}
			}
			if err := say(cmd, map[string]any{"results": results, "ok": !missing}, text.String()); err != nil {
				return err
			}
			if missing {
				return errMissing
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&upstream, "upstream", "", "where the database is, as in the catalog: `text` of host=… port=… dbname=… sslmode=… sslrootcert=…")
	f.StringVar(&user, "user", "", "the `login` in the catalog")
	f.StringVar(&catalog, "catalog", "", "`file` with the catalog, in place of these two")
	f.StringVar(&resource, "resource", "", "`ID` of the resource in it")
	f.StringVar(&file, "password-file", "", "`file` with its password (default: PGPASSWORD)")
	return c
}

// checkOf checks a resource of a catalog.
func checkOf(ctx context.Context, file, resource, passwordFile string) ([]pgkind.Result, error) {
	source, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the catalog: %w", err)
	}
	c, err := policy.Parse(source, daemon.PolicyKinds())
	if err != nil {
		return nil, fmt.Errorf("%s:\n%w", file, err)
	}
	r, ok := c.Resource(resource)
	if !ok {
		return nil, cli.Usage("%s has no resource %q", file, resource)
	}
	var password *config.Secret
	if passwordFile != "" || os.Getenv(fromEnvironment.Env) != "" {
		password = new(passwordOf(passwordFile))
	}
	return pgkind.CheckupOf(ctx, r, password)
}

func passwordOf(file string) config.Secret {
	if file != "" {
		return config.Secret{File: file}
	}
	return fromEnvironment
}
