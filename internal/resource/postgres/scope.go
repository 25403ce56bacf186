package pgkind

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource"
	jsonv2 "github.com/go-json-experiment/json"
)

// Bounds of one scope. What it names is asked for in one query.
const (
	maxNames  = 64  // of tables, schemas, functions each
	maxFilter = 256 // columns of one table
	maxLimit  = 1 << 53
)

// tableActions are what can be done to a table; execute is for functions.
var tableActions = []string{"delete", "insert", "select", "update"}

const execute = "execute"

// Fields is a scope as policies see it. Lists are sorted. An absent limit is 0.
type Fields struct {
	Actions []string            `cel:"actions"`
	Tables  []string            `cel:"tables"` // schema.table
	Columns map[string][]string `cel:"columns"`
	// Rows has of each table that is filtered the name of its template, under
	// "template", and the values: {"public.orders": {"template": "by-region", "region": "eu"}}.
	Rows             map[string]map[string]string `cel:"rows"`
	Schemas          []string                     `cel:"schemas"`   // each stands for the tables that were in it when access was asked for
	Functions        []string                     `cel:"functions"` // schema.function(types)
	Database         string                       `cel:"database"`
	MaxRows          int64                        `cel:"max_rows"`
	MaxBytes         int64                        `cel:"max_bytes"`
	StatementTimeout time.Duration                `cel:"statement_timeout"`
}

// Scope allows each of its actions on each of its tables, and on those of its
// schemas; of a table with columns on these alone.
type Scope struct {
	fields Fields
	json   json.RawMessage
}

// given is a scope as it is written. The order of its fields is the canonical
// one (RFC 8785 §3.2.3).
type given struct {
	Actions          []string                    `json:"actions,omitempty"`
	Columns          map[string][]string         `json:"columns,omitempty"`
	Database         string                      `json:"database,omitempty"`
	Functions        []string                    `json:"functions,omitempty"`
	MaxBytes         *int64                      `json:"max_bytes,omitempty"`
	MaxRows          *int64                      `json:"max_rows,omitempty"`
	Rows             map[string]map[string]value `json:"rows,omitempty"`
	Schemas          []string                    `json:"schemas,omitempty"`
	StatementTimeout string                      `json:"statement_timeout,omitempty"`
	Tables           []string                    `json:"tables,omitempty"`
}

// ScopeSchema describes a scope as JSON Schema (2020-12).
const ScopeSchema = `{"type":"object","additionalProperties":false,"required":["actions"],"properties":{` +
	`"actions":{"type":"array","minItems":1,"items":{"enum":["delete","execute","insert","select","update"]}},` +
	`"tables":{"type":"array","maxItems":64,"items":{"type":"string","description":"schema.table, as PostgreSQL keeps the names: case matters"}},` +
	`"columns":{"type":"object","additionalProperties":{"type":"array","minItems":1,"items":{"type":"string"}}},` +
	`"rows":{"type":"object","description":"row filters of the catalog, by table","additionalProperties":{"type":"object","required":["template"],"properties":{"template":{"type":"string"}},` +
	`"additionalProperties":{"type":["string","integer","boolean"]}}},` +
	`"schemas":{"type":"array","maxItems":64,"items":{"type":"string","description":"the tables that are in it when access is asked for"}},` +
	`"functions":{"type":"array","maxItems":64,"items":{"type":"string","description":"schema.function(types)"}},` +
	`"database":{"type":"string"},"max_rows":{"type":"integer","minimum":1},"max_bytes":{"type":"integer","minimum":1},` +
	`"statement_timeout":{"type":"string","description":"such as 30s"}}}`

