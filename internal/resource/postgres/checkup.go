package pgkind

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/policy"
)

// Result is one thing that was looked at.
type Result struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Next string `json:"next,omitempty"` // what to do where it is not
}

// Checkup logs in as a resource would and says what is missing. An error means
// that it could not be asked at all.
func Checkup(ctx context.Context, upstream, user string, password config.Secret) ([]Result, error) {
	at, err := parseEndpoint(upstream)
	if err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	return (&Config{upstream: at, user: user, password: password}).checkup(ctx)
}

// CheckupOf does so for a resource of a catalog, and tries its row filters. A
// password that is given takes the place of the catalog's.
func CheckupOf(ctx context.Context, r *policy.Resource, password *config.Secret) ([]Result, error) {
	c, err := configOf(r)
	if err != nil {
		return nil, fmt.Errorf("%s is no postgres resource", r.ID)
	}
	if password == nil {
		return c.checkup(ctx)
	}
	other := *c
	other.password = *password
	return other.checkup(ctx)
}

func (c *Config) checkup(ctx context.Context) ([]Result, error) {
	s := lone(c.upstream, c.user, c.password)
	defer s.close()
	var out []Result
	err := s.with(ctx, func(on conn) error {
		out = nil
		if err := checkup(ctx, on, c.user, &out); err != nil {
			return err
		}
		return s.tryFilters(ctx, on, c.rows, &out)
	})
	return out, err
}

// tryFilters makes each row filter as a grant would, with values of its types,
// and takes it back.
func (s *server) tryFilters(ctx context.Context, on conn, rows map[string]template, out *[]Result) error {
	if len(rows) == 0 {
		return nil
	}
	row, err := on.one(ctx, "select current_setting('server_version_num'), rolsuper from pg_roles where rolname = current_user")
	if err != nil {
		return err
	}
	f := facts{superuser: yes(row[1])}
	if f.version, err = strconv.Atoi(row[0]); err != nil {
		return fmt.Errorf("asking the server for its version: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		t := rows[name]
		r := Result{What: fmt.Sprintf("the row filter %s reads %s", name, t.table), OK: true}
		if err := s.tryFilter(ctx, on, &f, name, t); err != nil {
			if on.IsClosed() {
				return err
			}
			r.OK, r.Next = false, err.Error()
		}
		*out = append(*out, r)
	}
	return nil
}

func (s *server) tryFilter(ctx context.Context, on conn, f *facts, name string, t template) error {
	values := t.samples()
	asked := map[string]value{templateKey: value(name)}
	for n, v := range values {
		asked[n] = value(v)
	}
	scope, err := newScope(given{Actions: []string{"select"}, Tables: []string{t.table}, Rows: map[string]map[string]value{t.table: asked}})
	if err != nil {
		return err
	}
	found, err := s.c.resolve(ctx, on, scope)
	if err != nil {
		return err
	}
	found.Rows = map[string]filter{t.table: t.with(name, values)}
	p := privilegesOf(scope, found)
	role, err := p.role()
	if err != nil {
		return err
	}
	err = on.exec(ctx, "BEGIN; SELECT pg_advisory_xact_lock("+turns+")")
	if err == nil {
		err = s.tryScope(ctx, on, f, role, p)
	}
	if on.IsClosed() || on.TxStatus() == 'I' {
		return err
	}
	return errors.Join(err, on.exec(context.WithoutCancel(ctx), "ROLLBACK"))
}

// tryScope makes what a row filter needs, in a transaction that is taken back.
func (s *server) tryScope(ctx context.Context, on conn, f *facts, role string, p privileges) error {
	there, err := on.query(ctx, "select 1 from pg_roles where rolname = $1", role)
	if err == nil && len(there) == 0 {
		err = on.exec(ctx, "CREATE ROLE "+ident(role)+" NOLOGIN")
	}
	if err == nil {
		err = s.makeReader(ctx, on, f, role, p)
	}
	if err != nil {
		return err
	}
	return holds(ctx, on, role, p)
}

func checkup(ctx context.Context, on conn, user string, out *[]Result) error {
	const prepare = "a superuser runs: daypass postgres prepare --dry-run"
	say := func(ok bool, next, format string, args ...any) {
		r := Result{What: fmt.Sprintf(format, args...), OK: ok}
		if !ok {
			r.Next = next
		}
		*out = append(*out, r)
	}
	row, err := on.one(ctx, `select current_setting('server_version_num')::int / 10000, r.rolsuper, r.rolsuper or r.rolcreaterole,
		r.rolsuper or pg_has_role(r.rolname, 'pg_signal_backend', 'USAGE'), current_setting('server_version_num')::int < 150000 from pg_roles r where r.rolname = current_user`)
	if err != nil {
		return err
	}
	super := yes(row[1])
	say(len(row[0]) > 1 && row[0] >= "14", "PostgreSQL 14 is the oldest that ends a session whose client is gone", "PostgreSQL %s", row[0])
	say(yes(row[2]), prepare, "%s makes roles", user)
	say(yes(row[3]), prepare, "%s ends sessions of grants", user)
	spills := super
	if !super && !yes(row[4]) {
		one, err := on.one(ctx, "select has_parameter_privilege('temp_file_limit', 'SET')")
		if err != nil {
			return err
		}
		spills = yes(one[0])
	}
	say(spills, prepare, "%s limits the temporary files of grants", user)
	owners, err := on.query(ctx, ownersSQL, user, array([]string{user}))
	if err != nil {
		return err
	}
	for _, o := range owners {
		has, err := on.one(ctx, "select pg_has_role(current_user, $1::oid, 'USAGE')", o[0])
		if err != nil {
			return err
		}
		say(super || yes(has[0]) || o[3] != "", prepare, "%s grants what belongs to %s", user, o[1])
	}
	e, err := preview(ctx, on, found{})
	if err != nil {
		return err
	}
	say(e.Relations == 0, "revoke from PUBLIC what is not meant for everybody", "every grant also reaches %s%s", counted(e.Relations, "relation"), listed(e.RelationNames))
	say(e.OwnerFunctions == 0, prepare, "every grant also reaches %s with the rights of its owner%s", counted(e.OwnerFunctions, "function"), listed(e.OwnerFunctionNames))
	say(len(e.Languages) == 0, prepare, "every grant can write code in %s", counted(len(e.Languages), "language"))
	shown, err := on.one(ctx, "select has_table_privilege('public', 'pg_catalog.pg_db_role_setting', 'SELECT') or has_column_privilege('public', 'pg_catalog.pg_roles', 'rolconfig', 'SELECT') or has_column_privilege('public', 'pg_catalog.pg_proc', 'prosrc', 'SELECT')")
	if err != nil {
		return err
	}
	say(!yes(shown[0]), prepare, "settings of roles and source of functions, which may hold secrets, are not for everybody")
	say(!e.Temp, prepare, "temporary tables are for those alone who need them")
	say(len(e.Connect) <= 1, prepare, "every grant can connect to %s", counted(len(e.Connect), "database"))
	return nil
}

func listed(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return " (" + strings.Join(names, ", ") + ")"
}
