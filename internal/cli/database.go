package cli

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/client"
)

// database is where a grant on a database is used, as libpq and JDBC want it
// in parts.
type database struct {
	host, user, name string
	port             int
	mode             string // sslmode
	root             string // sslrootcert: a file, "" for none
	secret           string
}

// The forms of what a server says of a database. One that sent something else
// could slip quotes or line ends into shells and other programs.
var (
	hostForm     = regexp.MustCompile(`^[A-Za-z0-9.:_-]{1,255}$`)
	userForm     = regexp.MustCompile(`^[A-Za-z0-9_.@:+-]{1,255}$`)
	databaseForm = regexp.MustCompile(`^[^\x00-\x1f\x7f'"\\]{1,63}$`)
	modes        = map[string]bool{"disable": true, "require": true, "verify-ca": true, "verify-full": true}
)

// database reads where g is used out of its credential. Where the gateway has
// an authority of its own, root is a file that holds it.
func (a *app) database(ctx context.Context, c *client.Client, cred *api.Credential) (*database, error) {
	to := cred.Connect
	u, err := url.Parse(to.DSN)
	if err != nil || u.Scheme != "postgresql" && u.Scheme != "postgres" {
		return nil, fail("", "the server did not say where the database is reached")
	}
	d := &database{host: to.Host, port: to.Port, user: to.User, name: to.Database, mode: u.Query().Get("sslmode"), secret: *cred.Secret}
	if !hostForm.MatchString(d.host) || !userForm.MatchString(d.user) || !databaseForm.MatchString(d.name) || d.port < 1 || d.port > 65535 || !modes[d.mode] {
		return nil, fail("", "the server named a database in a form that is not known; it is not used")
	}
	root := u.Query().Get("sslrootcert")
	if root == "" {
		return d, nil
	}
	if root == "system" { // that of the machine (libpq 16)
		d.root = root
		return d, nil
	}
	d.root, err = a.authority(ctx, c)
	return d, err
}

// authority keeps the certificate of the gateway's own authority beside the
// settings, a file for each server, and returns that.
func (a *app) authority(ctx context.Context, c *client.Client) (string, error) {
	pem, err := c.GatewayAuthority(ctx)
	if err != nil {
		return "", err
	}
	dir, err := a.loginDir()
	if err != nil {
		return "", err
	}
	base, err := url.Parse(c.URL())
	if err != nil {
		return "", fail("", "the server's address: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fail("", "making the folder for settings: %w", err)
	}
	file := filepath.Join(dir, "gateway-ca-"+strings.NewReplacer(":", "_", "[", "", "]", "").Replace(base.Host)+".pem")
	temp, err := os.CreateTemp(dir, ".gateway-ca-*")
	if err != nil {
		return "", fail("", "keeping the gateway's authority: %w", err)
	}
	_, err = temp.Write(pem)
	if e := temp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(temp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
		return "", fail("", "keeping the gateway's authority: %w", err)
	}
	return file, nil
}

// env is d for libpq, and so for psql, pg_dump and most drivers.
func (d *database) env() []string {
	env := []string{
		"PGHOST=" + d.host, "PGPORT=" + strconv.Itoa(d.port), "PGUSER=" + d.user, "PGDATABASE=" + d.name,
		"PGSSLMODE=" + d.mode, "PGPASSWORD=" + d.secret, "PGREQUIREAUTH=scram-sha-256",
	}
	if d.root != "" {
		env = append(env, "PGSSLROOTCERT="+d.root)
	}
	return env
}

// conninfo is d as a connection string of libpq, without the secret.
func (d *database) conninfo() string {
	s := fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=%s", quoted(d.host), d.port, quoted(d.user), quoted(d.name), d.mode)
	if d.root != "" {
		s += " sslrootcert=" + quoted(d.root)
	}
	return s
}

// quoted is a value of a connection string (libpq, 34.1.1.1).
func quoted(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// uri is d as a URI of libpq, with the secret where that is wanted.
func (d *database) uri(secret bool) string {
	u := url.URL{Scheme: "postgresql", User: url.User(d.user), Host: net.JoinHostPort(d.host, strconv.Itoa(d.port)), Path: "/" + d.name}
	if secret {
		u.User = url.UserPassword(d.user, d.secret)
	}
	q := url.Values{"sslmode": {d.mode}}
	if d.root != "" {
		q.Set("sslrootcert", d.root)
	}
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	return u.String()
}

// jdbc is d as a URL of PostgreSQL's JDBC driver.
func (d *database) jdbc() string {
	q := url.Values{"user": {d.user}, "password": {d.secret}, "sslmode": {d.mode}}
	if d.root != "" && d.root != "system" {
		q.Set("sslrootcert", d.root)
	}
	return "jdbc:postgresql://" + net.JoinHostPort(d.host, strconv.Itoa(d.port)) + "/" + url.PathEscape(d.name) + "?" + strings.ReplaceAll(q.Encode(), "+", "%20")
}

// passLine is d as a line of ~/.pgpass (libpq, 34.16).
func (d *database) passLine() string {
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace
	return fmt.Sprintf("%s:%d:%s:%s:%s", escape(d.host), d.port, escape(d.name), escape(d.user), escape(d.secret))
}

// shellLine runs psql by hand.
func (d *database) shellLine() string {
	return fmt.Sprintf("PGPASSWORD='%s' psql %s", d.secret, shellQuoted(d.uri(false)))
}

func shellQuoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// psql runs psql with everything set and ends with its exit code.
func (a *app) psql(ctx context.Context, c *client.Client, g *api.Grant, args []string) error {
	path, err := exec.LookPath("psql")
	if err != nil {
		return fail("install psql, or use daypass credential "+g.ID+" --format dsn", "psql is not there: %w", err)
	}
	cred, err := a.issue(ctx, c, g, "token")
	if err != nil {
		return err
	}
	d, err := a.database(ctx, c, cred)
	if err != nil {
		return err
	}
	// Not tied to ctx: an interrupt reaches psql by itself.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path)
	// The last --dbname holds, and what it says goes before -h, -p and -U: the
	// secret is proven to nobody but the gateway.
	cmd.Args = append(append([]string{"psql"}, args...), "--dbname="+d.conninfo())
	cmd.Env = append(a.databaseEnv(), d.env()...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.Stdin, a.Stdout, a.Stderr
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt) // Ctrl-C ends a statement, not us
	defer signal.Stop(interrupts)
	if err := cmd.Start(); err != nil {
		return fail("", "starting psql: %w", err)
	}
	return exitOf(cmd.Wait())
}

// databaseEnv is childEnv without what libpq would take from it instead.
func (a *app) databaseEnv() []string {
	env := a.childEnv()
	kept := env[:0]
	for _, pair := range env {
		if name, _, _ := strings.Cut(pair, "="); !strings.HasPrefix(name, "PG") || name == "PGTZ" || name == "PGDATESTYLE" {
			kept = append(kept, pair)
		}
	}
	return kept
}
