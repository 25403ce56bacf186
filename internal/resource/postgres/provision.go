package pgkind

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/daypass/daypass/internal/resource"
)

// Provision implements resource.Connector.
func (c *connector) Provision(ctx context.Context, t resource.Target) error {
	s, config, err := c.primary(t.Resource)
	if err != nil {
		return err
	}
	scope, err := parseScope(t.Grant.Scope)
	if err != nil {
		return fmt.Errorf("the scope of the grant: %w", err)
	}
	remaining := t.ExpiresAt.Sub(c.deps.Now())
	if remaining <= 0 {
		return errors.New("the grant is over already")
	}
	was, err := s.stands(ctx, scope, t.Found)
	if err != nil {
		return err
	}
	g := &madeGrant{target: t, on: s, needs: privilegesOf(scope, was), role: grantRoleOf(t.Grant.ID, config, scope, t.ExpiresAt, remaining)}
	if g.role.verifier, err = c.verifier(t.Grant.ID); err != nil {
		return fmt.Errorf("the password of a role: %w", err)
	}
	if g.role.scope, err = g.needs.role(); err != nil {
		return fmt.Errorf("the name of a role: %w", err)
	}
	if err := g.realise(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	c.made[g.role.name] = g
	c.mu.Unlock()
	if s.cutter.warm(ctx) != nil {
		c.deps.Log.Warn("the connection that ends sessions is not there yet", "server", s.at.addr())
	}
	return nil
}

// realise makes the role of g as it should be, and the scope role under it.
func (g *madeGrant) realise(ctx context.Context) error {
	err := patiently(ctx, func() error {
		if err := g.on.ensure(ctx, g.role.scope, g.needs); err != nil {
			return err
		}
		err := g.on.with(ctx, func(on conn) error { return g.on.makeRole(ctx, on, g.role) })
		if state(err) == undefinedObject {
			g.on.forget() // somebody dropped the scope role or a group
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("making the role %s: %w", g.role.name, err)
	}
	return nil
}

// madeRole is the role of a grant as it should be.
type madeRole struct {
	name, scope, verifier string
	sessions              int
	until                 time.Time
	statement             time.Duration
	readOnly              bool
}

// idleInTransaction is how long a session may hold its locks and do nothing.
const idleInTransaction = 5 * time.Minute

// lookForClient is how often a server that runs a statement looks whether anybody
// waits for it: the gateway may die meanwhile, and what it carried must be gone
// within half a second. It costs such a session a poll(2) each time, and nothing
// while no statement runs.
const lookForClient = "250ms"

// spill is how much of a disk one session's queries may take.
const spill = "1GB"

func grantRoleOf(grant string, config *Config, scope *Scope, until time.Time, remaining time.Duration) madeRole {
	m := madeRole{name: roleOf(grant), sessions: config.maxSessions, until: until.UTC().Truncate(time.Second)}
	// Longer than the grant, so that the end of a grant is always the gateway's
	// to tell, and a limit all the same if nobody is left to tell it.
	m.statement = remaining.Round(time.Millisecond) + 5*time.Second
	if asked := scope.fields.StatementTimeout; asked > 0 {
		m.statement = min(m.statement, asked)
	}
	m.readOnly = len(scope.fields.Actions) == 1 && scope.fields.Actions[0] == "select"
	return m
}

// makeRole makes the role, or sets right the one that is there.
func (s *server) makeRole(ctx context.Context, on conn, m madeRole) error {
	f, err := s.look(ctx, on)
	if err != nil {
		return err
	}
	options := fmt.Sprintf(" LOGIN INHERIT CONNECTION LIMIT %d VALID UNTIL %s PASSWORD %s", m.sessions, literal(m.untilText()), literal(m.verifier))
	lock := "SELECT pg_advisory_xact_lock_shared(" + turns + "); "
	create := "CREATE ROLE " + ident(m.name) + options
	joins := "; " + f.member(m.scope, m.name) + "; " + f.member(s.c.ownGroup(), m.name)
	if f.version < 160000 {
		create += " IN ROLE " + ident(m.scope) + ", " + ident(s.c.ownGroup())
	} else {
		create += joins
	}
	err = on.transact(ctx, lock+create+m.settings(f))
	if state(err) != duplicateObject && state(err) != uniqueViolation {
		return err
	}
	alter := "ALTER ROLE " + ident(m.name)
	if f.superuser {
		alter += " NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
	}
	strays, err := on.query(ctx, `select g.rolname from pg_auth_members m join pg_roles g on g.oid = m.roleid
		where m.member = (select oid from pg_roles where rolname = $1) and g.rolname <> all($2::text[])`, m.name, array([]string{m.scope, s.c.ownGroup()}))
	if err != nil {
		return err
	}
	revokes := ""
	for _, stray := range column(strays) {
		revokes += "; REVOKE " + ident(stray) + " FROM " + ident(m.name)
	}
	return on.transact(ctx, lock+alter+options+revokes+joins+"; ALTER ROLE "+ident(m.name)+" RESET ALL"+m.settings(f))
}

func (m madeRole) untilText() string { return m.until.Format(time.RFC3339) }

// config is what every session of the role begins with.
func (m madeRole) config(f *facts) []string {
	all := []string{
		"client_connection_check_interval=" + lookForClient,
		fmt.Sprintf("statement_timeout=%dms", m.statement.Milliseconds()),
		fmt.Sprintf("idle_in_transaction_session_timeout=%dms", idleInTransaction.Milliseconds()),
	}
	if m.readOnly {
		all = append(all, "default_transaction_read_only=on")
	}
	if f.spill {
		all = append(all, "temp_file_limit="+spill)
	}
	return all
}

func (m madeRole) settings(f *facts) string {
	var b strings.Builder
	for _, one := range m.config(f) {
		name, value, _ := strings.Cut(one, "=")
		b.WriteString("; ALTER ROLE " + ident(m.name) + " SET " + name + " = " + literal(value))
	}
	return b.String()
}
