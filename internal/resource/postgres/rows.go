package pgkind

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/daypass/daypass/internal/config"
	"github.com/daypass/daypass/internal/policy"
	"github.com/daypass/daypass/internal/resource/postgres/gate"
	"github.com/goccy/go-yaml/ast"
)

// Bounds of row filters.
const (
	maxFiltered = 16  // tables of one scope
	maxLiterals = 16  // of one filter
	maxLiteral  = 256 // bytes of one value
)

// templateKey is the key beside the values of a filter that names its template.
const templateKey = "template"

var templateForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// template is a row filter that the catalog approves. Who asks names it and
// gives its values; the predicate is never theirs.
type template struct {
	table    string
	where    gate.Predicate
	literals map[string]literalType
}

// literalType is what the values of a name are.
type literalType struct {
	sql    string // the type, as it is written into SQL
	sample string
	bare   bool // a person reads it without quotes
	check  func(string) bool
}

var literalTypes = map[string]literalType{
	"text": {sql: "text", sample: "x", check: func(string) bool { return true }},
	"integer": {sql: "int8", sample: "1", bare: true, check: func(s string) bool {
		n, err := strconv.ParseInt(s, 10, 64)
		return err == nil && strconv.FormatInt(n, 10) == s
	}},
	"numeric":   {sql: "numeric", sample: "1", bare: true, check: regexp.MustCompile(`^-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?$`).MatchString},
	"boolean":   {sql: "bool", sample: "true", bare: true, check: func(s string) bool { return s == "true" || s == "false" }},
	"date":      {sql: "date", sample: "2000-01-01", check: func(s string) bool { d, err := time.Parse(time.DateOnly, s); return err == nil && d.Year() > 0 }},
	"timestamp": {sql: "timestamptz", sample: "2000-01-01T00:00:00Z", check: func(s string) bool { d, err := time.Parse(time.RFC3339, s); return err == nil && d.Year() > 0 }},
	"uuid":      {sql: "uuid", sample: "00000000-0000-0000-0000-000000000000", check: regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString},
}

