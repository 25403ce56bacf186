package policy

import (
	"maps"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
)

// Truth is what a condition says of a request of which not everything is known.
type Truth int8

// The truths. Yes, No and Fails hold whatever the unknown parts turn out to be.
const (
	unseen Truth = iota
	No
	Yes
	Unknown // it depends on what is not known
	Fails   // it cannot be evaluated, which refuses
)

// Target is what can be asked for: a role, or some scope of a resource.
type Target struct {
	Resource *Resource
	Role     string
	Scope    Scope // nil: any scope at all
}

// Point is the rest of a request, with an empty reason and ticket.
type Point struct {
	Duration time.Duration
	At       time.Time // of asking and of the start
}

// Survey asks every condition about every enabled principal and every target.
// That is feasible because a condition is evaluated once for all that look the
// same to it (aspects). It is not safe for concurrent use.
type Survey struct {
	Principals []*Principal // enabled, by ID
	Targets    []Target

	c      *Catalog
	points []Point // nil: duration, time and words are unknown
	tables []*table
	budget int
}

// table holds what one condition says, by what it can see.
type table struct {
	kind          string
	when          *condition
	principals    []int32 // index in Survey.Principals → what the condition sees of it
	targets       []int32 // -1: of another kind
	whoAt, whatAt []int   // the first principal and target that look so
	points        int     // 1 where the condition does not see the point
	cells         []Truth // [principal][target][point]; nil: too many
}

// Survey prepares the questions: for each of points, or with none for requests
// of which duration, time and words are unknown. It evaluates conditions at
// most budget times; Exhausted says when that was not enough, and what was not
// evaluated is Unknown.
func (c *Catalog) Survey(targets []Target, points []Point, budget int) *Survey {
	s := &Survey{c: c, Targets: targets, points: points, budget: budget}
	for _, id := range c.principalIDs {
		if p := c.principals[id]; !p.Disabled {
			s.Principals = append(s.Principals, p)
		}
	}
	for _, g := range c.guardrails {
		s.tables = append(s.tables, s.table(g.kind, g.when))
	}
	for _, r := range c.rules {
		s.tables = append(s.tables, s.table(r.kind, r.when))
	}
	return s
}

// Targets returns the roles of every enabled resource and, last of each, any
// scope of it: also one that is narrower than a role.
func (c *Catalog) Targets() []Target {
	var out []Target
	for _, id := range c.resourceIDs {
		r := c.resources[id]
		if r.Disabled {
			continue
		}
		for _, role := range r.Roles {
			out = append(out, Target{Resource: r, Role: role.Name, Scope: role.Scope})
		}
		out = append(out, Target{Resource: r})
	}
	return out
}

// Exhausted reports whether the budget did not suffice.
func (s *Survey) Exhausted() bool { return s.budget <= 0 }

func (s *Survey) table(kind string, when *condition) *table {
	t := &table{kind: kind, when: when, points: 1}
	sees := aspectsOf(when)
	who := slices.Sorted(maps.Keys(sees.principal))
	known := map[string]int32{}
	var look strings.Builder
	class := func(first *[]int, i int) int32 {
		n, ok := known[look.String()]
		if !ok {
			n = int32(len(*first)) //nolint:gosec // at most as many as principals or targets
			known[look.String()] = n
			*first = append(*first, i)
		}
		return n
	}
	for i, p := range s.Principals {
		look.Reset()
		for _, name := range who {
			look.WriteString(sees.principal[name](s.c, p) + "\x00")
		}
		t.principals = append(t.principals, class(&t.whoAt, i))
	}
	what := slices.Sorted(maps.Keys(sees.resource))
	clear(known)
	for i, target := range s.Targets {
		if kind != "" && kind != target.Resource.Kind.Name() {
			t.targets = append(t.targets, -1)
			continue
		}
		look.Reset()
		for _, name := range what {
			look.WriteString(sees.resource[name](target.Resource) + "\x00")
		}
		if sees.scope && target.Scope != nil {
			look.Write(target.Scope.JSON())
		}
		t.targets = append(t.targets, class(&t.whatAt, i))
	}
	if sees.moment && len(s.points) > 0 {
		t.points = len(s.points)
	}
	if n := len(t.whoAt) * len(t.whatAt) * t.points; n <= maxCells {
		t.cells = make([]Truth, n)
	}
	return t
}

// maxCells bounds what is remembered of one condition, in bytes.
const maxCells = 4 << 20

// Guardrail is what the guardrail of that index says of a request.
func (s *Survey) Guardrail(index, principal, target, point int) Truth {
	return s.truth(s.tables[index], principal, target, point)
}

// Rule is what the rule of that index says of a request.
func (s *Survey) Rule(index, principal, target, point int) Truth {
	return s.truth(s.tables[len(s.c.guardrails)+index], principal, target, point)
}

func (s *Survey) truth(t *table, principal, target, point int) Truth {
	what := t.targets[target]
	if what < 0 {
		return No
	}
	if t.when == nil {
		return Yes
	}
	if t.points == 1 {
		point = 0
	}
	who := t.principals[principal]
	at := (int(who)*len(t.whatAt)+int(what))*t.points + point
	if t.cells != nil && t.cells[at] != unseen {
		return t.cells[at]
	}
	if s.budget <= 0 {
		return Unknown
	}
	s.budget--
	said := s.evaluate(t.when, s.Principals[t.whoAt[who]], s.Targets[t.whatAt[what]], point)
	if t.cells != nil {
		t.cells[at] = said
	}
	return said
}

// evaluate asks a condition, with all that is not known left open.
func (s *Survey) evaluate(when *condition, p *Principal, target Target, point int) Truth {
	in := Input{Principal: p.ID, Groups: s.c.groupsOf[p.ID]}
	open := []*cel.AttributePatternType{cel.AttributePattern("effective")} // no target is asked
	if len(s.points) > 0 {
		at := s.points[point]
		in.Duration, in.StartsAt, in.Now = at.Duration, at.At, at.At
	} else {
		open = append(open, cel.AttributePattern("request"), cel.AttributePattern("now"), cel.AttributePattern("unverified"))
	}
	if target.Scope == nil {
		open = append(open, cel.AttributePattern("scope"))
	}
	return when.prospect(s.c.facts(in, p, target.Resource, target.Scope), open)
}

// prospect evaluates a condition of which the open variables are unknown.
func (c *condition) prospect(facts map[string]any, open []*cel.AttributePatternType) Truth {
	var vars any = facts
	if len(open) > 0 {
		partial, err := cel.PartialVars(facts, open...)
		if err != nil {
			return Unknown
		}
		vars = partial
	}
	switch t, err := c.eval(vars); {
	case err != nil:
		return Fails
	case t == yes:
		return Yes
	case t == unknown:
		return Unknown
	}
	return No
}

// Constant is what a condition says of everybody and everything: Unknown when
// that differs.
func (w When) Constant() Truth {
	if w.AST == nil {
		return Yes
	}
	program, err := w.Env.Program(w.AST, cel.EvalOptions(cel.OptPartialEval), cel.CostLimit(maxCost), cel.MemoryLimit(maxMemory))
	if err != nil {
		return Unknown
	}
	c := &condition{program: program}
	var open []*cel.AttributePatternType
	for _, name := range []string{"principal", "resource", "request", "unverified", "now", "scope", "effective"} {
		open = append(open, cel.AttributePattern(name))
	}
	return c.prospect(map[string]any{}, open)
}
