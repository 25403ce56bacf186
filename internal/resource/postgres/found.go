package pgkind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/daypass/daypass/internal/policy"
	"github.com/gowebpki/jcs"
)

// found is what the names of a scope stand for, and what a grant of it would
// really reach. It is the target of a policy.Finding.
type found struct {
	Database  string                    `json:"database"`
	OID       uint32                    `json:"oid"` // of the database
	Tables    map[string]uint32         `json:"tables"`
	Columns   map[string]map[string]int `json:"columns,omitempty"` // by table: the numbers of the columns that are named
	Functions map[string]uint32         `json:"functions,omitempty"`
	Rows      map[string]filter         `json:"rows,omitempty"` // by table
	Effective effective                 `json:"effective"`
	// Summary is a sentence of it, for who asks and who approves.
	Summary string `json:"summary"`
}

func (f found) canonical() (json.RawMessage, error) {
	raw, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	return jcs.Transform(raw)
}

// maxTables bounds what schemas may stand for.
const maxTables = 500

// Tables by their names, and those of whole schemas. The first is what most
// scopes have, and goes by the indexes of the catalog.
const (
	tablesSQL = `
select w.schema || '.' || w.name, c.oid
from unnest($1::name[], $2::name[]) as w(schema, name)
  join pg_namespace n on n.nspname = w.schema join pg_class c on c.relnamespace = n.oid and c.relname = w.name
where c.relkind in ('r', 'p', 'v', 'm', 'f')`
	schemaTablesSQL = `
select n.nspname || '.' || c.relname, c.oid
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname = any($1::name[])
order by 1 limit 501`
)

const columnsSQL = `
select n.nspname || '.' || c.relname, a.attname, a.attnum
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
where a.attnum > 0 and not a.attisdropped and n.nspname || '.' || c.relname = any($1::text[])`

// resolve asks the server what the names of s stand for now. What is missing is
// a *policy.Unfit.
func (c *connector) resolve(ctx context.Context, on conn, s *Scope) (found, error) {
	f := found{Tables: map[string]uint32{}}
	var err error
	if f.Database, f.OID, err = on.database(ctx); err != nil {
		return f, err
	}
	if want := s.fields.Database; want != "" && want != f.Database {
		return f, &policy.Unfit{Field: "database", Message: "This resource is the database " + f.Database + ", not " + want + "."}
	}
	if err := c.resolveTables(ctx, on, s, &f); err != nil {
		return f, err
	}
	if err := c.resolveColumns(ctx, on, s, &f); err != nil {
		return f, err
	}
	if err := c.resolveFunctions(ctx, on, s, &f); err != nil {
		return f, err
	}
	return f, unfiltered(ctx, on, s, f)
}

func (c *connector) resolveTables(ctx context.Context, on conn, s *Scope, f *found) error {
	if len(s.fields.Tables) > 0 {
		var schemas, names []string
		for _, t := range s.fields.Tables {
			schema, name, _ := strings.Cut(t, ".")
			schemas, names = append(schemas, schema), append(names, name)
		}
		rows, err := on.prepared(ctx, tablesSQL, array(schemas), array(names))
		if err != nil {
			return err
		}
		for _, row := range rows {
			f.Tables[row[0]] = oidOf(row[1])
		}
		for _, t := range s.fields.Tables {
			if f.Tables[t] == 0 {
				return c.missing(ctx, on, "tables", "table", t)
			}
		}
	}
	if len(s.fields.Schemas) == 0 {
		return nil
	}
	rows, err := on.query(ctx, schemaTablesSQL, array(s.fields.Schemas))
	if err != nil {
		return err
	}
	if len(rows) > maxTables {
		return &policy.Unfit{Field: "schemas", Message: fmt.Sprintf("These schemas hold more than %d tables: name the tables that are needed.", maxTables)}
	}
	for _, row := range rows {
		f.Tables[row[0]] = oidOf(row[1])
	}
	for _, schema := range s.fields.Schemas {
		if !slices.ContainsFunc(rows, func(row []string) bool { return strings.HasPrefix(row[0], schema+".") }) {
			return c.missing(ctx, on, "schemas", "schema with tables", schema)
		}
	}
	return nil
}

