package pgkind

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/daypass/daypass/internal/policy"
	"github.com/jackc/pgx/v5/pgconn"
)

// lag is how long a standby may take to hear of a role.
const lag = 3 * time.Second

// dialUpstream logs in as the role of a grant, with the startup parameters
// that a client may set. The caller owns the connection.
func (c *connector) dialUpstream(ctx context.Context, r *policy.Resource, grant string, params map[string]string) (*pgconn.HijackedConn, error) {
	config, err := configOf(r)
	if err != nil {
		return nil, err
	}
	at := config.upstream
	if config.standby != nil {
		at = *config.standby
	}
	with, err := c.config(at, config.upstream.database, roleOf(grant), c.password(grant), params)
	if err != nil {
		return nil, err
	}
	one, err := pgconn.ConnectConfig(ctx, with)
	for until := time.Now().Add(lag); err != nil && config.standby != nil && refusedLogin(err) && time.Now().Before(until); {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		one, err = pgconn.ConnectConfig(ctx, with)
	}
	if err != nil {
		return nil, fmt.Errorf("logging in to %s for a grant: %w", at.addr(), err)
	}
	pid, err := backendOf(ctx, one)
	if err != nil {
		hangUp(one)
		return nil, fmt.Errorf("asking %s which backend serves a grant: %w", at.addr(), err)
	}
	// pgconn may have begun to read in the background: without this the first
	// answer could be lost with it.
	if err := one.SyncConn(ctx); err != nil {
		hangUp(one)
		return nil, fmt.Errorf("taking over a connection to %s: %w", at.addr(), err)
	}
	hijacked, err := one.Hijack()
	if err != nil {
		hangUp(one)
		return nil, fmt.Errorf("taking over a connection to %s: %w", at.addr(), err)
	}
	hijacked.PID = pid
	hijacked.Config = c.cancelling(at, hijacked.Config)
	return hijacked, nil
}

// cancelling is what stays of the configuration of a connection while it is
// used: what a request to cancel needs, which is the same for all connections
// to a server, and none of what a grant logged in with.
func (c *connector) cancelling(at endpoint, with *pgconn.Config) *pgconn.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.asks[at]
	if known == nil {
		known = with.Copy()
		known.User, known.Password, known.Database, known.RuntimeParams, known.TLSConfig = "", "", "", nil, nil
		c.asks[at] = known
	}
	return known
}

// backendOf is the process that serves a connection. Some proxies in front of a
// server tell nobody, nor the key with which to cancel: then it is asked.
func backendOf(ctx context.Context, one *pgconn.PgConn) (uint32, error) {
	if len(one.SecretKey()) > 0 {
		return one.PID(), nil
	}
	row, err := conn{one}.one(ctx, "select pg_catalog.pg_backend_pid()")
	if err != nil {
		return 0, err
	}
	return oidOf(row[0]), nil
}

// cancelBackend has the server stop what a backend runs, if it is one of role's:
// for sessions that got no key to cancel with.
func (c *connector) cancelBackend(ctx context.Context, r *policy.Resource, role string, pid uint32) error {
	s, config, err := c.primary(r)
	if err != nil {
		return err
	}
	if follower := c.standby(config); follower != nil {
		s = follower
	}
	return s.looks.with(ctx, func(on conn) error {
		_, err := on.query(ctx, "select pg_cancel_backend(pid) from pg_stat_activity where pid = $1::int and usename = $2 and state = 'active'", strconv.FormatUint(uint64(pid), 10), role)
		return err
	})
}

func refusedLogin(err error) bool {
	code := state(err)
	return code == "28P01" || code == "28000"
}

func configOf(r *policy.Resource) (*Config, error) {
	if r != nil {
		if config, ok := r.Config.(*Config); ok {
			return config, nil
		}
	}
	return nil, errors.New("no catalog is known that says where this resource is")
}
