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
	g, err := c.making(t)
	if err != nil {
		return err
	}
	if err := g.bears(ctx); err != nil {
		return err
	}
	if err := g.on.makes.do(ctx, g); err != nil {
		return err
	}
	if !g.done {
		if err := g.realise(ctx); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.made[g.role.name] = g.madeGrant
	c.mu.Unlock()
	if g.on.cutter.warm(ctx) != nil {
		c.deps.Log.Warn("the connection that ends sessions is not there yet", "server", g.on.at.addr())
	}
	return nil
}

// making is what is to be made for a grant.
func (c *connector) making(t resource.Target) (*making, error) {
	s, config, err := c.primary(t.Resource)
	if err != nil {
		return nil, err
	}
	scope, err := parseScope(t.Grant.Scope)
	if err != nil {
		return nil, fmt.Errorf("the scope of the grant: %w", err)
	}
	remaining := t.ExpiresAt.Sub(c.deps.Now())
	if remaining <= 0 {
		return nil, errors.New("the grant is over already")
	}
	was, err := foundIn(t.Found)
	if err != nil {
		return nil, err
	}
	if err := config.filtersAs(scope, was); err != nil {
		return nil, err
	}
	g := &madeGrant{target: t, on: s, needs: privilegesOf(scope, was), role: grantRoleOf(t.Grant.ID, config, scope, t.ExpiresAt, remaining)}
	if g.role.verifier, err = c.verifier(t.Grant.ID); err != nil {
		return nil, fmt.Errorf("the password of a role: %w", err)
	}
	if g.role.scope, err = g.needs.role(); err != nil {
		return nil, fmt.Errorf("the name of a role: %w", err)
	}
	if len(g.needs.Rows) > 0 {
		g.role.views = readerOf(g.role.scope)
	}
	return &making{madeGrant: g, config: config, scope: scope, was: was}, nil
}

// madeRole is the role of a grant as it should be.
type madeRole struct {
	name, scope, verifier string
	views                 string // the schema of its row filters; "" for none
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
	if m.views != "" {
		// Names without a schema mean the filtered views first.
		all = append(all, "search_path="+m.views+", public, pg_temp")
	}
	return all
}

func (m madeRole) settings(f *facts) string {
	var b strings.Builder
	for _, one := range m.config(f) {
		name, value, _ := strings.Cut(one, "=")
		values := strings.Split(value, ", ")
		for i := range values {
			values[i] = literal(values[i])
		}
		b.WriteString("; ALTER ROLE " + ident(m.name) + " SET " + name + " = " + strings.Join(values, ", "))
	}
	return b.String()
}
