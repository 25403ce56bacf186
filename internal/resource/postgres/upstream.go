package pgkind

import (
	"context"
	"errors"
	"fmt"
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
	return hijacked, nil
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