// ParseScope implements policy.Kind.
func (Kind) ParseScope(raw []byte) (policy.Scope, error) {
	s, err := parseScope(raw)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// ScopeType implements policy.Kind.
func (Kind) ScopeType() reflect.Type { return reflect.TypeFor[Fields]() }

func parseScope(raw []byte) (*Scope, error) {
	var g *given
	if err := resource.DecodeScope(raw, &g); err != nil {
		return nil, fmt.Errorf("not a scope of a postgres resource, which reads {\"actions\": [\"select\"], \"tables\": [\"public.orders\"]}: %w", err)
	}
	if g == nil {
		return nil, errors.New("a scope is an object with actions and tables")
	}
	return newScope(*g)
}

func newScope(g given) (*Scope, error) {
	f := Fields{Actions: sorted(g.Actions), Tables: sorted(g.Tables), Schemas: sorted(g.Schemas), Database: g.Database, Columns: map[string][]string{}}
	if err := f.setFunctions(g.Functions); err != nil {
		return nil, err
	}
	if err := f.setLimits(g); err != nil {
		return nil, err
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	if err := f.setColumns(g.Columns); err != nil {
		return nil, err
	}
	if err := f.setRows(g.Rows); err != nil {
		return nil, err
	}
	s := &Scope{fields: f}
	return s, s.write()
}

func (f *Fields) setFunctions(given []string) error {
	out := make([]string, 0, len(given))
	for i, text := range given {
		canonical, err := canonicalFunction(text)
		if err != nil {
			return fmt.Errorf("functions[%d]: %w", i, err)
		}
		out = append(out, canonical)
	}
	f.Functions = sorted(out)
	return nil
}

func (f *Fields) setLimits(g given) error {
	for _, l := range []struct {
		name string
		from *int64
		to   *int64
	}{{"max_rows", g.MaxRows, &f.MaxRows}, {"max_bytes", g.MaxBytes, &f.MaxBytes}} {
		if l.from == nil {
			continue
		}
		if *l.from < 1 || *l.from >= maxLimit {
			return fmt.Errorf("%s: must be a whole number above 0", l.name)
		}
		*l.to = *l.from
	}
	if g.StatementTimeout == "" {
		return nil
	}
	d, err := api.ParseDuration(g.StatementTimeout)
	if err != nil {
		return fmt.Errorf("statement_timeout: %w", err)
	}
	if d < time.Second || d > 24*time.Hour || d%time.Second != 0 {
		return errors.New("statement_timeout: must be whole seconds, from 1s to 24h")
	}
	f.StatementTimeout = d
	return nil
}

// check looks at names and at what goes together.
func (f *Fields) check() error {
	onTables, onFunctions := false, false
	for _, a := range f.Actions {
		switch {
		case a == execute:
			onFunctions = true
		case slices.Contains(tableActions, a):
			onTables = true
		default:
			return fmt.Errorf("actions: each must be one of %s, %s, in lower case", strings.Join(tableActions, ", "), execute)
		}
	}
	for i, t := range f.Tables {
		schema, _, err := splitName(t)
		if err != nil {
			return fmt.Errorf("tables[%d]: %w", i, err)
		}
		if slices.Contains(f.Schemas, schema) {
			return fmt.Errorf("tables: %s is in the schema %s, which is listed too: leave one of them out", t, schema)
		}
	}
	for i, s := range f.Schemas {
		if err := checkSchema(s); err != nil {
			return fmt.Errorf("schemas[%d]: %w", i, err)
		}
	}
	if f.Database != "" {
		if err := checkName(f.Database); err != nil {
			return fmt.Errorf("database: %w", err)
		}
	}
	switch named := len(f.Tables)+len(f.Schemas) > 0; {
	case len(f.Actions) == 0:
		return errors.New("actions: must name at least one of " + strings.Join(tableActions, ", ") + ", " + execute)
	case len(f.Tables) > maxNames || len(f.Schemas) > maxNames || len(f.Functions) > maxNames:
		return fmt.Errorf("tables, schemas and functions: at most %d of each", maxNames)
	case onTables && !named:
		return errors.New("tables: must name at least one table, as schema.table")
	case named && !onTables:
		return errors.New("actions: nothing is to be done with the tables: add select, or leave them out")
	case onFunctions != (len(f.Functions) > 0):
		return errors.New("functions: go with the action execute, and execute with functions")
	}
	return nil
}

func (f *Fields) setColumns(given map[string][]string) error {
	for table, columns := range given {
		if !slices.Contains(f.Tables, table) {
			return fmt.Errorf("columns: %s is not among the tables", clip(table))
		}
		if len(columns) == 0 || len(columns) > maxFilter {
			return fmt.Errorf("columns: name 1 to %d columns of %s, or leave the table out for all of them", maxFilter, table)
		}
		for _, c := range columns {
			if err := checkName(c); err != nil {
				return fmt.Errorf("columns of %s: %w", table, err)
			}
		}
		if slices.Contains(f.Actions, "delete") {
			return fmt.Errorf("columns: delete takes whole rows of %s: leave delete out, or the columns", table)
		}
		f.Columns[table] = sorted(columns)
	}
	return nil
}

// write sets the canonical form. But for values of row filters, no string of it
// has a character that JSON escapes, or a quote.
func (s *Scope) write() (err error) {
	f := &s.fields
	g := given{Actions: f.Actions, Columns: f.Columns, Database: f.Database, Functions: f.Functions, Schemas: f.Schemas, Tables: f.Tables}
	if len(f.Rows) > 0 {
		g.Rows = make(map[string]map[string]value, len(f.Rows))
		for table, values := range f.Rows {
			g.Rows[table] = make(map[string]value, len(values))
			for name, v := range values {
				g.Rows[table][name] = value(v)
			}
		}
	}
	if f.MaxBytes > 0 {
		g.MaxBytes = &f.MaxBytes
	}
	if f.MaxRows > 0 {
		g.MaxRows = &f.MaxRows
	}
	if f.StatementTimeout > 0 {
		g.StatementTimeout = api.FormatDuration(f.StatementTimeout)
	}
	s.json, err = jsonv2.Marshal(g, jsonv2.Deterministic(true))
	return err
}

func sorted(in []string) []string {
	out := slices.Clone(in)
	slices.Sort(out)
	return slices.Compact(out)
}

// JSON implements policy.Scope.
func (s *Scope) JSON() json.RawMessage { return slices.Clone(s.json) }

// CEL implements policy.Scope.
func (s *Scope) CEL() any {
	f := s.fields
	f.Actions, f.Tables = present(f.Actions), present(f.Tables)
	f.Schemas, f.Functions = present(f.Schemas), present(f.Functions)
	f.Columns, f.Rows = maps.Clone(f.Columns), maps.Clone(f.Rows)
	return f
}

func present(in []string) []string { return append([]string{}, in...) }

// String says what s allows, for a person: "select on public.orders".
func (s *Scope) String() string {
	f := s.fields
	on := slices.Clone(f.Functions)
	for _, full := range f.Tables {
		t := full
		if columns := f.Columns[full]; columns != nil {
			t += " (" + strings.Join(columns, ", ") + ")"
		}
		if values := f.Rows[full]; values != nil {
			t += ", rows " + valuesText(values)
		}
		on = append(on, t)
	}
	for _, schema := range f.Schemas {
		on = append(on, "all of "+schema)
	}
	return strings.Join(f.Actions, ", ") + " on " + strings.Join(on, ", ")
}