func (c *connector) resolveColumns(ctx context.Context, on conn, s *Scope, f *found) error {
	if len(s.fields.Columns) == 0 {
		return nil
	}
	rows, err := on.query(ctx, columnsSQL, array(slices.Collect(maps.Keys(s.fields.Columns))))
	if err != nil {
		return err
	}
	all := map[string][]string{}
	numbers := map[string]int{}
	for _, row := range rows {
		all[row[0]] = append(all[row[0]], row[1])
		numbers[row[0]+"."+row[1]], err = strconv.Atoi(row[2])
		if err != nil {
			return fmt.Errorf("a column has no number: %w", err)
		}
	}
	f.Columns = map[string]map[string]int{}
	for _, table := range slices.Sorted(maps.Keys(s.fields.Columns)) {
		f.Columns[table] = map[string]int{}
		for _, column := range s.fields.Columns[table] {
			n := numbers[table+"."+column]
			if n == 0 {
				return &policy.Unfit{Field: "columns", Message: table + " has no column " + column + "." + hint(column, all[table])}
			}
			f.Columns[table][column] = n
		}
	}
	return nil
}

func (c *connector) resolveFunctions(ctx context.Context, on conn, s *Scope, f *found) error {
	if len(s.fields.Functions) == 0 {
		return nil
	}
	f.Functions = map[string]uint32{}
	for _, full := range s.fields.Functions {
		schema, name, types := splitFunction(full)
		rows, err := on.query(ctx, "select coalesce(to_regprocedure($1)::oid, 0)", qualified(schema, name)+"("+types+")")
		if state(err) != "" || err == nil && oidOf(rows[0][0]) == 0 {
			return c.missing(ctx, on, "functions", "function", full)
		}
		if err != nil {
			return err
		}
		f.Functions[full] = oidOf(rows[0][0])
	}
	return nil
}

// stillThere compares what names stand for now with what they stood for when
// access was asked for.
func stillThere(was, now found) error {
	if was.OID != now.OID {
		return fmt.Errorf("the database %s is not the one any more that access was given to: ask again", was.Database)
	}
	for name, oid := range was.Tables {
		if now.Tables[name] != oid {
			return changed(name)
		}
	}
	for table, columns := range was.Columns {
		for column, number := range columns {
			if now.Columns[table][column] != number {
				return changed("the column " + column + " of " + table)
			}
		}
	}
	for name, oid := range was.Functions {
		if now.Functions[name] != oid {
			return changed(name)
		}
	}
	return nil
}

func changed(what string) error {
	return fmt.Errorf("%s was renamed, dropped or replaced since access to it was given: ask again", what)
}

// check reports whether the names of s still stand for what was found when
// access was asked for. Its error is a sentence for the client.
func (c *connector) check(ctx context.Context, r *policy.Resource, s *Scope, raw json.RawMessage) error {
	server, config, err := c.primary(r)
	if err != nil {
		return err
	}
	was, err := foundIn(raw)
	if err != nil {
		return err
	}
	if err := config.filtersAs(s, was); err != nil {
		return err
	}
	return server.looks.with(ctx, func(on conn) error {
		if err := c.stands(ctx, on, s, was); err != nil || len(was.Rows) == 0 {
			return err
		}
		return filtersStand(ctx, on, privilegesOf(s, was))
	})
}

// unlike says that names do not stand any more for what was found: the one error
// of a check that is for the client to know.
type unlike struct{ error }

// foundIn reads what was found when access was asked for.
func foundIn(raw json.RawMessage) (found, error) {
	var was found
	if err := json.Unmarshal(raw, &was); err != nil || was.OID == 0 {
		return was, unlike{errors.New("it is not known what this access was given to: ask again")}
	}
	return was, nil
}

func (c *connector) stands(ctx context.Context, on conn, scope *Scope, was found) error {
	// A schema stands for the tables that it held: newer ones are none of them.
	names := *scope
	names.fields.Tables, names.fields.Schemas = slices.Sorted(maps.Keys(was.Tables)), nil
	now, err := c.resolve(ctx, on, &names)
	if unfit, ok := errors.AsType[*policy.Unfit](err); ok {
		return unlike{fmt.Errorf("%s: ask again", strings.TrimSuffix(unfit.Message, "."))}
	}
	if err != nil {
		return err
	}
	if err := stillThere(was, now); err != nil {
		return unlike{err}
	}
	return nil
}
