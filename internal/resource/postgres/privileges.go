package pgkind

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// privileges are what a scope comes down to in one database. Two scopes with
// the same ones share a role.
type privileges struct {
	Database  string              `json:"database"`
	OID       uint32              `json:"oid"`
	Actions   []string            `json:"actions"` // on tables
	Tables    map[string]uint32   `json:"tables"`
	Columns   map[string][]string `json:"columns"`
	Functions map[string]uint32   `json:"functions"`
	Rows      map[string]string   `json:"rows,omitempty"` // predicates, by table: these are read through a view
}

func privilegesOf(s *Scope, f found) privileges {
	p := privileges{Database: f.Database, OID: f.OID, Actions: []string{}, Tables: f.Tables, Columns: s.fields.Columns, Functions: f.Functions}
	for _, a := range s.fields.Actions {
		if a != execute {
			p.Actions = append(p.Actions, a)
		}
	}
	for table, f := range f.Rows {
		if p.Rows == nil {
			p.Rows = make(map[string]string)
		}
		p.Rows[table] = f.SQL
	}
	return p
}

// role is the name of the scope role.
func (p privileges) role() (string, error) {
	raw, err := json.Marshal(p) // maps are written in the order of their keys
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return scopePrefix + hex.EncodeToString(sum[:])[:20], nil
}

// turns serialises what changes privileges and scope roles in one database:
// who makes a role of a grant takes it shared.
const turns = "7233190415362158951"

// sequencesSQL are those that columns of the tables draw their defaults from.
const sequencesSQL = `
select distinct n.nspname, c.relname
from pg_depend d join pg_class c on c.oid = d.objid join pg_namespace n on n.oid = c.relnamespace
where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype = 'a'
  and c.relkind = 'S' and d.refobjid = any($1::oid[]) order by 1, 2`

// ensure makes the scope role of p with its privileges, unless it is known to
// be there.
func (s *server) ensure(ctx context.Context, role string, p privileges) error {
	if s.knows(role) {
		return nil
	}
	err := patiently(ctx, func() error {
		return s.with(ctx, func(on conn) error {
			f, err := s.look(ctx, on)
			if err != nil {
				return err
			}
			err = s.makeScope(ctx, on, f, role, p)
			if on.TxStatus() != 'I' && !on.IsClosed() {
				_ = on.exec(context.WithoutCancel(ctx), "ROLLBACK") // if it fails, the connection is given up
			}
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("making the role %s: %w", role, err)
	}
	s.mu.Lock()
	s.scopes[role] = true
	s.mu.Unlock()
	return nil
}

func (s *server) makeScope(ctx context.Context, on conn, f *facts, role string, p privileges) error {
	if err := on.exec(ctx, "BEGIN; SELECT pg_advisory_xact_lock("+turns+")"); err != nil {
		return err
	}
	if err := s.scopeWithin(ctx, on, f, role, p); err != nil {
		return err
	}
	return on.exec(ctx, "COMMIT")
}

// scopeWithin does so in a transaction that has its turn.
func (s *server) scopeWithin(ctx context.Context, on conn, f *facts, role string, p privileges) error {
	there, err := on.query(ctx, "select 1 from pg_roles where rolname = $1", role)
	if err != nil {
		return err
	}
	if len(there) == 0 {
		if err := on.exec(ctx, "CREATE ROLE "+ident(role)+" NOLOGIN"); err != nil {
			return err
		}
	}
	grants, err := s.grants(ctx, on, f, role, p)
	if err != nil {
		return err
	}
	if err := on.exec(ctx, strings.Join(grants, "; ")); err != nil {
		return err
	}
	if len(p.Rows) > 0 {
		if err := s.makeReader(ctx, on, f, role, p); err != nil {
			return err
		}
	}
	return holds(ctx, on, role, p)
}

// grants are the statements that give role the privileges of p. Each is given
// by whoever may: our login, or the owner through the function that it left.
func (s *server) grants(ctx context.Context, on conn, f *facts, role string, p privileges) ([]string, error) {
	g := granter{s: s, on: on, role: role, like: groupRole, superuser: f.superuser}
	if err := g.connect(ctx, p.Database); err != nil {
		return nil, err
	}
	schemas := map[string]bool{}
	for _, full := range slices.Sorted(maps.Keys(p.Tables)) {
		if _, filtered := p.Rows[full]; filtered {
			continue
		}
		schema, name, _ := strings.Cut(full, ".")
		schemas[schema] = true
		for _, action := range p.Actions {
			if err := g.table(ctx, action, schema, name, p.Columns[full]); err != nil {
				return nil, err
			}
		}
	}
	for _, full := range slices.Sorted(maps.Keys(p.Functions)) {
		schema, name, types := splitFunction(full)
		schemas[schema] = true
		if err := g.function(ctx, schema, name, types); err != nil {
			return nil, err
		}
	}
	if slices.Contains(p.Actions, "insert") {
		rows, err := on.query(ctx, sequencesSQL, oids(p.Tables))
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if err := g.sequence(ctx, row[0], row[1]); err != nil {
				return nil, err
			}
		}
	}
	for _, schema := range slices.Sorted(maps.Keys(schemas)) {
		if err := g.schema(ctx, schema); err != nil {
			return nil, err
		}
	}
	return g.out, nil
}

// holds reports, as an error, that role lacks a privilege on an object that p
// means: what a name stands for may have changed meanwhile.
func holds(ctx context.Context, on conn, role string, p privileges) error {
	for name, oid := range p.Tables {
		if _, filtered := p.Rows[name]; filtered {
			if err := holdsFiltered(ctx, on, role, name, oid); err != nil {
				return err
			}
			continue
		}
		for _, action := range p.Actions {
			ask, args := "select has_table_privilege($1, $2::oid, $3)", []string{role, fmt.Sprint(oid), action}
			if columns := p.Columns[name]; columns != nil {
				ask, args = "select bool_and(has_column_privilege($1, $2::oid, c, $3)) from unnest($4::text[]) c", append(args, array(columns))
			}
			if row, err := on.one(ctx, ask, args...); err != nil || !yes(row[0]) {
				return lost(name, err)
			}
		}
	}
	for name, oid := range p.Functions {
		if row, err := on.one(ctx, "select has_function_privilege($1, $2::oid, 'EXECUTE')", role, fmt.Sprint(oid)); err != nil || !yes(row[0]) {
			return lost(name, err)
		}
	}
	return nil
}

func lost(name string, err error) error {
	if err != nil && state(err) == "" {
		return err
	}
	return changed(name)
}
