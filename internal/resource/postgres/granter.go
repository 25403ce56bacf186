package pgkind

import (
	"context"
	"fmt"
	"strings"
)

// granter collects statements that give a scope role its privileges, or take
// them away again.
type granter struct {
	s         *server
	on        conn
	role      string
	like      string // whoever has what this role has needs no more
	superuser bool
	take      bool
	out       []string
}

// An owner that prepare asked has left a function in the schema daypass that
// grants what the owner may, to scope roles alone (see prepare.sql). It is used
// only when it runs with the rights of the object's own owner.
const granterSQL = `
select o.owner::regrole::text, o.object, pg_has_role(current_user, o.owner, 'USAGE'), coalesce((
  select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  where n.nspname = 'daypass' and p.proname = 'grant_by_' || o.owner and p.proowner = o.owner and p.prosecdef
    and has_function_privilege(p.oid, 'EXECUTE')), '')
from (%s) o(owner, object)`

// give adds a statement about an object of sort that is called what: by
// ourselves, or through the function of its owner. find selects owner and OID.
func (g *granter) give(ctx context.Context, sort, what, privilege string, columns []string, find string, args ...string) error {
	if g.superuser {
		g.out = append(g.out, g.direct(sort, what, privilege, columns))
		return nil
	}
	row, err := g.on.one(ctx, fmt.Sprintf(granterSQL, find), args...)
	switch {
	case err != nil:
		return fmt.Errorf("asking who owns %s: %w", what, err)
	case yes(row[2]):
		g.out = append(g.out, g.direct(sort, what, privilege, columns))
	case row[3] != "":
		g.out = append(g.out, fmt.Sprintf("SELECT daypass.%s(%s, %s, %s::oid, %s, %s, %v)", ident(row[3]), literal(g.role), literal(sort), row[1], literal(privilege), literal(array(columns)), g.take))
	default:
		return fmt.Errorf("%s may not grant on %s, which belongs to %s: run daypass postgres prepare", g.s.user, what, row[0])
	}
	return nil
}

func (g *granter) direct(sort, what, privilege string, columns []string) string {
	if len(columns) > 0 {
		quoted := make([]string, len(columns))
		for i, c := range columns {
			quoted[i] = ident(c)
		}
		privilege += " (" + strings.Join(quoted, ", ") + ")"
	}
	if g.take {
		return "REVOKE " + privilege + " ON " + sort + " " + what + " FROM " + ident(g.role)
	}
	return "GRANT " + privilege + " ON " + sort + " " + what + " TO " + ident(g.role)
}

// How an object and its owner are found by name.
const (
	findDatabase = "select datdba, oid from pg_database where datname = current_database()"
	findSchema   = "select nspowner, oid from pg_namespace where nspname = $1"
	findRelation = "select c.relowner, c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = $2"
	findRoutine  = "select proowner, oid from pg_proc where oid = to_regprocedure($1)"
)

// connect lets the role into the database, where not everybody is let in.
func (g *granter) connect(ctx context.Context, database string) error {
	row, err := g.on.one(ctx, "select has_database_privilege($1, current_database(), 'CONNECT')", g.like)
	if err != nil || yes(row[0]) {
		return err
	}
	return g.give(ctx, "DATABASE", ident(database), "CONNECT", nil, findDatabase)
}

func (g *granter) schema(ctx context.Context, schema string) error {
	row, err := g.on.one(ctx, "select has_schema_privilege($1, $2, 'USAGE')", g.like, schema)
	if err != nil || yes(row[0]) {
		return err
	}
	return g.give(ctx, "SCHEMA", ident(schema), "USAGE", nil, findSchema, schema)
}

func (g *granter) table(ctx context.Context, action, schema, name string, columns []string) error {
	return g.give(ctx, "TABLE", qualified(schema, name), strings.ToUpper(action), columns, findRelation, schema, name)
}

func (g *granter) sequence(ctx context.Context, schema, name string) error {
	return g.give(ctx, "SEQUENCE", qualified(schema, name), "USAGE", nil, findRelation, schema, name)
}

func (g *granter) function(ctx context.Context, schema, name, types string) error {
	what := qualified(schema, name) + "(" + types + ")"
	return g.give(ctx, "ROUTINE", what, "EXECUTE", nil, findRoutine, what)
}

// heldSQL lists what a role has been granted in this database.
const heldSQL = `
select distinct sort, what, owner, object from (
  select case c.relkind when 'S' then 'SEQUENCE' else 'TABLE' end, c.oid::regclass::text, c.relowner, c.oid, a.grantee from pg_class c, aclexplode(c.relacl) a
  union all select 'TABLE', c.oid::regclass::text, c.relowner, c.oid, a.grantee from pg_class c join pg_attribute t on t.attrelid = c.oid, aclexplode(t.attacl) a
  union all select 'SCHEMA', quote_ident(n.nspname), n.nspowner, n.oid, a.grantee from pg_namespace n, aclexplode(n.nspacl) a
  union all select 'ROUTINE', p.oid::regprocedure::text, p.proowner, p.oid, a.grantee from pg_proc p, aclexplode(p.proacl) a
  union all select 'DATABASE', quote_ident(d.datname), d.datdba, d.oid, a.grantee from pg_database d, aclexplode(d.datacl) a where d.datname = current_database()
) held(sort, what, owner, object, grantee) where grantee = $1::oid order by 1, 2`

// all takes everything that was granted to the role in this database.
func (g *granter) all(ctx context.Context, oid string) error {
	rows, err := g.on.query(ctx, heldSQL, oid)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if err := g.give(ctx, row[0], row[1], "ALL", nil, "select $1::oid, $2::oid", row[2], row[3]); err != nil {
			return err
		}
	}
	return nil
}
