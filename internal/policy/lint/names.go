package lint

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"github.com/daypass/daypass/internal/policy"
)

// names finds groups, principals, resources, labels and attributes in
// conditions that nothing of the catalog has: mostly misspelt.
func (l *linter) names() {
	for _, g := range l.guardrails {
		l.namesIn(l.c.Place("guardrail", g.Name, "when"), "guardrail "+quoted(g.Name), g.When)
	}
	for _, r := range l.rules {
		l.namesIn(l.c.Place("rule", r.Name, "when"), "rule "+quoted(r.Name), r.When)
	}
}

func (l *linter) namesIn(at policy.Place, what string, w policy.When) {
	said := map[string]bool{}
	unknown := func(code, name, kind string, known []string) {
		if said[code+name] || slices.Contains(known, name) {
			return
		}
		said[code+name] = true
		fix := "correct the name, or add it to the catalog"
		if near := nearest(name, known); near != "" {
			fix = "did you mean " + near + "?"
		}
		l.warn(at, code, fix, "%s looks for the %s %s, and there is none", what, kind, quoted(name))
	}
	visit(w, func(e ast.Expr) {
		for _, name := range compared(e, "principal", "groups") {
			unknown("group-unknown", name, "group", l.c.GroupIDs())
		}
		for _, name := range compared(e, "principal", "id") {
			unknown("principal-unknown", name, "principal", l.principalIDs())
		}
		for _, name := range compared(e, "resource", "id") {
			unknown("resource-unknown", name, "resource", l.resourceIDs())
		}
		if key, ok := keyOf(e, "resource", "labels"); ok {
			unknown("label-unknown", key, "label", l.labels())
		}
		if key, ok := keyOf(e, "principal", "attributes"); ok {
			unknown("attribute-unknown", key, "attribute", l.attributes())
		}
	})
}

// compared are the literals that e compares variable.field with, or looks for
// in it.
func compared(e ast.Expr, variable, field string) []string {
	if e.Kind() != ast.CallKind || len(e.AsCall().Args()) != 2 {
		return nil
	}
	call := e.AsCall()
	left, right := call.Args()[0], call.Args()[1]
	switch call.FunctionName() {
	case operators.In:
		if s, ok := text(left); ok && selects(right, variable, field) {
			return []string{s}
		}
		if selects(left, variable, field) && right.Kind() == ast.ListKind {
			var out []string
			for _, one := range right.AsList().Elements() {
				if s, ok := text(one); ok {
					out = append(out, s)
				}
			}
			return out
		}
	case operators.Equals, operators.NotEquals:
		if selects(right, variable, field) {
			left, right = right, left
		}
		if s, ok := text(right); ok && selects(left, variable, field) {
			return []string{s}
		}
	}
	return nil
}

func (l *linter) principalIDs() []string {
	var out []string
	for _, p := range l.c.Principals() {
		out = append(out, p.ID)
	}
	return out
}

func (l *linter) resourceIDs() []string {
	var out []string
	for _, r := range l.c.Resources() {
		out = append(out, r.ID)
	}
	return out
}

func (l *linter) labels() []string {
	var out []string
	for _, r := range l.c.Resources() {
		for key := range r.Labels {
			out = append(out, key)
		}
	}
	return sorted(out)
}

func (l *linter) attributes() []string {
	var out []string
	for _, p := range l.c.Principals() {
		for key := range p.Attributes {
			out = append(out, key)
		}
	}
	return sorted(out)
}

func sorted(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// nearest is the name that differs from s by one or two letters, and by fewer
// than half of what follows its type; "" for none.
func nearest(s string, names []string) string {
	best, found := min(3, (len(s)-strings.Index(s, ":"))/2), ""
	for _, name := range names {
		if d := distance(s, name); d < best {
			best, found = d, name
		}
	}
	return found
}

// distance is the number of letters to change, add or take away (Levenshtein).
func distance(a, b string) int {
	if len(a) > 200 || len(b) > 200 || len(a)-len(b) > 2 || len(b)-len(a) > 2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost = 1 + min(before, row[j], row[j+1])
			}
			before, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

func quoted(s string) string {
	if len(s) > 100 {
		s = strings.ToValidUTF8(s[:100], "") + "…"
	}
	return `"` + s + `"`
}
