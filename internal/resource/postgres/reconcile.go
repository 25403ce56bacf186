package pgkind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/daypass/daypass/internal/policy"
)

// Reconcile implements resource.Reconciler.
func (c *connector) Reconcile(ctx context.Context, resources []*policy.Resource, stands func(context.Context, string) (bool, error)) ([]string, error) {
	var said []string
	var errs []error
	seen := map[*server]bool{}
	for _, r := range resources {
		s, _, err := c.primary(r)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.ID, err))
			continue
		}
		if seen[s] {
			continue
		}
		seen[s] = true
		s.forget()
		for _, step := range []func() ([]string, error){
			func() ([]string, error) { return c.orphans(ctx, s, r, stands) },
			func() ([]string, error) { return c.drifted(ctx, s) },
			func() ([]string, error) { return c.filtersDrifted(ctx, s) },
			func() ([]string, error) { return s.scopeRoles(ctx) },
		} {
			found, err := step()
			for _, one := range found {
				said = append(said, r.ID+": "+one)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", r.ID, err))
			}
		}
	}
	return said, errors.Join(errs...)
}

// Roles of another Daypass on the same cluster are left alone, but for those
// that ended a day ago: its own sweep, if it still ran, would have had them.
const grantRolesSQL = `
select r.rolname, exists (select 1 from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = r.oid and g.rolname = $1),
  coalesce(r.rolvaliduntil < now() - interval '1 day', false)
from pg_roles r where r.rolname ~ '^daypass_g_[a-z2-7]{26}$' order by 1`