// templatesOf reads the rows of a resource's block.
func templatesOf(node ast.Node) (map[string]template, error) {
	entries, err := config.Entries(node)
	if err != nil {
		return nil, err
	}
	out := make(map[string]template, len(entries))
	for _, e := range entries {
		if !templateForm.MatchString(e.Key) {
			return nil, config.At(e.KeyNode, fmt.Errorf("%q is not the name of a row filter: use a-z, 0-9 and . _ -, at most 63", clip(e.Key)))
		}
		if e.Value == nil {
			return nil, config.At(e.KeyNode, fmt.Errorf("the row filter %s is empty: give table, where and literals", e.Key))
		}
		if out[e.Key], err = templateOf(e.Value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func templateOf(node ast.Node) (template, error) {
	var given struct {
		Table    config.Located[string]            `yaml:"table,required"`
		Where    config.Located[string]            `yaml:"where,required"`
		Literals config.Located[map[string]string] `yaml:"literals"`
	}
	if err := config.DecodeNode(node, &given); err != nil {
		return template{}, err
	}
	t := template{table: given.Table.Value, literals: map[string]literalType{}}
	if _, _, err := splitName(t.table); err != nil {
		return t, config.At(given.Table.Node, fmt.Errorf("table: %w", err))
	}
	var err error
	if t.where, err = gate.ParsePredicate(given.Where.Value); err != nil {
		return t, config.At(given.Where.Node, fmt.Errorf("where: %w", err))
	}
	names := t.where.Names()
	if len(names) > maxLiterals {
		return t, config.At(given.Where.Node, fmt.Errorf("where: has more than %d values", maxLiterals))
	}
	for name, kind := range given.Literals.Value {
		known, ok := literalTypes[kind]
		switch {
		case name == templateKey:
			return t, config.At(given.Literals.Node, errors.New("literals: template is what a scope calls the filter itself: choose another name"))
		case !ok:
			return t, config.At(given.Literals.Node, fmt.Errorf("literals: %s is %q, and must be %s", clip(name), clip(kind), strings.Join(slices.Sorted(maps.Keys(literalTypes)), ", ")))
		case !slices.Contains(names, name):
			return t, config.At(given.Literals.Node, fmt.Errorf("literals: where has no :%s", clip(name)))
		}
		t.literals[name] = known
	}
	for _, name := range names {
		if _, ok := t.literals[name]; !ok {
			return t, config.At(given.Where.Node, fmt.Errorf("where: :%s is not among the literals: give its type, such as literals: {%s: text}", name, name))
		}
	}
	return t, nil
}

// filter is a template with its values.
type filter struct {
	Template string `json:"template"`
	Where    string `json:"where"` // as a person reads it
	SQL      string `json:"sql"`   // as the database gets it
}

// with binds values to t. All of them are quoted here and given their type, so
// that none can be anything else than a value.
func (t template) with(name string, values map[string]string) filter {
	return filter{
		Template: name,
		SQL:      t.where.With(func(n string) string { return "(" + literal(values[n]) + "::pg_catalog." + t.literals[n].sql + ")" }),
		Where: t.where.With(func(n string) string {
			if t.literals[n].bare {
				return values[n]
			}
			return literal(values[n])
		}),
	}
}

// samples are values with which a template can be tried.
func (t template) samples() map[string]string {
	out := make(map[string]string, len(t.literals))
	for name, kind := range t.literals {
		out[name] = kind.sample
	}
	return out
}

// Fits implements policy.Fitting: row filters are those of the catalog.
func (c *Config) Fits(scope policy.Scope) error {
	s, ok := scope.(*Scope)
	if !ok {
		return errors.New("not a scope of a postgres resource")
	}
	_, err := c.filters(s)
	return err
}

// filters are the row filters of s, by table. The error is a sentence without
// its full stop.
func (c *Config) filters(s *Scope) (map[string]filter, error) {
	out := make(map[string]filter, len(s.fields.Rows))
	for _, table := range slices.Sorted(maps.Keys(s.fields.Rows)) {
		values := s.fields.Rows[table]
		name := values[templateKey]
		t, ok := c.rows[name]
		switch {
		case !ok:
			return nil, fmt.Errorf("rows: there is no row filter %s on this resource: it has %s", name, c.filtersOf(table))
		case t.table != table:
			return nil, fmt.Errorf("rows: the row filter %s is for %s, not for %s, which has %s", name, t.table, table, c.filtersOf(table))
		case len(values)-1 != len(t.literals):
			return nil, fmt.Errorf("rows: the row filter %s takes %s, and nothing else", name, listOf(slices.Sorted(maps.Keys(t.literals)), "no values"))
		}
		for _, n := range slices.Sorted(maps.Keys(t.literals)) {
			value, ok := values[n]
			if !ok {
				return nil, fmt.Errorf("rows: the row filter %s needs a value for %s", name, n)
			}
			if !t.literals[n].check(value) {
				return nil, fmt.Errorf("rows: %s of the row filter %s is %q, and must be like %s", n, name, clip(value), t.literals[n].sample)
			}
		}
		out[table] = t.with(name, values)
	}
	return out, nil
}

// filtersAs reports that the filters of s are not those any more with which
// access was given.
func (c *Config) filtersAs(s *Scope, was found) error {
	if filters, err := c.filters(s); err != nil || !maps.Equal(filters, was.Rows) {
		return unlike{errors.New("the catalog has another row filter now than access was given with: ask again")}
	}
	return nil
}

// filtersOf lists the templates for a table.
func (c *Config) filtersOf(table string) string {
	var names []string
	for name, t := range c.rows {
		if t.table == table {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return listOf(names, "none for "+table)
}

func listOf(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	return strings.Join(names, ", ")
}

// value is one of a row filter in a scope: a text, a whole number, or true or
// false. All are kept as texts: what they are is the template's to say.
type value string

// UnmarshalJSON implements json.Unmarshaler.
func (v *value) UnmarshalJSON(raw []byte) error {
	switch text := string(raw); {
	case strings.HasPrefix(text, `"`):
		return json.Unmarshal(raw, (*string)(v))
	case text == "true", text == "false", wholeNumber.MatchString(text):
		*v = value(text)
		return nil
	}
	return errors.New("a value of a row filter is a text, a whole number, or true or false")
}

var wholeNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,18})$`)

// setRows takes the row filters of a scope. Their values are shown to who
// approves: what would not be seen as it is, is refused.
func (f *Fields) setRows(given map[string]map[string]value) error {
	f.Rows = map[string]map[string]string{}
	if given == nil {
		return nil
	}
	if len(given) == 0 || len(given) > maxFiltered {
		return fmt.Errorf("rows: names 1 to %d tables, or is left out", maxFiltered)
	}
	if len(f.Actions) != 1 || f.Actions[0] != "select" {
		return errors.New("rows: row filters are for the action select alone: leave the others out, or ask for them apart")
	}
	names := map[string]string{}
	for _, table := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(f.Tables, table) {
			return fmt.Errorf("rows: %s is not among the tables", clip(table))
		}
		_, name, _ := strings.Cut(table, ".")
		if other := names[name]; other != "" {
			return fmt.Errorf("rows: %s and %s would both be called %s: ask for one of them apart", other, table, name)
		}
		names[name] = table
		values, err := valuesOf(given[table])
		if err != nil {
			return fmt.Errorf("rows of %s: %w", table, err)
		}
		f.Rows[table] = values
	}
	return nil
}

func valuesOf(given map[string]value) (map[string]string, error) {
	if !templateForm.MatchString(string(given[templateKey])) {
		return nil, errors.New(`name a row filter of the catalog: {"template": NAME, …}`)
	}
	if len(given) > maxLiterals+1 {
		return nil, fmt.Errorf("more than %d values", maxLiterals)
	}
	out := make(map[string]string, len(given))
	for name, v := range given {
		switch {
		case !gate.ValueName(name):
			return nil, fmt.Errorf("%q is no name of a value", clip(name))
		case len(v) > maxLiteral:
			return nil, fmt.Errorf("%s is longer than %d bytes", name, maxLiteral)
		case !utf8.ValidString(string(v)) || strings.ContainsFunc(string(v), func(r rune) bool { return !strconv.IsPrint(r) }):
			return nil, fmt.Errorf("%s has a character that cannot be seen", name)
		}
		out[name] = string(v)
	}
	return out, nil
}

// valuesText is a row filter for a person: by-region (region "eu").
func valuesText(values map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if name != templateKey {
			all = append(all, name+" "+strconv.Quote(values[name]))
		}
	}
	if len(all) == 0 {
		return values[templateKey]
	}
	return values[templateKey] + " (" + strings.Join(all, ", ") + ")"
}
