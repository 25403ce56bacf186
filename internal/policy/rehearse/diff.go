package rehearse

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/policy"
)

// Differences are what differs between two catalogs.
type Differences struct {
	Old     string         `json:"old"` // versions
	New     string         `json:"new"`
	Things  []Change       `json:"things"`
	Access  []AccessChange `json:"access"`
	Asked   []string       `json:"asked"`             // the times and durations that were asked for
	Bounded string         `json:"bounded,omitempty"` // what was not looked at
}

// Empty reports that nobody's access differs.
func (d Differences) Empty() bool { return len(d.Access) == 0 }

// AccessChange is one way in which the access of some differs.
type AccessChange struct {
	From       string   `json:"from"`
	To         string   `json:"to"`
	Principals []string `json:"principals"`
	Roles      []string `json:"roles"` // "resource role"
	When       []string `json:"when"`  // at which of Asked; empty: always
}

const (
	maxDiffLookups = 600_000_000
	maxDurations   = 6
	nobody         = "cannot be asked for"
)

// Diff asks both catalogs what everybody could get of every role at a time,
// without reason and ticket (as the list of resources does). Where conditions
// look at the duration or the time, it asks for durations around those that
// they name, and at other times of the day and week.
func Diff(was, now *policy.Catalog, at time.Time) Differences {
	out := Differences{Old: was.Version(), New: now.Version(), Things: things(was, now), Access: []AccessChange{}, Asked: []string{}}
	if out.Things == nil {
		out.Things = []Change{}
	}
	at = at.UTC().Truncate(time.Millisecond)
	points := pointsFor(at, was, now)
	entries := len(was.Rules()) + len(was.Guardrails()) + len(now.Rules()) + len(now.Guardrails())
	people, roles := unionOf(was, now)
	if len(points) > 1 && len(points)*len(people)*len(roles)*max(entries, 1) > maxDiffLookups {
		out.Bounded = fmt.Sprintf("%d principals and %d roles are too many to ask at %d times and durations: only one was asked", len(people), len(roles), len(points))
		points = points[:1]
	}
	for _, p := range points {
		out.Asked = append(out.Asked, pointText(p))
	}
	a, b := newStanding(was, points), newStanding(now, points)
	found := map[difference]map[string][]string{} // what, to whom → where
	for _, who := range people {
		for _, what := range roles {
			for d := range a.differs(b, who, what) {
				if found[d] == nil {
					found[d] = map[string][]string{}
				}
				found[d][what] = append(found[d][what], who)
			}
		}
	}
	out.Access = condensed(found, out.Asked)
	return out
}

// difference is a change at some of the points, written as one text.
type difference struct{ from, to, points string }

// differs are the differences of one principal's access to one role.
func (s *standing) differs(other *standing, who, what string) map[difference]bool {
	changes := map[[2]string][]string{}
	for point := range s.points {
		from, to := s.outcome(who, what, point), other.outcome(who, what, point)
		if from != to {
			changes[[2]string{from, to}] = append(changes[[2]string{from, to}], fmt.Sprint(point))
		}
	}
	out := map[difference]bool{}
	for c, points := range changes {
		d := difference{from: c[0], to: c[1]}
		if len(points) < len(s.points) {
			d.points = strings.Join(points, " ")
		}
		out[d] = true
	}
	return out
}

