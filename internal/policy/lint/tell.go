package lint

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/daypass/daypass/api"
	"github.com/daypass/daypass/internal/policy"
)

// tell reports what was learned of rules, guardrails, resources and roles. What
// needs every pair to be looked at is said only when every pair was.
func (l *linter) tell(seen *reached) {
	shapes := make([]shape, len(l.rules))
	for i, r := range l.rules {
		shapes[i] = shapeOf(r.When)
	}
	for i := range l.rules {
		l.approvals(i, &seen.rules[i])
		if l.covered(i, shapes) || !seen.whole {
			continue
		}
		l.rule(i, &seen.rules[i])
	}
	for i, g := range l.guardrails {
		l.guardrail(g, seen.guardrails[i], seen.whole)
	}
	if seen.whole {
		l.closed(seen)
	}
}

// covered finds an earlier rule that holds whenever this one does, by their
// form alone.
func (l *linter) covered(i int, shapes []shape) bool {
	r := l.rules[i]
	for j, earlier := range l.rules[:i] {
		if earlier.Kind != "" && earlier.Kind != r.Kind || !implies(shapes[i], shapes[j]) {
			continue
		}
		at := l.c.Place("rule", r.Name, "when")
		if earlier.Kind == r.Kind && implies(shapes[j], shapes[i]) {
			l.warn(at, "rule-duplicate", "remove one of the two", "rule %s has the condition of rule %s, which comes first and decides all of it", quoted(r.Name), quoted(earlier.Name))
		} else {
			l.warn(at, "rule-shadowed", "put it before that rule, or remove it", "rule %s never decides: whenever its condition holds, so does that of rule %s, which comes first", quoted(r.Name), quoted(earlier.Name))
		}
		return true
	}
	return false
}

// rule reports what all pairs together say of a rule.
func (l *linter) rule(i int, r *ruleReach) {
	rule := l.rules[i]
	at := l.c.Place("rule", rule.Name, "when")
	if r.fails > 0 && rule.When.Constant() != policy.Fails {
		l.warn(at, "condition-fails", "ask with has(…) first, or give everything the label or attribute that it reads",
			"the condition of rule %s cannot be evaluated for %s, which refuses: for example %s", quoted(rule.Name), count(r.fails, "pair of principal and role", "pairs of principal and role"), r.failsFor)
	}
	switch {
	case !l.hasKind(rule.Kind):
		l.note(at, "rule-idle", "add such a resource, or remove the rule", "rule %s is for %s, and no enabled resource is", quoted(rule.Name), kindWords(rule.Kind))
	case r.matched == 0 && r.fails == 0:
		if rule.When.Constant() == policy.Unknown { // otherwise it was said
			l.warn(at, "rule-never-matches", "mend the condition, or remove the rule", "rule %s matches nobody and nothing of this catalog, at any time and for any duration", quoted(rule.Name))
		}
	case r.decides == 0 && r.fails == 0:
		l.shadowed(at, i, r, "", false)
	case r.roles > 0 && r.byRole == 0 && r.fails == 0:
		// A narrower scope might still reach it; whether one does is not known.
		l.shadowed(at, i, r, " for a role", true)
	case r.decides > 0 && r.denied == r.decides:
		l.warn(at, "rule-denied", "narrow the guardrail, or remove the rule", "rule %s lets nothing through: %s all that it decides", quoted(rule.Name), denying(l.guardrailNames(r.barred)))
	case r.decides > 0 && r.let == 0 && len(r.ownerless) == 0 && len(r.few) == 0:
		l.warn(l.c.Place("rule", rule.Name, "approve"), "rule-unapprovable", "let somebody else approve",
			"rule %s can never be approved: for everybody whom it lets ask, too few others could approve", quoted(rule.Name))
	}
}

func (l *linter) shadowed(at policy.Place, i int, r *ruleReach, scope string, suspected bool) {
	f := Finding{Place: at, Code: "rule-shadowed", Severity: Warning, Suspected: suspected, Fix: "put it before them, or remove it"}
	by := map[int]int{}
	maps.Copy(by, r.shadows)
	maps.Copy(by, r.breaks)
	f.Message = fmt.Sprintf("rule %s never decides%s: in all that it matches, %s first", quoted(l.rules[i].Name), scope, deciding(l.ruleNames(by)))
	l.add(f)
}

