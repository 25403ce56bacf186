package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/daypass/daypass/api"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// said is what a client of the database shows.
type said struct {
	text   string // rows, or the error as psql writes it
	failed bool
}

// psql returns the program that comes with the server, or the one on PATH; ""
// where there is none.
func (d *database) psql() string {
	beside := filepath.Join(d.Bin, "psql")
	if _, err := os.Stat(beside); err == nil {
		return beside
	}
	path, err := exec.LookPath("psql")
	if err != nil {
		return ""
	}
	return path
}

// query runs one statement through the gateway, with psql or, where program is
// "", with a driver.
func query(ctx context.Context, program string, to *api.Connect, token, sql string) (said, error) {
	if program == "" {
		return byDriver(ctx, to, token, sql)
	}
	cmd := exec.CommandContext(ctx, program, to.DSN, "-X", "-v", "VERBOSITY=verbose", "-c", sql)
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "PG") { // whatever else libpq would take from there
			cmd.Env = append(cmd.Env, pair)
		}
	}
	cmd.Env = append(cmd.Env, "PGPASSWORD="+token, "PGREQUIREAUTH=scram-sha-256")
	out, err := cmd.CombinedOutput()
	if _, ran := errors.AsType[*exec.ExitError](err); err != nil && !ran {
		return said{}, fmt.Errorf("running psql: %w", err)
	}
	return said{text: plain(string(out)), failed: err != nil}, ctx.Err()
}

// plain drops the place in PostgreSQL's source, and what psql and libpq add
// when a connection ends.
func plain(out string) string {
	var kept []string
	for _, line := range strings.Split(out, "\n") {
		if _, rest, ok := strings.Cut(line, ": FATAL:"); ok { // psql: error: connection to server at … failed: FATAL: …
			line = "FATAL:" + rest
		}
		switch line = strings.TrimRight(line, " "); {
		case line == "", strings.HasPrefix(line, "LOCATION:"), strings.HasPrefix(line, "server closed the connection"), strings.HasPrefix(line, "connection to server was lost"),
			strings.HasPrefix(line, "SSL connection has been closed"),
			strings.Contains(line, "This probably means the server terminated"), strings.Contains(line, "before or while processing the request"):
		default:
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

func byDriver(ctx context.Context, to *api.Connect, token, sql string) (said, error) {
	config, err := pgx.ParseConfig(to.DSN)
	if err != nil {
		return said{}, fmt.Errorf("reading the dsn: %w", err)
	}
	config.Password = token
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return refused(err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	results, err := c.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return refused(err)
	}
	var lines []string
	for _, r := range results {
		for _, row := range r.Rows {
			values := make([]string, len(row))
			for i, v := range row {
				values[i] = string(v)
			}
			lines = append(lines, strings.Join(values, " | "))
		}
	}
	return said{text: strings.Join(lines, "\n")}, nil
}

// refused is an error of the server as psql writes it.
func refused(err error) (said, error) {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return said{}, err
	}
	text := e.Severity + ":  " + e.Code + ": " + e.Message
	if e.Hint != "" {
		text += "\nHINT:  " + e.Hint
	}
	return said{text: text, failed: true}, nil
}
