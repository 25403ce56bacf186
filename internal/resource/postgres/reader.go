package pgkind

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/daypass/daypass/internal/policy"
)

// A row filter is a view with security_barrier, called as the table is, in a
// schema that comes first in the search_path of the roles of grants. It belongs
// to a role that nobody can become, which reads the table; the grant does not.
// Row level security of the table is never touched: to switch it on would take
// the rows from everybody else.

// openTablesSQL finds those of tables that everybody, or every role of a grant, can
// read past a filter: themselves, a table that they are a part of, or a part.
const openTablesSQL = `
with recursive up(oid) as (select unnest($1::oid[]) union select i.inhparent from up join pg_inherits i on i.inhrelid = up.oid),
  down(oid) as (select unnest($1::oid[]) union select i.inhrelid from down join pg_inherits i on i.inhparent = down.oid)
select n.nspname || '.' || c.relname
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.oid in (select oid from up union select oid from down) and (has_any_column_privilege('public', c.oid, 'SELECT')
  or exists (select 1 from pg_roles r where r.rolname = $2 and has_any_column_privilege(r.oid, c.oid, 'SELECT')))
order by 1 limit 1`

// unfiltered refuses filters on tables that are read without them.
func unfiltered(ctx context.Context, on conn, s *Scope, f found) error {
	if len(s.fields.Rows) == 0 {
		return nil
	}
	oids := []string{}
	for table := range s.fields.Rows {
		oids = append(oids, strconv.FormatUint(uint64(f.Tables[table]), 10))
	}
	rows, err := on.query(ctx, openTablesSQL, "{"+strings.Join(oids, ",")+"}", groupRole)
	if err != nil || len(rows) == 0 {
		return err
	}
	return &policy.Unfit{Field: "rows", Message: "Everybody may read " + rows[0][0] + " in this database, so that no row filter holds there: revoke that from PUBLIC first."}
}

// makeReader makes the role, the schema and the views of the filters of p for a
// scope role, in the transaction that makes the scope role.
func (s *server) makeReader(ctx context.Context, on conn, f *facts, scope string, p privileges) error {
	reader := readerOf(scope)
	there, err := on.query(ctx, "select 1 from pg_roles where rolname = $1", reader)
	if err != nil {
		return err
	}
	if len(there) == 0 {
		if err := on.exec(ctx, "CREATE ROLE "+ident(reader)+" NOLOGIN"); err != nil {
			return err
		}
	}
	g := granter{s: s, on: on, role: reader, like: reader, superuser: f.superuser}
	for _, full := range slices.Sorted(maps.Keys(p.Rows)) {
		schema, name, _ := strings.Cut(full, ".")
		if err := g.schema(ctx, schema); err != nil {
			return err
		}
		if err := g.table(ctx, "select", schema, name, nil); err != nil {
			return err
		}
	}
	if err := on.exec(ctx, strings.Join(g.out, "; ")); err != nil {
		return err
	}
	if stand, err := viewsStand(ctx, on, scope, p); err != nil || stand {
		return err
	}
	become, leave := f.become(reader, s.user)
	schema := slices.Concat(become, []string{"DROP SCHEMA IF EXISTS " + ident(reader) + " CASCADE", "CREATE SCHEMA " + ident(reader) + " AUTHORIZATION " + ident(reader)})
	if err := on.exec(ctx, strings.Join(schema, "; ")); err != nil {
		if state(err) == insufficient {
			return fmt.Errorf("%s may not make the schema of a row filter: run daypass postgres prepare --rows: %w", s.user, err)
		}
		return err
	}
	if err := s.makeViews(ctx, on, reader, scope, p); err != nil {
		return err
	}
	return on.exec(ctx, strings.Join(leave, "; "))
}

// makeViews makes the views of p in their new schema. Nothing of a predicate runs
// here: our login may be a superuser, and what a predicate calls may be anybody's.
func (s *server) makeViews(ctx context.Context, on conn, reader, scope string, p privileges) error {
	views := []string{"SET LOCAL ROLE " + ident(reader), "GRANT USAGE ON SCHEMA " + ident(reader) + " TO " + ident(scope)}
	for _, full := range slices.Sorted(maps.Keys(p.Rows)) {
		view, err := viewOf(ctx, on, reader, full, p)
		if err != nil {
			return err
		}
		views = append(views, view, "GRANT SELECT ON "+qualified(reader, nameOf(full))+" TO "+ident(scope))
	}
	if err := on.exec(ctx, strings.Join(append(views, "RESET ROLE"), "; ")); err != nil {
		return fmt.Errorf("making a row filter: %w", err)
	}
	rows, err := on.query(ctx, beyondSQL, reader)
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		return fmt.Errorf("the predicate of a row filter uses %s, which the role that reads for it may not: it has the tables of the filters and what everybody may", strings.Join(column(rows), ", "))
	}
	return seal(ctx, on, reader, p)
}