func deciding(names []string) string {
	if len(names) == 1 {
		return "rule " + names[0] + " decides"
	}
	return "the rules " + listed(names) + " decide"
}

func denying(names []string) string {
	if len(names) == 1 {
		return "guardrail " + names[0] + " denies"
	}
	return "the guardrails " + listed(names) + " deny"
}

func (l *linter) ruleNames(of map[int]int) []string {
	var out []string
	for _, i := range slices.Sorted(maps.Keys(of)) {
		out = append(out, quoted(l.rules[i].Name))
	}
	return out
}

func (l *linter) guardrailNames(of map[int]int) []string {
	var out []string
	for _, i := range slices.Sorted(maps.Keys(of)) {
		out = append(out, quoted(l.guardrails[i].Name))
	}
	return out
}

func (l *linter) guardrail(g policy.Guardrail, seen guardrailReach, whole bool) {
	at := l.c.Place("guardrail", g.Name, "when")
	if seen.fails > 0 && g.When.Constant() != policy.Fails {
		l.warn(at, "condition-fails", "ask with has(…) first, or give everything the label or attribute that it reads",
			"the condition of guardrail %s cannot be evaluated for %s, which refuses: for example %s", quoted(g.Name), count(seen.fails, "pair of principal and role", "pairs of principal and role"), seen.failsFor)
	}
	switch {
	case !whole:
	case !l.hasKind(g.Kind):
		l.note(at, "guardrail-idle", "add such a resource, or remove the guardrail", "guardrail %s is for %s, and no enabled resource is", quoted(g.Name), kindWords(g.Kind))
	case seen.matched == 0 && g.When.Constant() == policy.Unknown:
		l.warn(at, "guardrail-never-matches", "mend the condition, or remove the guardrail", "guardrail %s matches nobody and nothing of this catalog: it guards nothing", quoted(g.Name))
	}
}

func kindWords(kind string) string {
	if kind == "" {
		return "resources"
	}
	return "the kind " + quoted(kind)
}

// hasKind reports whether there is anything to ask of a rule of that kind.
func (l *linter) hasKind(kind string) bool {
	people := slices.ContainsFunc(l.c.Principals(), func(p *policy.Principal) bool { return !p.Disabled })
	return people && slices.ContainsFunc(l.c.Resources(), func(r *policy.Resource) bool {
		return !r.Disabled && (kind == "" || r.Kind.Name() == kind)
	})
}

// closed finds resources and roles that nobody can get.
func (l *linter) closed(seen *reached) {
	if len(l.c.Principals()) == 0 {
		return
	}
	type state struct {
		resource *policy.Resource
		shut     []string
		open     bool
	}
	var all []*state
	for i, t := range seen.targets {
		if len(all) == 0 || all[len(all)-1].resource != t.Resource {
			all = append(all, &state{resource: t.Resource})
		}
		s := all[len(all)-1]
		switch {
		case t.Role != "" && !seen.open[i]:
			s.shut = append(s.shut, t.Role)
		case t.Role != "" || t.Resource.FreeScope && seen.open[i]:
			s.open = true
		}
	}
	for _, s := range all {
		if id := s.resource.ID; !s.open {
			l.warn(l.c.Place("resource", id), "resource-closed", "add a rule that lets somebody ask for it, or disable it", "nobody can be given anything on %s: no rule lets anybody through", id)
			continue
		}
		for _, role := range s.shut {
			l.warn(l.c.Place("resource", s.resource.ID, "role", role), "role-closed", "add a rule that lets somebody ask for it, or remove the role", "nobody can be given the role %s of %s", role, s.resource.ID)
		}
	}
}