// orphans removes the roles of grants that do not stand.
func (c *connector) orphans(ctx context.Context, s *server, r *policy.Resource, stands func(context.Context, string) (bool, error)) ([]string, error) {
	var rows [][]string
	err := s.with(ctx, func(on conn) (err error) {
		if _, err = s.look(ctx, on); err == nil {
			rows, err = on.query(ctx, grantRolesSQL, c.ownGroup())
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var said []string
	var errs []error
	for _, row := range rows {
		role, ours, dead := row[0], yes(row[1]), yes(row[2])
		if ours {
			if dead, err = c.orphan(ctx, role, stands); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		if !dead {
			continue
		}
		if err := c.remove(ctx, r, role); err != nil {
			errs = append(errs, err)
			continue
		}
		said = append(said, fmt.Sprintf("the role %s is of no grant that stands, and was removed", role))
	}
	return said, errors.Join(errs...)
}

func (c *connector) orphan(ctx context.Context, role string, stands func(context.Context, string) (bool, error)) (bool, error) {
	ok, err := stands(ctx, grantOf(role))
	return err == nil && !ok, err
}

// A password is seen by a superuser alone.
const madeSQL = `
select r.rolname, r.rolcanlogin and r.rolinherit, r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication or r.rolbypassrls,
  r.rolconnlimit, coalesce(to_char(r.rolvaliduntil at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), ''),
  array_to_string(array(select x from unnest(r.rolconfig) x order by 1), ' '),
  array_to_string(array(select g.rolname::text from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = r.oid order by 1), ' '),
  %s
from pg_roles r where r.rolname = any($1::text[])`

// drifted sets right the roles of grants that somebody changed, and makes those
// again that somebody dropped.
func (c *connector) drifted(ctx context.Context, s *server) ([]string, error) {
	var all []*madeGrant
	c.mu.Lock()
	for _, g := range c.made {
		if g.on == s && !g.over.Load() {
			all = append(all, g)
		}
	}
	c.mu.Unlock()
	if len(all) == 0 {
		return nil, nil
	}
	names := make([]string, len(all))
	for i, g := range all {
		names[i] = g.role.name
	}
	is := map[string][]string{}
	var f *facts
	err := s.with(ctx, func(on conn) (err error) {
		if f, err = s.look(ctx, on); err != nil {
			return err
		}
		password := "''"
		if f.superuser {
			password = "(select a.rolpassword from pg_authid a where a.oid = r.oid)"
		}
		rows, err := on.query(ctx, fmt.Sprintf(madeSQL, password), array(names))
		for _, row := range rows {
			is[row[0]] = row
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var said []string
	var errs []error
	for _, g := range all {
		what := "was dropped"
		if row := is[g.role.name]; row != nil {
			if what = g.role.differs(f, c.ownGroup(), row); what == "" {
				continue
			}
		}
		mended, err := c.mend(ctx, g)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("the role %s %s, and could not be set right: %w", g.role.name, what, err))
		case mended:
			said = append(said, fmt.Sprintf("the role %s of %s %s by somebody, and was set right", g.role.name, g.target.Grant.ID, what))
		}
	}
	return said, errors.Join(errs...)
}

// mend makes a role again as it was made, unless its grant is over by now.
func (c *connector) mend(ctx context.Context, g *madeGrant) (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over.Load() || !c.deps.Now().Before(g.target.ExpiresAt) {
		return false, nil
	}
	return true, g.realise(ctx)
}

// filtersDrifted makes the row filters again that somebody changed or dropped.
func (c *connector) filtersDrifted(ctx context.Context, s *server) ([]string, error) {
	filtered := map[string]*madeGrant{}
	c.mu.Lock()
	for _, g := range c.made {
		if g.on == s && !g.over.Load() && g.role.views != "" {
			filtered[g.role.scope] = g
		}
	}
	c.mu.Unlock()
	var said []string
	var errs []error
	for role, g := range filtered {
		stand := false
		err := s.with(ctx, func(on conn) (err error) {
			stand, err = viewsStand(ctx, on, role, g.needs)
			return err
		})
		if err == nil && !stand {
			s.mu.Lock()
			delete(s.scopes, role) // it is not as it should be
			s.mu.Unlock()
			var mended bool
			if mended, err = c.mend(ctx, g); mended && err == nil {
				said = append(said, "the row filter in the schema "+g.role.views+" was changed by somebody, and was set right")
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("the row filter in the schema %s: %w", g.role.views, err))
		}
	}
	return said, errors.Join(errs...)
}

// differs says how a role differs from m; "" when it does not.
func (m madeRole) differs(f *facts, group string, row []string) string {
	switch {
	case !yes(row[1]):
		return "was shut"
	case yes(row[2]):
		return "was given powers"
	case row[3] != fmt.Sprint(m.sessions):
		return "was given another limit of sessions"
	case row[4] != m.untilText():
		return "was given another end"
	case row[5] != strings.Join(sorted(m.config(f)), " "):
		return "was given other settings"
	case row[6] != strings.Join(sorted([]string{m.scope, group}), " "):
		return "was made a member of other roles"
	case f.superuser && row[7] != m.verifier:
		return "was given another password"
	}
	return ""
}

const scopeRolesSQL = `
select r.rolname, r.oid, r.rolcanlogin or r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication or r.rolbypassrls,
  r.rolconfig is not null,
  (select count(*) from pg_shdepend d where d.refclassid = 'pg_authid'::regclass and d.refobjid = r.oid and d.deptype = 'o'),
  (select count(*) from pg_auth_members m where m.roleid = r.oid and m.member <> (select oid from pg_roles where rolname = current_user)),
  array(select g.rolname::text from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = r.oid),
  exists (select 1 from pg_shdepend d where d.refclassid = 'pg_authid'::regclass and d.refobjid = r.oid
    and d.dbid not in (0, (select oid from pg_database where datname = current_database()))),
  %s
from pg_roles r where r.rolname ~ '^daypass_s_[0-9a-f]{20}$' order by 1`

// scopeRoles collects the scope roles of this database that no grant uses, and
// sets right those that somebody could have left something on.
func (s *server) scopeRoles(ctx context.Context) ([]string, error) {
	var said []string
	return said, s.with(ctx, func(on conn) error {
		said = nil
		f, err := s.look(ctx, on)
		if err != nil {
			return err
		}
		password := "false"
		if f.superuser {
			password = "(select a.rolpassword is not null from pg_authid a where a.oid = r.oid)"
		}
		rows, err := on.query(ctx, fmt.Sprintf(scopeRolesSQL, password))
		if err != nil {
			return err
		}
		var errs []error
		for _, row := range rows {
			role, elsewhere := row[0], yes(row[7])
			if row[5] == "0" && !elsewhere {
				errs = append(errs, patiently(ctx, func() error { return s.collect(ctx, on, f, role, row[1]) }))
				continue
			}
			what, fix := drift(row, f)
			if what == "" {
				continue
			}
			if fix != "" {
				if err := on.transact(ctx, fix); err != nil {
					errs = append(errs, fmt.Errorf("the role %s %s, and could not be set right: %w", role, what, err))
					continue
				}
				what += ", and was set right"
			}
			said = append(said, "the role "+role+" "+what)
		}
		more, err := s.readers(ctx, on, f)
		said = append(said, more...)
		return errors.Join(append(errs, err)...)
	})
}

// drift says what a scope role has that none of ours has, and how to undo it;
// what it owns is somebody's work, and shown.
func drift(row []string, f *facts) (what, fix string) {
	role := ident(row[0])
	strays := namesIn(row[6])
	switch {
	case yes(row[2]) || yes(row[8]):
		return "had a password or powers", "ALTER ROLE " + role + " NOLOGIN PASSWORD NULL" + f.powerless()
	case yes(row[3]):
		return "had settings", "ALTER ROLE " + role + " RESET ALL"
	case len(strays) > 0:
		for i, stray := range strays {
			strays[i] = "REVOKE " + ident(stray) + " FROM " + role
		}
		return "was a member of other roles", strings.Join(strays, "; ")
	case row[4] != "0":
		return "owns " + row[4] + " objects or default privileges: see what they are, and DROP OWNED BY nothing that is needed", ""
	}
	return "", ""
}

// powerless takes from a role, in an ALTER ROLE, what only a superuser may take.
func (f *facts) powerless() string {
	if !f.superuser {
		return ""
	}
	return " NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
}

// namesIn reads an array of names of roles.
func namesIn(array string) []string {
	out := strings.FieldsFunc(strings.Trim(array, "{}"), func(r rune) bool { return r == ',' })
	for i := range out {
		out[i] = strings.Trim(out[i], `"`)
	}
	return out
}

// collect drops a scope role that nobody is a member of.
func (s *server) collect(ctx context.Context, on conn, f *facts, role, oid string) error {
	s.mu.Lock()
	delete(s.scopes, role)
	s.mu.Unlock()
	err := func() error {
		if err := on.exec(ctx, "BEGIN; SELECT pg_advisory_xact_lock("+turns+")"); err != nil {
			return err
		}
		row, err := on.one(ctx, `select count(*) from pg_auth_members where roleid = $1::oid and member <> (select oid from pg_roles where rolname = current_user)`, oid)
		if err != nil || row[0] != "0" {
			return errors.Join(err, on.exec(ctx, "ROLLBACK"))
		}
		if err := s.dropReader(ctx, on, f, readerOf(role)); err != nil {
			return err
		}
		g := granter{s: s, on: on, role: role, superuser: f.superuser, take: true}
		if err := g.all(ctx, oid); err != nil {
			return err
		}
		drop := []string{"DROP OWNED BY " + ident(role), "DROP ROLE " + ident(role)}
		if !f.superuser {
			drop = slices.Insert(drop, 0, "GRANT "+ident(role)+" TO "+ident(s.user))
		}
		return on.exec(ctx, strings.Join(append(g.out, append(drop, "COMMIT")...), "; "))
	}()
	if err != nil && !on.IsClosed() && on.TxStatus() != 'I' {
		return errors.Join(fmt.Errorf("collecting %s: %w", role, err), on.exec(context.WithoutCancel(ctx), "ROLLBACK"))
	}
	return err
}
