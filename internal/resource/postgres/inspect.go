package pgkind

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/daypass/daypass/internal/policy"
)

//go:embed preview.sql
var previewSQL string

// effective is what a role with the privileges of a scope really reaches: its
// own, and whatever PUBLIC has.
type effective struct {
	Relations          int      `json:"relations" cel:"relations"`           // those of the scope among them
	RelationNames      []string `json:"relation_names" cel:"relation_names"` // beyond the scope, at most 20
	OwnerFunctions     int      `json:"owner_functions" cel:"owner_functions"`
	OwnerFunctionNames []string `json:"owner_function_names" cel:"owner_function_names"` // at most 20
	RiskyFunctions     int      `json:"risky_functions" cel:"risky_functions"`
	Languages          []string `json:"languages" cel:"languages"`
	Connect            []string `json:"connect" cel:"connect"` // databases
	Temp               bool     `json:"temp" cel:"temp"`       // temporary tables
}

// Inspect implements resource.Inspector.
func (c *connector) Inspect(ctx context.Context, r *policy.Resource, scope policy.Scope) (policy.Finding, error) {
	s, ok := scope.(*Scope)
	if !ok {
		return policy.Finding{}, errors.New("not a scope of a postgres resource")
	}
	server, config, err := c.primary(r)
	if err != nil {
		return policy.Finding{}, err
	}
	filters, err := config.filters(s)
	if err != nil {
		return policy.Finding{}, &policy.Unfit{Message: strings.ToUpper(err.Error()[:1]) + err.Error()[1:] + "."}
	}
	var f found
	err = server.looks.with(ctx, func(on conn) (err error) {
		f, err = c.resolve(ctx, on, s)
		return err
	})
	if err != nil {
		return policy.Finding{}, err
	}
	if f.Effective, err = server.reaching(ctx, f); err != nil {
		return policy.Finding{}, err
	}
	if len(filters) > 0 {
		f.Rows = filters
	}
	f.Summary = f.Effective.over(f)
	if err := config.bears(f); err != nil {
		return policy.Finding{}, err
	}
	raw, err := f.canonical()
	return policy.Finding{Target: raw}, err
}

// preview asks the catalog of the server, which knows what PUBLIC may do.
func preview(ctx context.Context, on conn, f found) (effective, error) {
	var e effective
	row, err := on.one(ctx, previewSQL, oids(f.Tables), array(f.schemas()), oids(f.Functions))
	if err != nil {
		return e, fmt.Errorf("asking what a role would reach: %w", err)
	}
	return e, json.Unmarshal([]byte(row[0]), &e)
}

// schemas are those of the tables and functions.
func (f found) schemas() []string {
	all := []string{}
	for name := range maps.Keys(f.Tables) {
		schema, _, _ := strings.Cut(name, ".")
		all = append(all, schema)
	}
	for name := range maps.Keys(f.Functions) {
		schema, _, _ := splitFunction(name)
		all = append(all, schema)
	}
	return sorted(all)
}

func oids(of map[string]uint32) string {
	all := make([]string, 0, len(of))
	for _, oid := range of {
		all = append(all, strconv.FormatUint(uint64(oid), 10))
	}
	slices.Sort(all)
	return "{" + strings.Join(all, ",") + "}"
}

// bears refuses what reaches further than the catalog lets a grant reach.
func (c *Config) bears(f found) error {
	e := f.Effective
	switch {
	case c.relations != nil && e.Relations > *c.relations:
		return &policy.Unfit{Message: fmt.Sprintf("Asked for %s; effectively %s (also %s), and this resource allows %d. What PUBLIC may read is the database's to change: daypass postgres prepare shows how.",
			counted(len(f.Tables), "table"), counted(e.Relations, "relation"), strings.Join(e.RelationNames, ", "), *c.relations)}
	case c.functions != nil && e.OwnerFunctions > *c.functions:
		return &policy.Unfit{Message: fmt.Sprintf("Asked for %s; effectively also %s with the rights of its owner (%s), and this resource allows %d. What PUBLIC may execute is the database's to change: daypass postgres prepare shows how.",
			counted(len(f.Tables), "table"), counted(e.OwnerFunctions, "function"), strings.Join(e.OwnerFunctionNames, ", "), *c.functions)}
	}
	return nil
}

// over says how far a grant reaches beyond what was asked for.
func (e effective) over(f found) string {
	asked := counted(len(f.Tables), "table")
	if n := len(f.Functions); n > 0 {
		asked = counted(n, "function")
		if len(f.Tables) > 0 {
			asked = counted(len(f.Tables), "table") + " and " + asked
		}
	}
	for i, table := range slices.Sorted(maps.Keys(f.Rows)) {
		if asked += ", "; i > 0 {
			asked += "and "
		}
		asked += "of " + table + " only the rows where " + f.Rows[table].Where
	}
	more := []string{counted(e.Relations, "relation")}
	if len(e.RelationNames) > 0 {
		more[0] += " (also " + some(e.RelationNames) + ")"
	}
	if e.OwnerFunctions > 0 {
		more = append(more, counted(e.OwnerFunctions, "function")+" with the rights of its owner ("+some(e.OwnerFunctionNames)+")")
	}
	if e.RiskyFunctions > 0 {
		more = append(more, counted(e.RiskyFunctions, "function")+" that can do more than read")
	}
	if len(e.Languages) > 0 {
		more = append(more, "code in "+strings.Join(e.Languages, ", "))
	}
	if e.Temp {
		more = append(more, "temporary tables")
	}
	return "Asked for " + asked + "; effectively " + strings.Join(more, ", ") + "."
}

// some are the first few of names.
func some(names []string) string {
	if len(names) > 5 {
		return strings.Join(names[:5], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

func counted(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return strconv.Itoa(n) + " " + word + "s"
}
