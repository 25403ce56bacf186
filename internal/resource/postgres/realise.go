package pgkind

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// making is a grant whose role is to be made, with what is needed for that alone.
type making struct {
	*madeGrant
	config *Config
	scope  *Scope
	was    found // when access was asked for
	done   bool  // its role is there
}

// makeAll makes the roles of grants that are wanted at about the same time: what
// the names of equal scopes stand for is asked once, and one transaction makes
// all roles. It does only what is quick, so that nobody waits long for others: a
// role whose scope role is not there yet, that is there itself, or beside which
// another one cannot be made, is left to who wants it.
func (s *server) makeAll(ctx context.Context, all []*making) []error {
	errs := s.fit(ctx, all)
	var fresh []*making
	var roles []madeRole
	for i, g := range all {
		if errs[i] == nil && s.knows(g.role.scope) && !s.c.has(g.role.name) {
			fresh, roles = append(fresh, g), append(roles, g.role)
		}
	}
	if len(fresh) == 0 {
		return errs
	}
	err := s.with(ctx, func(on conn) error {
		f, err := s.look(ctx, on)
		if err != nil {
			return err
		}
		return s.createRoles(ctx, on, f, roles)
	})
	for _, g := range fresh {
		g.done = err == nil
	}
	return errs
}

// knows reports whether a scope role is known to be there.
func (s *server) knows(scope string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.scopes[scope]
}

// has reports whether this process has made a role.
func (c *connector) has(role string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.made[role] != nil
}

// fit compares what names stand for now with what they stood for when access was
// asked for.
func (s *server) fit(ctx context.Context, all []*making) []error {
	var known map[string]error
	of := func(g *making) string { return string(g.target.Grant.Scope) + "\x00" + string(g.target.Found) }
	err := s.with(ctx, func(on conn) error {
		known = map[string]error{}
		for _, g := range all {
			if _, done := known[of(g)]; done {
				continue
			}
			err := s.c.stands(ctx, on, g.scope, g.was)
			if on.IsClosed() {
				return err
			}
			known[of(g)] = err
		}
		return nil
	})
	errs := make([]error, len(all))
	for i, g := range all {
		if errs[i] = err; err == nil {
			errs[i] = known[of(g)]
		}
	}
	return errs
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

// sharedTurn is the turn of who makes the role of a grant.
const sharedTurn = "SELECT pg_advisory_xact_lock_shared(" + turns + "); "

// makeRole makes the role, or sets right the one that is there.
func (s *server) makeRole(ctx context.Context, on conn, m madeRole) error {
	f, err := s.look(ctx, on)
	if err != nil {
		return err
	}
	err = s.createRoles(ctx, on, f, []madeRole{m})
	if state(err) != duplicateObject && state(err) != uniqueViolation {
		return err
	}
	alter := "ALTER ROLE " + ident(m.name) + f.powerless()
	strays, err := on.query(ctx, `select g.rolname from pg_auth_members m join pg_roles g on g.oid = m.roleid
		where m.member = (select oid from pg_roles where rolname = $1) and g.rolname <> all($2::text[])`, m.name, array([]string{m.scope, s.c.ownGroup()}))
	if err != nil {
		return err
	}
	revokes := ""
	for _, stray := range column(strays) {
		revokes += "; REVOKE " + ident(stray) + " FROM " + ident(m.name)
	}
	joins := "; " + f.member(m.scope, m.name) + "; " + f.member(s.c.ownGroup(), m.name)
	return on.transact(ctx, sharedTurn+alter+m.options()+revokes+joins+"; ALTER ROLE "+ident(m.name)+" RESET ALL"+m.settings(f))
}

// createRoles makes roles that are not there, all or none. Whoever joins groups
// locks them in one order (16 and newer): scope roles by name, then ours.
func (s *server) createRoles(ctx context.Context, on conn, f *facts, roles []madeRole) error {
	roles = slices.Clone(roles)
	slices.SortFunc(roles, func(x, y madeRole) int { return strings.Compare(x.scope, y.scope) })
	var b strings.Builder
	b.WriteString(sharedTurn)
	names := make([]string, len(roles))
	for i, m := range roles {
		names[i] = ident(m.name)
		b.WriteString("CREATE ROLE " + names[i] + m.options())
		if f.version < 160000 {
			b.WriteString(" IN ROLE " + ident(m.scope) + ", " + ident(s.c.ownGroup()))
		} else {
			b.WriteString("; " + f.member(m.scope, m.name))
		}
		b.WriteString(m.settings(f) + "; ")
	}
	if f.version >= 160000 {
		b.WriteString(f.members(s.c.ownGroup(), names))
	}
	return on.transact(ctx, strings.TrimSuffix(b.String(), "; "))
}

func (m madeRole) options() string {
	return fmt.Sprintf(" LOGIN INHERIT CONNECTION LIMIT %d VALID UNTIL %s PASSWORD %s", m.sessions, literal(m.untilText()), literal(m.verifier))
}
