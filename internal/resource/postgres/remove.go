package pgkind

import (
	"context"
	"fmt"
	"time"

	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
)

// Remove implements resource.Connector. The name of a role is that of one
// grant for ever, so a late repeat finds nothing, or only what is to go.
func (c *connector) Remove(ctx context.Context, t resource.Target) error {
	return c.remove(ctx, t.Resource, roleOf(t.Grant.ID))
}

func (c *connector) remove(ctx context.Context, r *policy.Resource, role string) error {
	s, config, err := c.primary(r)
	if err != nil {
		return err
	}
	c.finish(role, true)
	follower := c.standby(config)
	m := &removal{role: role, stays: follower != nil}
	switch err := s.removes.do(ctx, m); {
	case err != nil:
		return fmt.Errorf("looking for %s: %w", role, err)
	case m.gone:
		return nil
	}
	oid := m.oid
	select {
	case err := <-c.cut(r, role):
		if err != nil {
			return fmt.Errorf("ending the sessions of %s: %w", role, err)
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := s.gone(ctx, oid); err != nil {
		return fmt.Errorf("ending the sessions of %s: %w", role, err)
	}
	if follower != nil {
		if err := follower.gone(ctx, oid); err != nil {
			return fmt.Errorf("ending the sessions of %s on the standby: %w", role, err)
		}
	}
	if err := patiently(ctx, func() error { return s.drop(ctx, role, oid) }); err != nil {
		return fmt.Errorf("dropping %s: %w", role, err)
	}
	return nil
}

// gone waits until no session of a role is left, and ends those that there are.
func (s *server) gone(ctx context.Context, oid string) error {
	return s.with(ctx, func(on conn) error {
		for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
			row, err := on.one(ctx, fmt.Sprintf(strayersSQL, "$1::oid"), oid)
			if err != nil || row[0] == "0" {
				return err
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

// leftSQL is what a role left behind: the databases in which it owns something
// or has a privilege of its own ("" stands for what is shared between them),
// and its prepared transactions.
const leftSQL = `
select 'owned', coalesce(d.datname, ''), '' from pg_shdepend s left join pg_database d on d.oid = s.dbid
where s.refclassid = 'pg_authid'::regclass and s.refobjid = $1::oid
union select 'prepared', database, gid from pg_prepared_xacts where owner = $2`

const strayersSQL = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usesysid = %s"

// drop removes a role that nobody is logged in with, and what it left behind.
func (s *server) drop(ctx context.Context, role, oid string) error {
	var owned []string
	var prepared [][]string
	err := s.with(ctx, func(on conn) error {
		left, err := on.query(ctx, leftSQL, oid, role)
		if err != nil {
			return err
		}
		owned, prepared = nil, nil
		for _, row := range left {
			if row[0] == "prepared" {
				prepared = append(prepared, row[1:])
			} else {
				owned = append(owned, row[1])
			}
		}
		f, err := s.look(ctx, on)
		if err != nil || f.superuser || len(left) == 0 {
			return err
		}
		return on.exec(ctx, "GRANT "+ident(role)+" TO "+ident(s.user)) // or it could not act for it
	})
	if err != nil {
		return err
	}
	for _, p := range prepared {
		// Only the owner may, and whoever becomes it.
		if err := s.in(ctx, p[0], "SET ROLE "+ident(role), "ROLLBACK PREPARED "+literal(p[1]), "RESET ROLE"); err != nil {
			return err
		}
	}
	for _, database := range sorted(owned) {
		if database == "" {
			database = s.at.database // DROP OWNED takes shared privileges away in any
		}
		if err := s.in(ctx, database, "DROP OWNED BY "+ident(role)); err != nil {
			return err
		}
	}
	return s.dropRole(ctx, role, oid)
}

// dropRole drops a role. Who had proven the password in the instant before may
// have come in since: such a session has a role that is no more, and is ended.
func (s *server) dropRole(ctx context.Context, role, oid string) error {
	err := s.with(ctx, func(on conn) error { return on.transact(ctx, "DROP ROLE IF EXISTS "+ident(role)) })
	if err != nil {
		return err
	}
	return s.gone(ctx, oid)
}

// in runs statements one by one in a database of the server.
func (s *server) in(ctx context.Context, database string, statements ...string) error {
	run := func(on conn) error {
		for _, sql := range statements {
			if err := on.exec(ctx, sql); err != nil {
				hangUp(on.PgConn) // it may be somebody else by now
				return err
			}
		}
		return nil
	}
	if database == s.at.database {
		return s.with(ctx, run)
	}
	one, err := s.connect(ctx, database)
	if err != nil {
		return err
	}
	defer hangUp(one)
	return run(conn{one})
}