// condensed groups what changes in the same way for the same people.
func condensed(found map[difference]map[string][]string, asked []string) []AccessChange {
	type group struct {
		d   difference
		who string
	}
	groups := map[group]*AccessChange{}
	for d, where := range found {
		for what, who := range where {
			key := group{d, strings.Join(who, " ")}
			if groups[key] == nil {
				groups[key] = &AccessChange{From: d.from, To: d.to, Principals: who, When: []string{}}
				for _, n := range strings.Fields(d.points) {
					var i int
					_, _ = fmt.Sscan(n, &i) // it was written from an int
					groups[key].When = append(groups[key].When, asked[i])
				}
			}
			groups[key].Roles = append(groups[key].Roles, what)
		}
	}
	out := []AccessChange{}
	for _, g := range groups {
		slices.Sort(g.Roles)
		out = append(out, *g)
	}
	slices.SortFunc(out, func(a, b AccessChange) int {
		return cmp.Or(cmp.Compare(len(b.Principals)*len(b.Roles), len(a.Principals)*len(a.Roles)), cmp.Compare(a.Roles[0], b.Roles[0]), cmp.Compare(a.From+a.To, b.From+b.To),
			cmp.Compare(a.Principals[0], b.Principals[0]), slices.Compare(a.When, b.When))
	})
	return out
}

// unionOf are the principals and roles that either catalog has.
func unionOf(was, now *policy.Catalog) (people, roles []string) {
	who, what := map[string]bool{}, map[string]bool{}
	for _, c := range []*policy.Catalog{was, now} {
		for _, p := range c.Principals() {
			who[p.ID] = true
		}
		for _, t := range c.Targets() {
			if t.Scope != nil {
				what[t.Resource.ID+" "+t.Role] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(who)), slices.Sorted(maps.Keys(what))
}

// pointsFor are the times and durations worth asking for.
func pointsFor(at time.Time, catalogs ...*policy.Catalog) []policy.Point {
	durations, timed := map[time.Duration]bool{}, false
	for _, c := range catalogs {
		conditions := []policy.When{}
		for _, r := range c.Rules() {
			conditions = append(conditions, r.When)
		}
		for _, g := range c.Guardrails() {
			conditions = append(conditions, g.When)
		}
		for _, w := range conditions {
			named, clock := momentsIn(w)
			timed = timed || clock
			for _, d := range named {
				durations[d], durations[d+time.Second] = true, true
			}
		}
	}
	times := []time.Time{at}
	if timed {
		monday := at.Truncate(24*time.Hour).AddDate(0, 0, int(time.Monday-at.Weekday()))
		for _, d := range []time.Duration{34 * time.Hour, 46 * time.Hour, 154 * time.Hour} { // Tuesday at ten, Tuesday at 22, Sunday at ten
			times = append(times, monday.Add(d))
		}
	}
	lengths := append([]time.Duration{0}, slices.Sorted(maps.Keys(durations))...)
	lengths = lengths[:min(len(lengths), maxDurations+1)]
	var out []policy.Point
	for _, t := range times {
		for _, d := range lengths {
			out = append(out, policy.Point{Duration: d, At: t})
		}
	}
	return out
}

// momentsIn are the durations that a condition names, and whether it looks at
// the time.
func momentsIn(w policy.When) (durations []time.Duration, timed bool) {
	if w.AST == nil {
		return nil, false
	}
	reads := false
	ast.PreOrderVisit(w.AST.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.IdentKind:
			timed = timed || e.AsIdent() == "now"
		case ast.SelectKind:
			timed = timed || e.AsSelect().FieldName() == "starts_at"
			reads = reads || e.AsSelect().FieldName() == "duration"
		case ast.CallKind:
			if call := e.AsCall(); call.FunctionName() == "duration" && len(call.Args()) == 1 && call.Args()[0].Kind() == ast.LiteralKind {
				if d, ok := call.Args()[0].AsLiteral().ConvertToType(types.StringType).(types.String); ok {
					if length, err := time.ParseDuration(string(d)); err == nil && length > 0 && length < api.MaxDuration {
						durations = append(durations, length)
					}
				}
			}
		}
	}))
	if !reads {
		durations = nil
	}
	return durations, timed
}

func pointText(p policy.Point) string {
	when := p.At.Format("Mon 2006-01-02 15:04 UTC")
	if p.Duration == 0 {
		return when
	}
	return when + " for " + api.FormatDuration(p.Duration)
}
