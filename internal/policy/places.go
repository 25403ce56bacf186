package policy

import (
	"strconv"
	"strings"

	"github.com/daypass/daypass/internal/config"
	"github.com/goccy/go-yaml/ast"
)

// Place is where something stands in the catalog's file. Line and Column start
// at 1; both are 0 where the file does not have it.
type Place struct{ Line, Column int }

// Place returns where something of the catalog stands: "group", ID;
// "principal", ID; "resource", ID; "resource", ID, "role", NAME; "guardrail",
// NAME or "rule", NAME, and then "when", "max_duration", "max_total",
// "approve_within", "approve", or "stage" and its number from 0. What has no
// place of its own has that of what it belongs to.
func (c *Catalog) Place(path ...string) Place {
	for n := len(path); n > 0; n-- {
		if at, ok := c.places[placeKey(path[:n])]; ok {
			return at
		}
	}
	return Place{}
}

func placeKey(path []string) string { return strings.Join(path, "\x00") }

// places notes where everything stands, for those who report on the catalog.
func (k *checker) places(file catalogEntry) {
	for _, e := range file.Principals {
		k.place(e.Value.ID.Node, "principal", e.Value.ID.Value)
	}
	for id, node := range k.groups {
		k.place(node, "group", id)
	}
	for _, e := range file.Resources {
		id := e.Value.ID.Value
		k.place(e.Value.ID.Node, "resource", id)
		if e.Value.Roles == nil {
			continue
		}
		roles, err := config.Entries(e.Value.Roles)
		if err != nil {
			continue // reported where the roles were read
		}
		for _, role := range roles {
			k.place(role.KeyNode, "resource", id, "role", role.Key)
		}
	}
	for _, e := range file.Policy.Guardrails {
		g := e.Value
		k.place(g.Name.Node, "guardrail", g.Name.Value)
		k.place(g.When.Node, "guardrail", g.Name.Value, "when")
		k.place(g.Require.Value.MaxDuration.Node, "guardrail", g.Name.Value, "max_duration")
		k.place(g.MaxDuration.Node, "guardrail", g.Name.Value, "max_duration")
	}
	for _, e := range file.Policy.Rules {
		r := e.Value
		name := r.Name.Value
		k.place(r.Name.Node, "rule", name)
		k.place(r.When.Node, "rule", name, "when")
		k.place(r.Approve.Node, "rule", name, "approve")
		k.place(r.MaxDuration.Node, "rule", name, "max_duration")
		k.place(r.MaxTotal.Node, "rule", name, "max_total")
		k.place(r.ApproveWithin.Node, "rule", name, "approve_within")
		for i, s := range r.Approve.Value.stages {
			k.place(s.Node, "rule", name, "stage", strconv.Itoa(i))
		}
	}
}

func (k *checker) place(node ast.Node, path ...string) {
	if node == nil {
		return
	}
	line, column := config.Position(node)
	k.c.places[placeKey(path)] = Place{Line: max(line, 1), Column: max(column, 1)}
}