// beyondSQL finds what views use that their owner may not.
const beyondSQL = `
with uses(class, object) as (
  select distinct d.refclassid, d.refobjid from pg_class v join pg_rewrite w on w.ev_class = v.oid join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
  where v.relnamespace = $1::text::regnamespace and d.refobjid <> v.oid)
select object::regclass::text from uses where class = 'pg_class'::regclass and not has_any_column_privilege($1::text::name, object, 'SELECT')
union all select object::regprocedure::text from uses where class = 'pg_proc'::regclass and not has_function_privilege($1::text::name, object, 'EXECUTE')
order by 1`

// become is how our login gets to act for a role of ours, and stops to.
func (f *facts) become(role, user string) (become, leave []string) {
	if f.superuser {
		return nil, nil
	}
	return []string{"GRANT " + ident(role) + " TO " + ident(user)}, []string{"REVOKE " + ident(role) + " FROM " + ident(user)}
}

func nameOf(full string) string {
	_, name, _ := strings.Cut(full, ".")
	return name
}

// viewOf makes one.
func viewOf(ctx context.Context, on conn, reader, full string, p privileges) (string, error) {
	rows, err := on.query(ctx, "select attname from pg_attribute where attrelid = $1::oid and attnum > 0 and not attisdropped order by attnum", fmt.Sprint(p.Tables[full]))
	if err != nil {
		return "", err
	}
	var columns []string
	for _, column := range column(rows) {
		if some := p.Columns[full]; some == nil || slices.Contains(some, column) {
			columns = append(columns, ident(column))
		}
	}
	schema, name, _ := strings.Cut(full, ".")
	view := qualified(reader, name)
	return "CREATE VIEW " + view + " WITH (security_barrier) AS SELECT " + strings.Join(columns, ", ") + " FROM " + qualified(schema, name) + " WHERE (" + p.Rows[full] + ")", nil
}

// viewSQL is what a view is, so that a change of it is noticed: its text as the
// server reads it, and whom it belongs to.
const viewSQL = `md5(pg_get_viewdef(c.oid)) || ' ' || c.relowner || ' ' || coalesce(array_to_string(c.reloptions, ' '), '')`

// seal writes down in the database what the views are.
func seal(ctx context.Context, on conn, reader string, p privileges) error {
	rows, err := on.query(ctx, "select c.relname, "+viewSQL+" from pg_class c where c.relnamespace = $1::regnamespace and c.relkind = 'v'", reader)
	if err != nil {
		return err
	}
	if len(rows) != len(p.Rows) {
		return errors.New("the views of a row filter are not there")
	}
	var out []string
	for _, row := range rows {
		out = append(out, "COMMENT ON VIEW "+qualified(reader, row[0])+" IS "+literal(row[1]))
	}
	return on.exec(ctx, strings.Join(out, "; "))
}

// standingSQL finds the views that are as they were made, of the table that they
// were made of.
const standingSQL = `
select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and n.nspowner = c.relowner and c.relkind = 'v' and c.relowner = (select oid from pg_roles where rolname = $1)
  and obj_description(c.oid, 'pg_class') = ` + viewSQL + ` and 'security_barrier=true' = any(c.reloptions)
  and exists (select 1 from pg_rewrite w join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
    where w.ev_class = c.oid and d.refclassid = 'pg_class'::regclass and d.refobjid = any($2::oid[]))`

// viewsStand reports whether all views of p are there, as they should be.
func viewsStand(ctx context.Context, on conn, scope string, p privileges) (bool, error) {
	of := map[string]uint32{}
	for full := range p.Rows {
		of[full] = p.Tables[full]
	}
	rows, err := on.query(ctx, standingSQL, readerOf(scope), oids(of))
	if err != nil {
		return false, err
	}
	there := column(rows)
	for full := range p.Rows {
		if !slices.Contains(there, nameOf(full)) {
			return false, nil
		}
	}
	return len(there) == len(p.Rows), nil
}

// filtersStand says, in a sentence for the client, that a filter is not as it
// was made: nothing is read past it.
func filtersStand(ctx context.Context, on conn, p privileges) error {
	role, err := p.role()
	if err != nil {
		return err
	}
	stand, err := viewsStand(ctx, on, role, p)
	if err == nil && !stand {
		err = unlike{errors.New("its row filter was changed in the database: ask again, or wait until Daypass has set it right")}
	}
	return err
}

