package pgkind

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// facts are what a server is and what our login may do there.
type facts struct {
	version    int // such as 150020
	superuser  bool
	createRole bool
	signal     bool // it may end sessions of others
	spill      bool // it may set temp_file_limit on a role
	standby    bool
}

const factsSQL = `
select current_setting('server_version_num'), r.rolsuper, r.rolsuper or r.rolcreaterole,
  r.rolsuper or pg_has_role(r.rolname, 'pg_signal_backend', 'USAGE'), pg_is_in_recovery()
from pg_roles r where r.rolname = current_user`

// look returns the facts, asked for once until forget.
func (s *server) look(ctx context.Context, on conn) (*facts, error) {
	s.mu.Lock()
	known := s.facts
	s.mu.Unlock()
	if known != nil {
		return known, nil
	}
	row, err := on.one(ctx, factsSQL)
	if err != nil {
		return nil, fmt.Errorf("asking the server what it is: %w", err)
	}
	f := &facts{superuser: yes(row[1]), createRole: yes(row[2]), signal: yes(row[3]), standby: yes(row[4])}
	if f.version, err = strconv.Atoi(row[0]); err != nil {
		return nil, fmt.Errorf("asking the server for its version: %w", err)
	}
	if f.spill = f.superuser; !f.spill && f.version >= 150000 {
		row, err := on.one(ctx, "select has_parameter_privilege('temp_file_limit', 'SET')")
		if err != nil {
			return nil, fmt.Errorf("asking the server what may be set: %w", err)
		}
		f.spill = yes(row[0])
	}
	if lack := f.lack(); lack != "" && !f.standby {
		return nil, fmt.Errorf("the login %s on %s %s", s.user, s.at.addr(), lack)
	}
	if !f.standby {
		if err := s.groups(ctx, on, f); err != nil {
			return nil, err
		}
		if !f.spill {
			s.c.deps.Log.Warn("temp_file_limit is not set on roles of grants: the login may not", "server", s.at.addr(), "login", s.user, "next", "daypass postgres prepare")
		}
	}
	s.mu.Lock()
	s.facts = f
	s.mu.Unlock()
	return f, nil
}

// lack says what is missing to make roles and end their sessions; "" when
// nothing is.
func (f *facts) lack() string {
	switch {
	case f.version < 140000:
		return fmt.Sprintf("is on PostgreSQL %d: 14 is the oldest that ends a session whose client is gone", f.version/10000)
	case !f.createRole:
		return "may not make roles: run daypass postgres prepare, or ALTER ROLE … CREATEROLE"
	case !f.signal:
		return "may not end sessions: run daypass postgres prepare, or GRANT pg_signal_backend TO it"
	}
	return ""
}

// groups makes the group of all grant roles, and the one of ours in it.
func (s *server) groups(ctx context.Context, on conn, f *facts) error {
	for _, g := range []struct{ name, in string }{{groupRole, ""}, {s.c.ownGroup(), groupRole}} {
		err := patiently(ctx, func() error {
			rows, err := on.query(ctx, "select 1 from pg_roles where rolname = $1", g.name)
			if err != nil || len(rows) > 0 {
				return err
			}
			sql := "CREATE ROLE " + ident(g.name) + " NOLOGIN"
			if g.in != "" {
				sql += "; " + f.member(g.in, g.name)
			}
			return on.transact(ctx, sql)
		})
		if err != nil {
			return fmt.Errorf("making the group %s: %w", g.name, err)
		}
	}
	return nil
}

// member makes role a member of group, which it need not become (SET ROLE)
// where that can be said.
func (f *facts) member(group, role string) string { return f.members(group, []string{ident(role)}) }

// members is member for several roles, as SQL has their names.
func (f *facts) members(group string, roles []string) string {
	sql := "GRANT " + ident(group) + " TO " + strings.Join(roles, ", ")
	if f.version >= 160000 {
		sql += " WITH INHERIT TRUE, SET FALSE"
	}
	return sql
}

// forget has facts and scope roles looked at again.
func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.facts, s.scopes, s.reaches = nil, map[string]bool{}, map[string]*reach{}
}

func yes(text string) bool { return strings.HasPrefix(text, "t") }
