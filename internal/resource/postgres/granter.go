package pgkind

import (
	"context"
	"fmt"
	"strings"
)

// granter collects statements that give a scope role its privileges.
type granter struct {
	s         *server
	on        conn
	role      string
	superuser bool
	out       []string
}

// An owner that prepare asked has left a function in the schema daypass that
// grants what the owner may, to scope roles alone. It is called by the OID of
// its owner, runs with the owner's rights, and is used only when it is
// the owner's own.
const granterSQL = `
select o.owner::regrole::text, pg_has_role(current_user, o.owner, 'USAGE'), coalesce((
  select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  where n.nspname = 'daypass' and p.proname = 'grant_by_' || o.owner and p.proowner = o.owner and p.prosecdef
    and has_function_privilege(p.oid, 'EXECUTE')), '')
from (%s) o(owner)`

// give adds a GRANT on an object of sort, by itself or through its owner's
// function.
func (g *granter) give(ctx context.Context, sort, what, privilege, columns, owner string, args ...string) error {
	direct := "GRANT " + privilege + columns + " ON " + sort + " " + what + " TO " + ident(g.role)
	if g.superuser {
		g.out = append(g.out, direct)
		return nil
	}
	row, err := g.on.one(ctx, fmt.Sprintf(granterSQL, owner), args...)
	switch {
	case err != nil:
		return fmt.Errorf("asking who owns %s: %w", what, err)
	case yes(row[1]):
		g.out = append(g.out, direct)
	case row[2] != "":
		g.out = append(g.out, "SELECT daypass."+ident(row[2])+"("+literal(g.role)+", "+literal(sort)+", "+literal(what)+", "+literal(privilege)+", "+literal(columns)+")")
	default:
		return fmt.Errorf("%s may not grant on %s, which belongs to %s: run daypass postgres prepare", g.s.user, what, row[0])
	}
	return nil
}

// connect lets the role into the database, where not everybody is let in.
func (g *granter) connect(ctx context.Context, database string) error {
	row, err := g.on.one(ctx, "select has_database_privilege($1, current_database(), 'CONNECT')", groupRole)
	if err != nil || yes(row[0]) {
		return err
	}
	return g.give(ctx, "DATABASE", ident(database), "CONNECT", "", "select datdba from pg_database where datname = current_database()")
}

func (g *granter) schema(ctx context.Context, schema string) error {
	row, err := g.on.one(ctx, "select has_schema_privilege('public', $1, 'USAGE')", schema)
	if err != nil || yes(row[0]) {
		return err
	}
	return g.give(ctx, "SCHEMA", ident(schema), "USAGE", "", "select nspowner from pg_namespace where nspname = $1", schema)
}

const ownerOfRelation = "select c.relowner from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = $2"

func (g *granter) table(ctx context.Context, action, schema, name string, columns []string) error {
	list := ""
	if len(columns) > 0 {
		quoted := make([]string, len(columns))
		for i, c := range columns {
			quoted[i] = ident(c)
		}
		list = " (" + strings.Join(quoted, ", ") + ")"
	}
	return g.give(ctx, "TABLE", qualified(schema, name), strings.ToUpper(action), list, ownerOfRelation, schema, name)
}

func (g *granter) sequence(ctx context.Context, schema, name string) error {
	return g.give(ctx, "SEQUENCE", qualified(schema, name), "USAGE", "", ownerOfRelation, schema, name)
}

func (g *granter) function(ctx context.Context, schema, name, types string) error {
	what := qualified(schema, name) + "(" + types + ")"
	return g.give(ctx, "ROUTINE", what, "EXECUTE", "", "select proowner from pg_proc where oid = to_regprocedure($1)", what)
}