// holdsFiltered reports, as an error, that a table is not read through its view
// and through nothing else.
func holdsFiltered(ctx context.Context, on conn, role, name string, oid uint32) error {
	rows, err := on.query(ctx, `
select has_table_privilege($1, v.oid, 'SELECT') and has_schema_privilege($1, n.oid, 'USAGE') and has_table_privilege($2, $4::oid, 'SELECT'), has_any_column_privilege($1, $4::oid, 'SELECT')
from pg_class v join pg_namespace n on n.oid = v.relnamespace where n.nspname = $2 and v.relname = $3`, role, readerOf(role), nameOf(name), fmt.Sprint(oid))
	switch {
	case err != nil || len(rows) == 0 || !yes(rows[0][0]):
		return lost(name, err)
	case yes(rows[0][1]):
		return fmt.Errorf("%s can be read without its row filter by everybody who has a grant: revoke that first", name)
	}
	return nil
}

// dropReader removes what makeReader made: the schema first, for a role goes
// when nothing is left of it.
func (s *server) dropReader(ctx context.Context, on conn, f *facts, reader string) error {
	rows, err := on.query(ctx, "select oid from pg_roles where rolname = $1", reader)
	if err != nil || len(rows) == 0 {
		return err
	}
	become, _ := f.become(reader, s.user)
	if err := on.exec(ctx, strings.Join(slices.Concat(become, []string{"DROP SCHEMA IF EXISTS " + ident(reader) + " CASCADE"}), "; ")); err != nil {
		return err
	}
	g := granter{s: s, on: on, role: reader, superuser: f.superuser, take: true}
	if err := g.all(ctx, rows[0][0]); err != nil {
		return err
	}
	return on.exec(ctx, strings.Join(append(g.out, "DROP OWNED BY "+ident(reader), "DROP ROLE "+ident(reader)), "; "))
}

// readersSQL finds readers that somebody changed, or that have no scope role.
// Those of another database are for who looks after that.
const readersSQL = `
select r.rolname, r.rolcanlogin or r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication or r.rolbypassrls, r.rolconfig is not null,
  array(select g.rolname::text from pg_auth_members m join pg_roles g on g.oid = m.member where m.roleid = r.oid and g.rolname <> current_user and not g.rolcreaterole and not g.rolsuper),
  array(select g.rolname::text from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = r.oid),
  exists (select 1 from pg_roles s where s.rolname = replace(r.rolname, 'daypass_r_', 'daypass_s_'))
from pg_roles r where r.rolname ~ '^daypass_r_[0-9a-f]{20}$' and not exists (select 1 from pg_shdepend d
  where d.refclassid = 'pg_authid'::regclass and d.refobjid = r.oid and d.dbid not in (0, (select oid from pg_database where datname = current_database())))
order by 1`

// readers collects those of no scope role, and sets right the others.
func (s *server) readers(ctx context.Context, on conn, f *facts) (said []string, err error) {
	rows, err := on.query(ctx, readersSQL)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, row := range rows {
		reader := row[0]
		if !yes(row[5]) {
			errs = append(errs, patiently(ctx, func() error { return s.orphanReader(ctx, on, f, reader) }))
			continue
		}
		var fix []string
		if yes(row[1]) {
			fix = append(fix, "ALTER ROLE "+ident(reader)+" NOLOGIN PASSWORD NULL"+f.powerless())
		}
		if yes(row[2]) {
			fix = append(fix, "ALTER ROLE "+ident(reader)+" RESET ALL")
		}
		for _, member := range namesIn(row[3]) {
			fix = append(fix, "REVOKE "+ident(reader)+" FROM "+ident(member))
		}
		for _, group := range namesIn(row[4]) {
			fix = append(fix, "REVOKE "+ident(group)+" FROM "+ident(reader))
		}
		if len(fix) == 0 {
			continue
		}
		if err := on.transact(ctx, strings.Join(fix, "; ")); err != nil {
			errs = append(errs, fmt.Errorf("the role %s was changed by somebody, and could not be set right: %w", reader, err))
			continue
		}
		said = append(said, "the role "+reader+", which reads for row filters, was given powers, settings or members by somebody, and was set right")
	}
	return said, errors.Join(errs...)
}

func (s *server) orphanReader(ctx context.Context, on conn, f *facts, reader string) error {
	err := func() error {
		if err := on.exec(ctx, "BEGIN; SELECT pg_advisory_xact_lock("+turns+")"); err != nil {
			return err
		}
		rows, err := on.query(ctx, "select 1 from pg_roles where rolname = $1", scopePrefix+strings.TrimPrefix(reader, readerPrefix))
		if err != nil || len(rows) > 0 { // it has come meanwhile
			return errors.Join(err, on.exec(ctx, "ROLLBACK"))
		}
		if err := s.dropReader(ctx, on, f, reader); err != nil {
			return err
		}
		return on.exec(ctx, "COMMIT")
	}()
	if err != nil && !on.IsClosed() && on.TxStatus() != 'I' {
		return errors.Join(fmt.Errorf("removing %s: %w", reader, err), on.exec(context.WithoutCancel(ctx), "ROLLBACK"))
	}
	return err
}