// approvals reports who cannot be approved by anybody under rule i.
func (l *linter) approvals(i int, r *ruleReach) {
	rule := l.rules[i]
	for _, id := range slices.Sorted(maps.Keys(r.ownerless)) {
		l.warn(l.c.Place("resource", id), "no-owners", "add owners to the resource", "%s has no owners, and rule %s needs them to approve: its requests are refused", id, quoted(rule.Name))
	}
	if few := slices.Sorted(maps.Keys(r.few)); len(few) > 0 {
		l.warn(l.c.Place("rule", rule.Name, "approve"), "quorum-impossible", "add owners there, or ask fewer people",
			"rule %s asks for more people than could ever approve on %s", quoted(rule.Name), listed(few))
	}
	if len(r.glass) > 0 {
		l.warn(l.c.Place("rule", rule.Name, "approve"), "glass-few", "name more people in notify", "break-glass of rule %s cannot be used by %s on %s: fewer than %d others would be told",
			quoted(rule.Name), listed(slices.Sorted(maps.Keys(r.glass))), listed(slices.Sorted(maps.Keys(r.glassOn))), policy.MustHear)
	}
	for _, cause := range slices.Sorted(maps.Keys(r.short)) {
		l.shortfall(i, r.short[cause])
	}
}

func (l *linter) shortfall(i int, s *shortfall) {
	rule := l.rules[i]
	who := listed(slices.Sorted(maps.Keys(s.requesters)))
	where := listed(slices.Sorted(maps.Keys(s.resources)))
	at := l.c.Place("rule", rule.Name, "approve")
	for n, stage := range rule.Stages {
		if stage.Name == s.why.Stage.Name {
			at = l.c.Place("rule", rule.Name, "stage", strconv.Itoa(n))
		}
	}
	switch {
	case s.own:
		l.warn(at, "approvers-own", "let somebody else approve too", "rule %s can never be approved for %s on %s: all who could approve stage %s are the requester, or answer for it",
			quoted(rule.Name), who, where, quoted(s.why.Stage.Name))
	case s.why.Stage.Name != "":
		l.warn(at, "approvers-few", "add people to the stage, or lower its quorum", "rule %s can never be approved for %s on %s: stage %s needs %s, and for %s there is %s",
			quoted(rule.Name), who, where, quoted(s.why.Stage.Name), count(s.why.Stage.Quorum, "person", "people"), s.example, nobody(s.why.Persons))
	default:
		l.warn(at, "approvers-few", "add people: each counts once in a request", "rule %s can never be approved for %s on %s: its stages together need more different people than there are (for %s %s)",
			quoted(rule.Name), who, where, s.example, nobody(s.why.Persons))
	}
}

func nobody(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return "only " + listed(names)
}

// durations compares the limits of rules with those of guardrails that always
// come with them.
func (l *linter) durations(seen *reached) {
	for i, rule := range l.rules {
		if ttl := l.options.RequestTTL; ttl > 0 && rule.ApproveWithin > ttl {
			l.note(l.c.Place("rule", rule.Name, "approve_within"), "waits-long", "shorten one, or leave both if that is meant",
				"rule %s lets a request wait for %s, longer than the server's limits.request_ttl of %s", quoted(rule.Name), api.FormatDuration(rule.ApproveWithin), api.FormatDuration(ttl))
		}
		r := seen.rules[i]
		if !seen.whole || r.decides == 0 {
			continue
		}
		limit, by := rule.MaxDuration, ""
		total := rule.MaxTotal
		for g, n := range r.capped {
			if most := l.guardrails[g].MaxDuration; n == r.decides && most > 0 {
				if most < limit {
					limit, by = most, l.guardrails[g].Name
				}
				if most < total {
					total = most
				}
			}
		}
		switch {
		case by != "":
			l.warn(l.c.Place("rule", rule.Name, "max_duration"), "duration-capped", "write what holds: max_duration: "+api.FormatDuration(limit),
				"rule %s says max_duration: %s, and guardrail %s never allows more than %s of what it decides", quoted(rule.Name), api.FormatDuration(rule.MaxDuration), quoted(by), api.FormatDuration(limit))
		case total < rule.MaxTotal:
			l.warn(l.c.Place("rule", rule.Name, "max_total"), "total-capped", "write what holds: max_total: "+api.FormatDuration(total),
				"rule %s says max_total: %s, and a guardrail never allows more than %s of what it decides", quoted(rule.Name), api.FormatDuration(rule.MaxTotal), api.FormatDuration(total))
		}
	}
}
